"""ONNX Runtime: the ONNX model in one session, with the state as an input for one step."""

from __future__ import annotations

from functools import partial

from ..cases import Work
from . import onnx_model
from .interface import Prepared, own_activations

__all__ = ["prepare", "refusal"]


def refusal(work: Work) -> str | None:
    return own_activations(work)


def prepare(work: Work) -> Prepared:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = work.threads, 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(onnx_model.model_of(work), options, providers=["CPUExecutionProvider"])
    feeds = onnx_model.feeds(work)
    wanted = [output.name for output in session.get_outputs()][1:] or ["y"]  # one step: its states say all
    return Prepared(partial(session.run, wanted, feeds), lambda: onnx_model.outputs_of(session.run(["y"], feeds)[0]))
