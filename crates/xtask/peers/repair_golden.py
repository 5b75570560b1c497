"""Breaks real text in many ways and keeps what ftfy 6.3.1 makes of it, as golden files for crates/repair.

    python crates/xtask/peers/repair_golden.py DATA crates/repair/tests/golden

DATA is shared/data. Writes broken.deflate (raw deflate of JSON lines {i: input, o: output of fix_text if
it differs, s: steps of fix_and_explain, b: badness}), options.deflate (the same for other
configurations; {c: the option changed, ...}) and chinese.deflate (OpenCC 1.4.2: {c, i, o}).
Texts with code points that Python's Unicode tables do not know are left out. `python repair_golden.py DATA
- COUNT` prints COUNT cases of the first kind for a larger comparison.
"""

import functools
import gzip
import json
import pathlib
import random
import sys
import unicodedata
import zlib

import ftfy
from ftfy import badness, chardata
from ftfy.fixes import WIDTH_MAP

ENCODINGS = chardata.CHARMAP_ENCODINGS
POOL = "".join(
    chr(code)
    for code in range(0x20, 0x10000)
    if any(
        map(
            lambda body: __import__("re").match(f"[{body}]", chr(code)),
            list(badness.MOJIBAKE_CATEGORIES.values()) + list(chardata.UTF8_CLUES.values()),
        )
    )
)
LITERALS = "ÂÃÎÐØÙà√≈‚Äâóβā€œ×вЂВГРСΒΓΞΟў²°µ™¡®\xa0 ?�\x1aabcZ.,!\n"
WIDE = {alternate: chr(code) for code, alternate in WIDTH_MAP.items() if len(alternate) == 1}
ENTITIES = list(chardata.HTML_ENTITIES)


def lines_of(data, seed_lines):
    """Short real lines in many languages."""
    data = pathlib.Path(data)
    out = []
    with gzip.open(data / "enwik8" / "enwik8.gz", "rt", encoding="utf-8", errors="ignore") as file:
        for number, line in enumerate(file):
            if number > 300_000:
                break
            line = line.strip("\n")
            if 8 < len(line):
                if not line.isascii() or number % 40 == 0:
                    out.append(line)
    with open(data / "tang" / "poems.jsonl", encoding="utf-8") as file:
        for number, line in zip(range(3000), file):
            out.append(str(json.loads(line)["text"]).split("\n")[0])
    for path in sorted((data / "tatoeba-cmn-eng").iterdir()):
        if path.suffix == ".txt":
            out.extend(path.read_text("utf-8").splitlines()[:20000:10])
    for path in sorted((data / "ftfy").glob("*.json")):
        for case in json.loads(path.read_text("utf-8")):
            out.append(case["original"])
            out.append(case["fixed"])
    seed_lines.shuffle(out)
    return out


def misread(r, text, encoding=None):
    encoding = encoding or r.choice(ENCODINGS + ["latin-1", "sloppy-windows-1252"] * 3)
    return text.encode("utf-8", "surrogatepass").decode(encoding, "replace")


def cesu(text):
    out = b""
    for char in text:
        if ord(char) > 0xFFFF:
            for unit in (char.encode("utf-16-be")[:2], char.encode("utf-16-be")[2:]):
                out += chr(int.from_bytes(unit, "big")).encode("utf-8", "surrogatepass")
        elif char == "\0":
            out += b"\xc0\x80"
        else:
            out += char.encode("utf-8")
    return out


def spot(r, text, insert):
    at = r.randrange(len(text) + 1)
    return text[:at] + insert + text[at:]


def part(r, text, change):
    a, b = sorted((r.randrange(len(text) + 1), r.randrange(len(text) + 1)))
    return text[:a] + change(text[a:b]) + text[b:]


def lose(r, text, chance=0.15):
    return "".join(r.choice("�?") if not c.isascii() and r.random() < chance else c for c in text)


