"""Where Keras casts the input of a layer, and loses the mask by it.

Keras 3.5 to 3.13 keep a mask with a tensor and not with the cast one, so it is gone where a layer computes in another
type than the layer before it. Other versions keep it. Numbers are not cast here: float32 or more is computed with.
"""

from __future__ import annotations

from typing import Any

from .calls import Call, Ref, references
from .config import Entry, number_of
from .scope import Inputs, Scope
from .tree import CONTAINERS, Part

__all__ = ["given_as_cast", "loses_masks"]


def loses_masks(tree: Part) -> bool:
    """Whether the model is of such a version, and its layers compute in several types."""
    mixed = len({_dtype_of(part.entry) for part in tree.units() if part.entry.class_name != "InputLayer"} - {None}) > 1
    return mixed and (3, 5) <= number_of(tree.entry.version) < (3, 14)


def given_as_cast(model: Part, call: Call, scope: Scope, given: Inputs) -> Inputs:
    """What a layer of ``model`` is called with, without the masks that a cast loses."""
    part = model.inner[call.layer]
    if part.graph is not None or given.masked or all(wire.mask is None for wire in given.inputs):
        return given
    own = _dtype_of(part.entry)
    others = {_made_in(model, ref) for ref in references(call) if isinstance(ref, Ref)}
    if others == {own}:
        return given
    if {own, None} & others or own is None:
        raise part.entry.unsupported(
            "it computes in another type than what comes before it, and whether a mask is lost by the cast is not "
            "known; give all layers one dtype and save the model again"
        )
    return Inputs([scope.masked(wire, None) for wire in given.inputs], given.states)


def _made_in(model: Part, ref: Ref) -> str | None:
    """The type in which an output of a layer of the model is made."""
    part = model.inner[ref.layer] if ref.layer >= 0 else None
    if part is None or part.graph is None:
        return None if part is None else _dtype_of(part.entry)
    outputs = part.graph.outputs
    place = ref.output or 0
    return _made_in(part, outputs[place]) if place < len(outputs) else None


def _dtype_of(entry: Entry) -> str | None:
    """The type that a layer computes in; None where the config does not say it."""
    found: Any = entry.config.get("dtype")
    if isinstance(found, dict):
        inner = found.get("config")
        found = inner.get("name") if isinstance(inner, dict) else None
    if entry.operation or entry.class_name in CONTAINERS or not isinstance(found, str):
        return None
    return found.removeprefix("mixed_")
