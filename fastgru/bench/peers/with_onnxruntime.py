"""ONNX Runtime: the ONNX model in one session, with the state as an input for one step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..cases import ModelWork, Work
from . import onnx_model, whole_onnx
from .interface import Prepared, PreparedModel, own_activations

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["prepare", "prepare_model", "refusal", "session_of"]


def refusal(work: Work) -> str | None:
    return own_activations(work)


def prepare(work: Work) -> Prepared:
    session = session_of(onnx_model.model_of(work), work.threads)
    feeds = onnx_model.feeds(work)
    wanted = [output.name for output in session.get_outputs()][1:] or ["y"]  # one step: its states say all
    return Prepared(partial(session.run, wanted, feeds), lambda: onnx_model.outputs_of(session.run(["y"], feeds)[0]))


def prepare_model(work: ModelWork) -> PreparedModel:
    session = session_of(whole_onnx.model_of(work), work.threads)
    taken = [whole_onnx.Taken(given.name, given.shape, _dtype(given.type)) for given in session.get_inputs()]
    feeds = whole_onnx.feeds(work, taken)
    wanted = whole_onnx.in_order(work, [output.name for output in session.get_outputs()])
    call = partial(session.run, wanted, feeds)
    return PreparedModel(call, lambda: list(call()))


def session_of(model: bytes | str, threads: int) -> InferenceSession:
    """A session on the processor; ``model`` is ONNX, or the name of such a file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _dtype(kind: Any) -> str:
    """NumPy's name of ``tensor(float)`` and its like."""
    name = str(kind).removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
