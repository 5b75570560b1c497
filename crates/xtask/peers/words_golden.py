"""What datatrove's word and sentence splitters and its simplify_text say.

Usage: words_golden.py golden OUT.jsonl       a small file of nasty and real texts, with everything
       words_golden.py full CORPUS COUNT OUT  digests of everything for many documents, for examples/words_check
"""

import hashlib
import json
import random
import sys

from datatrove.utils.text import simplify_text, split_into_paragraphs, split_into_sentences, split_into_words

NASTY = [
    "", " ", "  ", "\n", " \n ", "a", " a", "a ", "  a  b  ", "\ta\tb\t", "a\u00a0b", "a \u00a0 b", "a\u2028b\u3000c",
    "\x1c\x1da\x1e\x1fb\x85c\u180ed\u200be",
    "Hello, world! (It's me.) \"Quoted\" 'single' ``ticks''",
    "don't can't won't shouldn't've I'd've he'll Ain't y'all how'd'y cannot gonna gotta lets let's c'mon",
    "It’s Don’t I’m we’re they’ve he’s ’tis ’Cause ‘s ‘S 's 'S",
    "U.S. U.K. e.g. i.e. Ph.D. Mr. Smith Mrs.Jones St. Mt . Blanc a.m. 10a.m. 10am 9p.m./10p.m. vs. v.s.",
    ":) :-) :))) :)))))) >:( ಠ_ಠ ¯\\(ツ)/¯ (╯°□°）╯︵┻━┻ ><(((*> <3 <333 8-D :(:( :-/:-/ xD. (:). =) [=] ;);)",
    "http://example.com/path?q=1#x https://www.example.co.uk: www.test.org. foo@bar.com user:pw@host.tld:8080/x ftp://a.b",
    "10.0.0.1 8.8.8.8 192.168.1.1:80 127.0.0.1 172.16.5.4 223.1.1.1 224.1.1.1 1.2.3.255 8.8.8.8/x 8.8.8.8:99999",
    "a.b a.bc A.bc lower.Upper x.com, (x.com) x.com. mailto:me@x.org @x.org x@y -a.com a-.com a_b.com ..com a..com",
    "5km 5km² 10m/s 50% 3.5% 5$ $5 US$5 C$10 A$ 5US$ 5€ €5 5+ 5+5 +5 +a ++ 5-6 a-b 5-a a--b a---b a——b a–b a—b a~b",
    "1,000 a,b a,5 5,a a:b a:5 5:a a=b a<b a>b a/b a/5 5/a a*b 5*6 5^2 5^-2 a^b 2*-3",
    "... a... ...a a...b .. a..b …… a…… …a a…b ……… . ? ! ?! !!! a.. a. A. AA. aA. Aa. 5. %. ). '. \". -. +. ².",
    "20°C. 20°F 20 °C. °c. °K.x 5°C.",
    "#hashtag @user *bold* _it_ __init__ --flag -x [a] {b} <c> <space> \\n \\t \\\") C++ C# .NET",
    "end.Next end.\"Next end'.'x a.'B 'a.B' e.e E.E",
    "emoji 😀😀 a😀b ★a★ ©2020 ®™ a→b 🇺🇸 👨‍👩‍👧",
    "中文。中文！没有空格的文字，真的吗？「引號」 日本語のテキスト。ไทย한국어 текст. Слово.Слово 5кг 5тб 5كم",
    "Sentence one. Sentence two! Three? \"Four.\" (Five.) 6. Seven.) Eight .Nine . . . Ten.  Eleven.\n\nTwelve.\n) a",
    "He said \"Hi.\" Then left. 'Ok.' Fine... Done?! Really?) yes. -- Author. * x. a.b.c. End",
    "one\r\ntwo\rthree\x0bfour\x0cfive\x1csix\x1dseven\x1eeight\x85nine\u2028ten\u2029eleven\n\n\n  \ntwelve\n",
    "Éclair café naïve ÅNGSTRÖM İstanbul ΣΊΣΥΦΟΣ ẞ ß ﬁ K Ⅷ e\u0301 ｆｕｌｌｗｉｄｔｈ ①②③ 1.5 1,5,6 ٣٫٤ १२३ 1..2 1.",
    "a\u0301.b \u0301 \u200b \u200d \ufeffbom \ufffd \x00 \x7f \x80 tab\tend",
    "'''''' '' ' \"\" \"'\"' ((a)) ((a),(b)) a(b)c a[1]b f(x)=y, x->y; y=>z a!=b a==b a&b &amp; &lt;",
    "Is it?Yes.No!Maybe…ok I'm.You're.they'll,we'd;she's:who's't 'twas o'clock ma'am rock'n'roll O'Neil's boys' James's",
    "w/o and/or 24/7 1/2 km/h 5km/h/x N.Y. D.C., L.A. (U.S.A.) J.R.R. Tolkien's no.1 No. 5 p.12 pp. 3-4 Jan.1 Sept. 11",
]


def answer(text, language):
    words = split_into_words(text, language)
    sentences = split_into_sentences(text, language)
    return words, sentences


def golden(out):
    random.seed(5)
    texts = list(NASTY)
    alphabet = list("aAbS5'’\"().,:;!?-–…$%+*/=<>[]{}_#@&\\ \n\t°Ck😀é中。½") + ["...", "US$", "'s", "n't", ":)", "km", "Mr.", "  "]
    for _ in range(250):
        texts.append("".join(random.choice(alphabet) for _ in range(random.randint(1, 60))))
    with open(out, "w") as file:
        for text in texts:
            row = {"text": text, "simple": simplify_text(text), "paragraphs": split_into_paragraphs(text)}
            for language in ("en", "xx"):
                # The neutral rules are those of a language without its own, "aak".
                row[language] = answer(text, "en" if language == "en" else "aak")
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def digest(parts):
    return hashlib.sha256("\x01".join(parts).encode()).hexdigest()[:16]


def full(corpus, count, out):
    with open(corpus) as source, open(out, "w") as file:
        for index, line in enumerate(source):
            if index >= count:
                break
            text = json.loads(line)["text"]
            row = {"simple": digest([simplify_text(text)])}
            for name, language in (("en", "en"), ("xx", "aak")):
                words, sentences = answer(text, language)
                row[name] = [digest(words), digest(sentences)]
            file.write(json.dumps(row) + "\n")


if sys.argv[1] == "golden":
    golden(sys.argv[2])
else:
    full(sys.argv[2], int(sys.argv[3]), sys.argv[4])
