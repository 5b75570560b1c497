"""What datatrove 0.10.1's own filters decide, document for document, and the numbers they decide by.

Usage: signals_golden.py run CORPUS FIRST COUNT OUT.jsonl LID_MODEL CHARACTERS_MAX
           one line for each document that is not longer, for examples/signals_check
       signals_golden.py pick CORPUS ANSWERS.jsonl OUT.jsonl
           a small file with texts that covers every reason, for the crate's tests
"""

import hashlib
import json
import random
import re
import sys
from collections import defaultdict

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4ParagraphFilter,
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.filters import gopher_repetition_filter as repetition
from datatrove.utils.text import PUNCTUATION_SET, split_into_words

# Made with escapes, so that the rare reasons are met as well.
MADE = [
    "", " ", "\n\n", "{", "a", "word " * 60, "The cat sat on the mat and that was it with all of them. " * 30,
    "\n".join(f"- item number {i} of the list to have with that." for i in range(40)),
    "\n".join(f"line {i} goes on and on to the very..." for i in range(40)),
    "# the heading # of # and # that # have # with # be " * 12,
    " ".join(f"the {i} and {i * 7} of {i * 13} to {i * 3}," for i in range(60)),
    " ".join(f"extraordinarily{i:03}disproportionate incomprehensibilities" for i in range(60)),
    " ".join("abcdefghijklmnopqrstuvwxyz"[i % 26] for i in range(300)),
    "\n\n".join(["The same paragraph of text, again and again."] * 10 + ["And one that is not."]),
    "Lorem ipsum dolor sit amet, and that is that.\n" * 6,
    "This line speaks of { braces. And of more.\nThis line does not.",
    "\n".join(f"Sentence {i} of the text that we have here, with words. It has another one, too." for i in range(20)),
    "\n".join(f"This is line {i}, please enable JavaScript. We have the privacy policy of that." for i in range(9))
    + "\nA last line[1] with a citation [citation needed]. Use cooKies to [edit] it!\nAnd \"that\" is it...",
    "\n".join(" ".join(f"w{i}x{j}" for j in range(12)) for i in range(30)),
    "\u2028".join(f"  • bullet {i} of that with the dot." for i in range(30)),
    "x" * 1200 + " is long enough to be the end of that.\nOthers follow with words. " * 5,
    " ".join(f"and{i}… that" for i in range(60)),
]


def reason(result):
    return result[1] if isinstance(result, tuple) else (None if result else "")


class Filters:
    def __init__(self, model):
        self.language = LanguageFilter(languages=["en"])
        if model:
            from fasttext.FastText import _FastText

            self.language.model._model = _FastText(model)
        self.model = model
        self.repetition = GopherRepetitionFilter()
        self.quality = GopherQualityFilter()
        self.c4 = C4QualityFilter()
        self.c4_any_end = C4QualityFilter(filter_no_terminal_punct=False)
        self.paragraph = C4ParagraphFilter()
        self.fineweb = FineWebQualityFilter()

    def answer(self, text):
        row = {}
        if self.model:
            document = Document(text=text, id="0")
            kept = bool(self.language.filter(document))
            best, pairs = self.language.model.predict(document)
            row["language"] = [best[0], best[1], pairs["en"], kept]
        for name in ("repetition", "quality", "fineweb", "paragraph"):
            row[name] = reason(getattr(self, name).filter(Document(text=text, id="0")))
        for name in ("c4", "c4_any_end"):
            document = Document(text=text, id="0")
            row[name] = [reason(getattr(self, name).filter(document))]
            if row[name][0] is None:
                row[name].append(hashlib.sha256(document.text.encode()).hexdigest()[:16])
                row[name].append(reason(self.fineweb.filter(Document(text=document.text, id="0"))))
        row["numbers"] = numbers(text)
        return row


def numbers(text):
    words = split_into_words(text, "en")
    real = [word for word in words if any(ch not in PUNCTUATION_SET for ch in word)]
    paragraphs = repetition.find_duplicates(re.split(r"\n{2,}", text.strip()))
    lines = repetition.find_duplicates(re.split(r"\n+", text))
    top = []
    for n in (2, 3, 4):
        grams = repetition.get_n_grams(words, n)
        top.append(repetition.find_top_duplicate(grams) if grams else 0)
    duplicate = [repetition.find_all_duplicate(words, n) for n in range(5, 11)]
    return [
        len(text), len(words), len(real), sum(map(len, real)), *paragraphs, *lines, *top, *duplicate,
        sum(any(c.isalpha() for c in word) for word in words),
    ]


def run(corpus, first, count, out, model, characters_max):
    filters = Filters(model)
    with open(corpus) as source, open(out, "w") as file:
        for index, line in enumerate(source):
            if index >= first + count:
                break
            if index < first:
                continue
            document = json.loads(line)
            if len(document["text"]) <= characters_max:
                file.write(json.dumps({"id": document["id"], **filters.answer(document["text"])}) + "\n")


def pick(corpus, answers, out):
    """At most 12 documents of each kind of answer, short ones first."""
    kinds = defaultdict(list)
    filters = Filters(None)
    rows = [(text, filters.answer(text)) for text in MADE]
    with open(answers) as file:
        answer_of = {answer.pop("id"): answer for answer in map(json.loads, file)}
    with open(corpus) as source:
        for document in map(json.loads, source):
            text, answer = document["text"], answer_of.get(document["id"])
            if answer is None or len(text) > 6000:
                continue
            for name in ("repetition", "quality", "fineweb", "paragraph"):
                kinds[name, answer[name]].append((len(text), text, answer))
            for name in ("c4", "c4_any_end"):
                kinds[name, *answer[name][:1], *answer[name][2:]].append((len(text), text, answer))
    random.seed(1)
    seen = set()
    for kind in sorted(kinds, key=str):
        documents = kinds[kind]
        random.shuffle(documents)
        for length, text, answer in sorted(documents[:60], key=lambda d: d[0])[:12]:
            if text not in seen:
                seen.add(text)
                rows.append((text, answer))
    with open(out, "w") as file:
        for text, answer in rows:
            file.write(json.dumps({"text": text, **answer}, ensure_ascii=False) + "\n")


if sys.argv[1] == "run":
    run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6], int(sys.argv[7]))
else:
    pick(*sys.argv[2:])
