"""The public class ``Stream``: a GRU one step at a time, with a state that it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import threads
from ..arrays import as_integers, as_numbers, as_rows
from ..engine.state import State
from ..errors import ShapeError
from .copied import Copied

if TYPE_CHECKING:
    from ..gru import GRU

__all__ = ["Stream", "as_states", "state_of"]


class Stream(Copied):
    """Single steps through a GRU; made by ``gru.stream()``.

    A stream belongs to one caller at a time, and says so by an error where another thread is stepping it. Its results
    have the same bits as the GRU's on whole sequences.

    Parameters
    ----------
    gru : GRU
    batch : int
        Streams that step together.

    Examples
    --------
    >>> import numpy as np, fastgru
    >>> gru = fastgru.from_torch({"weight_ih": np.ones((6, 3)), "weight_hh": np.ones((6, 2))})
    >>> stream = gru.stream()
    >>> stream.step([0.1, 0.2, 0.3]).shape
    (2,)
    >>> stream.state.shape
    (1, 1, 2)
    """

    def __init__(self, gru: GRU, batch: int = 1) -> None:
        if as_integers(batch, "batch").ndim != 0 or batch < 1:
            raise ShapeError(f"batch: got {batch}, wanted a whole number of at least 1")
        self._gru = gru
        self._begin(int(batch))

    def _begin(self, batch: int) -> None:
        self._state = state_of(self._gru, batch)
        if type(self).step is Stream.step:
            # The compiled method itself: a Python frame around it would cost 60 ns a step.
            self.step = self._state.step  # type: ignore[method-assign]

    def step(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Take one step and keep the new state.

        Parameters
        ----------
        x : array_like, (batch, input_size), or (input_size,) for one stream
            A C-contiguous array of the GRU's dtype is used without a copy.
        out : ndarray, (batch, hidden_size) or (hidden_size,), optional
            Where to put the result; C-contiguous, of the GRU's dtype. With it a step allocates nothing.

        Returns
        -------
        ndarray, (batch, hidden_size) or (hidden_size,)
            The last layer's new state; ``out`` where it was given.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit. The state is as it was.
        StreamInUseError
            Another thread is stepping this stream.
        """
        made: NDArray[Any] = self._state.step(x, out)
        return made

    batch = property(lambda self: self._state.batch, doc="Streams that step together.")

    @property
    def state(self) -> NDArray[Any]:
        """The states, (num_layers, batch, hidden_size): a read-only copy, which can be set again later.

        To change states, set the attribute to a whole array, or ``reset(rows=...)``.
        """
        states = np.asarray(self._state.get())
        states.flags.writeable = False
        return states

    @state.setter
    def state(self, states: ArrayLike) -> None:
        self._state.set(as_states(states, self._gru, self.batch))

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Set every state to zero, as at the start, or those of some rows.

        Parameters
        ----------
        rows : int, array_like of int, or array_like of bool (batch,), optional
            Which streams of the batch begin again: their numbers from 0, or a truth for each; the others go on.
            None: all.

        Raises
        ------
        ShapeError, DTypeError
            There is no such row. The states are as they were.
        """
        if rows is None:
            self._state.reset()
        else:
            self._state.reset(as_rows(rows, self.batch))

    def __getstate__(self) -> dict[str, Any]:
        own = {name: value for name, value in self.__dict__.items() if name not in ("_state", "step")}
        return {**own, "batch": self.batch, "state": self.state}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        own = dict(saved)
        batch, state = own.pop("batch"), own.pop("state")
        self.__dict__.update(own)
        self._begin(batch)
        self._state.set(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._gru!r}, batch={self.batch})"


def state_of(gru: GRU, batch: int) -> State:
    """The states of ``batch`` streams through a GRU, all zero."""
    if 8 * gru.num_layers * batch * (gru.hidden_size + 64) > 1 << 56:
        raise ShapeError(f"batch: got {batch} streams, more than fit a memory")
    return State(gru._plan, batch, threads.threads_for_steps(gru.n_threads))


def as_states(states: ArrayLike, gru: GRU, batch: int) -> NDArray[Any]:
    """States that were given, as an array of their own for ``batch`` streams through a GRU."""
    array = np.array(as_numbers(states, "state", gru.dtype))
    shape = (gru.num_layers, batch, gru.hidden_size)
    if array.shape != shape:
        raise ShapeError(f"state: got shape {array.shape}, wanted {shape}: (layers, batch, hidden)")
    return array
