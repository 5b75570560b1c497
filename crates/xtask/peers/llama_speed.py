#!/usr/bin/env python3
"""llama.cpp on a GGUF file: what `cargo xtask bench infer` holds our rates to.

llama_speed.py FILE THREADS

Prints one line of JSON: tokens a second of a prompt of 512 tokens (best of three), of 64 tokens at its beginning, and of
64 behind 1,024 others; tokens are numbers without meaning, as ours are.
"""
import ctypes, json, sys, time

import llama_cpp as llama

FILE, THREADS = sys.argv[1], int(sys.argv[2])
PREFILL, DEEP, NEW = 512, 1024, 64
quiet = llama.llama_log_callback(lambda *_: None)
llama.llama_log_set(quiet, None)
llama.llama_backend_init()
begun = time.perf_counter()
model = llama.llama_model_load_from_file(FILE.encode(), llama.llama_model_default_params())
parameters = llama.llama_context_default_params()
parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = 2048, 2048, 512
parameters.n_threads = parameters.n_threads_batch = THREADS
context = llama.llama_init_from_model(model, parameters)
loaded = time.perf_counter() - begun


def feed(tokens):
    array = (ctypes.c_int32 * len(tokens))(*tokens)
    assert llama.llama_decode(context, llama.llama_batch_get_one(array, len(tokens))) == 0
    llama.llama_synchronize(context)


def timed(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def prompt(count):
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    feed([place * 7919 % 1000 for place in range(count)])


def decode(depth):
    prompt(depth)
    return NEW / timed(lambda: [feed([place % 1000]) for place in range(NEW)])


prefill = max(PREFILL / timed(lambda: prompt(PREFILL)) for _ in range(3))
print(json.dumps({"prefill": round(prefill, 1), "decode": round(decode(1), 1), "decode_deep": round(decode(DEEP), 1),
                  "load_seconds": round(loaded, 2), "version": llama.__version__}))
