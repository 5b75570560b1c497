"""Hugging Face's tokenizers beside crates/tokenizer: the same corpus, vocabulary and cores.

tokenizer_speed.py train CORPUS [VOCABULARY] [gpt2|llama3|deepseek3|characters|word_piece|unigram] [OUT.json]
tokenizer_speed.py encode TOKENIZER.json CORPUS [MEGABYTES]

The last line is JSON. Set RAYON_NUM_THREADS to the cores; encoding takes one thread.
"""

import json
import os
import sys
import time

if sys.argv[1] == "encode":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK3 = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]


def peak_rss_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def texts(path):
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            yield json.loads(line)["text"] if path.endswith(".jsonl") else line


def train(corpus, vocabulary="32000", scheme="gpt2", out=None):
    vocabulary = int(vocabulary)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if scheme in ("gpt2", "llama3", "deepseek3"):
        tokenizer = Tokenizer(models.BPE())
        if scheme == "gpt2":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        else:
            patterns = [LLAMA3] if scheme == "llama3" else DEEPSEEK3
            steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, min_frequency=2, initial_alphabet=alphabet,
                                      special_tokens=["<|endoftext|>"], show_progress=False)
    elif scheme == "characters":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, min_frequency=2, special_tokens=["<unk>"],
                                      show_progress=False)
    elif scheme == "word_piece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, min_frequency=2, show_progress=False,
                                            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=vocabulary, unk_token="<unk>", show_progress=False,
                                          special_tokens=["<unk>", "<s>", "</s>"])
    start = time.perf_counter()
    tokenizer.train_from_iterator(texts(corpus), trainer)
    seconds = time.perf_counter() - start
    if out:
        tokenizer.save(out, pretty=False)
    print(json.dumps({"scheme": scheme, "seconds": seconds, "vocabulary_size": tokenizer.get_vocab_size(),
                      "peak_rss_bytes": peak_rss_bytes()}))


def encode(path, corpus, megabytes="50"):
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    most = int(megabytes) << 20
    pieces, size, piece = [], 0, ""
    for text in texts(corpus):
        if size >= most:
            break
        size += len(text.encode())
        if corpus.endswith(".jsonl"):
            pieces.append(text)
            continue
        piece += text
        if len(piece.encode()) >= 4096:
            pieces.append(piece)
            piece = ""
    if not corpus.endswith(".jsonl"):
        pieces.append(piece)
    ids = []
    start = time.perf_counter()
    for text in pieces:
        ids.append(tokenizer.encode(text, add_special_tokens=False).ids)
    seconds = time.perf_counter() - start
    checksum, count = 0, 0
    for one in ids:
        count += len(one)
        for token in one:
            checksum = (checksum * 31 + token) % ((1 << 31) - 1)
    print(json.dumps({"seconds": seconds, "bytes": size, "megabytes_per_second": size / 1e6 / seconds,
                      "tokens": count, "checksum": checksum, "peak_rss_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    {"train": train, "encode": encode}[sys.argv[1]](*sys.argv[2:])
