"""Asks a server through Triton's own client, unmodified: over REST as JSON, over REST as bytes, over gRPC.

    python triton.py HOST:PORT ANSWERS.json

ANSWERS.json holds the rows to ask for and the answers that are expected. Prints one line when every
answer is the expected one, to the bit; any difference is an exception.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

INPUTS = [("message", "BYTES"), ("age", "FP64"), ("plan", "BYTES"), ("vip", "BOOL")]
DTYPES = {"BYTES": np.object_, "FP64": np.float64, "BOOL": np.bool_}


def array(datatype, values):
    if datatype == "BYTES":
        values = [value.encode() for value in values]
    return np.array(values, dtype=DTYPES[datatype])


def ask(module, client, rows, **how):
    inputs = []
    for name, datatype in INPUTS:
        values = array(datatype, rows[name])
        tensor = module.InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, **({"binary_data": how["binary"]} if how else {}))
        inputs.append(tensor)
    outputs = None
    if how:
        outputs = [
            module.InferRequestedOutput(name, binary_data=how["binary"])
            for name in ["intent", "intent.probabilities", "churn", "churn.probability", "spend"]
        ]
    return client.infer("bank", inputs, outputs=outputs, request_id="seven")


def check(result, expected, how):
    for output in expected:
        found = result.as_numpy(output["name"])
        assert found is not None, (how, output["name"])
        assert list(found.shape) == output["shape"], (how, output["name"], found.shape)
        if output["datatype"] == "BYTES":
            texts = [text.decode() if isinstance(text, bytes) else text for text in found.reshape(-1)]
            assert texts == output["data"], (how, output["name"], texts)
        else:
            wanted = np.array(output["data"], dtype=np.float32).view(np.uint32)
            assert found.dtype == np.float32, (how, output["name"], found.dtype)
            assert (found.reshape(-1).view(np.uint32) == wanted).all(), (how, output["name"])


def main(address, path):
    with open(path, encoding="utf-8") as file:
        scene = json.load(file)
    rest, rpc = http.InferenceServerClient(address), grpc.InferenceServerClient(address)
    for client in (rest, rpc):
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("bank") and client.is_model_ready("bank", "1")
        assert not client.is_model_ready("other")
    assert "binary_tensor_data" in rest.get_server_metadata()["extensions"]
    assert rpc.get_server_metadata().name == rest.get_server_metadata()["name"] == "modelyard"
    of_rest, of_rpc = rest.get_model_metadata("bank"), rpc.get_model_metadata("bank", as_json=True)
    for tensors in ("inputs", "outputs"):
        names = [(tensor["name"], tensor["datatype"]) for tensor in of_rest[tensors]]
        assert names == [(tensor["name"], tensor["datatype"]) for tensor in of_rpc[tensors]], names
    for how, result in [
        ("REST, JSON", ask(http, rest, scene["rows"], binary=False)),
        ("REST, bytes", ask(http, rest, scene["rows"], binary=True)),
        ("REST, default", ask(http, rest, scene["rows"])),
        ("gRPC", ask(grpc, rpc, scene["rows"])),
    ]:
        check(result, scene["outputs"], how)
    for module, client in ((http, rest), (grpc, rpc)):
        wrong = module.InferInput("age", [1], "FP64")
        wrong.set_data_from_numpy(np.array([1.0]))
        try:
            client.infer("bank", [wrong])
        except InferenceServerException as error:
            assert "absent" in error.message(), error.message()
        else:
            raise AssertionError("an input that is absent was not missed")
    print(f"tritonclient agrees on {len(scene['rows']['age'])} rows over REST and gRPC")


if __name__ == "__main__":
    main(*sys.argv[1:])
