"""Documents a second of datatrove's four MinHash steps, on one core, and peak memory.

    cargo run --release -p modelyard-dedup --example dedup_speed -- write 20000 /tmp/documents.jsonl
    python crates/xtask/peers/dedup_speed.py /tmp/documents.jsonl

Needs datatrove 0.10.1, spacy, xxhash. Prints one line of JSON last.
"""

import json
import os
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import xxhash
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.hashes import xxhash as hashes
from loguru import logger

logger.remove()
# xxhash 4 takes bytes alone, and datatrove 0.10.1 gives it strings.
hashes.xxhash64 = lambda data: xxhash.xxh64_intdigest(data.encode())

documents = [Document(row["text"], str(row["id"])) for row in map(json.loads, open(sys.argv[1]))]
config = MinhashConfig()
times = {}
with tempfile.TemporaryDirectory() as folder:
    step = MinhashDedupSignature(f"{folder}/sigs", config)
    step.get_shingles("The tokenizer is loaded before the clock runs, as it is once a worker.")
    start = time.perf_counter()
    step.run(documents, 0, 1)
    times["signing_s"] = time.perf_counter() - start
    start = time.perf_counter()
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(f"{folder}/sigs", f"{folder}/pairs", config=config).run(None, bucket, config.num_buckets)
    MinhashDedupCluster(f"{folder}/pairs", f"{folder}/remove", config).run(None, 0, 1)
    kept = sum(1 for _ in MinhashDedupFilter(f"{folder}/remove").run(documents, 0, 1))
    times["clustering_s"] = time.perf_counter() - start
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(
    json.dumps(
        {"what": "minhash", "documents": len(documents), "threads": 1}
        | times
        | {
            "documents_per_second": len(documents) / sum(times.values()),
            "dropped": len(documents) - kept,
            "peak_memory_mib": peak / 1024,
        }
    )
)