BREAKERS = [
    lambda r, t: misread(r, t),
    lambda r, t: misread(r, t),
    lambda r, t: misread(r, misread(r, t)),
    lambda r, t: part(r, t, lambda s: misread(r, s)),
    lambda r, t: part(r, misread(r, t), lambda s: misread(r, s)),
    lambda r, t: misread(r, t).replace("\xa0", " "),
    lambda r, t: misread(r, spot(r, t, "é à la ü ")).replace("\xa0", " "),
    lambda r, t: lose(r, misread(r, t)),
    lambda r, t: lose(r, misread(r, t, "sloppy-windows-1252"), 0.05),
    lambda r, t: cesu(spot(r, t, r.choice("😀💩𐍈\0"))).decode(r.choice(["latin-1", "sloppy-windows-1252"])),
    lambda r, t: t.encode("windows-1252", "ignore").decode("latin-1"),
    lambda r, t: t.encode(r.choice(["windows-1251", "macroman", "cp437", "iso-8859-2"]), "ignore").decode(r.choice(ENCODINGS)),
    lambda r, t: part(r, t, lambda s: s.encode("ascii", "xmlcharrefreplace").decode()),
    lambda r, t: spot(r, spot(r, t, r.choice(ENTITIES)), r.choice(ENTITIES)),
    lambda r, t: spot(r, t, r.choice(ENTITIES).replace("&", "&amp;" * r.randrange(1, 4))),
    lambda r, t: spot(r, t, f"&#{r.choice(['', 'x', 'X'])}{r.choice(['0', '7', '59', '3b', '80', '95', '99', 'D800', '128', '1f600', '9999999', 'fdd0', '13', 'zz', '012'])};"),
    lambda r, t: t.replace("<", "").replace("&lt;", ""),
    lambda r, t: part(r, t, lambda s: "".join(WIDE.get(c, c) for c in s)),
    lambda r, t: spot(r, t, r.choice(["ﾊﾝｶｸｶﾅ ｶﾞ ﾊﾟ", "ﬂuﬃeﬆ ĳ ŉ ǆ", "￣￮￥", "“a” ‘b’ „c‟ ʼn", "ﾡﾢ"])),
    lambda r, t: spot(r, t, r.choice(["\r\n", "\r", "\u2028", "\u2029", "\x85", "\n\r", "\r\r\n", "\x0b\x0c"])),
    lambda r, t: spot(r, spot(r, t, "\x1b[31;1m"), r.choice(["\x1b[0m", "\x1b[", "\x1b[１m", "\x1b\x00[m"])),
    lambda r, t: spot(r, t, chr(r.choice([0, 1, 7, 8, 0x1A, 0x7F, 0x81, 0x85, 0x92, 0x9D, 0xAD, 0xFEFF, 0x206A, 0xFFF9, 0xFFFC, 0xFFFD, 0x200B]))),
    lambda r, t: unicodedata.normalize(r.choice(["NFD", "NFKD", "NFC", "NFKC"]), t),
    lambda r, t: "".join(r.choice(POOL) for _ in range(r.randrange(1, 12))),
    lambda r, t: "".join(r.choice(LITERALS) for _ in range(r.randrange(1, 12))),
    lambda r, t: spot(r, t, "".join(r.choice(LITERALS) for _ in range(r.randrange(1, 5)))),
    lambda r, t: spot(r, t, "".join(r.choice(POOL) for _ in range(r.randrange(1, 5)))),
    lambda r, t: misread(r, "".join(r.choice(POOL + "中文かなкирилл") for _ in range(r.randrange(1, 9)))),
    lambda r, t: bytes(r.choice([0x20, 0x3F, 0x1A, 0x41, 0x0A, 0xC0, 0xED, 0xA0, 0xB0, 0x80, 0xC3, 0xE2, 0xF0, r.randrange(256)]) for _ in range(r.randrange(1, 9))).decode(r.choice(ENCODINGS)),
    lambda r, t: spot(r, t, misread(r, r.choice(["é", "à la", "’", "–", "…", "€", "日本", "ß", "Ö", "😀", "\xa0"]))),
    lambda r, t: t + "\n" + misread(r, t) + "\n" + spot(r, t, r.choice(["<", "&amp;", "&eacute;", "<b>"])) + "\n&lt;",
]  # fmt: skip


def known(text):
    return all(unicodedata.category(c) not in ("Cn", "Cs") for c in text)


def broken(data, count, seed, longest):
    r = random.Random(seed)
    lines = lines_of(data, r)
    made = 0
    seen = set()
    while made < count:
        line = lines[r.randrange(len(lines))]
        start = r.randrange(max(1, len(line) - longest))
        text = line[start : start + r.randrange(4, longest)]
        text = BREAKERS[made % len(BREAKERS)](r, text)[: longest * 3]
        if r.random() < 0.1:
            text = r.choice(BREAKERS)(r, text)[: longest * 3]
        if r.random() < 0.2:
            text += "\n"
        if known(text) and text not in seen and known(ftfy.fix_text(text)):
            seen.add(text)
            made += 1
            yield text


