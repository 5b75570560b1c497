#!/usr/bin/env python3
"""Steps of training in PyTorch: what `cargo xtask bench train` holds our steps to.

torch_train.py WORKLOAD fp32|bf16|fp32compile|bf16compile SECONDS THREADS cpu|cuda [WAY]

Prints one line of JSON with the median rate and the peak memory. Shapes are those of
crates/nn/examples/train_speed; a step is forward, loss, backward and fused AdamW, on random data that stays the
same. Where PyTorch has several ways to compute the same thing (memory formats, plain or chunked cross-entropy), each
is tried and the fastest counts. What counts as a token of `cnn` is an image, of `lstm` a step of a sequence.
"""
import json, resource, sys, time

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

WARM = 2  # as ours; what is compiled is compiled before


class GptBlock(nn.Module):
    """LayerNorm before, GELU, biases."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.norm2, self.up, self.down = nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x, rotary):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class LlamaBlock(nn.Module):
    """RMSNorm before, rotary positions, shared heads of keys, SwiGLU, no biases."""

    def __init__(self, d, heads, kv_heads, inner):
        super().__init__()
        self.heads, self.kv_heads, self.dim = heads, kv_heads, d // heads
        self.norm1, self.norm2 = nn.RMSNorm(d, eps=1e-5), nn.RMSNorm(d, eps=1e-5)
        self.qkv = nn.Linear(d, (heads + 2 * kv_heads) * self.dim, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.gate_up, self.down = nn.Linear(d, 2 * inner, bias=False), nn.Linear(inner, d, bias=False)

    def forward(self, x, rotary):
        b, t, d = x.shape
        cos, sin = rotary
        qkv = self.qkv(self.norm1(x)).view(b, t, self.heads + 2 * self.kv_heads, self.dim).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        turn = lambda z: z * cos + torch.cat((-z[..., self.dim // 2 :], z[..., : self.dim // 2]), -1) * sin
        q, k = turn(q).to(v.dtype), turn(k).to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class BertBlock(nn.Module):
    """LayerNorm behind, GELU, biases, every token sees every other."""

    def __init__(self, d, heads, inner):
        super().__init__()
        self.heads = heads
        self.qkv, self.out, self.norm1 = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.LayerNorm(d)
        self.up, self.down, self.norm2 = nn.Linear(d, inner), nn.Linear(inner, d), nn.LayerNorm(d)

    def forward(self, x, rotary):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = self.norm1(x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Transformer(nn.Module):
    """Token and learned positions where there are any, blocks, and a loss over a tied head or over classes."""

    def __init__(self, vocabulary, d, blocks, positions=0, norm=None, classes=0, chunks=1, rotary=None):
        super().__init__()
        self.token = nn.Embedding(vocabulary, d)
        self.place = nn.Embedding(positions, d) if positions else None
        self.blocks, self.norm, self.chunks = nn.ModuleList(blocks), norm or nn.Identity(), chunks
        self.rotary, self.first = rotary, nn.LayerNorm(d) if classes else nn.Identity()
        self.head = nn.Linear(d, classes or vocabulary, bias=bool(classes))
        self.classes = classes
        nn.init.normal_(self.token.weight, std=0.02)
        if not classes:
            self.head.weight = self.token.weight

    def forward(self, ids, targets):
        x = self.token(ids)
        if self.place is not None:
            x = x + self.place.weight[: ids.shape[1]]
        x = self.first(x)
        for block in self.blocks:
            x = block(x, self.rotary)
        return self.loss(x, targets)

    def loss(self, x, targets):
        x = self.norm(x)
        if self.classes:
            return F.cross_entropy(self.head(x.mean(1)), targets)
        if self.chunks == 1:
            return F.cross_entropy(self.head(x).flatten(0, 1), targets.flatten())
        piece = lambda x, y: F.cross_entropy(self.head(x), y, reduction="sum")
        pairs = zip(x.flatten(0, 1).chunk(self.chunks), targets.flatten().chunk(self.chunks))
        return sum(checkpoint(piece, x, y, use_reentrant=False) for x, y in pairs) / targets.numel()


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.d1, self.d2 = nn.Linear(64 * 12 * 12, 128), nn.Linear(128, 10)

    def forward(self, x, targets):
        x = F.max_pool2d(F.relu(self.c2(F.relu(self.c1(x)))), 2).flatten(1)
        return F.cross_entropy(self.d2(F.relu(self.d1(x))), targets)


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(256, 256)

    def forward(self, x, targets):
        return F.mse_loss(self.lstm(x)[0].float(), targets)


def language(vocabulary, time_, batch):
    ids = torch.randint(0, vocabulary, (batch, time_ + 1))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def rotary(time_, dim):
    angles = torch.outer(torch.arange(time_), 10000.0 ** (-torch.arange(0, dim, 2) / dim)).repeat(1, 2)
    return angles.cos(), angles.sin()


def variants():
    """The ways to try: a name, and what makes a model, its data, and the number of tokens."""
    if WORKLOAD == "gpt":
        make = lambda chunks: lambda: (
            Transformer(8192, 384, [GptBlock(384, 6) for _ in range(6)], 256, nn.LayerNorm(384), chunks=chunks),
            language(8192, 256, 8), 2048)
        return {"plain": make(1)}
    if WORKLOAD == "smollm":
        make = lambda chunks: lambda: (
            Transformer(49152, 576, [LlamaBlock(576, 9, 3, 1536) for _ in range(30)], norm=nn.RMSNorm(576, eps=1e-5),
                        chunks=chunks, rotary=rotary(512, 64)),
            language(49152, 512, 4), 2048)
        return {"plain": make(1)} if COMPILE else {"plain": make(1), "chunked": make(8)}
    if WORKLOAD == "minilm":
        return {"plain": lambda: (
            Transformer(30522, 384, [BertBlock(384, 12, 1536) for _ in range(6)], 512, classes=77),
            (torch.randint(0, 30522, (32, 128)), torch.randint(0, 77, (32,))), 4096)}
    if WORKLOAD == "cnn":
        def make(last):
            model, x = Cnn(), torch.rand(128, 1, 28, 28) * 2 - 1
            if last:
                model, x = (one.to(memory_format=torch.channels_last) for one in (model, x))
            return model, (x, torch.randint(0, 10, (128,))), 128
        return {"channels first": lambda: make(False), "channels last": lambda: make(True)}
    return {"plain": lambda: (Lstm(), (torch.rand(128, 64, 256) * 2 - 1, torch.rand(128, 64, 256)), 8192)}


def measure(make, seconds):
    torch.manual_seed(0)
    model, data, tokens = make()
    model, data = model.to(DEVICE), [one.to(DEVICE) for one in data]
    if getattr(model, "rotary", None) is not None:
        model.rotary = tuple(one.to(DEVICE) for one in model.rotary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    run = model
    if COMPILE and WORKLOAD == "smollm":  # one block for all 30, as PyTorch advises: the whole takes many minutes
        for block in model.blocks:
            block.compile()
        model.loss = torch.compile(model.loss)
    elif COMPILE:
        run = torch.compile(model)

    def step():
        begun = time.perf_counter()
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=BF16):
            loss = run(*data)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss = loss.item()  # on a GPU this waits for the forward pass, and the next line for the rest
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun, loss

    losses = [step()[1]]
    begun, times = time.perf_counter(), []
    while len(times) < WARM + 3 or time.perf_counter() - begun < seconds:
        taken, loss = step()
        times.append(taken)
        losses.append(loss)
    times = sorted(times[WARM:])
    return times[len(times) // 2], tokens, losses, sum(one.numel() for one in model.parameters())


if __name__ == "__main__":  # torch_curve.py takes the models from here
    WORKLOAD, MODE, SECONDS, THREADS, DEVICE = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    BF16, COMPILE = MODE.startswith("bf16"), MODE.endswith("compile")
    torch.set_num_threads(THREADS)
    ways = variants()
    if len(sys.argv) > 6:
        ways = {sys.argv[6]: ways[sys.argv[6]]}
    found = {name: measure(make, SECONDS / len(ways)) for name, make in ways.items()}
    way = min(found, key=lambda name: found[name][0])
    median, tokens, losses, parameters = found[way]
    print(json.dumps({
        "workload": WORKLOAD, "mode": MODE, "way": way, "parameters": parameters,
        "tokens_per_second": round(tokens / median), "step_ms": round(median * 1e3, 2),
        "first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "version": torch.__version__,
    }))
