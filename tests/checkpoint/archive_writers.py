"""Files of torch.jit.save and torch.export.save written by hand, and RTNeural's and RNNoise's text models.

Owns the writers that the tests of reading, of importing and of attacks share; each can be wrong in a chosen way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from checkpoint_writers import Call, Name, TorchPickle, ZipRecord, zip_bytes

# TorchScript.

GRU_CLASS = "torch.nn.modules.rnn"


def module(name: str, **state: Any) -> Call:
    """A pickled module of the class ``__torch__.<name>``."""
    package, _, own = f"__torch__.{name}".rpartition(".")
    return Call(Name(package, own), (), {"training": False, **state})


def tagged(values: list[Any], kind: str = "List[int]") -> Call:
    return Call(Name("torch.jit._pickle", "restore_type_tag"), (values, kind))


def tensor_list(values: list[Any]) -> Call:
    return Call(Name("torch.jit._pickle", "build_tensorlist"), (values,))


def script_records(root: Any, code: dict[str, str], constants: Any = ()) -> list[ZipRecord]:
    """The records of a scripted module; ``code`` by path below code/."""
    pickles = {"data": TorchPickle(), "constants": TorchPickle()}
    records = [
        ZipRecord("m/data.pkl", pickles["data"].dump(root)),
        ZipRecord("m/constants.pkl", pickles["constants"].dump(constants)),
        ZipRecord("m/version", b"3\n"),
        ZipRecord("m/byteorder", b"little"),
    ]
    for folder, pickler in pickles.items():
        records += [ZipRecord(f"m/{folder}/{key}", content) for key, content in pickler.storages.items()]
    return records + [ZipRecord(f"m/code/{path}", text.encode(), method=8) for path, text in code.items()]


def script_bytes(root: Any, code: dict[str, str], constants: Any = ()) -> bytes:
    return zip_bytes(script_records(root, code, constants))


def gru_arrays(inputs: int, hidden: int, seed: int = 0, layers: int = 1, ways: int = 1) -> dict[str, np.ndarray]:
    """Weights of a GRU by PyTorch's names, in PyTorch's order."""
    chance = np.random.default_rng(seed)
    arrays = {}
    for layer in range(layers):
        for way in ("", "_reverse")[:ways]:
            width = inputs if layer == 0 else hidden * ways
            for kind, shape in (
                ("weight_ih", (3 * hidden, width)),
                ("weight_hh", (3 * hidden, hidden)),
                ("bias_ih", (3 * hidden,)),
                ("bias_hh", (3 * hidden,)),
            ):
                arrays[f"{kind}_l{layer}{way}"] = (chance.standard_normal(shape) * 0.5).astype("f4")
    return arrays


def traced_gru(name: str, hidden: int, parameters: Sequence[str], layers: int = 1, ways: int = 1) -> str:
    """The code of a traced GRU, batch first."""
    lines = "".join(f"    {parameter} = self.{parameter}\n" for parameter in parameters)
    return (
        f"class GRU(Module):\n  training : bool\n  def forward(self: __torch__.{name}.GRU,\n    x: Tensor) -> Tensor:\n"
        f"{lines}    size = ops.prim.NumToTensor(torch.size(x, 0))\n"
        f"    hx = torch.zeros([{layers * ways}, int(size), {hidden}], dtype=6, layout=None)\n"
        f"    _0 = [{', '.join(parameters)}]\n"
        f"    y, _1 = torch.gru(x, hx, _0, True, {layers}, 0., False, {ways == 2}, True)\n    return y\n"
    )


# torch.export.

DTYPES = {"f4": 7, "f8": 8, "f2": 6, "i8": 5, "i4": 4, "u1": 1, "b1": 12}


def meta(array: np.ndarray, **changes: Any) -> dict[str, Any]:
    strides = [stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides]
    return {
        "dtype": DTYPES[array.dtype.str[1:]],
        "sizes": [{"as_int": size} for size in array.shape],
        "requires_grad": True,
        "device": {"type": "cpu", "index": None},
        "strides": [{"as_int": stride} for stride in strides],
        "storage_offset": {"as_int": 0},
        "layout": 7,
        **changes,
    }


def payload(index: int, array: np.ndarray, **changes: Any) -> dict[str, Any]:
    return {
        "path_name": f"weight_{index}",
        "is_param": True,
        "use_pickle": False,
        "tensor_meta": meta(array),
        **changes,
    }


def argument(value: Any) -> dict[str, Any]:
    """An operand: a string is the name of a value, a list of strings several; the rest is plain."""
    if isinstance(value, str):
        return {"as_tensor": {"name": value}}
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return {"as_tensors": [{"name": each} for each in value]}
    kinds = {bool: "as_bool", int: "as_int", float: "as_float", list: "as_ints", type(None): "as_none"}
    return {kinds[type(value)]: True if value is None else value}


OWN_MODULE = "torch.nn.modules.container.Sequential"


def operation(target: str, outputs: str | list[str], *, module: str = OWN_MODULE, **operands: Any) -> dict[str, Any]:
    """A node; ``target`` without torch.ops.aten. ``module`` is the class whose code it comes from."""
    names = [outputs] if isinstance(outputs, str) else outputs
    return {
        "target": f"torch.ops.aten.{target}" if "." in target else target,
        "inputs": [{"name": name, "arg": argument(value), "kind": 1} for name, value in operands.items()],
        "outputs": [{"as_tensor": {"name": name}} for name in names],
        "metadata": {"nn_module_stack": f"L__self__,,{module}"},
        "name": names[0],
    }


def graph_config(
    weights: Sequence[str], inputs: dict[str, np.ndarray], nodes: list[dict[str, Any]], outputs: Sequence[str]
) -> dict[str, Any]:
    """The JSON of a graph; a weight ``fc.weight`` is the value ``p_fc_weight`` in it."""
    named = {name: "p_" + name.replace(".", "_") for name in weights}
    specs = [{"parameter": {"arg": {"name": own}, "parameter_name": name}} for name, own in named.items()]
    specs += [{"user_input": {"arg": {"as_tensor": {"name": name}}}} for name in inputs]
    graph = {
        "inputs": [{"as_tensor": {"name": name}} for name in (*named.values(), *inputs)],
        "outputs": [{"as_tensor": {"name": name}} for name in outputs],
        "nodes": nodes,
        "tensor_values": {name: meta(array) for name, array in inputs.items()},
    }
    signature = {
        "input_specs": specs,
        "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": name}}}} for name in outputs],
    }
    return {"graph_module": {"graph": graph, "signature": signature}, "torch_version": "2.13.0"}


def export_records(
    arrays: dict[str, np.ndarray], config: Any, payloads: dict[str, Any] | None = None
) -> list[ZipRecord]:
    payloads = (
        {name: payload(at, array) for at, (name, array) in enumerate(arrays.items())} if payloads is None else payloads
    )
    records = [ZipRecord(f"m/data/weights/weight_{at}", array.tobytes()) for at, array in enumerate(arrays.values())]
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    return [
        *records,
        ZipRecord("m/data/weights/model_weights_config.json", json.dumps({"config": payloads}).encode()),
        ZipRecord("m/data/constants/model_constants_config.json", b'{"config": {}}'),
        ZipRecord("m/models/model.json", text),
        ZipRecord("m/byteorder", b"little"),
        ZipRecord("m/archive_format", b"pt2"),
    ]


def export_bytes(arrays: dict[str, np.ndarray], config: Any, payloads: dict[str, Any] | None = None) -> bytes:
    return zip_bytes(export_records(arrays, config, payloads))


# Text.


def rtneural_bytes(*layers: dict[str, Any], in_shape: Any = (None, None, 1)) -> bytes:
    plain = [{**layer, "weights": [np.asarray(each).tolist() for each in layer.get("weights", [])]} for layer in layers]
    return json.dumps({"in_shape": in_shape, "layers": plain}).encode()


RNNOISE_SIZES = {  # inputs, units, activation
    "input_dense": (5, 3, 0),
    "vad_gru": (3, 2, 0),
    "noise_gru": (10, 4, 2),
    "denoise_gru": (11, 6, 0),
    "denoise_output": (6, 4, 1),
    "vad_output": (2, 1, 1),
}


def rnnoise_bytes(sizes: dict[str, tuple[int, int, int]] | None = None, seed: int = 0, first: str = "1") -> bytes:
    chance = np.random.default_rng(seed)
    lines = [f"rnnoise-nu model file version {first}"]
    for name, (inputs, units, code) in (sizes or RNNOISE_SIZES).items():
        counts = [inputs * 3 * units, units * 3 * units, 3 * units] if name.endswith("gru") else [inputs * units, units]
        lines.append(f"{inputs} {units} {code}")
        lines += [" ".join(map(str, chance.integers(-128, 128, count))) for count in counts]
    return ("\n".join(lines) + "\n").encode()
