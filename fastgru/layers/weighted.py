"""Layers with weights around the GRUs. Matrices are in the orientation of PyTorch: one row an output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import check_array
from ..errors import ShapeError, UnsupportedModelError
from .layer import Layer, activated, only
from .signal import Signal, check_choice, check_count, numbers, same, shape_text
from .windows import PADDINGS, windows

__all__ = [
    "BatchNormalization",
    "Conv1D",
    "Dense",
    "Embedding",
    "GroupNormalization",
    "LayerNormalization",
    "PReLU",
]


class Embedding(Layer):
    """Row ``weight[i]`` for every integer i; with ``mask_zero`` the integer 0 is a step to leave out."""

    weight: np.ndarray  # (vocabulary, features)
    mask_zero: bool = False

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        check_array(self.weight, (None, None), f"{where}: weight")
        given = only(inputs, where)
        if given.kind != "integers":
            raise ShapeError(f"{where}: an Embedding takes integers and must come first")
        if self.mask_zero and len(given.shape) > 1:
            raise UnsupportedModelError(f"{where}: mask_zero=True with {given}: masks are supported for (steps,) a row")
        return [Signal((*given.shape, self.weight.shape[1]))]

    def described(self) -> str:
        vocabulary, features = self.weight.shape
        return f"Embedding({vocabulary}, {features}{', mask_zero=True' if self.mask_zero else ''})"


class Dense(Layer):
    """``activation(x @ weight.T + bias)`` on the last axis."""

    weight: np.ndarray  # (outputs, inputs)
    bias: np.ndarray | None = None  # (outputs,)
    activation: Any = "linear"

    @property
    def input_features(self) -> int:
        return int(self.weight.shape[1])

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        check_array(self.weight, (None, given.features), f"{where}: weight")
        if self.bias is not None:
            check_array(self.bias, (self.weight.shape[0],), f"{where}: bias")
        made = given.with_features(self.weight.shape[0])
        return [activated(self.activation, made, f"{where}: activation", within=True)]

    def described(self) -> str:
        named = "" if self.activation == "linear" else f", activation={self.activation!r}"
        return f"Dense({self.weight.shape[1]}, {self.weight.shape[0]}{named})"


class Conv1D(Layer):
    """``activation(sum over k, i of weight[o, i, k] x[t * strides + k * dilation - before, i] + bias[o])`` over steps.

    ``padding`` is "valid" (none), "same" (as many steps out as in, for a stride of 1) or "causal" (only before).
    """

    weight: np.ndarray  # (outputs, inputs / groups, kernel)
    bias: np.ndarray | None = None  # (outputs,)
    activation: Any = "linear"
    strides: int = 1
    padding: str = "valid"
    dilation: int = 1
    groups: int = 1

    @property
    def input_features(self) -> int:
        return int(self.weight.shape[1]) * self.groups

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where, 2)
        check_choice(self.padding, PADDINGS, f"{where}: padding")
        for name in ("strides", "dilation", "groups"):
            check_count(getattr(self, name), f"{where}: {name}")
        check_array(self.weight, (None, None, None), f"{where}: weight")
        outputs, inputs_each, kernel = self.weight.shape
        if outputs % self.groups:
            raise ShapeError(f"{where}: {outputs} outputs cannot be split into {self.groups} groups")
        if not same(given.features, inputs_each * self.groups):
            raise ShapeError(f"{where}: got {given.features} features, wanted {inputs_each * self.groups}")
        if self.bias is not None:
            check_array(self.bias, (outputs,), f"{where}: bias")
        steps = windows(given.shape[0], kernel, self.strides, self.padding, self.dilation, where)
        return [activated(self.activation, Signal((steps, outputs)), f"{where}: activation", within=True)]

    def described(self) -> str:
        outputs, inputs, kernel = self.weight.shape
        named = [
            f", {name}={getattr(self, name)!r}"
            for name in ("activation", "strides", "padding", "dilation", "groups")
            if getattr(self, name) != getattr(Conv1D, name)
        ]
        return f"Conv1D({inputs * self.groups}, {outputs}, {kernel}{''.join(named)})"


class PReLU(Layer):
    """``x`` where it is positive, ``weight * x`` elsewhere; the weight is broadcast against (..., features)."""

    weight: np.ndarray

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        rank = self.weight.ndim if isinstance(self.weight, np.ndarray) else 1
        check_array(self.weight, (None,) * rank, f"{where}: weight")
        fits = rank <= len(given.shape) and all(
            size == 1 or same(size, wanted)
            for size, wanted in zip(self.weight.shape[::-1], given.shape[::-1], strict=False)
        )
        if not fits:
            raise ShapeError(f"{where}: weight {self.weight.shape} does not fit {shape_text(given.shape)}")
        return [Signal(given.shape)]


class BatchNormalization(Layer):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` with the statistics of the training, along one axis."""

    mean: np.ndarray  # (features,)
    variance: np.ndarray
    gamma: np.ndarray | None = None
    beta: np.ndarray | None = None
    epsilon: float = 1e-3
    axis: int = -1  # with the batch axis counted

    @property
    def input_features(self) -> int | None:
        return int(self.mean.shape[0]) if self.axis == -1 else None

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        check_array(self.mean, (given.shape[axis_of(self.axis, given, where)],), f"{where}: mean")
        for name in ("variance", "gamma", "beta"):
            if name == "variance" or getattr(self, name) is not None:
                check_array(getattr(self, name), self.mean.shape, f"{where}: {name}")
        check_epsilon(self.epsilon, where)
        return [Signal(given.shape)]

    def described(self) -> str:
        return f"BatchNormalization({len(self.mean)}, epsilon={self.epsilon:g})"


