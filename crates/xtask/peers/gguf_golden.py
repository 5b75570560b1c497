#!/usr/bin/env python3
"""Golden vectors of GGUF's block formats from the Python package `gguf`: what `kernels::quantised` is held to.

gguf_golden.py FOLDER        (crates/kernels/tests/golden/gguf)

For each format FOLDER/NAME.blocks holds random bytes, then sane blocks (scales of a usual size), and
NAME.values what `gguf.quants.dequantize` makes of them, as f32. `elements.values` are elements, and
NAME.quantised what `gguf.quants.quantize` makes of them, for the formats that it knows.
"""
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

FOLDER = Path(sys.argv[1])
# The bytes of a block, the number of blocks, and where its f16 numbers lie.
FORMATS = {
    "Q8_0": (34, 8, [0]), "Q4_0": (18, 8, [0]), "Q4_1": (20, 8, [0, 2]),
    "Q4_K": (144, 2, [0, 2]), "Q5_K": (176, 2, [0, 2]), "Q6_K": (210, 2, [208]),
}
random = np.random.default_rng(7)
FOLDER.mkdir(parents=True, exist_ok=True)
elements = random.standard_normal((16, 32)).astype(np.float32)
elements[1] = 0  # nothing
elements[2] *= 1e-7  # scales below f16's normal numbers
elements[3] *= 1e3
elements[4] = np.abs(elements[4])
elements[5] = 0.25  # all the same
elements[6] = np.linspace(-8, 7.5, 32, dtype=np.float32)  # ties
elements.tofile(FOLDER / "elements.values")
for name, (size, count, halves) in FORMATS.items():
    blocks = random.integers(0, 256, (2 * count, size), dtype=np.uint8)
    for at in halves:
        scales = (random.standard_normal(count) * 0.02).astype("<f2")
        blocks[count:, at:at + 2] = scales.view(np.uint8).reshape(count, 2)
    blocks.tofile(FOLDER / f"{name}.blocks")
    with np.errstate(all="ignore"):
        dequantize(blocks, Type[name]).astype("<f4").tofile(FOLDER / f"{name}.values")
    try:
        quantize(elements.reshape(2, 256), Type[name]).tofile(FOLDER / f"{name}.quantised")
    except NotImplementedError:
        pass
