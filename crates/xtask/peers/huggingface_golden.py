#!/usr/bin/env python3
"""Tiny random models of every architecture, written by `transformers`, with its logits and its greedy tokens in f32: what
`infer::engine` is held to.

huggingface_golden.py FOLDER        (crates/infer/tests/golden/huggingface)

FOLDER/NAME is a model's folder; its `golden.json` has a prompt, the logits behind some of its tokens, and the tokens that
follow greedily, with by how much each is ahead of the second one. `llama` and `qwen2` have tokenizers, and texts with ids.
"""
import json, sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, PreTrainedTokenizerFast, Qwen2Config,
                          Qwen3Config)

FOLDER = Path(sys.argv[1])
NEW, PLACES = 20, [0, 17, 39]
# Such that no token is ahead of the second one by less than rounding can turn.
SEEDS = [5, 1, 2, 3, 4]
SIZES = dict(vocab_size=288, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, max_position_embeddings=128, initializer_range=0.18, bos_token_id=1, eos_token_id=2)
MODELS = {
    # Scaled positions of Llama 3.1, biases everywhere, a head of its own; f16.
    "llama": (LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, rope_parameters=dict(
        rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32)), torch.float16),
    # A window shorter than the prompt, heads wider than their share; f32 in two files.
    "mistral": (MistralConfig(**SIZES, sliding_window=11, head_dim=32), torch.float32),
    # Biases of queries, keys and values, linear scaling, a tied head, heads of 8 dimensions; bf16.
    "qwen2": (Qwen2Config(**{**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2}, tie_word_embeddings=True,
                          rope_parameters=dict(rope_type="linear", rope_theta=1000.0, factor=2.0)), torch.bfloat16),
    # Norms of heads, YaRN; f16.
    "qwen3": (Qwen3Config(**SIZES, head_dim=16, rope_parameters=dict(
        rope_type="yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=32)), torch.float16),
    # Learned positions, layer norms, joint and transposed matrices; f32.
    "gpt2": (GPT2Config(vocab_size=288, n_embd=32, n_head=2, n_layer=2, n_positions=64, initializer_range=0.18,
                        bos_token_id=1, eos_token_id=2), torch.float32),
}


def tokenizers():
    text = ["The ship is in the yard, and the yard is at the sea.", "春眠不覺曉，處處聞啼鳥。", "a ship, a yard, the sea"] * 3
    special = [AddedToken("<unk>", special=True), AddedToken("<s>", special=True), AddedToken("</s>", special=True)]
    pieces = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    pieces.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=288, special_tokens=[*special, *[f"<0x{byte:02X}>" for byte in range(256)]],
                                  show_progress=False)
    pieces.train_from_iterator(text, trainer)
    # The words of bytes are no special tokens in real files.
    saved = json.loads(pieces.to_str())
    saved["added_tokens"] = saved["added_tokens"][:3]
    pieces = Tokenizer.from_str(json.dumps(saved))
    pieces.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                        decoders.Strip(" ", 1, 0)])
    pieces.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    level = Tokenizer(models.BPE())
    level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    level.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=286, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    level.train_from_iterator(text, trainer)
    level.add_tokens([AddedToken("<tool_call>", special=False)])
    return {"llama": pieces, "qwen2": level}


TEXTS = ["The ship is in the yard.", "", " two  spaces ", "春眠不覺曉 <s> 🚢", "<|im_start|>user\nHi<|im_end|>\n<tool_call>x"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
made = tokenizers()
for seed, (name, (config, dtype)) in zip(SEEDS, MODELS.items()):
    folder = FOLDER / name
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if value.dim() == 1:
                value.copy_(torch.randn_like(value) * 0.2 + ("norm" in key or "ln_" in key) * ("weight" in key))
            value.copy_(value.to(dtype).float())
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": "80KB"} if name == "mistral" else {}))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    prompt = [(7 * place * place + 3 * place + seed) % 288 for place in range(40)]
    tokens, follows, gaps = list(prompt), [], []
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
        for _ in range(NEW):
            best = model(torch.tensor([tokens])).logits[0, -1].topk(2)
            tokens.append(best.indices[0].item())
            follows.append(tokens[-1])
            gaps.append(round((best.values[0] - best.values[1]).item(), 4))
    golden = {"prompt": prompt, "places": PLACES, "follows": follows, "gaps": gaps,
              "logits": [[float(f"{value:.6g}") for value in logits[place].tolist()] for place in PLACES]}
    if name in made:
        whole = PreTrainedTokenizerFast(tokenizer_object=made[name], **(
            dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>") if name == "llama" else
            dict(eos_token="<|im_end|>", pad_token="<|endoftext|>")))
        if name == "qwen2":
            whole.chat_template = TEMPLATE
        whole.save_pretrained(folder)
        golden["texts"] = [{"text": text, "ids": whole.encode(text, add_special_tokens=False)} for text in TEXTS]
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print(name, "smallest gap", min(gaps), "largest logit", max(map(abs, sum(golden["logits"], []))))
