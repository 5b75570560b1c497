#!/usr/bin/env python3
"""A BERT encoder in PyTorch and in ONNX Runtime: sequences a second of 32 sequences of 128 tokens.

embed_speed.py FOLDER THREADS

FOLDER holds config.json and model.safetensors. Prints one line of JSON: PyTorch in f32, in bf16 (autocast), in bf16
compiled, and ONNX Runtime in f32 (exported by PyTorch), each the median of eight.
"""
import json, os, sys, tempfile, time

import numpy as np
import onnxruntime
import torch
from transformers import AutoModel

FOLDER, THREADS = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(THREADS)
model = AutoModel.from_pretrained(FOLDER, local_files_only=True, attn_implementation="sdpa").eval()
ids, mask = torch.randint(1000, 30000, (32, 128)), torch.ones(32, 128, dtype=torch.long)


def rate(run):
    run(), run()
    times = []
    for _ in range(8):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return round(32 / sorted(times)[4], 1)


def torch_rate(call, bf16):
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        return rate(lambda: call(input_ids=ids, attention_mask=mask))


found = {"f32": torch_rate(model, False), "bf16": torch_rate(model, True),
         "bf16_compile": torch_rate(torch.compile(model), True)}


class Hidden(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, ids, mask):
        return self.inner(input_ids=ids, attention_mask=mask).last_hidden_state


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.onnx")
    plain = AutoModel.from_pretrained(FOLDER, local_files_only=True, attn_implementation="eager").eval()
    with torch.inference_mode():
        torch.onnx.export(Hidden(plain), (ids, mask), path, input_names=["ids", "mask"], output_names=["hidden"],
                          dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {"ids": ids.numpy(), "mask": mask.numpy()}
    found["onnxruntime"] = rate(lambda: session.run(None, given))
found["torch"], found["onnx"] = torch.__version__, onnxruntime.__version__
print(json.dumps(found))
