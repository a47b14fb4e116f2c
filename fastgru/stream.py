"""The public class ``Stream``: a GRU one step at a time, with a state that it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import threads
from .arrays import as_integers, as_numbers
from .engine.plan import Plan
from .engine.state import State
from .errors import ShapeError, StreamInUseError, UnsupportedModelError

if TYPE_CHECKING:
    from .gru import GRU

__all__ = ["Stream"]


class Stream:
    """Single steps through a GRU; made by ``gru.stream()``.

    A stream belongs to one caller at a time. Its results have the same bits as the GRU's on whole sequences.

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
        if 8 * gru.num_layers * batch * (gru.hidden_size + 64) > 1 << 56:
            raise ShapeError(f"batch: got {batch} streams, more than fit a memory")
        self._gru = gru
        self._state: Any
        if isinstance(gru._plan, Plan):
            self._state = State(gru._plan, batch, threads.threads_for_steps(gru.n_threads))
        else:
            self._state = _SlowState(gru, int(batch))
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
        raise AssertionError("replaced by the compiled method when the stream is made")

    batch = property(lambda self: self._state.batch, doc="Streams that step together.")

    @property
    def state(self) -> NDArray[Any]:
        """The states, (num_layers, batch, hidden_size): a copy, which can be set again later."""
        return np.asarray(self._state.get())

    @state.setter
    def state(self, states: ArrayLike) -> None:
        array = as_numbers(states, "state", self._gru.dtype)
        shape = (self._gru.num_layers, self.batch, self._gru.hidden_size)
        if array.shape != shape:
            raise ShapeError(f"state: got shape {array.shape}, wanted {shape}: (layers, batch, hidden)")
        self._state.set(array)

    def reset(self) -> None:
        """Set every state to zero, as at the start."""
        self._state.reset()

    def copy(self) -> Stream:
        """A stream of its own that goes on from the same states."""
        twin = Stream(self._gru, self.batch)
        twin.state = self.state
        return twin

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._gru, self.batch, self.state)

    def __repr__(self) -> str:
        return f"Stream({self._gru!r}, batch={self.batch})"


def _rebuild(gru: GRU, batch: int, state: NDArray[Any]) -> Stream:
    stream = Stream(gru, batch)
    stream.state = state
    return stream


class _SlowState:
    """What ``engine.state.State`` is, for a GRU that no kernel steps: a sequence of one step at a time."""

    def __init__(self, gru: GRU, batch: int) -> None:
        if gru.bidirectional:
            raise UnsupportedModelError(
                "a stream computes one step at a time, but a bidirectional GRU needs the whole sequence; "
                "call the GRU on sequences instead"
            )
        self.batch = batch
        self._gru = gru
        self._busy = False
        self.reset()

    def reset(self) -> None:
        self._h = np.zeros((self._gru.num_layers, self.batch, self._gru.hidden_size), self._gru.dtype)

    def get(self) -> NDArray[Any]:
        return self._h.copy()

    def set(self, states: NDArray[Any]) -> None:
        self._h = states.copy()

    def step(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        gru, wanted = self._gru, (self.batch, self._gru.input_size)
        array = as_numbers(x, "x", gru.dtype)
        if array.shape != wanted and (self.batch != 1 or array.shape != wanted[1:]):
            raise ShapeError(f"x: got shape {array.shape}, wanted {wanted}: one step of every stream")
        shape = (*array.shape[:-1], gru.hidden_size)
        if out is not None and not _usable(out, shape, gru.dtype):
            raise ShapeError(f"out: wanted a writeable C-contiguous {gru.dtype} array of shape {shape}")
        if self._busy:
            raise StreamInUseError("this stream is being stepped by another thread; give each thread its own copy()")
        self._busy = True
        try:
            _, self._h = gru._run(array.reshape(self.batch, 1, -1), self._h, None, sequences=False)
        finally:
            self._busy = False
        if out is None:
            return np.array(self._h[-1].reshape(shape))
        out[...] = self._h[-1].reshape(shape)
        return out


def _usable(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return (
        isinstance(out, np.ndarray)
        and out.shape == shape
        and out.dtype == dtype
        and out.flags.c_contiguous
        and out.flags.writeable
    )
