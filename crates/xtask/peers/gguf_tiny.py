#!/usr/bin/env python3
"""The golden folders of Hugging Face's as GGUF files, which llama.cpp reads as well: that names, orders and scalings mean
the same to it, and to `infer::engine`.

gguf_tiny.py GOLDEN FOLDER [PROGRAM]     (GOLDEN: crates/infer/tests/golden/huggingface)

Writes FOLDER/NAME.gguf, prints how far llama.cpp's logits are from those of transformers, and whether PROGRAM
(`cargo build --release --example decode_speed`) goes on with the golden tokens.
"""
import json, subprocess, sys
from pathlib import Path

import gguf
import numpy as np
import torch
from llama_cpp import Llama
from safetensors.torch import load_file

GOLDEN, FOLDER = Path(sys.argv[1]), Path(sys.argv[2])
LAYER = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "ln_1": "attn_norm", "ln_2": "ffn_norm",
         "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
EDGE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "wte": "token_embd",
        "wpe": "position_embd", "ln_f": "output_norm"}


def renamed(name):
    stem, end = name.removeprefix("transformer.").rsplit(".", 1)
    if stem in EDGE:
        return f"{EDGE[stem]}.{end}"
    layer, part = stem.removeprefix("model.layers.").removeprefix("h.").split(".", 1)
    return f"blk.{layer}.{LAYER[part]}.{end}"


FOLDER.mkdir(parents=True, exist_ok=True)
for name in ["llama", "qwen2", "qwen3", "gpt2"]:
    config = json.loads((GOLDEN / name / "config.json").read_text())
    golden = json.loads((GOLDEN / name / "golden.json").read_text())
    path = FOLDER / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, name)
    heads = config.get("num_attention_heads", config.get("n_head"))
    writer.add_embedding_length(config.get("hidden_size", config.get("n_embd")))
    writer.add_block_count(config.get("num_hidden_layers", config.get("n_layer")))
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_context_length(config.get("max_position_embeddings", config.get("n_positions")))
    writer.add_feed_forward_length(config.get("intermediate_size", 128))
    writer.add_vocab_size(288)
    writer.add_tokenizer_model("no_vocab")
    if name == "gpt2":
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        rope = config["rope_parameters"]
        writer.add_rope_freq_base(rope["rope_theta"])
        dim = config.get("head_dim") or config["hidden_size"] // heads
        writer.add_rope_dimension_count(dim)
        writer.add_key_length(dim)
        writer.add_value_length(dim)
        if rope["rope_type"] == "llama3":  # as llama.cpp's converter does it
            turns = rope["rope_theta"] ** (np.arange(0, dim, 2, dtype=np.float64) / -dim)
            count = rope["original_max_position_embeddings"] * turns / (2 * np.pi)
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            kept = np.clip((count - low) / (high - low), 0, 1)
            writer.add_tensor("rope_freqs.weight", (1 / (kept + (1 - kept) / rope["factor"])).astype(np.float32))
        elif rope["rope_type"] in ("linear", "yarn"):
            writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
            writer.add_rope_scaling_factor(rope["factor"])
            if rope["rope_type"] == "yarn":
                writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    for key, value in load_file(GOLDEN / name / "model.safetensors").items():
        value = value.float()
        if name == "gpt2" and ".c_" in key and value.dim() == 2:
            value = value.T
        if name == "llama" and ("q_proj" in key or "k_proj" in key):
            value = value.reshape(-1, 2, dim // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
        writer.add_tensor(renamed(key), np.ascontiguousarray(value.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = Llama(str(path), n_ctx=64, logits_all=True, verbose=False)
    model.eval(golden["prompt"])
    found, expected = model.scores[golden["places"]], np.array(golden["logits"])
    line = f"{name}: llama.cpp is off by {np.abs(found - expected).max() / np.abs(expected).max():.1e}"
    if len(sys.argv) > 3:
        prompt = ",".join(map(str, golden["prompt"]))
        tokens = json.loads(subprocess.run([sys.argv[3], path, prompt, "20"], capture_output=True, text=True, check=True).stdout)
        line += f"; {sum(a == b for a, b in zip(tokens, golden['follows']))} of 20 tokens are the golden ones here"
    print(line)
