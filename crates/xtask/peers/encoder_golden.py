#!/usr/bin/env python3
"""Tiny random encoders written by `transformers`, with the vectors of some texts in f32: what `infer::encoder` is held to.

encoder_golden.py FOLDER                 (crates/infer/tests/golden/encoders)
encoder_golden.py check FOLDER PROGRAM   a real encoder: 50 texts through PyTorch in f32 and through PROGRAM, which is
                                         `cargo build --release --example embed_speed`; prints the cosine distances
"""
import json, subprocess, sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

TEXTS = ["The ship is in the yard.", "", "a", "天 is the sky, 海 the sea", "the ship " * 40, "Ünïcödé and 🚢"]


def vectors(model, tokenizer, texts, most, first=False):
    found = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=most)["input_ids"]
        with torch.no_grad():
            rows = model(input_ids=ids).last_hidden_state[0].double()
        found.append((torch.nn.functional.normalize(rows[0] if first else rows.mean(0), dim=0), ids.shape[1]))
    return found


def check(folder, program):
    words = ["card", "yard", "春眠不覺曉", "password", "🚢", "sea", "1,024", "naïve", "銀行", "boat"]
    texts = ["", "a", "long " * 700, "長い文章。" * 300, "What is the capital of France?", "my card is lost", "\t\n"]
    texts += [" ".join(words[(index * step + 3) % 10] for step in range(1 + index)) for index in range(43)]
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    most = json.loads((Path(folder) / "sentence_bert_config.json").read_text())["max_seq_length"]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    found = subprocess.run([program, folder], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    off = []
    for (expected, _), line in zip(vectors(model, tokenizer, texts, most), found, strict=True):
        vector = torch.tensor(json.loads(line)).double()
        off.append(1 - (expected @ vector / vector.norm()).item())
    print(f"{len(off)} texts, cosine distance from f32: largest {max(off):.1e}, mean {sum(off) / len(off):.1e}")


def golden(folder):
    text = TEXTS * 3
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces.train_from_iterator(text, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False))
    pieces.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    pieces.enable_truncation(8)  # what the file cuts off is not what sentence-transformers does
    level = Tokenizer(models.BPE())
    level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    level.decoder = decoders.ByteLevel()
    level.train_from_iterator(text, trainers.BpeTrainer(vocab_size=280, special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    level.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    sizes = dict(hidden_size=48, intermediate_size=72, num_hidden_layers=2, num_attention_heads=3, initializer_range=0.2)
    made = {
        "bert": (BertModel(BertConfig(**sizes, vocab_size=pieces.get_vocab_size(), max_position_embeddings=40)), pieces,
                 torch.float16, 30),
        "roberta": (RobertaModel(RobertaConfig(**sizes, vocab_size=280, max_position_embeddings=36, type_vocab_size=1,
                    hidden_act="gelu_new")), level, torch.float32, None),
    }
    for seed, (name, (model, tokenizer, dtype, most)) in enumerate(made.items()):
        torch.manual_seed(seed)
        with torch.no_grad():
            for key, value in model.named_parameters():
                value.copy_(torch.randn_like(value) * 0.2 + (key.endswith("LayerNorm.weight")))
                value.copy_(value.to(dtype).float())
        place = Path(folder) / name
        model.eval().to(dtype).save_pretrained(place)
        tokenizer.save(str(place / "tokenizer.json"))
        tokenizer.no_truncation()
        first = name == "roberta"
        if most:
            (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": most}) + "\n")
        modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                   {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                   {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]
        (place / "modules.json").write_text(json.dumps(modules) + "\n")
        (place / "1_Pooling").mkdir(exist_ok=True)
        pooling = {"word_embedding_dimension": 48, "pooling_mode_cls_token": first, "pooling_mode_mean_tokens": not first}
        (place / "1_Pooling" / "config.json").write_text(json.dumps(pooling) + "\n")
        whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        found = vectors(model.float(), whole, TEXTS, most or 34, first)
        lines = [{"text": text, "tokens": tokens, "vector": [round(value, 7) for value in vector.tolist()]}
                 for text, (vector, tokens) in zip(TEXTS, found)]
        (place / "golden.json").write_text(json.dumps(lines, ensure_ascii=False) + "\n")


check(*sys.argv[2:]) if sys.argv[1] == "check" else golden(sys.argv[1])
