"""Normalisations: with the statistics of the training (BatchNorm), or with those of each row (layer, group, RMS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import check_array
from ...errors import ShapeError
from ..graph import Tensor
from ..layout import Layout, Mixed, has_steps, is_plain
from ..size import Sizes
from .operation import Array, Call, Compute, Operation, Setup, axis_of, check_size, one_input
from .reduce import Reduce

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..writer import Writer

__all__ = ["BatchNorm", "Normalize"]


def _check_epsilon(epsilon: object) -> None:
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 <= epsilon < float("inf"):
        raise ShapeError(f"epsilon is {epsilon!r}, wanted a number from 0")


class BatchNorm(Operation):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` along one axis, by the statistics of the training."""

    fresh = True
    mean: np.ndarray  # (features,)
    variance: np.ndarray
    gamma: np.ndarray | None = None
    beta: np.ndarray | None = None
    epsilon: float = 1e-5
    axis: int = -1

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        place = axis_of(self.axis, len(given.shape))
        check_array(self.mean, (None,), "mean")
        for name in ("variance", "gamma", "beta"):
            if name == "variance" or getattr(self, name) is not None:
                check_array(getattr(self, name), self.mean.shape, name)
        check_size(given.shape[place], len(self.mean), "features")
        _check_epsilon(self.epsilon)
        return [Tensor(given.shape)]

    def _weights(self, setup: Setup) -> tuple[Array, Array, Array]:
        """The operation is ``(x - mean) scale + beta``, where scale is made once, in float64."""
        with np.errstate(all="ignore"):
            scale = 1 / np.sqrt(self.variance.astype(np.float64) + self.epsilon)
            scale = (scale if self.gamma is None else scale * self.gamma).astype(setup.dtype)
        mean = self.mean.astype(setup.dtype)
        return mean, scale, np.zeros_like(mean) if self.beta is None else self.beta.astype(setup.dtype)

    def prepare(self, setup: Setup) -> Compute:
        mean, scale, beta = setup.once(self, "weights", lambda: self._weights(setup))

        def compute(arrays: Sequence[Array], call: Call) -> list[Array]:
            x = arrays[0].astype(call.dtype, copy=False)
            shape = [1] * x.ndim
            shape[self.axis] = -1
            with np.errstate(all="ignore"):
                return [np.asarray((x - mean.reshape(shape)) * scale.reshape(shape) + beta.reshape(shape), call.dtype)]

        return compute

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        return self.prepare(Setup(call.dtype, {}))(arrays, call)

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        x = writer.cast(inputs[0], "f")
        if x is None:
            return None
        weights = writer.setup.once(self, "weights", lambda: self._weights(writer.setup))
        shape = [1] * len(x.shape)
        shape[axis_of(self.axis, len(x.shape))] = -1
        made = writer.elementwise("scaled", [x, *(writer.constant(each.reshape(shape)) for each in weights)])
        return None if made is None else [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        if not is_plain(inputs[0][axis_of(self.axis, len(inputs[0]))]):
            raise Mixed("has statistics for each row of the batch, or for each step")
        return [inputs[0]]


class Normalize(Operation):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, both of x over ``axes``; ``rms`` leaves the mean out.

    Weights are broadcast against x. Mean and variance are made in float64; those of the last axis in float32 models by
    the kernels, in compiled graphs and here.
    """

    fresh = True
    axes: tuple[int, ...]
    gamma: np.ndarray | None = None
    beta: np.ndarray | None = None
    epsilon: float = 1e-5
    rms: bool = False

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        Reduce("mean", self.axes, True).infer(inputs)
        _check_epsilon(self.epsilon)
        for name in ("gamma", "beta"):
            weight = getattr(self, name)
            if weight is not None:
                check_array(weight, (None,) * weight.ndim, name)
                if weight.ndim > len(given.shape):
                    raise ShapeError(f"{name} of {weight.shape} does not fit {given}")
                for size, own in zip(weight.shape[::-1], given.shape[::-1], strict=False):
                    if size != 1:
                        check_size(own, size, f"places for {name}")
        return [Tensor(given.shape)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        if call.dtype == np.float32 and arrays[0].size and self._is_of_features(arrays[0].ndim, call):
            return [self._by_kernels(arrays[0].astype(np.float32, order="C", copy=False))]
        wide = arrays[0].astype(np.float64)
        with np.errstate(all="ignore"):
            if not self.rms:
                wide = self._within(wide - self._mean(wide, call), call)
            wide = wide / np.sqrt(self._mean(wide * wide, call) + self.epsilon)
            wide = wide if self.gamma is None else wide * self.gamma
            wide = wide if self.beta is None else wide + self.beta
            return [wide.astype(call.dtype)]

    def _is_of_features(self, rank: int, call: Call) -> bool:
        """Whether only the last axis is taken together, and no row ends along it."""
        if tuple(axis_of(axis, rank) for axis in self.axes) != (rank - 1,):
            return False
        return call.rows is None or not has_steps(call.rows[0].layout[-1])

    def _by_kernels(self, x: Array) -> Array:
        from ...engine.program import normalize
        from ...options import kernel_table

        weights = [weight if weight is None else _of_rows(weight, x.shape) for weight in (self.gamma, self.beta)]
        return normalize(kernel_table(), x, weights[0], weights[1], self.epsilon, self.rms)

    def _mean(self, wide: Array, call: Call) -> Array:
        """Over the axes: of the last one alone as NumPy adds up, of others place by place, whatever a row's length."""
        if self._is_of_features(wide.ndim, call):
            return np.asarray(wide.mean(axis=-1, keepdims=True))
        taken = Call(np.dtype(np.float64), call.sizes, call.rows)
        return Reduce("mean", self.axes, True).compute([wide], taken)[0]

    def _within(self, wide: Array, call: Call) -> Array:
        """With zeros beyond each row's end, which must not count in the variance."""
        real = None if call.rows is None else call.rows[0].real(wide.shape)
        return wide if real is None else np.where(real, wide, 0)

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        from ...options import kernel_table

        x = writer.cast(inputs[0], "f")
        if x is None or [axis_of(axis, len(x.shape)) for axis in self.axes] != [len(x.shape) - 1]:
            return None
        weights = [
            None if weight is None else writer.constant(weight.astype(np.float64), "d").expanded(x.shape)
            for weight in (self.gamma, self.beta)
        ]
        made = writer.new(x.shape)
        writer.write("normalize", [made], kernel_table(), made, x, *weights, self.epsilon, self.rms)
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        Reduce("mean", self.axes, True).follow(inputs, shapes)
        return [inputs[0]]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [0.0]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = any(has_steps(inputs[0][axis_of(axis, len(inputs[0]))]) for axis in self.axes)
        return "takes the statistics of all steps" if along else None


def _of_rows(weight: Array, shape: tuple[int, ...]) -> Array:
    """A weight as float64 for each place of the last axis, or of all axes if it has more than that one."""
    own = shape[-1:] if weight.ndim < 2 else shape
    return np.ascontiguousarray(np.broadcast_to(weight.astype(np.float64), own))
