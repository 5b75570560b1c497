"""Makes a large corpus of real text: `corpus.py FOLDER DATA [MEGABYTES]` writes FOLDER/corpus.jsonl.

Nothing is made up. The texts are articles of English Wikipedia (DATA/enwik8), documentation that Debian ships (packages
whose names end in -doc, fetched by apt and unpacked without being installed, and what lies under /usr/share/doc), Tang
poems, Shakespeare's scenes, messages to a bank, chats, and exercises in arithmetic; their order is shuffled with a fixed
seed, and each keeps where it came from in `source`. What stands twice in the originals stands twice here.
"""

import gzip
import html.parser
import json
import pathlib
import random
import re
import subprocess
import sys

PACKAGES = ["linux-doc-6.1", "python3.11-doc", "postgresql-doc-15", "git-doc", "openjdk-17-doc", "rust-doc", "debian-reference-zh-cn"]
BLOCKS = {"p", "div", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "tr", "table", "br", "pre", "dt", "dd", "section", "article"}
SKIPPED = {"script", "style", "head", "nav"}


class Text(html.parser.HTMLParser):
    """The text of a page, a line for each block."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts, self.hidden, self.pre = [], 0, 0

    def handle_starttag(self, tag, _):
        self.hidden += tag in SKIPPED
        self.pre += tag == "pre"
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag):
        self.hidden -= tag in SKIPPED and self.hidden > 0
        self.pre -= tag == "pre" and self.pre > 0
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data if self.pre else re.sub(r"\s+", " ", data))


def page_text(markup):
    parser = Text()
    parser.feed(markup)
    lines = (line.rstrip() for line in "".join(parser.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def wikipedia(data):
    with gzip.open(data / "enwik8/enwik8.gz", "rt", encoding="utf-8", errors="replace") as file:
        whole = file.read()
    for title, text in re.findall(r"<title>(.*?)</title>.*?<text[^>]*>(.*?)</text>", whole, re.S):
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
        if text.startswith("#REDIRECT") or len(text) < 200:
            continue
        text = re.sub(r"<!--.*?-->|<ref[^>]*>.*?</ref>|<[^>]{1,200}>", "", text, flags=re.S)
        text = re.sub(r"\[\[(?:[^\]|]*\|)?([^\]|]*)\]\]", r"\1", text)
        text = re.sub(r"'{2,}", "", text)
        yield f"wikipedia/{title}", text.strip()


def documentation(folders):
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.is_symlink() or path.stat().st_size > 4_000_000:
                continue
            name = path.name.lower()
            zipped = name.endswith(".gz")
            name = name.removesuffix(".gz")
            page = name.endswith((".html", ".htm", ".xhtml"))
            if not page and not (name.endswith((".txt", ".rst", ".md", ".1", ".asc")) or "." not in name):
                continue
            try:
                raw = gzip.open(path).read(8_000_000) if zipped else path.read_bytes()
                text = raw.decode("utf-8")
            except (OSError, EOFError, UnicodeDecodeError):
                continue
            if "\0" in text:
                continue
            text = page_text(text) if page else text.strip()
            if len(text) >= 200:
                yield f"doc/{path.relative_to(folder)}", text


def small(data):
    import csv

    with open(data / "tang" / next(p.name for p in (data / "tang").iterdir() if p.suffix in {".csv", ".jsonl", ".json"}), encoding="utf-8") as file:
        first = file.read(1)
        file.seek(0)
        rows = (json.loads(line) for line in file) if first == "{" else csv.DictReader(file)
        for row in rows:
            yield "tang", f"{row['title']}\n{row['author']}\n\n{row['text']}"
    scenes = next((data / "tinyshakespeare").glob("*.txt")).read_text(encoding="utf-8").split("\n\n")
    for at in range(0, len(scenes), 12):
        yield "shakespeare", "\n\n".join(scenes[at : at + 12])
    with open(data / "banking77/train.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield "banking", row["text"]
    with open(data / "gsm8k/train.jsonl", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield "gsm8k", row["question"] + "\n" + row["answer"]
    for name in ["alpaca_en_demo.json", "alpaca_zh_demo.json"]:
        for row in json.loads((data / "instruct" / name).read_text(encoding="utf-8")):
            yield "instruct", "\n".join(part for part in [row["instruction"], row.get("input"), row["output"]] if part)


def packages(folder):
    folders = []
    for name in PACKAGES:
        out = folder / "unpacked" / name
        if not out.exists():
            subprocess.run(["apt-get", "download", name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            archive = next(folder.glob(f"{name}_*.deb"))
            out.mkdir(parents=True)
            subprocess.run(["dpkg-deb", "-x", archive, out], check=True)
            archive.unlink()
        folders.append(out)
    return folders


def main():
    folder, data = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    most = int(sys.argv[3]) * 1_000_000 if len(sys.argv) > 3 else 200_000_000
    folder.mkdir(parents=True, exist_ok=True)
    texts = [*small(data), *wikipedia(data), *documentation([*packages(folder), pathlib.Path("/usr/share/doc")])]
    random.Random(1).shuffle(texts)
    size, count = 0, 0
    partial = folder / "corpus.jsonl.partial"
    with open(partial, "w", encoding="utf-8") as out:
        for source, text in texts:
            text = text.encode("utf-8", "ignore").decode("utf-8")
            if size >= most:
                break
            out.write(json.dumps({"id": count, "source": source, "text": text}, ensure_ascii=False) + "\n")
            size, count = size + len(text.encode("utf-8")), count + 1
    partial.rename(folder / "corpus.jsonl")
    print(json.dumps({"documents": count, "bytes": size, "texts": len(texts), "all_bytes": sum(len(text) for _, text in texts)}))


main()
