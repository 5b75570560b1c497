"""The perplexity of a text under interpolated Kneser-Ney of order 4 over characters, written out with dictionaries:
the oracle of crates/signals/tests/ngrams.rs. Usage: signals_ngrams.py [crates/signals/tests/golden/clean.txt]
"""

import math
import sys
from collections import Counter, defaultdict

ORDER = 4
lines = open(sys.argv[1] if len(sys.argv) > 1 else "crates/signals/tests/golden/clean.txt").read().splitlines()
counts = [Counter() for _ in range(ORDER)]


def units(text):
    return ["<s>"] * (ORDER - 1) + list(" ".join(text.split()))


for line in lines:
    chars = units(line)
    for at in range(ORDER - 1, len(chars)):
        counts[ORDER - 1][tuple(chars[at - ORDER + 1 : at + 1])] += 1
for order in range(ORDER - 2, -1, -1):
    for ngram in counts[order + 1]:
        counts[order][ngram[1:]] += 1
following = [defaultdict(list) for _ in range(ORDER)]
for order in range(ORDER):
    for ngram, count in counts[order].items():
        following[order][ngram[:-1]].append(count)


def probability(ngram):
    if not ngram:
        return 1 / (len(counts[0]) + 1)
    order = len(ngram) - 1
    shorter = probability(ngram[1:])
    here = following[order].get(ngram[:-1])
    if not here:
        return shorter
    values = list(counts[order].values())
    once, twice = values.count(1), values.count(2)
    discount = once / (once + 2 * twice) if once and twice else 0.75
    return (max(counts[order][ngram] - discount, 0) + discount * len(here) * shorter) / sum(here)


chars = units("the cat ran to the mat")
total = sum(math.log(probability(tuple(chars[at - ORDER + 1 : at + 1]))) for at in range(ORDER - 1, len(chars)))
print(repr(math.exp(-total / (len(chars) - ORDER + 1))))
