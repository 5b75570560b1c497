#!/usr/bin/env python3
"""Training curves of PyTorch: what `crates/train/src/tests/curves.rs` holds our curves to.

torch_curve.py DATA CURVES

DATA is a folder with tinyshakespeare's input.txt, CURVES is crates/train/tests/golden/curves. For each CURVE.toml there,
which is the part of a project file that both programs train by, it writes CURVE.json: the loss and the length of
the gradient of every step, and the validation loss after every epoch. It also writes the excerpt of the text.

Model, gradients, clipping, optimiser and schedule are PyTorch's own. Batches are drawn as `train` draws them, from
the same random numbers, and the initial weights come from these random numbers too, so that nothing is stored.
"""
import json, pathlib, sys, tomllib

import torch
import torch.nn as nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from torch_train import GptBlock, LlamaBlock, Transformer, rotary

DATA, CURVES = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
THREADS = 2
SEED = 3  # of the test's project file
VOCABULARY = 256  # bytes
VALID_BYTES = 2049  # behind those of training
# What random numbers are drawn for: as in crates/train/src/trainer.rs, language.rs and tests/curves.rs.
ORDER, CUT, WEIGHTS = 0x0DE7, 0xC077, 0x3E16


class Random:
    """crates/nn/src/random.rs: SplitMix64."""

    MASK = (1 << 64) - 1

    def __init__(self, seed, purpose):
        self.state = seed
        for part in purpose:
            self.state = self.next() ^ (part * 0xD605BBB58C8ABC03 & self.MASK)
        self.next()

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & self.MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & self.MASK
        return z ^ (z >> 31)

    def uniform(self):
        return (self.next() >> 11) / (1 << 53)

    def below(self, bound):
        return (self.next() * bound) >> 64

    def order(self, count):
        order = list(range(count))
        for index in range(count - 1, 0, -1):
            other = self.below(index + 1)
            order[index], order[other] = order[other], order[index]
        return order


