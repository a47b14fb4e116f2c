"""A stack of GRU layers with any activations: products by the kernels or NumPy, gates by functions that are given.

The same call as ``plan.Plan``, for activations that no kernel knows, in Python and therefore in one thread. Gates are
computed in float64. Products of float32 go through ``Affine``, so a row's bits depend neither on its batch nor on how
the sequence is cut; without kernels and in float64 they are NumPy's, which keep the bounds on error but not the bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import ShapeError

from .affine import Affine
from .checks import checked_weights
from .plan import KernelTable, check_rows

__all__ = ["GenericPlan"]

Array = NDArray[Any]
Function = Callable[[Array], Array]

AT_A_TIME = 262144  # numbers of inputs or of projected inputs: at most 2 MB of either


class GenericPlan:
    """Weights of a stack of GRU layers, and the functions of its gates.

    Parameters
    ----------
    layers : list of list of (w_ih, w_hh, b_ih, b_hh)
        ``layers[layer][direction]``; (3H, I), (3H, H), (3H,), (3H,), gates r, z, n, all float32 or all float64.
    reset_after : bool
    activation, recurrent_activation : callable
        Of float64 arrays (rows, H) and (rows, 2, H) to new ones of the same shape; a function over all units takes the
        last axis.
    kernels : KernelTable, optional
        What computes the products of float32; None for NumPy.
    """

    def __init__(
        self,
        layers: list[list[tuple[Array, ...]]],
        reset_after: bool,
        activation: Function,
        recurrent_activation: Function,
        kernels: KernelTable | None = None,
    ) -> None:
        own = checked_weights(layers)
        self.dtype = own[0][0][0].dtype
        self.num_layers = len(own)
        self.directions = len(own[0])
        self.input_size = int(own[0][0][0].shape[1])
        self.hidden_size = int(own[0][0][1].shape[1])
        self.reset_after = reset_after
        self.kernel_level = "numpy" if kernels is None else kernels.name
        self.nbytes = sum(array.nbytes for layer in own for weights in layer for array in weights)
        self._activation = activation
        self._recurrent_activation = recurrent_activation
        self._cells = [_Cell(weights, reset_after, kernels) for layer in own for weights in layer]

    def run(
        self,
        x: Array,
        h0: Array | None,
        rows: NDArray[np.intp],
        lengths: NDArray[np.intp],
        shares: NDArray[np.intp],
        sequences: bool = True,
    ) -> tuple[Array | None, Array]:
        """As ``Plan.run``, in the type of the weights; ``shares`` are checked, and all computed by this thread."""
        if x.ndim != 3 or x.shape[2] != self.input_size or not x.size:
            raise ShapeError(f"x: got shape {x.shape}, wanted (batch, steps, {self.input_size})")
        batch, steps = x.shape[:2]
        check_rows(rows, lengths, shares, batch, steps)
        finals = np.zeros((len(self._cells), batch, self.hidden_size), self.dtype)
        if h0 is not None:
            if h0.shape != finals.shape:
                raise ShapeError(f"h0: got shape {h0.shape}, wanted {finals.shape}")
            finals[...] = h0
        below, y = x, None
        with np.errstate(all="ignore"):  # NaN and overflows are results like others
            for layer in range(self.num_layers):
                if sequences or layer < self.num_layers - 1:
                    y = np.zeros((batch, steps, self.directions * self.hidden_size), self.dtype)
                else:
                    y = None
                for direction in range(self.directions):
                    state = layer * self.directions + direction
                    h = finals[state, rows]
                    self._run_direction(self._cells[state], direction, below, y, h, rows, lengths)
                    finals[state, rows] = h
                below = x if y is None else y
        return y, finals

    def _run_direction(
        self,
        cell: _Cell,
        direction: int,
        source: Array,
        target: Array | None,
        h: Array,
        rows: NDArray[np.intp],
        lengths: NDArray[np.intp],
    ) -> None:
        """All steps of one direction of one layer, a block of steps at a time; ``h``, (rows, H), is changed in place.

        Rows are sorted, longest first, so those still running are always the first ones.
        """
        steps, inputs = int(lengths[0]), source.shape[2]
        columns = slice(direction * self.hidden_size, (direction + 1) * self.hidden_size)
        running = np.searchsorted(-lengths, -np.arange(steps))  # at each step
        begin = 0
        while begin < steps:
            n = int(running[begin])
            end = min(steps, begin + max(1, AT_A_TIME // (n * max(inputs, 3 * self.hidden_size))))
            at = np.arange(begin, end)[:, None]
            if direction:
                at = np.maximum(lengths[:n] - 1 - at, 0)  # beyond its end a row's projection is not read
            xp = cell.project(source[rows[:n], at].reshape(-1, inputs)).reshape(end - begin, n, -1)
            for t in range(begin, end):
                n = int(running[t])
                h[:n] = self._step(cell, xp[t - begin, :n], h[:n])
                if target is not None:
                    target[rows[:n], at[t - begin, :n], columns] = h[:n]
            begin = end

    def _step(self, cell: _Cell, xp: Array, h: Array) -> Array:
        """The new states, (rows, H), from projected inputs (rows, 3H) and states (rows, H).

        Reset after:  r, z = act_r(xp_r + h U_r + b_r), ...;  n = act(xp_n + r * (h U_n + b_hn))
        Reset before: r, z = act_r(xp_r + h U_r), ...;        n = act(xp_n + (r * h) U_n)
        Both:         h' = n + z * (h - n)
        """
        rows, hidden = h.shape
        products = cell.recur(h)
        before = np.add(xp[:, : 2 * hidden], products[:, : 2 * hidden], dtype=np.float64)
        gates = self._recurrent_activation(before.reshape(rows, 2, hidden))
        r, z = gates[:, 0], gates[:, 1]
        if cell.candidate is None:
            recurrent = r * products[:, 2 * hidden :]
        else:
            recurrent = cell.candidate((r * h).astype(self.dtype))
        n = self._activation(np.add(xp[:, 2 * hidden :], recurrent, dtype=np.float64))
        return np.asarray(n + z * (h - n), self.dtype)


class _Cell:
    """The products of one direction of one layer."""

    def __init__(self, weights: tuple[Array, ...], reset_after: bool, kernels: KernelTable | None) -> None:
        w_ih, w_hh, b_ih, b_hh = weights
        gates = 2 * w_hh.shape[1]
        self.project = _product(w_ih, b_ih, kernels)
        self.candidate: Function | None = None
        if reset_after:
            self.recur = _product(w_hh, b_hh, kernels)
        else:
            self.recur = _product(w_hh[:gates], b_hh[:gates], kernels)
            self.candidate = _product(w_hh[gates:], b_hh[gates:], kernels)


def _product(weight: Array, bias: Array, kernels: KernelTable | None) -> Function:
    """x weight^T + bias, of (rows, inputs)."""
    if kernels is not None:
        return Affine(kernels, weight, bias)
    return lambda x: x @ weight.T + bias
