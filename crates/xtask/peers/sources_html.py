"""Compares our main-content extraction with trafilatura's on HTML pages of Debian's documentation.

    cargo run --release -p modelyard-sources --example sources_speed -- --html '/usr/share/doc/**/*.html' > /tmp/ours.jsonl
    python crates/xtask/peers/sources_html.py /tmp/ours.jsonl [PAGES_MAX]

Prints one JSON line: the mean and quartiles of the F1 over the multisets of words, and trafilatura's speed.
"""

import collections
import json
import pathlib
import random
import re
import sys
import time

import trafilatura


def words(text):
    return collections.Counter(re.findall(r"\w+", text.lower()))


def score(ours, theirs):
    ours, theirs = words(ours), words(theirs)
    shared = sum((ours & theirs).values())
    total = sum(ours.values()) + sum(theirs.values())
    return 2 * shared / total if total else 1.0


pages = [json.loads(line) for line in open(sys.argv[1])]
random.Random(7).shuffle(pages)
pages = pages[: int(sys.argv[2]) if len(sys.argv) > 2 else 300]
scores, size, seconds = [], 0, 0.0
for page in pages:
    raw = pathlib.Path(page["path"]).read_bytes()
    start = time.perf_counter()
    theirs = trafilatura.extract(raw, include_comments=False, include_tables=True) or ""
    seconds += time.perf_counter() - start
    size += len(raw)
    scores.append((score(page["text"], theirs), page["path"], len(page["text"]), len(theirs)))
scores.sort()
for value, path, ours, theirs in scores[:12]:
    print(f"{value:.3f} {path} ours {ours} theirs {theirs}", file=sys.stderr)
values = [value for value, *_ in scores]
quartiles = [round(values[int(len(values) * part)], 4) for part in (0.1, 0.25, 0.5, 0.75)]
print(json.dumps({"pages": len(values), "f1_mean": round(sum(values) / len(values), 4), "f1_p10_p25_p50_p75": quartiles, "trafilatura_mb_per_second": round(size / 1e6 / seconds, 2)}))
