"""Packed weights of ``torch.ao.quantization.quantize_dynamic``: script objects whose state holds the plain tensors.

Owns the shape of those states, for a linear layer and for one direction of a GRU layer. What the names mean to a layer
is for the importers; an object of any other shape is none of these.
"""

from __future__ import annotations

from typing import Any

from ..pickle.inert import Stub
from .tensors import TensorRecord

__all__ = ["packed_entries"]

_LINEAR = "__torch__.torch.classes.quantized.LinearPackedParamsBase"
_CELL = "__torch__.torch.classes.rnn.CellParamsBase"


def packed_entries(key: Any, value: Any) -> dict[str, TensorRecord] | None:
    """The tensors of a packed weight by name; None where ``value`` is nothing of the kind.

    A linear layer gives ``weight`` and ``bias``, a cell of a GRU ``weight_ih``, ``weight_hh``, ``bias_ih`` and
    ``bias_hh``. In a state dict a linear layer's are a plain pair under the key ``_packed_params``.
    """
    if isinstance(value, tuple):
        named = isinstance(key, str) and key.rpartition(".")[2] == "_packed_params"
        return _linear(value) if named else None
    content = _state(value, _CELL)
    return _linear(_state(value, _LINEAR)) if content is None else _cell(content)


def _state(value: Any, kind: str) -> Any:
    """What a script object of that class was made of, or None."""
    if not isinstance(value, Stub) or (value.module, value.name) != ("torch", "ScriptObject"):
        return None
    state = value.state
    return state[0] if isinstance(state, tuple) and len(state) == 2 and state[1] == kind else None


def _linear(content: Any) -> dict[str, TensorRecord] | None:
    """(weight, bias or None)"""
    if not isinstance(content, tuple) or len(content) != 2 or not isinstance(content[0], TensorRecord):
        return None
    weight, bias = content
    if bias is None:
        return {"weight": weight}
    return {"weight": weight, "bias": bias} if isinstance(bias, TensorRecord) else None


def _cell(content: Any) -> dict[str, TensorRecord] | None:
    """(kind, tensors, doubles, integers, [packed input weight, packed hidden weight])"""
    if not isinstance(content, tuple) or len(content) != 5 or content[0] not in ("quantized_dynamic", "quantized_fp16"):
        return None
    packed = content[4]
    if not isinstance(packed, list) or len(packed) != 2:
        return None
    found = {}
    for side, each in zip(("ih", "hh"), packed, strict=True):
        linear = _linear(_state(each, _LINEAR))
        if linear is None:
            return None
        found.update({f"{name}_{side}": record for name, record in linear.items()})
    return found
