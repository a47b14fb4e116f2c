"""What loading says of a model that computes all the same: what Keras would do otherwise, and what costs memory."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from .errors import PackedAgainWarning
from .gru_plan import reads_as_packed
from .gru_weights import GRUSpec
from .options import Precision, kernel_table
from .weights.from_file import matrices_of
from .weights.matrices import Matrix

if TYPE_CHECKING:
    from .checkpoint.contents import Checkpoint
    from .graph.graph import Graph
    from .layers import ModelSpec

__all__ = ["warn_of_packing", "warn_of_state"]


def warn_of_state(where: str, spec: GRUSpec | ModelSpec | Graph) -> None:
    """Say, at the caller of ``load``, that calls begin anew where Keras's go on."""
    if isinstance(spec, GRUSpec):
        return
    from .layers import ModelSpec, stateful_layers

    if not isinstance(spec, ModelSpec):
        return

    names = stateful_layers(spec)
    if names:
        are = "is" if len(names) == 1 else f"and {len(names) - 1} more are"
        warnings.warn(
            f"{where}: layer {names[0]!r} {are} stateful: in Keras a call goes on from the states of the call "
            "before; here every call begins with zeros, and model.stream() goes on from step to step",
            UserWarning,
            stacklevel=3,
        )


_warned_of_packing = False


def warn_of_packing(checkpoint: Checkpoint, spec: GRUSpec | ModelSpec | Graph, kept: Precision) -> None:
    """Say once that a packed file is for other kernels, so that it takes memory and time in each process."""
    global _warned_of_packing
    packed = next((each for _, each in matrices_of(spec) if isinstance(each, Matrix) and each.packed is not None), None)
    if packed is None or kept != packed.packed.precision or _warned_of_packing:
        return
    from .layers.grus import grus_of

    table = kernel_table()
    if all(reads_as_packed(gru, kept, table) for _, gru in grus_of(spec)):
        return
    _warned_of_packing = True
    warnings.warn(
        f"{checkpoint.path}: it is packed for kernels as those of {getattr(packed, 'level', '')!r}, and those here, "
        f"{table.name!r}, read another order: its weights are packed again, in memory of this process; save it here "
        "with packed=True",
        PackedAgainWarning,
        stacklevel=3,
    )
