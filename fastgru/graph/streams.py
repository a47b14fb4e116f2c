"""What a graph some steps at a time is made of: values on their way, states, and the reasons why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedModelError
from .builder import Value
from .graph import Graph, Guard
from .layout import BATCH, Axis, Layout, Steps, has_steps, is_steps, is_steps_size
from .operations.operation import Array, Unstreamed
from .size import Expression, Size, evaluate

__all__ = ["EACH", "FIXED", "ONCE", "Flow", "State", "Unstreamed", "check_outputs", "check_sizes", "names_of"]

FIXED, ONCE, EACH = range(3)  # a value knows of no step, is one value for all the steps so far, or has one each


class Flow(NamedTuple):
    """A value of the graph, as a stream has it."""

    value: Value  # of the new graph: the places of the steps that are given
    place: int = -1  # in the old graph
    layout: Layout = ()
    knows: int = FIXED
    lead: int = 0  # places before the first step
    first: Array | None = None  # these, for one row
    ahead: int = 0  # places behind the last step
    why: str = ""  # which operation made these


class State(NamedTuple):
    """What a stream keeps from one step to the next."""

    value: int  # its place in the new graph
    node: str  # whose it is
    shape: tuple[Size, ...]
    layout: Layout
    first: Array | int  # for one row; or the place in the old graph of a value that is computed from inputs
    input: str = ""  # its name in the new graph
    after: int = -1  # the place of what it is after the steps

    @property
    def batch(self) -> int | None:
        """The axis that the rows are on, perhaps with others."""
        return next((axis for axis, factors in enumerate(self.layout) if BATCH in factors), None)

    @property
    def joins_rows(self) -> bool:
        """Whether its places are of several rows together, as where rows were concatenated."""
        return self.batch is None and any(isinstance(size, Expression) for size in self.shape)

    def zeros(self, batch: int, dtype: np.dtype[Any]) -> Array:
        """Room for the state of a batch."""
        shape = tuple(evaluate(size, {"batch": batch}) for size in self.shape)
        if not isinstance(self.first, int) and self.first.dtype.kind != "f":
            dtype = self.first.dtype
        return np.zeros(shape, dtype)

    def begin(self, batch: int, dtype: np.dtype[Any], given: Array | None = None) -> Array:
        """The state before the first step, for a batch; ``given`` where it was computed from inputs."""
        first = self.first if given is None else given
        assert not isinstance(first, int)
        made = self.zeros(batch, dtype)
        if self.joins_rows and made.shape != first.shape:
            first = self._repeated(first, made.shape)
        if given is not None or self.batch is None:
            made[...] = first
        else:
            self.rows(made)[...] = self.rows(first)
        return made

    def _repeated(self, first: Array, shape: tuple[int, ...]) -> Array:
        """The state of one row for rows together, where all of its places along them are alike."""
        for axis, size in enumerate(shape):
            one = first.take([0], axis)
            if first.shape[axis] != size and (first == one).all():
                first = one
        if any(size not in (1, wanted) for size, wanted in zip(first.shape, shape, strict=True)):
            raise UnsupportedModelError(
                f"layer {self.node!r} takes rows together, and begins with other numbers for each; call the model on "
                "sequences instead, or take a stream of one row"
            )
        return first

    def rows(self, array: Array) -> Array:
        """A view of the state with the batch on the first axis."""
        axis = self.batch
        assert axis is not None
        factors = self.layout[axis]
        at = factors.index(BATCH)
        outer, inner = _product(factors[:at]), _product(factors[at + 1 :])
        size = array.shape[axis] // max(1, outer * inner)
        shape = (*array.shape[:axis], outer, size, inner, *array.shape[axis + 1 :])
        return np.moveaxis(array.reshape(shape), axis + 1, 0)

    def parts(self, array: Array) -> int:
        """Into how many parts, of as many bytes each, the places before the batch cut what a row has of the state."""
        axis = self.batch
        assert axis is not None
        factors = self.layout[axis]
        return prod(array.shape[:axis]) * _product(factors[: factors.index(BATCH)])

    def taken(self, array: Array, rows: NDArray[np.intp]) -> Array:
        """The state of some rows, in this order."""
        axis = self.batch
        if axis is None:
            return array
        made = np.moveaxis(self.rows(array)[rows], 0, axis + 1)
        return made.reshape(*array.shape[:axis], -1, *array.shape[axis + 1 :])


def _product(factors: Axis) -> int:
    """Of plain places."""
    assert all(isinstance(factor, int) for factor in factors)
    return prod(factors)  # type: ignore[arg-type]


def check_sizes(graph: Graph, layouts: Mapping[str, Layout]) -> None:
    """Raise unless a graph takes any number of steps."""
    for source in graph.inputs:
        for axis, size in zip(layouts[source.name], graph.tensors[source.value].shape, strict=True):
            if is_steps(axis) and isinstance(size, int):
                raise UnsupportedModelError(
                    f"a stream runs any number of steps, but input {source.name!r} is made for {size}"
                )
    for guard in graph.guards:
        symbols = names_of(guard.one) | names_of(guard.other)
        if any(name.startswith("steps") for name in symbols) and not _bound(guard):
            raise UnsupportedModelError(
                f"a stream runs any number of steps, but {guard.one} {guard.relation} {guard.other}: {guard.reason}"
            )


def _bound(guard: Guard) -> bool:
    """Whether a guard holds for all numbers of steps that are large enough, or of as many steps of two inputs."""
    if guard.relation == "==":
        return all(str(size) in names_of(size) for size in (guard.one, guard.other))
    return is_steps_size(guard.one) and isinstance(guard.other, int) and guard.relation in (">", ">=")


def check_outputs(outputs: Sequence[int], flows: Mapping[int, Flow]) -> None:
    """Raise unless every output has one place for every step, or one for all of them, when the step is there."""
    for place in outputs:
        flow = flows[place]
        if any(has_steps(axis) and not isinstance(axis[0], Steps) for axis in flow.layout):
            raise UnsupportedModelError(
                "a stream gives the outputs of a step, but an output has its steps inside of other rows or places; "
                "call the model on sequences instead"
            )
        if flow.knows == ONCE and flow.ahead:
            raise UnsupportedModelError(
                f"{flow.why}, so that an output is known only when the sequence is over; call the model on sequences "
                "instead"
            )
        if flow.lead > 0:
            raise UnsupportedModelError(
                f"{flow.why}, so that an output has {flow.lead} before the first step, and a stream gives one for "
                "every step; call the model on sequences instead"
            )


def names_of(size: Any) -> set[str]:
    """The symbols of a size."""
    return set(size.symbols()) if isinstance(size, Expression) else set()
