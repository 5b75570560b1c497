#!/usr/bin/env python3
"""Greedy continuations of a GGUF file of Llama's kind, in PyTorch with the file's weights dequantised to f32.

gguf_greedy.py FILE PROMPTS NEW

Prints a line of JSON for each of PROMPTS prompts of its own: the prompt's tokens, the NEW tokens that follow, and by how
much the logit of each is above the second one's. What computes with rounded activations may go another way only where
such a gap is small.
"""
import json, sys

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

FILE, PROMPTS, NEW = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SUBJECTS = ["The capital of France", "A good ship", "Water boils when it", "The first thing to know about bread",
            "In the middle of the night", "My grandmother", "The quick brown fox", "To train a model, you need",
            "Once upon a time there was", "The opposite of cold"]
ENDS = [" is", " was", " and then", ", they say,", " because"]


class Llama:
    def __init__(self, path):
        reader = GGUFReader(path)
        field = lambda name: reader.fields["llama." + name].contents()
        self.heads, self.kv_heads = field("attention.head_count"), field("attention.head_count_kv")
        self.layers, self.epsilon = field("block_count"), field("attention.layer_norm_rms_epsilon")
        self.base = field("rope.freq_base")
        self.w = {t.name: torch.from_numpy(np.array(dequantize(t.data, t.tensor_type), dtype=np.float32)) for t in reader.tensors}
        self.words = reader.fields["tokenizer.ggml.tokens"].contents()
        self.merges = reader.fields["tokenizer.ggml.merges"].contents()

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.w[name]

    def turn(self, x, begin):  # pairs beside each other, as GGUF has them
        t, _, d = x.shape
        angles = torch.outer(torch.arange(begin, begin + t).double(), self.base ** (-torch.arange(0, d, 2).double() / d))
        cos, sin = angles.cos().float()[:, None], angles.sin().float()[:, None]
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)

    def logits(self, tokens, cache):
        x = self.w["token_embd.weight"][tokens]
        t, begin = len(tokens), cache[0][0].shape[0] if cache[0] else 0
        for layer in range(self.layers):
            w = lambda part: self.w[f"blk.{layer}.{part}.weight"]
            h = self.norm(x, f"blk.{layer}.attn_norm.weight")
            q, k, v = (h @ w(part).T for part in ["attn_q", "attn_k", "attn_v"])
            q = self.turn(q.view(t, self.heads, -1), begin)
            k, v = self.turn(k.view(t, self.kv_heads, -1), begin), v.view(t, self.kv_heads, -1)
            if cache[layer]:
                k, v = torch.cat((cache[layer][0], k)), torch.cat((cache[layer][1], v))
            cache[layer] = (k, v)
            group = self.heads // self.kv_heads
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
            hidden = torch.arange(begin, begin + t)[:, None] < torch.arange(begin + t)[None]
            mixed = torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), v)
            x = x + mixed.reshape(t, -1) @ w("attn_output").T
            h = self.norm(x, f"blk.{layer}.ffn_norm.weight")
            x = x + (torch.nn.functional.silu(h @ w("ffn_gate").T) * (h @ w("ffn_up").T)) @ w("ffn_down").T
        head = self.w.get("output.weight", self.w["token_embd.weight"])
        return self.norm(x[-1], "output_norm.weight") @ head.T


def tokenizer(llama):
    """Byte-level BPE over the file's own words and merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    words = {word: index for index, word in enumerate(llama.words)}
    made = Tokenizer(models.BPE(words, [tuple(merge.split(" ")) for merge in llama.merges]))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])
    return made


torch.set_num_threads(2)
llama = Llama(FILE)
encode = tokenizer(llama)
for index in range(PROMPTS):
    text = SUBJECTS[index % len(SUBJECTS)] + ENDS[index // len(SUBJECTS) % len(ENDS)]
    prompt = encode.encode(text).ids
    cache, tokens, follows, gaps = [None] * llama.layers, prompt, [], []
    with torch.no_grad():
        for _ in range(NEW):
            best = llama.logits(tokens, cache).topk(2)
            follows.append(best.indices[0].item())
            gaps.append(round((best.values[0] - best.values[1]).item(), 4))
            tokens = follows[-1:]
    print(json.dumps({"prompt": prompt, "follows": follows, "gaps": gaps}), flush=True)
