"""Makes crates/dedup/tests/golden/{near,spans,contamination,image}.json: what datatrove 0.10.1 and imagehash 4.3.2 answer.

Needs datatrove, spacy, xxhash, imagehash, scipy; reads ../shared/data. Run it from the repository's root:
    python crates/xtask/peers/dedup_golden.py
"""

import json
import random
import struct
import tempfile
from pathlib import Path

import numpy as np
import xxhash
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.sentence_dedup import (
    SentDedupConfig,
    SentenceDedupFilter,
    SentenceDedupSignature,
    SentenceFindDedups,
)
from datatrove.utils.hashes import xxhash as hashes
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import simplify_text
from datatrove.utils.word_tokenizers import load_word_tokenizer

# xxhash 4 takes bytes alone, and datatrove 0.10.1 gives it strings.
hashes.xxhash64 = lambda data: xxhash.xxh64_intdigest(data.encode())
hashes.xxhash32 = lambda data: xxhash.xxh32_intdigest(data.encode())

DATA = Path("../shared/data")
GOLDEN = Path("crates/dedup/tests/golden")
TOKENIZER = load_word_tokenizer("en")


def problems(count):
    rows = [json.loads(line) for line in open(next((DATA / "gsm8k").glob("*test*")))]
    return [row["question"] + "\n" + row["answer"] for row in rows[:count]]


def real_texts():
    texts = problems(4)
    play = next((DATA / "tinyshakespeare").glob("*.txt")).read_text()
    texts += play.split("\n\n")[:400:40]
    texts += [json.loads(line)["text"] for _, line in zip(range(3), open(DATA / "tang/poems.jsonl"))]
    texts += [
        "Ünïcödé — naïve café, İstanbul ΟΔΥΣΣΕΥΣ Σ, \u00a01,234.56 １２３．４ ٣٫١٤ x²  ½\u3000全角。Ｔｅｓｔ don't can't I'm e.g. U.S. 10km",
        "tabs\tand\r\nlines\x0b\x0c\x1c\x85 zero\u200bwidth ﬁ ligature 한국어 がぎぐ Å e\u0301 \u0301start 1.2.3.4 1,,2 3.",
    ]
    return texts


def near_duplicates(base, seed, count):
    """Documents in clusters that chain: each variant is made from an earlier variant."""
    draw = random.Random(seed)
    made = []
    for text in base:
        variants = [text.split(" ")]
        for _ in range(draw.choice([0, 0, 1, 2, 4, 7])):
            words = list(draw.choice(variants))
            for _ in range(draw.choice([0, 1, 1, 2, 3])):
                place = draw.randrange(len(words))
                words[place : place + draw.choice([0, 1])] = [draw.choice(words)]
            variants.append(words)
        made += [" ".join(words) for words in variants]
    draw.shuffle(made)
    return made[:count]