class LayerNormalization(Layer):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, both of x over ``axes``; ``rms`` drops the mean."""

    gamma: np.ndarray | None = None  # of the sizes of ``axes``, in their order
    beta: np.ndarray | None = None
    epsilon: float = 1e-3
    axes: tuple[int, ...] = (-1,)  # with the batch axis counted
    rms: bool = False

    @property
    def input_features(self) -> int | None:
        weights = [weight for weight in (self.gamma, self.beta) if weight is not None]
        return int(weights[0].shape[-1]) if weights and self.axes[-1] == -1 else None

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        if not isinstance(self.axes, tuple) or not self.axes:
            raise ShapeError(f"{where}: axes is {self.axes!r}, wanted a tuple of at least one axis")
        places = [axis_of(axis, given, where) for axis in self.axes]
        if sorted(set(places)) != places:
            raise ShapeError(f"{where}: axes is {self.axes}, wanted each once and in order")
        for name in ("gamma", "beta"):
            if getattr(self, name) is not None:
                check_array(getattr(self, name), tuple(given.shape[place] for place in places), f"{where}: {name}")
        check_epsilon(self.epsilon, where)
        return [Signal(given.shape)]

    def described(self) -> str:
        return f"{'RMSNormalization' if self.rms else 'LayerNormalization'}(epsilon={self.epsilon:g})"


class GroupNormalization(Layer):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, both of x over all steps and a group's features.

    The features are cut into ``groups`` of neighbours. With as many groups as features it is instance normalisation.
    """

    gamma: np.ndarray  # (features,)
    beta: np.ndarray
    groups: int
    epsilon: float = 1e-5

    @property
    def input_features(self) -> int:
        return int(self.gamma.shape[0])

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        if len(given.shape) > 2:
            raise ShapeError(f"{where}: got {shape_text(given.shape)} a row, wanted (steps, features) or (features,)")
        check_array(self.gamma, (given.features,), f"{where}: gamma")
        check_array(self.beta, self.gamma.shape, f"{where}: beta")
        check_count(self.groups, f"{where}: groups")
        if len(self.gamma) % self.groups:
            raise ShapeError(f"{where}: {len(self.gamma)} features cannot be cut into {self.groups} groups")
        if len(given.shape) == 1 and self.groups == len(self.gamma):
            raise ShapeError(f"{where}: each feature is normalised over the steps, and these are gone before it")
        check_epsilon(self.epsilon, where)
        return [Signal(given.shape)]

    def described(self) -> str:
        return f"GroupNormalization({self.groups} groups, epsilon={self.epsilon:g})"


def axis_of(axis: object, given: Signal, where: str) -> int:
    """The place in ``given.shape`` of an axis that counts the batch as 0."""
    rank = len(given.shape) + 1
    whole = isinstance(axis, (int, np.integer)) and not isinstance(axis, bool)
    if not whole or not -rank < axis < rank or axis == 0:  # type: ignore[operator]
        raise ShapeError(f"{where}: axis is {axis!r}, wanted 1 to {rank - 1} or -1 to {1 - rank}")
    return int(axis) % rank - 1  # type: ignore[call-overload, no-any-return]


def check_epsilon(epsilon: object, where: str) -> None:
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 <= epsilon < float("inf"):
        raise ShapeError(f"{where}: epsilon is {epsilon!r}, wanted a number from 0")
