"""Four ways to take the axes of a graph's inputs, tried one after the other.

A graph does not say which of its first two axes is the batch, nor whether it is right for other sizes than those that
it was exported with: that it is where nothing in it can know them. The first way in which every operation can be
followed is the one that is taken; the second axis is the batch only where a GRU or a convolution takes it for that,
because an operation over the rows of a batch can always be followed by calling the rows steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, Union

import numpy as np

from ...errors import ShapeError, UnsupportedModelError
from ...spec import GRUSpec, ModelSpec, validate
from ..tensors import UsedTensors
from .builder import Builder
from .values import LayoutError

__all__ = ["first_that_fits", "left_over"]

_COUNTER = "num_batches_tracked"  # a batch normalisation counts in it while it is trained

_Spec = TypeVar("_Spec", bound=Union[GRUSpec, ModelSpec])


def first_that_fits(
    make: Callable[[Builder], _Spec], tensors: Mapping[str, np.ndarray], where: str, types: Mapping[int, str]
) -> _Spec:
    """What ``make`` gives for the first builder with which it succeeds; ``types`` are as the builder takes them.

    With the batch first before the steps first, with open sizes before those of the file.

    Raises
    ------
    UnsupportedModelError
        Of the way that led furthest; where it is the place of the batch that fails in both, the message says so.
    """
    furthest, problem, uncertain = -1, None, False
    for time_first in (False, True):
        fixed: str | None = None
        for _ in range(2):
            used = UsedTensors(tensors)
            builder = Builder(used, where, time_first=time_first, fixed=fixed, types=types)
            try:
                spec = make(builder)
                validate(spec)
            except (UnsupportedModelError, ShapeError) as error:
                fixed = str(error).partition("\n")[0].removeprefix(f"{where}: ")
                if builder.count > furthest:
                    furthest, problem = builder.count, error
                continue
            if time_first and not builder.batch_is_certain:
                uncertain = True
                continue
            if isinstance(tensors, UsedTensors):
                for name in used.used():
                    tensors.use(name)
            return spec
    assert problem is not None
    if isinstance(problem, LayoutError):
        other = (
            "that its second axis is the batch instead, no GRU in it says"
            if uncertain
            else "with its first two axes the other way round the model cannot be followed either"
        )
        raise LayoutError(
            f"{problem}; {other}, and fastgru is batch first: load its parts by fastgru.read and layers="
        ) from problem
    raise problem


def left_over(tensors: UsedTensors) -> list[str]:
    """The tensors that a graph does not use. One that is tied to another counts as used where that is."""
    used = {id(tensors[name]) for name in tensors.used()}
    return [name for name in tensors.unused() if id(tensors[name]) not in used and name.rpartition(".")[2] != _COUNTER]
