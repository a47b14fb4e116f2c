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
from .plain_product import PlainProduct
from .plan import KernelTable, check_rows

__all__ = ["GenericPlan"]

Array = NDArray[Any]
Function = Callable[[Array], Array]

BLOCK = 65536  # numbers of inputs or of projected inputs: at most 512 KB, which a second-level cache holds


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
        self._activation = activation
        self._recurrent_activation = recurrent_activation
        self._cells = [_Cell(weights, reset_after, kernels) for layer in own for weights in layer]
        self.arrays = [array for cell in self._cells for array in cell.arrays]
        self.nbytes = sum(array.nbytes for layer in own for weights in layer for array in weights)  # as given

    def form(self, index: int, which: int) -> tuple[Array, None]:
        """A matrix of layer ``index // directions`` and its direction: ``w_ih``, 0, or ``w_hh``, 1; it has no steps."""
        return self._cells[index].matrix(which), None

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
            end = min(steps, begin + max(1, BLOCK // (n * max(inputs, 3 * self.hidden_size))))
            at = np.arange(begin, end)[:, None]
            if direction:
                at = np.maximum(lengths[:n] - 1 - at, 0)  # beyond its end a row's projection is not read
            xp = cell.project(source[rows[:n], at].reshape(-1, inputs)).reshape(end - begin, n, -1)
            made = self._run_block(cell, xp.astype(np.float64, copy=False), h, running[begin:end], target is not None)
            if target is not None and made is not None and running[end - 1] == n:
                target[rows[:n], at, columns] = made
            elif target is not None and made is not None:
                real = np.arange(n) < running[begin:end, None]  # (steps, rows)
                where = rows[:n][np.nonzero(real)[1]], np.broadcast_to(at, real.shape)[real]
                target[(*where, columns)] = made[real]
            begin = end

    def _run_block(self, cell: _Cell, xp: Array, h: Array, running: NDArray[np.intp], sequences: bool) -> Array | None:
        """The states, (steps, rows, H), of steps whose inputs are projected; of all rows only those still running."""
        made = np.empty((*xp.shape[:2], self.hidden_size), self.dtype) if sequences else None
        n, step = -1, None
        for t, count in enumerate(running.tolist()):
            if count != n:
                n, now = count, h[:count]
                step = self._stepper(cell, now)
            assert step is not None
            step(xp[t, :n])
            if made is not None:
                made[t, :n] = now
        return made

    def _stepper(self, cell: _Cell, h: Array) -> Callable[[Array], None]:
        """A function of projected inputs, (rows, 3H), that puts new states, (rows, H), in the place of ``h``.

        Reset after:  r, z = act_r(xp_r + h U_r + b_r), ...;  n = act(xp_n + r * (h U_n + b_hn))
        Reset before: r, z = act_r(xp_r + h U_r), ...;        n = act(xp_n + (r * h) U_n)
        Both:         h' = n + z * (h - n)

        NumPy takes 0.5 us for a call, and 2 us for one whose operands have different types, so what is float32 is
        converted first, and all but the activations write into buffers.
        """
        rows, hidden = h.shape
        gates = 2 * hidden
        before = np.empty((rows, 2, hidden))
        flat = before.reshape(rows, gates)
        last = np.empty((rows, hidden))  # what act is given
        change = np.empty((rows, hidden))
        wide = h.astype(np.float64)  # the same states
        reset = np.empty((rows, hidden), self.dtype)
        recur, candidate = cell.recur, cell.candidate
        act_r, act = self._recurrent_activation, self._activation

        def step(xp: Array) -> None:
            products = recur(h).astype(np.float64, copy=False)
            np.add(xp[:, :gates], products[:, :gates], out=flat)
            made = act_r(before)
            r, z = made[:, 0], made[:, 1]
            if candidate is None:
                np.multiply(r, products[:, gates:], out=last)
                np.add(xp[:, gates:], last, out=last)
            else:
                reset[...] = np.multiply(r, wide, out=change)
                np.add(xp[:, gates:], candidate(reset).astype(np.float64, copy=False), out=last)
            n = act(last)
            np.subtract(wide, n, out=change)
            np.multiply(z, change, out=change)
            h[...] = np.add(n, change, out=change)
            wide[...] = h

        return step


class _Cell:
    """The products of one direction of one layer."""

    def __init__(self, weights: tuple[Array, ...], reset_after: bool, kernels: KernelTable | None) -> None:
        w_ih, w_hh, b_ih, b_hh = weights
        gates = 2 * w_hh.shape[1]
        self.project = _product(w_ih, b_ih, kernels)
        self.candidate: PlainProduct | Affine | None = None
        if reset_after:
            self.recur = _product(w_hh, b_hh, kernels)
        else:
            self.recur = _product(w_hh[:gates], b_hh[:gates], kernels)
            self.candidate = _product(w_hh[gates:], b_hh[gates:], kernels)

    @property
    def arrays(self) -> list[Array]:
        products = [self.project, self.recur, *([] if self.candidate is None else [self.candidate])]
        return [array for each in products for array in each.arrays]

    def matrix(self, which: int) -> Array:
        if which == 0:
            return self.project.weight
        if self.candidate is None:
            return self.recur.weight
        return np.concatenate([self.recur.weight, self.candidate.weight])


def _product(weight: Array, bias: Array, kernels: KernelTable | None) -> PlainProduct | Affine:
    return PlainProduct(weight, bias) if kernels is None else Affine(kernels, weight, bias)