def minhash(documents, config, half):
    """What datatrove's four steps remove, as places in `documents`, of two workers."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [documents[:half], documents[half:]]
        for rank, part in enumerate(parts):
            step = MinhashDedupSignature(f"{folder}/sigs", config)
            step.run([Document(text, str(index)) for index, text in enumerate(part)], rank, 2)
        for bucket in range(config.num_buckets):
            MinhashDedupBuckets(f"{folder}/sigs", f"{folder}/pairs", config=config).run(None, bucket, config.num_buckets)
        MinhashDedupCluster(f"{folder}/pairs", f"{folder}/remove", config, save_cluster_id=True).run(None, 0, 1)
        removed, clusters = [], {}
        for rank in range(2):
            offset = rank * half
            for name, target in (("remove", removed), ("clusters", clusters)):
                path = Path(f"{folder}/remove/{rank:06d}.{name}")
                data = path.read_bytes() if path.exists() else b""
                if name == "remove":
                    removed += [offset + doc for (doc,) in struct.iter_unpack("<I", data)]
                else:
                    clusters.update({offset + doc: c for doc, c in struct.iter_unpack("<2I", data)})
    groups = {}
    for document, cluster in sorted(clusters.items()):
        groups.setdefault(cluster, []).append(document)
    return {"removed": sorted(removed), "clusters": sorted(groups.values())}


def near():
    configs = {
        "xxhash64": MinhashConfig(),
        "xxhash32": MinhashConfig(hash_config=HashConfig(32, "xxhash")),
        "sha1_64": MinhashConfig(hash_config=HashConfig(64, "sha1")),
        "sha1_32": MinhashConfig(hash_config=HashConfig(32, "sha1")),
    }
    steps = {name: MinhashDedupSignature("/tmp/unused", config) for name, config in configs.items()}
    texts = []
    for text in real_texts():
        entry = {"text": text, "simplified": simplify_text(text)}
        entry["words"] = TOKENIZER.word_tokenize(entry["simplified"])
        shingles = steps["xxhash64"].get_shingles(text)
        for name, step in steps.items():
            shingles = step.get_shingles(text)
            signature = [h for band in step.get_signature(shingles) for h in band] if shingles.size else []
            digest = xxhash.xxh64_intdigest(np.array(signature, dtype="<u8").tobytes())
            entry[name] = signature if name == "xxhash64" and len(texts) < 3 else digest
        texts.append(entry)
    draws = {}
    for seed, count in ((1, 112), (7, 40)):
        a, b = MinhashDedupSignature("/tmp/unused", MinhashConfig(seed=seed, num_buckets=count, hashes_per_bucket=1)).parameters
        draws[str(seed)] = {"a": a[0].tolist(), "b": b[0].tolist()}
    documents = near_duplicates(problems(90), 5, 220)
    words = [" ".join(TOKENIZER.word_tokenize(simplify_text(text))) for text in documents]
    runs = []
    for shingle, bands, rows, precision in ((5, 14, 8, 64), (2, 10, 3, 64), (1, 20, 5, 32), (3, 6, 5, 32)):
        config = MinhashConfig(
            n_grams=shingle, num_buckets=bands, hashes_per_bucket=rows, hash_config=HashConfig(precision, "xxhash")
        )
        run = {"shingle": shingle, "bands": bands, "rows": rows, "precision": precision}
        runs.append(run | minhash(documents, config, 110))
    return {"permutations": draws, "texts": texts, "documents": words, "half": 110, "runs": runs}


def spans():
    """Sentence deduplication: what each text is cut to."""
    draw = random.Random(3)
    base = problems(12)
    documents = []
    for index in range(24):
        parts = [draw.choice(base).split("\n")[0] for _ in range(2)]
        documents.append("  ".join(parts) + f" This is document {index}. It ends here.")
    config = SentDedupConfig(min_doc_words=0, min_num_sentences=0)
    with tempfile.TemporaryDirectory() as folder:
        SentenceDedupSignature(f"{folder}/sigs", config=config).run(
            [Document(text, str(i)) for i, text in enumerate(documents)], 0, 1
        )
        SentenceFindDedups(f"{folder}/sigs", f"{folder}/dups", config=config).run(None, 0, 1)
        step = SentenceDedupFilter(f"{folder}/dups", config=config)
        inputs = [Document(text, str(i)) for i, text in enumerate(documents)]
        kept = {int(d.id): d.text for d in step.run(inputs, 0, 1)}
    entries = []
    for index, text in enumerate(documents):
        ends = [len(text[:end].encode()) for _, end in TOKENIZER.span_tokenize(text)]
        entries.append({"text": text, "ends": ends, "kept": kept.get(index, "")})
    return entries


def contamination():
    """An index of two tasks, and which documents it finds."""
    config = NGramsDecontConfig(n_grams=6, find_query_ngrams=True)
    indexer = object.__new__(NGramsDecontIndexer)  # its own constructor asks for lighteval, which this does not need
    indexer.config, indexer.tokenizer = config, TOKENIZER
    from datatrove.utils.hashing import create_hash_func

    indexer.hash_func = create_hash_func(config.hash_config)
    base = problems(20)
    tasks = []
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("b task", base[:4]), ("a|x", base[2:6])):
            hashes = set()
            for row in rows:
                query, label = row.split("\n", 1)
                hashes.update(indexer.compute_hashes(label, query))
                words = lambda text: TOKENIZER.word_tokenize(simplify_text(text))
                tasks.append({"task": name, "label": words(label), "query": words(query)})
            path = f"{folder}/{name.replace(' ', '_')}.index.hashes"
            np.array(list(hashes), dtype=config.hash_config.np_descr).tofile(path)
        step = NGramsDecontFilter(folder, config=config)
        documents = []
        texts = [base[k] for k in (0, 3, 5, 9)] + ["Yes. " + base[1].split("\n")[0][20:90], base[4][-120:], base[8], "A clean text of some words, which no task has in it at all."]
        for text in texts:
            document = Document(text, "0")
            step.filter(document)
            documents.append(
                {
                    "words": TOKENIZER.word_tokenize(simplify_text(text)),
                    "ngram": document.metadata.get("contaminated_ngram"),
                    "task": document.metadata.get("contaminated_task"),
                }
            )
    return {"ngram": config.n_grams, "tasks": tasks, "documents": documents}


def image():
    """Grey pictures of several shapes, made by formulas the test repeats, and their hashes."""
    import imagehash
    from PIL import Image

    entries = []
    for index, (width, height) in enumerate([(64, 48), (9, 8), (8, 9), (32, 32), (100, 37), (33, 200), (1, 1), (5, 3), (640, 427)]):
        for kind in range(4):
            x, y = np.meshgrid(np.arange(width), np.arange(height))
            if kind == 0:
                pixels = (x * 7 + y * 13 + index * 31) % 256
            elif kind == 1:
                pixels = ((x * x + 3 * y * y) >> 3) % 256
            elif kind == 2:
                pixels = np.full((height, width), 97)
            else:
                pixels = ((x * 2654435761 + y * 40503 * (x + 1)) >> 7) % 256
            picture = Image.fromarray(pixels.astype(np.uint8), "L")
            entry = {"width": width, "height": height, "kind": kind, "index": index}
            entry["dhash"] = str(imagehash.dhash(picture))
            entry["phash"] = str(imagehash.phash(picture))
            for name, size in (("resized9x8", (9, 8)), ("resized32x32", (32, 32))):
                resized = picture.resize(size, Image.Resampling.LANCZOS)
                entry[name] = xxhash.xxh64_intdigest(np.asarray(resized).tobytes())
            entries.append(entry)
    return entries


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, make in (("near", near), ("spans", spans), ("contamination", contamination), ("image", image)):
        (GOLDEN / f"{name}.json").write_text(json.dumps(make(), ensure_ascii=False, separators=(",", ":")) + "\n")
