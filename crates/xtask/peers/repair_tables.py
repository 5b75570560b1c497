"""Writes the tables of crates/repair from the peers' own: ftfy 6.3.1's character classes and
single-byte encodings, Python's HTML entity names, OpenCC's dictionaries.

    python crates/xtask/peers/repair_tables.py classes   > crates/repair/src/tables/classes.rs
    python crates/xtask/peers/repair_tables.py encodings > crates/repair/src/tables/encodings.rs
    python crates/xtask/peers/repair_tables.py entities  > crates/repair/data/entities.txt
    python crates/xtask/peers/repair_tables.py opencc crates/repair/data/opencc.deflate

Needs ftfy 6.3.1 and opencc 1.4.2 (its wheel carries `opencc_dict`).
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import zlib


def members(body):
    """The code points of a regular expression's character class."""
    pattern = re.compile(f"[{body}]")
    return [code for code in range(0x10000) if pattern.match(chr(code))]


def ranges(codes):
    out = []
    for code in codes:
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return out


def rust_ranges(name, codes, doc):
    print(f"\n/// {doc}")
    pairs = [f"(0x{a:04X}, 0x{b:04X})" for a, b in ranges(codes)]
    line = f"pub(crate) const {name}: &[(u32, u32)] = &[{', '.join(pairs)}];"
    if len(line) <= 120:
        print(line)
        return
    print(f"pub(crate) const {name}: &[(u32, u32)] = &[")
    for pair in pairs:
        print(f"    {pair},")
    print("];")


def classes():
    from ftfy import badness, chardata

    print("//! The characters that occur in mojibake, by the part they play in it: facts of ftfy 6.3.1")
    print("//! (Apache-2.0; `badness.py` and `chardata.py`), as inclusive ranges of code points. Written by")
    print("//! `crates/xtask/peers/repair_tables.py`; how they are used is in `badness.rs` and `mojibake.rs`.")
    docs = {
        "common": "Common in clean text and in mojibake alike.",
        "c1": "C1 controls: only ever mojibake.",
        "bad": "Hardly ever used but in mojibake.",
        "law": "Signs of legal texts.",
        "currency": "Currency signs.",
        "start_punctuation": "Punctuation that opens.",
        "end_punctuation": "Punctuation that closes.",
        "numeric": "Signs of numbers and mathematics.",
        "kaomoji": "Letters that draw faces.",
        "upper_accented": "Accented capitals.",
        "lower_accented": "Accented small letters.",
        "upper_common": "Capitals of Greek and Cyrillic.",
        "lower_common": "Small letters of Greek and Cyrillic.",
        "box": "Box drawing.",
    }
    for name, body in badness.MOJIBAKE_CATEGORIES.items():
        rust_ranges(name.upper(), members(body), docs[name])
    clues = {
        "utf8_first_of_2": "Seen in place of the first of two bytes of UTF-8.",
        "utf8_first_of_3": "Seen in place of the first of three bytes.",
        "utf8_first_of_4": "Seen in place of the first of four bytes.",
        "utf8_continuation": "Seen in place of a continuation byte; the space stands for U+00A0.",
        "utf8_continuation_strict": "The same, less what often stands for itself.",
    }
    for name, body in chardata.UTF8_CLUES.items():
        rust_ranges(name.upper(), members(body), clues[name])


def rust_string(text):
    out = ""
    for char in text:
        if char.isprintable() and char not in '"\\' and char != "\uf8ff":
            out += char
        else:
            out += f"\\u{{{ord(char):x}}}"
    return out


def encodings():
    from ftfy import chardata

    print("//! The single-byte encodings that text is most often misread in, as the characters of the bytes")
    print("//! 0x80 to 0xFF, in the order they are tried. The \"sloppy\" ones (ftfy's term) give an unassigned")
    print("//! byte the C1 control of its number, as browsers do. Written by")
    print("//! `crates/xtask/peers/repair_tables.py` from Python's codecs.")
    print("\n/// A single-byte encoding whose lower half is ASCII.")
    print("pub(crate) struct Charmap {")
    print("    /// ftfy's name for it.\n    pub(crate) name: &'static str,")
    print("    /// Whether byte 0x1A stands for U+FFFD.\n    pub(crate) sloppy: bool,")
    print("    /// The characters of 0x80 to 0xFF.\n    pub(crate) upper: &'static str,\n}")
    print("\n/// The encodings, in the order they are tried.")
    print(f"pub(crate) const CHARMAPS: [Charmap; {len(chardata.CHARMAP_ENCODINGS)}] = [")
    for name in chardata.CHARMAP_ENCODINGS:
        upper = bytes(range(0x80, 0x100)).decode(name)
        assert len(set(upper)) == 128
        rows = [rust_string(upper[i : i + 32]) for i in range(0, 128, 32)]
        print("    Charmap {")
        print(f'        name: "{name}",\n        sloppy: {str(name.startswith("sloppy")).lower()},')
        print('        upper: concat!(')
        for row in rows:
            print(f'            "{row}",')
        print("        ),\n    },")
    print("];")


def entities():
    from ftfy import chardata

    for name, value in sorted(chardata.HTML_ENTITIES.items()):
        if len(name) <= 26:  # & + 24 + ;
            codes = " ".join(f"{ord(char):X}" for char in value)
            sys.stdout.write(f"{name[1:-1]}\t{codes}\n")


def opencc(path):
    import opencc as package

    root = pathlib.Path(package.__file__).parent / "clib"
    names = [
        "CJK_Compatibility_Ideographs", "STPhrases", "STPhrases_GeneratedFromRegionalPhrases", "STCharacters",
        "TSPhrases", "TSCharactersExt", "TSCharacters", "TWPhrases", "TWPhrasesRev", "TWVariants", "TWVariantsPhrases",
        "TWVariantsRev", "TWVariantsRevPhrases", "HKVariants", "HKVariantsPhrases", "HKVariantsRev",
        "HKVariantsRevPhrases",
    ]  # fmt: skip
    out = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            source = root / "share" / "opencc" / f"{name}.ocd2"
            target = pathlib.Path(folder) / f"{name}.txt"
            command = [root / "bin" / "opencc_dict", "-i", source, "-o", target, "-f", "ocd2", "-t", "text"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            out.append(f"#{name}")
            for line in target.read_text("utf-8").splitlines():
                if "\t" not in line or line.startswith("#"):
                    continue
                key, values = line.split("\t")
                first = values.split(" ")[0]  # a conversion takes the first candidate
                out.append(key if first == key else f"{key}\t{first}")
    text = "\n".join(out) + "\n"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(text.encode()) + packer.flush()
    pathlib.Path(path).write_bytes(packed)
    print(len(text.encode()), "->", len(packed))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
