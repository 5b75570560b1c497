"""Asks an encoder through Triton's own client, unmodified, over REST and over gRPC.

    python triton_embeddings.py HOST:PORT MODEL

Prints one line when both give the same vectors.
"""

import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

address, model = sys.argv[1:]
texts = np.array([b"a ship", "白日依山尽".encode(), b""], dtype=np.object_)
found = []
for module, binary in [(http, False), (http, True), (grpc, None)]:
    client = module.InferenceServerClient(address)
    assert client.is_server_ready() and client.is_model_ready(model)
    given = module.InferInput("text", [3], "BYTES")
    if binary is None:
        given.set_data_from_numpy(texts)
        answer = client.infer(model, [given])
    else:
        given.set_data_from_numpy(texts, binary_data=binary)
        answer = client.infer(model, [given], outputs=[http.InferRequestedOutput("embedding", binary_data=binary)])
    found.append(answer.as_numpy("embedding"))
    client.close()
assert found[0].dtype == np.float32 and found[0].shape[0] == 3
assert all(np.array_equal(found[0], other) for other in found[1:])
assert np.allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)
print("tritonclient agrees")
