"""ftfy.fix_text on each line of a file: the peer of crates/repair/examples/repair_speed.rs.

    python crates/xtask/peers/repair_speed.py FILE
    python crates/xtask/peers/repair_speed.py FILE s2twp   (OpenCC instead, by any of its names)
    python crates/xtask/peers/repair_speed.py inputs SHARED_DATA FOLDER

The third form writes the inputs: english.txt (Shakespeare, banking messages, chats), wiki.txt (wiki text with
HTML entities), chinese.txt (Tang poems and chats), accents.txt (lines of enwik8 that are not ASCII), mojibake.txt
(those and Tang poems misread), mix.txt (some of each).
"""

import gzip
import json
import pathlib
import random
import sys
import time


def lines(text):
    """As Rust's split_inclusive: at line feeds only."""
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def speed(path, mode="ftfy"):
    text = pathlib.Path(path).read_bytes().decode("utf-8")
    rows = lines(text)
    if mode != "ftfy":
        import opencc

        repair = opencc.OpenCC(mode).convert
    else:
        import ftfy

        repair = ftfy.fix_text
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        out = [repair(row) for row in rows]
        seconds.append(time.perf_counter() - start)
    checksum = 0xCBF29CE484222325
    for byte in "".join(out).encode("utf-8", "surrogatepass"):
        checksum = ((checksum ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    megabytes = len(text.encode("utf-8")) / 1e6
    changed = sum(a != b for a, b in zip(rows, out))
    print(json.dumps({"mb_per_second": round(megabytes / sorted(seconds)[1], 3), "megabytes": round(megabytes, 2),
                      "lines": len(rows), "changed": changed, "checksum": f"{checksum:016x}"}))  # fmt: skip


def inputs(data, folder, size=3_000_000):
    data, folder, r = pathlib.Path(data), pathlib.Path(folder), random.Random(5)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    texts["english"] = "".join(path.read_text("utf-8") for path in sorted((data / "tinyshakespeare").rglob("*.txt")))
    texts["english"] += "".join(path.read_text("utf-8") for path in sorted((data / "banking77").rglob("*.csv")))
    with gzip.open(data / "enwik8" / "enwik8.gz", "rt", encoding="utf-8", errors="ignore", newline="\n") as file:
        wiki = file.read(60_000_000)
    texts["wiki"] = wiki[20_000_000 : 20_000_000 + size]
    texts["accents"] = "".join(line for line in lines(wiki) if not line.isascii())[: 2 * size]
    poems = []
    with open(data / "tang" / "poems.jsonl", encoding="utf-8") as file:
        for line in file:
            poems.append(json.loads(line)["text"] + "\n")
    texts["chinese"] = "".join(poems)[: size // 3]
    broken = lines(texts["accents"])[:6000] + poems[:2000]
    encodings = ["latin-1", "windows-1252", "latin-1", "windows-1251", "macroman", "cp437"]
    texts["mojibake"] = "".join(
        part.rstrip("\n").encode().decode(encodings[n % len(encodings)], "replace") + "\n" for n, part in enumerate(broken)
    )
    mix = lines(texts["english"])[:20000] + lines(texts["wiki"])[:10000] + lines(texts["chinese"])[:8000]
    mix += lines(texts["accents"])[:4000] + lines(texts["mojibake"])[:1500]
    r.shuffle(mix)
    texts["mix"] = "".join(mix)
    for name, text in texts.items():
        raw = text.encode("utf-8", "ignore")[:size].decode("utf-8", "ignore").encode()
        (folder / f"{name}.txt").write_bytes(raw)
        print(name, len(raw))


if __name__ == "__main__":
    if sys.argv[1] == "inputs":
        inputs(*sys.argv[2:])
    else:
        speed(*sys.argv[1:])
