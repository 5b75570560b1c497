"""How fast datatrove's web filters are: language, Gopher repetition and quality, C4, FineWeb, in FineWeb's order, one
process. Usage: signals_speed.py CORPUS.jsonl LID_MODEL [MEGABYTES]; prints one JSON line at the end.
"""

import json
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.utils.text import split_into_words
from fasttext.FastText import _FastText

corpus, model = sys.argv[1], sys.argv[2]
limit = float(sys.argv[3] if len(sys.argv) > 3 else 4) * 1e6

texts, size = [], 0
with open(corpus) as file:
    for line in file:
        text = json.loads(line)["text"]
        size += len(text.encode())
        texts.append(text)
        if size > limit:
            break

language = LanguageFilter(languages=["en"])
language.model._model = _FastText(model)
filters = [
    language,
    GopherRepetitionFilter(),
    GopherQualityFilter(),
    C4QualityFilter(filter_no_terminal_punct=False),
    FineWebQualityFilter(),
]
split_into_words("Load spaCy before the clock runs.")
start = time.perf_counter()
kept = 0
for text in texts:
    document = Document(text=text, id="0")
    for step in filters:
        result = step.filter(document)
        if (result[0] if isinstance(result, tuple) else result) is not True:
            break
    else:
        kept += 1
seconds = time.perf_counter() - start
# The pipeline above stops at the first filter that drops a document; ours measures everything of each. What datatrove
# takes for the same, every filter on every document:
start = time.perf_counter()
for text in texts:
    for step in filters:
        step.filter(Document(text=text, id="0"))
everything = time.perf_counter() - start
print(
    json.dumps(
        {
            "mb_per_second": round(size / 1e6 / seconds, 3),
            "all_filters_on_every_document": round(size / 1e6 / everything, 3),
            "kept": kept,
            "documents": len(texts),
            "megabytes": round(size / 1e6, 1),
        }
    )
)