def case(text):
    fixed = ftfy.fix_text(text)
    explained = ftfy.fix_and_explain(text)
    out = {"i": text, "b": badness.badness(text)}
    if fixed != text:
        out["o"] = fixed
    if explained.text != fixed:
        out["e"] = explained.text
    out["s"] = ["{} {}".format(*step) for step in explained.explanation]
    return out


OPTIONS = [
    ("unescape_html", False), ("unescape_html", True), ("remove_terminal_escapes", False), ("fix_encoding", False),
    ("restore_byte_a0", False), ("replace_lossy_sequences", False), ("decode_inconsistent_utf8", False),
    ("fix_c1_controls", False), ("fix_latin_ligatures", False), ("fix_character_width", False),
    ("uncurl_quotes", False), ("fix_line_breaks", False), ("remove_control_chars", False), ("normalization", None),
    ("normalization", "NFD"), ("normalization", "NFKC"), ("normalization", "NFKD"),
]  # fmt: skip


def option_cases(data):
    original = ftfy.fix_encoding
    for number, text in enumerate(broken(data, 1700, 7, 40)):
        name, value = OPTIONS[number % len(OPTIONS)]
        config = ftfy.TextFixerConfig(**{name: value})
        # ftfy goes back to its default options within a text; the options given are to hold there too.
        ftfy.fix_encoding = functools.partial(original, config=config)
        fixed = ftfy.fix_text(text, config)
        ftfy.fix_encoding = original
        if known(fixed):
            yield {"c": f"{name}={value}", "i": text, **({"o": fixed} if fixed != text else {})}


def chinese_cases(data):
    import opencc

    r = random.Random(11)
    texts = []
    with open(pathlib.Path(data) / "tang" / "poems.jsonl", encoding="utf-8") as file:
        poems = file.readlines()
    for line in r.sample(poems, 60):
        texts.append(str(json.loads(line)["text"])[:120])
    for path in sorted((pathlib.Path(data) / "tatoeba-cmn-eng").iterdir()):
        if path.suffix == ".txt":
            texts.extend(line.split("\t")[1] for line in r.sample(path.read_text("utf-8").splitlines(), 150))
    for path in sorted((pathlib.Path(data) / "instruct").rglob("*alpaca*zh*")):
        texts.extend(line[:150] for line in r.sample(path.read_text("utf-8").splitlines(), 120) if not line.isascii())
    texts += ["SQL注入攻击和U盘里的软件、内存、硬盘", "里姆斯基-科萨科夫", "鼠标里的硅二极管坏了，导致光标分辨率降低。",
              "我们在老挝的服务器的硬盘需要使用互联网算法软件解决异步的问题。", "為什麼你在床裏面睡着？", "豈有此理 﨑 \U0002f800"]  # fmt: skip
    names = ["s2t", "t2s", "s2tw", "s2twp", "tw2s", "tw2sp", "s2hk", "hk2s", "t2tw", "tw2t", "t2hk", "hk2t"]
    converters = {name: opencc.OpenCC(name) for name in names}
    # Every single character that becomes a simplified one, set apart so that no phrase is met.
    singles = [c for code in range(0x3400, 0x323B0) if not 0xD800 <= code < 0xE000 and converters["t2s"].convert(c := chr(code)) != c]
    texts += [" ".join(singles[start : start + 300]) for start in range(0, len(singles), 300)]
    for text in texts:
        yield {"i": text, "o": {name: out for name in names if (out := converters[name].convert(text)) != text}}


def write(path, cases):
    text = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(text.encode()) + packer.flush()
    path.write_bytes(packed)
    print(path, text.count("\n"), "cases", len(packed), "bytes")


def main():
    data, target = sys.argv[1:3]
    if target == "-":
        for text in broken(data, int(sys.argv[3]), int(sys.argv[4]), 90):
            print(json.dumps(case(text)))
        return
    target = pathlib.Path(target)
    own = [c["original"] for path in sorted((pathlib.Path(data) / "ftfy").glob("*.json")) for c in json.loads(path.read_text("utf-8"))]  # fmt: skip
    write(target / "broken.deflate", (case(text) for text in own + list(broken(data, 4000, 6, 40))))
    write(target / "options.deflate", option_cases(data))
    write(target / "chinese.deflate", chinese_cases(data))


if __name__ == "__main__":
    main()
