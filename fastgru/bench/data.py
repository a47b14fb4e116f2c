"""The user's own inputs for a whole model: read, checked by a call of the model, and which rows a case has of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..command.input_files import read_inputs
from ..errors import FastGRUError
from ..evaluation.rows import Rows, has_fixed_batch
from ..model import Model

__all__ = ["data_of", "shape_of"]

Array = NDArray[Any]


def data_of(model: Model, given: Sequence[str]) -> dict[str, Array]:
    """Every input by its name, in the model's order and with its batch axis.

    Raises
    ------
    FastGRUError
        The files are not of these inputs, or an array does not fit; the message says got and wanted.
    """
    found = read_inputs(given, [source.name for source in model.sources])
    arrays = {source.name: found[source.name] for source in model.sources}
    rows = Rows(model, arrays, None)
    rows.run(0, rows.count)  # which refuses what does not fit
    single = all(arrays[source.name].ndim == len(source.shape) - 1 for source in model.sources)
    return {name: array[None] for name, array in arrays.items()} if single else arrays


def shape_of(model: Model, data: Mapping[str, Array], wanted: int | None) -> tuple[int, int]:
    """The rows and steps of a case that asks for ``wanted`` rows; None asks for all, as do rows that run together.

    Raises
    ------
    FastGRUError
        There are fewer.
    """
    rows = Rows(model, data, None)
    steps = [data[source.name].shape[source.steps] for source in model.sources if source.steps is not None]
    if wanted is None or not rows.batched or has_fixed_batch(model):
        wanted = rows.total
    if wanted > rows.total:
        raise FastGRUError(f"--batch: got {wanted}, but DATA has {rows.total} rows; ask for fewer, or give more rows")
    return wanted, steps[0] if steps else 1
