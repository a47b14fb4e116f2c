"""Steps that come later than what they are of: which places of a value are none yet, and which are beyond its end.

What looks ahead by two steps gives the first of its places with the third step. Until then it gives numbers that are
none, which nothing may take for real: windows have what they pad in their place, and a GRU keeps its state. For that a
stream counts its steps, and knows where the sequence ends when it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import UnsupportedModelError
from .builder import Value
from .graph import FLOAT, INTEGER
from .layout import BATCH, Layout, Steps, is_steps
from .operations.create import Arange, SizeOf
from .operations.elementwise import Binary, Where
from .operations.operation import Unstreamed
from .operations.shape import Permute, View
from .size import Size, evaluate, symbol
from .streams import Flow

if TYPE_CHECKING:
    from .stream_builder import StreamBuilder

__all__ = ["NO_END", "Delays"]

NO_END = 1 << 60  # where a sequence ends that is not over


class Delays:
    """The steps that every row of a stream has taken, and where its sequence ends.

    Attributes
    ----------
    states : tuple of Value, optional
        Both, (batch,), where anything needs them.
    """

    def __init__(self) -> None:
        self.states: tuple[Value, Value] | None = None

    def real(self, streams: StreamBuilder, x: Flow, axis: int, fill: float) -> Value:
        """A value with ``fill`` in the places before its first and behind its last."""
        (factor,) = x.layout[axis]
        assert isinstance(factor, Steps)
        count = symbol(min(factor.size.symbols()))  # type: ignore[union-attr]
        add = streams.add
        at = add(Binary("add"), self._rows(streams, x), self._number(streams, x.lead))
        at = add(Binary("add"), at, add(Arange(0, count)))
        real = add(Binary("lt"), at, self._ends(streams, x))
        if x.lead < 0:
            real = add(Binary("logical_and"), real, add(Binary("ge"), at, self._number(streams, 0)))
        rows = _axis_of_rows(x.layout)
        shape: list[Size] = [1] * len(x.layout)
        shape[rows], shape[axis] = x.value.shape[rows], count
        if rows > axis:
            real = add(Permute((1, 0)), real)
        made: Value = add(Where(), add(View(tuple(shape)), real), x.value, self._fill(streams, x, fill))
        return made

    def kept(self, streams: StreamBuilder, x: Flow, after: Value, before: Value) -> Value:
        """States of (layers, rows, units) after a step where it is real, and else those before it.

        Of several steps all are: a stream takes those one by one that some of its rows do not have.
        """
        add = streams.add
        at = add(Binary("add"), self._rows(streams, x), self._number(streams, x.lead))
        real = add(Binary("lt"), at, self._ends(streams, x))
        if x.lead < 0:
            real = add(Binary("logical_and"), real, add(Binary("ge"), at, self._number(streams, 0)))
        real = add(View((1, x.value.shape[_axis_of_rows(x.layout)], 1)), real)
        made: Value = add(Where(), real, after, before)
        return made

    def shown(self, streams: StreamBuilder, x: Flow) -> Value:
        """An output with NaN where it has no place yet."""
        if x.value.dtype != FLOAT:
            raise UnsupportedModelError(
                f"an output of {x.value.dtype}s comes {-x.lead} steps late, and there is nothing to give until then; "
                "call the model on sequences instead"
            )
        along = [at for at, factors in enumerate(x.layout) if is_steps(factors)]
        if along:
            return self.real(streams, x._replace(ahead=NO_END), along[0], np.nan)
        add, rows = streams.add, _axis_of_rows(x.layout)
        taken = add(Binary("add"), self._rows(streams, x), add(SizeOf(self._count(streams))))
        real = add(Binary("ge"), taken, self._number(streams, 1 - x.lead))
        shape: list[Size] = [1] * len(x.layout)
        shape[rows] = x.value.shape[rows]
        made: Value = add(Where(), add(View(tuple(shape)), real), x.value, self._fill(streams, x, np.nan))
        return made

    def lasting(self, streams: StreamBuilder, x: Flow) -> Value:
        """An output of all the steps so far, which stays as it is when the sequence is over and others still come."""
        add, rows = streams.add, _axis_of_rows(x.layout)
        taken = add(Binary("add"), self._rows(streams, x), add(SizeOf(self._count(streams))))
        assert self.states is not None
        real = add(Binary("le"), taken, add(View((x.value.shape[rows], 1)), self.states[1]))
        shape: list[Size] = [1] * len(x.layout)
        shape[rows] = x.value.shape[rows]
        sizes = [evaluate(size, {"batch": 1}) for size in x.value.shape]
        state = streams.state(x.value.shape, x.layout, np.zeros(sizes, streams.dtype_of(x)), x.value.dtype)
        made: Value = add(Where(), add(View(tuple(shape)), real), x.value, state)
        streams.keep(state, made)
        return made

    def finish(self, streams: StreamBuilder) -> None:
        """Count the steps of a run."""
        if self.states is not None:
            position, end = self.states
            count = streams.add(SizeOf(self._count(streams)))
            streams.keep(position, streams.add(Binary("add"), position, count))
            streams.keep(end, streams.add(Binary("add"), end, self._number(streams, 0)))

    def _rows(self, streams: StreamBuilder, x: Flow) -> Value:
        """The steps that each row has taken, (batch, 1)."""
        size = x.value.shape[_axis_of_rows(x.layout)]
        if self.states is None:
            layout: Layout = ((BATCH,),)
            kinds = [np.zeros(1, np.int64), np.full(1, NO_END, np.int64)]
            position, end = (streams.state((size,), layout, each, INTEGER) for each in kinds)
            self.states = position, end
        made: Value = streams.add(View((size, 1)), self.states[0])
        return made

    def _ends(self, streams: StreamBuilder, x: Flow) -> Value:
        """How many places each row has in all, (batch, 1)."""
        assert self.states is not None
        end = streams.add(View((x.value.shape[_axis_of_rows(x.layout)], 1)), self.states[1])
        made: Value = streams.add(Binary("add"), end, self._number(streams, x.lead + x.ahead))
        return made

    def _number(self, streams: StreamBuilder, number: int) -> Value:
        return streams.constant(np.asarray(number, np.int64))

    def _fill(self, streams: StreamBuilder, x: Flow, fill: float) -> Value:
        return streams.constant(np.asarray(fill).astype(streams.dtype_of(x)))

    def _count(self, streams: StreamBuilder) -> Size:
        """The steps of a run."""
        return symbol(min(name for name in streams.symbols() if name.startswith("steps")))


def _axis_of_rows(layout: Layout) -> int:
    for axis, factors in enumerate(layout):
        if factors == (BATCH,):
            return axis
    raise Unstreamed("it looks ahead, in rows that are inside of a larger axis")
