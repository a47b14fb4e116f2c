"""OpenVINO: the ONNX model compiled for the CPU, for the latency of one request, in float32 or as it comes.

Left to itself it computes in bfloat16 where the processor multiplies such numbers, states included.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..cases import ModelWork, Work
from . import onnx_model, whole_onnx
from .interface import Array, Prepared, PreparedModel, own_activations

if TYPE_CHECKING:
    from openvino import CompiledModel, Model

__all__ = ["compiled_of", "prepare", "prepare_model", "read", "refusal"]

PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def refusal(work: Work) -> str | None:
    return own_activations(work)


def prepare(work: Work) -> Prepared:
    compiled = compiled_of(read(onnx_model.model_of(work)), work.threads, work.precision)
    request = compiled.create_infer_request()
    for name, array in onnx_model.feeds(work).items():
        request.get_tensor(name).data[...] = array  # the request's own memory: a call copies nothing

    def outputs() -> Array:
        request.infer()
        return onnx_model.outputs_of(np.array(request.get_tensor("y").data))

    return Prepared(request.infer, outputs, _chosen(compiled))


def prepare_model(work: ModelWork) -> PreparedModel:
    """The same of a whole model, whose open sizes are fixed to those of the inputs."""
    model = read(whole_onnx.model_of(work))
    taken = [
        whole_onnx.Taken(
            given.any_name,
            [size.get_length() if size.is_static else None for size in given.partial_shape],
            str(given.element_type.to_dtype()),
        )
        for given in model.inputs
    ]
    feeds = whole_onnx.feeds(work, taken)
    if any(size is None for each in taken for size in each.shape):
        model.reshape({name: list(array.shape) for name, array in feeds.items()})
    compiled = compiled_of(model, work.threads, work.precision)
    request = compiled.create_infer_request()
    for name, array in feeds.items():
        request.get_tensor(name).data[...] = array
    names = [output.any_name for output in compiled.outputs]
    places = [names.index(name) for name in whole_onnx.in_order(work, names)]

    def outputs() -> list[Array]:
        request.infer()
        return [np.array(request.get_output_tensor(place).data) for place in places]

    return PreparedModel(request.infer, outputs, _chosen(compiled))


def read(model: bytes | str) -> Model:
    """ONNX, or the file of this name, as OpenVINO has it before it is compiled."""
    import openvino

    return openvino.Core().read_model(model)


def compiled_of(model: Model, threads: int, precision: str = "float32") -> CompiledModel:
    """It for the processor, in float32 or in what OpenVINO chooses."""
    import openvino

    options = {
        **({"INFERENCE_PRECISION_HINT": "f32"} if precision == "float32" else {}),
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    with _own_signal_stack():
        return openvino.Core().compile_model(model, "CPU", options)


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _own_signal_stack() -> Iterator[None]:
    """Let this thread's handlers of signals run where they did before.

    Compiling gives the thread another stack for them, which is unmapped with the model: where another thread gives that
    up, the first signal, as Ctrl-C, would end the process (OpenVINO 2026.4.1, Linux).
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    libc, before = ctypes.CDLL(None), _SignalStack()
    known = libc.sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            libc.sigaltstack(ctypes.byref(before), None)


def _chosen(compiled: CompiledModel) -> str:
    """What it computes in."""
    chosen: str = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return PRECISIONS.get(chosen, chosen)