def make(config):
    """The model of a project file's `[model]`."""
    d, heads, time = config["width"], config["heads"], config["context"]
    if config["architecture"] == "llama":
        block = lambda: LlamaBlock(d, heads, config["key_value_heads"], config["feed_forward"])
        blocks, norm = [block() for _ in range(config["layers"])], nn.RMSNorm(d, eps=1e-5)
        return Transformer(VOCABULARY, d, blocks, norm=norm, rotary=rotary(time, d // heads))
    assert config["architecture"] == "gpt2" and config["feed_forward"] == 4 * d
    blocks = [GptBlock(d, heads) for _ in range(config["layers"])]
    return Transformer(VOCABULARY, d, blocks, time, norm=nn.LayerNorm(d))


def tensors(model):
    """Our tensors in the order of `TransformerShape::tensors`, each as the part of PyTorch's that it is."""

    def norm(name, module):
        yield name + ".weight", module.weight
        if isinstance(module, nn.LayerNorm):
            yield name + ".bias", module.bias

    def projections(parts):
        for kind in ["weight", "bias"]:
            for name, module, begin, end in parts:
                if getattr(module, kind) is not None:
                    yield f"{name}_proj.{kind}", getattr(module, kind)[begin:end]

    yield "embed_tokens.weight", model.token.weight
    if model.place is not None:
        yield "embed_positions.weight", model.place.weight
    for block in model.blocks:
        d, rows = block.out.in_features, block.qkv.out_features
        kv = (rows - d) // 2
        yield from norm("input_layernorm", block.norm1)
        queries = [("q", 0, d), ("k", d, d + kv), ("v", d + kv, rows)]
        yield from projections([(*(name, block.qkv), begin, end) for name, begin, end in queries] + [("o", block.out, 0, d)])
        yield from norm("post_attention_layernorm", block.norm2)
        if isinstance(block, LlamaBlock):
            inner = block.down.in_features
            up = [("gate", block.gate_up, 0, inner), ("up", block.gate_up, inner, 2 * inner)]
        else:
            up = [("up", block.up, 0, block.up.out_features)]
        yield from projections(up + [("down", block.down, 0, d)])
    yield from norm("norm", model.norm)


@torch.no_grad()
def fill(model):
    """Initial weights that a few lines of any language can make. Norms and biases differ from 1 and 0, so that an
    error there shows at the first step."""
    for position, (name, values) in enumerate(tensors(model)):
        if values.dim() == 2:
            middle, reach = 0.0, 1 / 32 if name.startswith("embed_") else 1 / 8
        else:
            middle, reach = (0.0, 1 / 32) if name.endswith(".bias") else (1.0, 1 / 8)
        random = Random(SEED, [WEIGHTS, position])
        made = [middle + reach * (2 * random.uniform() - 1) for _ in range(values.numel())]
        values.copy_(torch.tensor(made, dtype=torch.float64).view_as(values))


def optimizer_of(model, config, steps):
    matrices, vectors = ([one for one in model.parameters() if (one.dim() == 2) == two] for two in [True, False])
    groups = [{"params": matrices, "weight_decay": config["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config["learning_rate"], betas=(0.9, 0.999), eps=1e-8)
    assert config["optimizer"] == "adamw" and config["schedule"] == "cosine"
    warmup = int(config["warmup"] * steps)
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    fall = CosineAnnealingLR(optimizer, T_max=steps - warmup)
    return optimizer, SequentialLR(optimizer, [rise, fall], milestones=[warmup])


def train(project, train_text, valid_text, bf16):
    config, time, size = project["train"], project["model"]["context"], project["train"]["batch_size"]
    examples = (len(train_text) - 1) // time
    steps = config["epochs"] * -(-examples // size)
    model = make(project["model"])
    fill(model)
    optimizer, schedule = optimizer_of(model, config, steps)
    losses, norms, valid_losses = [], [], []

    def loss_of(text, begins):
        rows = torch.tensor([list(text[begin : begin + time + 1]) for begin in begins])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return model(rows[:, :-1], rows[:, 1:])

    for epoch in range(config["epochs"]):
        order = Random(SEED, [ORDER, epoch]).order(examples)
        cut = Random(SEED, [CUT, epoch]).below((len(train_text) - 1) % time + 1)
        for begin in range(0, examples, size):
            loss = loss_of(train_text, [cut + example * time for example in order[begin : begin + size]])
            loss.backward()
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), config["clip_norm"]).item())
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        with torch.no_grad():
            valid_losses.append(loss_of(valid_text, range(0, len(valid_text) - 1, time)).item())
    return losses, norms, valid_losses


def main():
    torch.set_num_threads(THREADS)
    text = (DATA / "input.txt").read_bytes()
    excerpt = 0
    for path in sorted(CURVES.glob("*.toml")):
        project = tomllib.loads(path.read_text())
        config, sequence = project["train"], project["model"]["context"]
        bf16, count = config["compute"] == "bf16", 300 if config["compute"] == "bf16" else 50
        # So many steps in whole epochs, and half a sequence to spare, so that the cuts move.
        train_bytes = count // config["epochs"] * config["batch_size"] * sequence + 1 + sequence // 2
        excerpt = max(excerpt, train_bytes + VALID_BYTES)
        texts = text[:train_bytes], text[train_bytes : train_bytes + VALID_BYTES]
        losses, norms, valid_losses = train(project, *texts, bf16)
        assert len(losses) == count
        golden = {
            "made_by": "torch_curve.py DATA CURVES", "torch": torch.__version__, "threads": THREADS,
            "processor": torch.backends.cpu.get_cpu_capability(),
            "seed": SEED, "train_bytes": train_bytes, "valid_bytes": VALID_BYTES,
            "losses": losses, "gradient_norms": norms, "valid_losses": valid_losses,
        }
        if bf16:  # how far PyTorch is from itself
            golden["losses_in_f32"] = train(project, *texts, False)[0]
        path.with_suffix(".json").write_text(json.dumps(golden, indent=1) + "\n")
        print(f"{path.stem}: loss {losses[0]:.4f} to {losses[-1]:.4f}, valid {valid_losses}")
    (CURVES / "tinyshakespeare.txt").write_bytes(text[:excerpt])


main()
