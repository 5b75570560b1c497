"""Presidio's pattern recognisers, without a language model, on one core.

Run: python personal_speed.py FILE [BYTES_MAX]   (packages: presidio-analyzer)
A .jsonl file gives one text a line in `text`; other files are cut as crates/personal/examples/personal_speed.rs cuts them.
Prints one JSON line.
"""

import json
import logging
import sys
import time

import tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NoOpNlpEngine

logging.disable(logging.CRITICAL)
# The list of domains that the package brings along; nothing is fetched.
tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
TEXT_BYTES = 4 << 10


def texts(path, bytes_max):
    raw = open(path, "rb").read(bytes_max)
    if path.endswith(".jsonl"):
        for line in raw.split(b"\n")[:-1]:
            yield json.loads(line)["text"]
        return
    while raw:
        end = raw.find(b"\n", min(TEXT_BYTES, len(raw)))
        end = len(raw) if end < 0 else end + 1
        yield raw[:end].decode("utf-8", "replace")
        raw = raw[end:]


def main():
    bytes_max = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
    rows = list(texts(sys.argv[1], bytes_max))
    size = sum(len(row.encode()) for row in rows)
    analyzer = AnalyzerEngine(nlp_engine=NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "no_op"}]), supported_languages=["en"])
    analyzer.analyze(text="warm 555-0100", language="en", score_threshold=0.4)
    start = time.perf_counter()
    found = sum(len(analyzer.analyze(text=row, language="en", score_threshold=0.4)) for row in rows)
    seconds = time.perf_counter() - start
    line = {"bench": "personal", "peer": "presidio-analyzer", "bytes": size, "seconds": seconds}
    print(json.dumps(line | {"megabytes_per_second": size / 1e6 / seconds, "findings": found}))


if __name__ == "__main__":
    main()
