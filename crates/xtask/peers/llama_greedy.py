#!/usr/bin/env python3
"""Greedy continuations of a GGUF file by llama.cpp.

llama_greedy.py FILE PROMPTS NEW

Prints one line of JSON: for each of PROMPTS prompts of its own the prompt's tokens, the NEW tokens that follow (an end
of text is a token like any other), and by how much the logit of each is above the second one's.
"""
import ctypes, json, os, sys

import llama_cpp as llama
import numpy as np

FILE, PROMPTS, NEW = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SUBJECTS = ["The capital of France", "A good ship", "Water boils when it", "The first thing to know about bread",
            "In the middle of the night", "My grandmother", "The quick brown fox", "To train a model, you need",
            "Once upon a time there was", "The opposite of cold"]
ENDS = [" is", " was", " and then", ", they say,", " because"]
quiet = llama.llama_log_callback(lambda *_: None)
llama.llama_log_set(quiet, None)
llama.llama_backend_init()
model = llama.llama_model_load_from_file(FILE.encode(), llama.llama_model_default_params())
vocabulary = llama.llama_model_get_vocab(model)
size = llama.llama_vocab_n_tokens(vocabulary)
parameters = llama.llama_context_default_params()
parameters.n_ctx, parameters.n_batch = 512, 512
parameters.n_threads = parameters.n_threads_batch = os.cpu_count()
context = llama.llama_init_from_model(model, parameters)


def tokens_of(text):
    room = (ctypes.c_int32 * 256)()
    raw = text.encode()
    return list(room[:llama.llama_tokenize(vocabulary, raw, len(raw), room, 256, False, False)])


def feed(tokens):
    array = (ctypes.c_int32 * len(tokens))(*tokens)
    assert llama.llama_decode(context, llama.llama_batch_get_one(array, len(tokens))) == 0
    return np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), shape=(size,))


found = []
for index in range(PROMPTS):
    prompt = tokens_of(SUBJECTS[index % len(SUBJECTS)] + ENDS[index // len(SUBJECTS) % len(ENDS)])
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    logits, follows, gaps = feed(prompt), [], []
    for _ in range(NEW):
        second, first = np.argsort(logits)[-2:]
        follows.append(int(first))
        gaps.append(round(float(logits[first] - logits[second]), 4))
        logits = feed([int(first)])
    found.append({"prompt": prompt, "follows": follows, "gaps": gaps})
print(json.dumps(found))
