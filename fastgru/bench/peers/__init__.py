"""The engines that can be measured: one adapter a file, which imports its engine in the function that builds with it.

A name is that of an engine, and behind a dash what it computes in where that is not float32. Which are installed, and
in which version, is found out here without importing any.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

__all__ = [
    "BEST_OF",
    "IN_FLOAT32",
    "OWN",
    "PEERS",
    "Peer",
    "adapter",
    "engine",
    "installed",
    "keras_backend",
    "pip_line",
    "version",
]


class Peer(NamedTuple):
    """An engine: what it is called, where its adapter is, what must be installed, and how exactly it computes.

    ``tolerance`` is how far its outputs may be from float64 for each layer of a GRU with weights as PyTorch initialises
    them, over 100 steps: about five times what float32 was seen to differ, and twice what the others were, with as many
    inputs as units, 256 to 1024 of them, and batches of 1 and 32.
    """

    title: str
    module: str
    needs: tuple[str, ...] = ()  # import names, which are those of the distributions too
    precision: str = "float32"
    tolerance: float = 5e-6


PEERS = {
    "fastgru": Peer("fastgru", ".with_fastgru"),
    "fastgru-float16": Peer("fastgru float16", ".with_fastgru", (), "float16", 1e-3),
    "fastgru-bfloat16": Peer("fastgru bfloat16", ".with_fastgru", (), "bfloat16", 8e-3),
    "fastgru-int8": Peer("fastgru int8", ".with_fastgru", (), "int8", 2e-2),
    "torch": Peer("PyTorch", ".with_torch", ("torch",)),
    "onnxruntime": Peer("ONNX Runtime", ".with_onnxruntime", ("onnxruntime", "onnx")),
    "openvino": Peer("OpenVINO", ".with_openvino", ("openvino", "onnx")),
    "jax": Peer("JAX", ".with_jax", ("jax",)),
    "keras": Peer("Keras", ".with_keras", ("keras",)),
    "torch-int8": Peer("PyTorch int8", ".with_torch_int8", ("torch",), "int8", 0.1),
    "openvino-default": Peer("OpenVINO's default", ".with_openvino", ("openvino", "onnx"), "default", 1.2e-2),
}
BEST_OF = ("torch", "onnxruntime", "openvino")  # whose best fastgru is held against, all in float32
IN_FLOAT32 = tuple(name for name, peer in PEERS.items() if peer.precision == "float32")
OWN = {peer.precision: name for name, peer in PEERS.items() if peer.module == ".with_fastgru"}
KERAS_BACKENDS = ("tensorflow", "jax", "torch")


def engine(name: str) -> str:
    """What computes: ``torch`` of ``torch-int8``."""
    return name.partition("-")[0]


def installed(name: str) -> bool:
    """Whether everything that an engine needs can be found."""
    if name == "keras" and keras_backend() is None:
        return False
    return all(find_spec(package) is not None for package in PEERS[name].needs)


def pip_line(name: str) -> str:
    """What installs an engine."""
    needs = [*PEERS[name].needs, *(["torch"] if name == "keras" and keras_backend() is None else [])]
    return f"pip install {' '.join(needs)}"


def version(name: str) -> str:
    """The version of an engine that is installed."""
    from importlib import metadata  # 17 ms

    if engine(name) == "fastgru":
        from ... import __version__

        return __version__
    found = metadata.version(engine(name))
    return f"{found} ({keras_backend()})" if name == "keras" else found


def keras_backend() -> str | None:
    """What Keras computes with: ``KERAS_BACKEND``, or the first that is installed."""
    asked = os.environ.get("KERAS_BACKEND")
    return asked or next((each for each in KERAS_BACKENDS if find_spec(each) is not None), None)


def adapter(name: str) -> ModuleType:
    """The module of an engine, with ``refusal(work)`` and ``prepare(work)``, which imports the engine."""
    if name == "keras" and (backend := keras_backend()) is not None:
        os.environ["KERAS_BACKEND"] = backend  # or Keras takes TensorFlow, installed or not
    return import_module(PEERS[name].module, __name__)
