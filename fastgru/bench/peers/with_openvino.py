"""OpenVINO: the ONNX model compiled for the CPU, for the latency of one request, in float32 or as it comes.

Left to itself it computes in bfloat16 where the processor multiplies such numbers, states included.
"""

from __future__ import annotations

import numpy as np

from ..cases import Work
from . import onnx_model
from .interface import Array, Prepared, own_activations

__all__ = ["prepare", "refusal"]

PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def refusal(work: Work) -> str | None:
    return own_activations(work)


def prepare(work: Work) -> Prepared:
    import openvino

    core = openvino.Core()
    options = {
        **({"INFERENCE_PRECISION_HINT": "f32"} if work.precision == "float32" else {}),
        "INFERENCE_NUM_THREADS": work.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    compiled = core.compile_model(core.read_model(onnx_model.model_of(work)), "CPU", options)
    request = compiled.create_infer_request()
    for name, array in onnx_model.feeds(work).items():
        request.get_tensor(name).data[...] = array  # the request's own memory: a call copies nothing

    def outputs() -> Array:
        request.infer()
        return onnx_model.outputs_of(np.array(request.get_tensor("y").data))

    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return Prepared(request.infer, outputs, PRECISIONS.get(chosen, chosen))
