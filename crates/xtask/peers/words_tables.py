"""Write the tables of crates/words/data: character classes, special cases and units.

They are read off the compiled rules of the installed spaCy (MIT licence) and off Python's own
Unicode database, one code point at a time, so that the Rust rules see the same classes as
datatrove sees. Usage: words_tables.py [crates/words/data]
"""

import re
import sys
import unicodedata
from pathlib import Path

import spacy
from datatrove.utils.text import PUNCTUATION, PUNCTUATION_SET, TERMINAL_PUNCTUATION
from spacy.lang.char_classes import (
    ALPHA,
    ALPHA_LOWER,
    ALPHA_UPPER,
    CONCAT_ICONS,
    CONCAT_QUOTES,
    CURRENCY,
    UNITS,
)
from spacy.pipeline import Sentencizer
from spacy.tokenizer import Tokenizer

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else "crates/words/data")


def matcher(pattern):
    return re.compile(pattern).fullmatch


def classes():
    nlp = spacy.blank("en")
    prefix, suffix = nlp.tokenizer.find_prefix, nlp.tokenizer.find_suffix
    alpha, lower, upper = (matcher(f"[{c}]") for c in (ALPHA, ALPHA_LOWER, ALPHA_UPPER))
    quote, icon = matcher(f"[{CONCAT_QUOTES}]"), matcher(f"[{CONCAT_ICONS}]")
    host, word, digit = matcher("[A-Za-z0-9\u00a1-\uffff]"), matcher(r"\w"), matcher(r"\d")
    sentencizer = set(Sentencizer.default_punct_chars)
    # The order is the bit order of crates/words/src/classes.rs.
    tests = [
        lambda c: c.isspace(),
        lambda c: c.isalpha(),
        lambda c: prefix(c + "x") == 1,
        lambda c: c != "." and suffix("x" + c) == 1,
        lambda c: c != "." and suffix(c + ".") == 1,
        lambda c: bool(alpha(c)),
        lambda c: bool(lower(c)),
        lambda c: bool(upper(c)),
        lambda c: bool(quote(c)),
        lambda c: bool(icon(c)),
        lambda c: bool(host(c)),
        lambda c: bool(word(c)),
        lambda c: bool(digit(c)),
        lambda c: unicodedata.category(c)[0] == "P",
        lambda c: c in sentencizer,
        lambda c: c in PUNCTUATION_SET,
        lambda c: c in PUNCTUATION,
        lambda c: c in TERMINAL_PUNCTUATION,
        lambda c: unicodedata.category(c) == "Mn",
        lambda c: c.isupper(),
        lambda c: c.isalnum(),
    ]
    ranges = []
    for point in range(0x110000):
        if 0xD800 <= point <= 0xDFFF:
            bits = 0
        else:
            char = chr(point)
            bits = sum(1 << bit for bit, test in enumerate(tests) if test(char))
        if ranges and ranges[-1][2] == bits and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point, bits])
    lines = [f"{a:x} {b:x} {bits:x}" for a, b, bits in ranges if bits]
    (ROOT / "classes.txt").write_text("\n".join(lines) + "\n")


def specials(language):
    """Each line: the pieces of the special case, then, if spaCy looks for it over whole documents, '|' and its pieces there."""
    nlp = spacy.blank(language)
    real = nlp.tokenizer
    bare = Tokenizer(
        nlp.vocab,
        rules={},
        prefix_search=real.prefix_search,
        suffix_search=real.suffix_search,
        infix_finditer=real.infix_finditer,
        url_match=real.url_match,
    )
    lines = []
    for text in sorted(real.rules):
        if text.isspace():
            continue
        pieces = [token.text for token in real(text)]
        assert "".join(pieces) == text
        line = "\t".join(pieces)
        if real.find_prefix(text) or real.find_infix(text) or real.find_suffix(text):
            pattern = [token.text for token in bare(text)]
            if len(pattern) > 1:
                line += "\t|\t" + "\t".join(pattern)
        assert "|" not in pieces
        lines.append(line)
    (ROOT / f"special_{language}.txt").write_text("\n".join(lines) + "\n")


def units():
    found = [piece.replace("\\", "") for piece in (UNITS + "|" + CURRENCY).split("|")]
    assert not any(re.search("[0-9]", unit) for unit in found)
    (ROOT / "units.txt").write_text("\n".join(sorted(set(found))) + "\n")


classes()
specials("en")
specials("xx")
units()
