#!/usr/bin/env python3
"""llama.cpp answering eight chats in one batch.

llama_chats.py FILE THREADS         prints one line of JSON: generated tokens a second (the median of three)
llama_chats.py FILE THREADS first   prints the first token of a short prompt, and ends

Every prompt has 256 tokens, of which the first 128 are the same and are computed once; 128 tokens follow each.
"""
import ctypes, json, sys, time

import llama_cpp as llama
import numpy as np

FILE, THREADS = sys.argv[1], int(sys.argv[2])
CHATS, SHARED, PROMPT, NEW = 8, 128, 256, 128
quiet = llama.llama_log_callback(lambda *_: None)
llama.llama_log_set(quiet, None)
llama.llama_backend_init()
model = llama.llama_model_load_from_file(FILE.encode(), llama.llama_model_default_params())
vocabulary = llama.llama_model_get_vocab(model)
size = llama.llama_vocab_n_tokens(vocabulary)
parameters = llama.llama_context_default_params()
parameters.n_ctx, parameters.n_batch, parameters.n_ubatch, parameters.n_seq_max = CHATS * 512, 2048, 512, CHATS
parameters.kv_unified = True
parameters.n_threads = parameters.n_threads_batch = THREADS
context = llama.llama_init_from_model(model, parameters)
memory = llama.llama_get_memory(context)
if len(sys.argv) > 3:
    room = (ctypes.c_int32 * 64)()
    text = b"The capital of France is"
    count = llama.llama_tokenize(vocabulary, text, len(text), room, 64, True, False)
    assert llama.llama_decode(context, llama.llama_batch_get_one(room, count)) == 0
    logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), shape=(size,))
    word = ctypes.create_string_buffer(64)
    length = llama.llama_token_to_piece(vocabulary, int(logits.argmax()), word, 64, 0, False)
    print(word.raw[:length].decode())
    sys.exit()
batch = llama.llama_batch_init(2048, 0, CHATS)


def decode(rows):
    """Rows of (token, position, sequence, whether logits are wanted)."""
    batch.n_tokens = len(rows)
    for place, (token, position, sequence, wanted) in enumerate(rows):
        batch.token[place], batch.pos[place], batch.logits[place] = token, position, wanted
        batch.n_seq_id[place] = 1
        batch.seq_id[place][0] = sequence
    assert llama.llama_decode(context, batch) == 0


def best(place):
    return int(np.ctypeslib.as_array(llama.llama_get_logits_ith(context, place), shape=(size,)).argmax())


def chats(number):
    word = lambda place: place * 7919 % 1000
    llama.llama_memory_clear(memory, True)
    begun = time.perf_counter()
    decode([(word(place + 10000 * number), place, 0, False) for place in range(SHARED)])
    for sequence in range(1, CHATS):
        llama.llama_memory_seq_cp(memory, 0, sequence, 0, SHARED)
    rows = [(word(place + 100000 * (sequence + 1) + number), place, sequence, place == PROMPT - 1)
            for sequence in range(CHATS) for place in range(SHARED, PROMPT)]
    decode(rows)
    ends = [(sequence + 1) * (PROMPT - SHARED) - 1 for sequence in range(CHATS)]
    tokens = [best(place) for place in ends]
    for step in range(NEW - 1):
        decode([(tokens[sequence], PROMPT + step, sequence, True) for sequence in range(CHATS)])
        tokens = [best(sequence) for sequence in range(CHATS)]
    return CHATS * NEW / (time.perf_counter() - begun)


rates = sorted(chats(number) for number in range(3))
print(json.dumps({"chats": round(rates[1], 1)}))
