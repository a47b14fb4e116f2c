"""Layers that normalise: by the statistics of the training, or by those of the value itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import check_array
from ..errors import ShapeError
from . import operations as op
from .flow import Flow
from .layer import Layer, only
from .signal import Signal, axis_of, check_count, numbers, shape_text

if TYPE_CHECKING:
    from .scope import Scope

__all__ = ["BatchNormalization", "GroupNormalization", "LayerNormalization"]


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
        _check_epsilon(self.epsilon, where)
        return [Signal(given.shape)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        operation = op.BatchNorm(self.mean, self.variance, self.gamma, self.beta, float(self.epsilon), self.axis)
        return [inputs[0]._replace(value=s.add(s.once(self, "", operation), inputs[0].value), final=None)]

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
        _check_epsilon(self.epsilon, where)
        return [Signal(given.shape)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        rank = inputs[0].value.rank
        gamma, beta = self._spread(self.gamma, rank), self._spread(self.beta, rank)
        operation = op.Normalize(self.axes, gamma, beta, float(self.epsilon), self.rms)
        mask = None if self.rms else inputs[0].mask  # Keras's RMSNormalization does not hand it on
        return [Flow(s.add(s.once(self, str(rank), operation), inputs[0].value), mask)]

    def _spread(self, weight: np.ndarray | None, rank: int) -> np.ndarray | None:
        """With an axis of one place for every axis that is not normalised."""
        places = [axis % rank for axis in self.axes]
        if weight is None or places == list(range(rank - len(places), rank)):
            return weight
        sizes = dict(zip(places, weight.shape, strict=True))
        return weight.reshape([sizes.get(axis, 1) for axis in range(rank)])

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
        _check_epsilon(self.epsilon, where)
        return [Signal(given.shape)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        x = inputs[0].value
        if x.rank > 2 and inputs[0].mask is not None:
            raise s.error("it normalises over all steps, and some of them are masked")
        size = len(self.gamma) // self.groups
        apart = s.add(op.View((*x.shape[:-1], self.groups, size)), x)
        axes = (*range(1, x.rank - 1), x.rank)
        made = s.add(op.View(x.shape), s.add(op.Normalize(axes, None, None, float(self.epsilon)), apart))
        return [Flow(s.add(op.Binary("add"), s.add(op.Binary("mul"), made, self.gamma), self.beta))]

    def described(self) -> str:
        return f"GroupNormalization({self.groups} groups, epsilon={self.epsilon:g})"


def _check_epsilon(epsilon: object, where: str) -> None:
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 <= epsilon < float("inf"):
        raise ShapeError(f"{where}: epsilon is {epsilon!r}, wanted a number from 0")
