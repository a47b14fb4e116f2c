"""A GRU by itself, in a model that is one GRU layer and nothing else.

Owns the telling of such a model from one whose layer does more than ``fastgru.GRU``: then only a Model gives what the
layer gives.
"""

from __future__ import annotations

from ...errors import CheckpointError
from ...gru_weights import GRUSpec
from ...layers import GRULayer, ModelSpec
from .named import Named

__all__ = ["gru_of", "lone_gru"]


def lone_gru(spec: GRUSpec | ModelSpec) -> GRUSpec | None:
    """The GRU that the model is, or None. Whether the layer gives every step or the last makes no difference."""
    if isinstance(spec, GRUSpec):
        return spec
    layer = spec.nodes[0].layer if len(spec.nodes) == 1 else None
    plain = isinstance(layer, GRULayer) and not layer.above and not layer.go_backwards and layer.merge == "concat"
    return layer.gru if plain and isinstance(layer, GRULayer) else None


def gru_of(spec: GRUSpec | ModelSpec, name: str | Named, where: str) -> GRUSpec:
    """The GRU of a model that was made of one name; an error says what it is where it is none."""
    found = lone_gru(spec)
    if found is None:
        layer = spec.nodes[-1].layer if isinstance(spec, ModelSpec) and spec.nodes else None
        more = " that does more than a GRU by itself" if isinstance(layer, GRULayer) else ""
        raise CheckpointError(
            f"{where}: layers={name!r} is one name, which asks for a GRU with its states; it is a "
            f"{type(layer).__name__.removesuffix('Layer')}{more}; pass layers=[{name!r}], a list, for a Model"
        )
    return found
