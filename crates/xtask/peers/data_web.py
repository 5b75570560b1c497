"""datatrove 0.10.1 on the whole web recipe, in one process: `data_web.py CORPUS.jsonl MEGABYTES LID_MODEL FOLDER`.

Repairs (ftfy), tells the language, applies Gopher's, C4's and FineWeb's filters in FineWeb's order, and drops near duplicates
by MinHash (14 bands of 8), on the first so many megabytes of text. Prints one line of JSON: the seconds of the filters and of
the four steps of MinHash, documents, bytes, megabytes a second, and the ids that are kept before deduplication.
"""

import json
import pathlib
import shutil
import sys
import time

import xxhash
from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.formatters import FTFYFormatter
from fasttext.FastText import _FastText

# Newer releases of xxhash take bytes alone, and datatrove gives text.
DIGEST = xxhash.xxh64_intdigest
xxhash.xxh64_intdigest = lambda text: DIGEST(text.encode() if isinstance(text, str) else text)


def main():
    corpus, most, model, folder = sys.argv[1], int(sys.argv[2]) * 1_000_000, sys.argv[3], pathlib.Path(sys.argv[4])
    documents, size = [], 0
    with open(corpus, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            size += len(row["text"].encode())
            documents.append(Document(text=row["text"], id=str(row["id"])))
            if size >= most:
                break
    language = LanguageFilter(languages=["en"])
    language.model._model = _FastText(model)
    steps = [
        FTFYFormatter(),
        language,
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]
    # What is loaded once is no part of the work.
    warm = iter([Document(text="The cat sat on the mat, and that was it. " * 50, id="w")])
    for step in steps:
        warm = step.run(warm, 0, 1)
    list(warm)
    begin = time.perf_counter()
    stream = iter(documents)
    for step in steps:
        stream = step.run(stream, 0, 1)
    kept = list(stream)
    filters = time.perf_counter() - begin
    shutil.rmtree(folder, ignore_errors=True)
    config = MinhashConfig(num_buckets=14, hashes_per_bucket=8)
    begin = time.perf_counter()
    MinhashDedupSignature(output_folder=str(folder / "sigs"), config=config, language="en").run(iter(kept), 0, 1)
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(input_folder=str(folder / "sigs"), output_folder=str(folder / "buckets"), config=config).run(None, bucket, config.num_buckets)
    MinhashDedupCluster(input_folder=str(folder / "buckets"), output_folder=str(folder / "remove"), config=config).run(None, 0, 1)
    left = list(MinhashDedupFilter(input_folder=str(folder / "remove")).run(iter(kept), 0, 1))
    minhash = time.perf_counter() - begin
    shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({
        "documents": len(documents), "bytes": size, "filters_seconds": round(filters, 2), "minhash_seconds": round(minhash, 2),
        "mb_per_second": round(size / 1e6 / (filters + minhash), 3), "left": len(left), "kept": [int(d.id) for d in kept],
    }))


main()
