"""Layers of products: tables, matrices and kernels. Matrices are in the orientation of PyTorch: one row an output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import check_array
from ..errors import ShapeError, UnsupportedModelError
from ..weights.matrices import check_matrix
from ..weights.records import MatrixRecord
from . import operations as op
from .elementwise import activated, signal_after
from .flow import Flow
from .layer import Layer, only
from .signal import Signal, check_choice, check_count, numbers, same
from .windows import PADDINGS, windows

if TYPE_CHECKING:
    from .scope import Scope

__all__ = ["Conv1D", "Dense", "Embedding"]


class Embedding(MatrixRecord, Layer):
    """Row ``weight[i]`` for every integer i; with ``mask_zero`` the integer 0 is a step to leave out."""

    weight: np.ndarray  # (vocabulary, features)
    mask_zero: bool = False

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        check_matrix(self.matrices[0], (None, None), f"{where}: weight")
        given = only(inputs, where)
        if given.kind != "integers":
            raise ShapeError(f"{where}: an Embedding takes integers and must come first")
        if self.mask_zero and len(given.shape) > 1:
            raise UnsupportedModelError(f"{where}: mask_zero=True with {given}: masks are supported for (steps,) a row")
        return [Signal((*given.shape, self.weight_shape[1]))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        ids = inputs[0].value
        made = s.add(s.once(self, "", op.Embedding(self.matrices[0])), ids)
        masks = self.mask_zero and ids.rank == 2
        return [Flow(made, s.add(op.Binary("ne"), ids, 0) if masks else inputs[0].mask)]

    def described(self) -> str:
        vocabulary, features = self.weight_shape
        return f"Embedding({vocabulary}, {features}{', mask_zero=True' if self.mask_zero else ''})"


class Dense(MatrixRecord, Layer):
    """``activation(x @ weight.T + bias)`` on the last axis."""

    weight: np.ndarray  # (outputs, inputs)
    bias: np.ndarray | None = None  # (outputs,)
    activation: Any = "linear"

    @property
    def input_features(self) -> int:
        return int(self.weight_shape[1])

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        check_matrix(self.matrices[0], (None, given.features), f"{where}: weight")
        if self.bias is not None:
            check_array(self.bias, (self.weight_shape[0],), f"{where}: bias")
        made = given.with_features(self.weight_shape[0])
        return [signal_after(self.activation, made, f"{where}: activation", within=True)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        made = s.add(s.once(self, "", op.Linear(self.matrices[0], self.bias)), inputs[0].value)
        return [Flow(activated(s, self.activation, made), inputs[0].mask)]

    def described(self) -> str:
        named = "" if self.activation == "linear" else f", activation={self.activation!r}"
        return f"Dense({self.weight_shape[1]}, {self.weight_shape[0]}{named})"


class Conv1D(MatrixRecord, Layer):
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
        return int(self.weight_shape[1]) * self.groups

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where, 2)
        check_choice(self.padding, PADDINGS, f"{where}: padding")
        for name in ("strides", "dilation", "groups"):
            check_count(getattr(self, name), f"{where}: {name}")
        check_matrix(self.matrices[0], (None, None, None), f"{where}: weight")
        outputs, inputs_each, kernel = self.weight_shape
        if outputs % self.groups:
            raise ShapeError(f"{where}: {outputs} outputs cannot be split into {self.groups} groups")
        if not same(given.features, inputs_each * self.groups):
            raise ShapeError(f"{where}: got {given.features} features, wanted {inputs_each * self.groups}")
        if self.bias is not None:
            check_array(self.bias, (outputs,), f"{where}: bias")
        steps = windows(given.shape[0], kernel, self.strides, self.padding, self.dilation, where)
        return [signal_after(self.activation, Signal((steps, outputs)), f"{where}: activation", within=True)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        padding: Any = (0, 0) if self.padding == "valid" else self.padding
        (weight,), strides, dilation = self.matrices, (self.strides,), (self.dilation,)
        operation = op.Convolution(weight, self.bias, strides, (padding,), dilation, self.groups)
        made = s.check_left(s.add(s.once(self, "", operation), inputs[0].value), 1)
        return [Flow(activated(s, self.activation, made))]

    def described(self) -> str:
        outputs, inputs, kernel = self.weight_shape
        named = [
            f", {name}={getattr(self, name)!r}"
            for name in ("activation", "strides", "padding", "dilation", "groups")
            if getattr(self, name) != getattr(Conv1D, name)
        ]
        return f"Conv1D({inputs * self.groups}, {outputs}, {kernel}{''.join(named)})"
