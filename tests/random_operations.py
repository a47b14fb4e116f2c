"""Random graphs of operations, for what must hold of every graph; nothing here asserts a promise of the package.

A graph follows from its seed alone. It takes ``x`` (batch, steps, 6), ``v`` (batch, 6) and integers ``ids`` (batch,
steps).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from networks import network

from fastgru.errors import FastGRUError
from fastgru.graph.builder import Builder, Value
from fastgru.graph.graph import BOOLEAN, FLOAT, INTEGER, Graph
from fastgru.graph.operations.along import AlongAxis, CumulativeSum, Glu
from fastgru.graph.operations.convolution import Convolution
from fastgru.graph.operations.create import Full
from fastgru.graph.operations.elementwise import Activation, Binary, Cast, Clamp, Unary, Where
from fastgru.graph.operations.matmul import MatMul
from fastgru.graph.operations.normalization import BatchNorm, Normalize
from fastgru.graph.operations.operation import Operation
from fastgru.graph.operations.parts import Flip, Pad, Select, Slice
from fastgru.graph.operations.pooling import Pool, Upsample
from fastgru.graph.operations.product import Embedding, Linear
from fastgru.graph.operations.recurrent import GRU, GRUCell
from fastgru.graph.operations.reduce import Reduce
from fastgru.graph.operations.shape import Concatenate, Expand, Permute, View
from fastgru.graph.size import symbol

WORDS = 7
UNARY = (
    "abs", "ceil", "floor", "isnan", "neg", "round", "sign", "sqrt", "square", "trunc", "reciprocal", "exp", "log1p",
    "sin", "erf", "atan", "expm1",
)  # fmt: skip
ACTIVATIONS = (
    "relu", "tanh", "sigmoid", "hard_sigmoid", "relu6", "leaky_relu", "elu", "gelu", "silu", "softplus", "mish",
    "softsign", "log_sigmoid", "selu",
)  # fmt: skip
ARITHMETIC = ("add", "sub", "mul", "maximum", "minimum", "div", "pow")
COMPARISONS = ("eq", "ge", "gt", "le", "lt", "ne")


class Maker:
    """Appends operations to a builder, each to values that it fits."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng([seed, 77])
        self.builder = Builder()
        batch, steps = symbol("batch"), symbol("steps")
        self.values: list[Value] = [
            self.builder.input("x", (batch, steps, 6)),
            self.builder.input("v", (batch, 6)),
            self.builder.input("ids", (batch, steps), INTEGER),
        ]

    def one(self, of: Any) -> Any:
        return of[int(self.random.integers(len(of)))]

    def whole(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def numbers(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape).astype(np.float32)

    def value(self, kind: str | None = None, rank: int | None = None) -> Value | None:
        """A value of a kind and a rank, more often one of the latest."""
        fitting = [v for v in self.values if kind in (None, v.dtype) and rank in (None, v.rank)]
        if not fitting:
            return None
        return fitting[-1] if self.chance(0.5) else self.one(fitting)

    def axis(self, value: Value) -> int:
        place = self.whole(0, max(0, value.rank - 1))
        return place - value.rank if self.chance(0.5) else place

    def size(self, value: Value, axis: int = -1) -> int:
        size = value.shape[axis] if value.rank else 1
        return size if isinstance(size, int) else self.whole(1, 4)

    def add(self) -> None:
        """One more operation, if what is chosen fits."""
        made = self.one(KINDS)(self)
        if not made:
            return
        operation, *inputs = made
        try:
            outputs = self.builder.add(operation, *inputs)
        except FastGRUError:
            return
        self.values += outputs if isinstance(outputs, tuple) else (outputs,)

    def unary(self) -> Any:
        given = self.value(FLOAT)
        return given and (Unary(self.one(UNARY)), given)

    def activation(self) -> Any:
        given = self.value(FLOAT)
        name = self.one(ACTIVATIONS)
        options = (("negative_slope", 0.01),) if name == "leaky_relu" and self.chance(0.5) else ()
        return given and (Activation(name, options), given)

    def binary(self) -> Any:
        one = self.value()
        other = self.value(None, one.rank) if self.chance(0.5) else self.builder.constant(self.one(CONSTANTS)(self))
        names = COMPARISONS if self.chance(0.2) else ARITHMETIC
        return other and (Binary(self.one(names)), *((one, other) if self.chance(0.8) else (other, one)))

    def choice(self) -> Any:
        mask = self.value(BOOLEAN)
        if mask is None:
            given = self.value(FLOAT)
            return Binary("gt"), given, self.builder.constant(np.float32(0.1))
        one = self.value(FLOAT, mask.rank) or self.builder.constant(np.float32(2))
        return Where(), mask, one, self.builder.constant(np.float32(-1))

    def cast(self) -> Any:
        given = self.value()
        return Cast(self.one((FLOAT, BOOLEAN) if given.dtype == FLOAT else (FLOAT, INTEGER, BOOLEAN))), given

    def clamp(self) -> Any:
        given = self.value(FLOAT)
        return Clamp(self.one((None, -0.5, 0.0)), self.one((None, 0.7, 6.0))), given

    def linear(self) -> Any:
        given = self.value(FLOAT)
        features, outputs = self.size(given), self.one((1, 3, 6, 17))
        return Linear(self.numbers(outputs, features), self.numbers(outputs) if self.chance(0.7) else None), given

    def product(self) -> Any:
        """Of a value with itself turned, as attention has it, or of two values that may fit."""
        one = self.value(FLOAT)
        if one.rank < 2:
            return None
        turned = self.builder.add(Permute((*range(one.rank - 2), one.rank - 1, one.rank - 2)), one)
        other = self.value(FLOAT)
        return MatMul(), *self.one(((one, turned), (turned, one), (turned, other), (one, other)))

    def embedding(self) -> Any:
        return Embedding(self.numbers(WORDS, self.one((1, 6, 9)))), self.values[2]

    def gru(self) -> Any:
        given = self.value(FLOAT, 3)
        hidden, layers, directions = self.one((1, 3, 6, 17)), self.whole(1, 3), self.whole(1, 2)
        options = {"reset_after": self.chance(0.7), "activation": self.one(("tanh", "tanh", "relu"))}
        return given and (GRU(network(self.size(given), hidden, layers, directions, **options)), given)

    def cell(self) -> Any:
        given = self.value(FLOAT, 2)
        states = self.value(FLOAT, 2) if self.chance(0.5) else None
        hidden = self.size(states) if states else 6
        return given and hidden and (GRUCell(network(self.size(given), hidden)), given, *([states] if states else []))

    def convolution(self) -> Any:
        given = self.value(FLOAT, 3)
        if given is None:
            return None
        features = self.size(given)
        groups = 2 if features % 2 == 0 and self.chance(0.3) else 1
        weight = self.numbers(groups * self.one((1, 3, 8)), features // groups, self.whole(1, 3))
        bias = self.numbers(len(weight)) if self.chance(0.5) else None
        padding = self.one(("same", "causal", (0, 0), (1, 2), (2, 0)))
        return Convolution(weight, bias, (self.whole(1, 2),), (padding,), (self.whole(1, 2),), groups), given

    def pool(self) -> Any:
        given = self.value(FLOAT, 3)
        size = self.whole(1, 3)
        padding = self.one(("same", (0, 0), (size // 2, size // 2)))
        options = (self.whole(1, 3),), (padding,), (self.whole(1, 2),), False, self.chance(0.5)
        return given and (Pool(self.one(("max", "mean")), (size,), *options), given)

    def batch_norm(self) -> Any:
        given = self.value(FLOAT)
        axis = -1 if self.chance(0.7) else self.axis(given)
        size = self.size(given, axis)
        optional = [self.numbers(size) if self.chance(0.5) else None for _ in range(2)]
        return given.rank and (BatchNorm(self.numbers(size), self.numbers(size) ** 2, *optional, 1e-3, axis), given)

    def normalize(self) -> Any:
        given = self.value(FLOAT)
        size = self.size(given)
        optional = [self.numbers(size) if self.chance(0.5) else None for _ in range(2)]
        return given.rank and (Normalize((-1,), *optional, 1e-3, self.chance(0.3)), given)

    def softmax(self) -> Any:
        given = self.value(FLOAT)
        return given.rank and (AlongAxis(self.one(("softmax", "log_softmax", "softmin")), self.axis(given)), given)

    def glu(self) -> Any:
        return Glu(-1), self.value(FLOAT)

    def reduce(self) -> Any:
        given = self.value(FLOAT)
        names = ("sum", "mean", "max", "min", "var")
        return given.rank and (Reduce(self.one(names), (self.axis(given),), self.chance(0.4)), given)

    def cumulative(self) -> Any:
        given = self.value(FLOAT)
        return given.rank and (CumulativeSum(self.axis(given)), given)

    def select(self) -> Any:
        given = self.value()
        return given.rank and (Select(self.axis(given), self.one((-1, -1, 0, 1))), given)

    def slice(self) -> Any:
        given = self.value()
        bounds = self.one((None, 0, 1, -3)), self.one((None, None, 2, -1))
        return given.rank and (Slice(self.axis(given), *bounds, self.whole(1, 2)), given)

    def flip(self) -> Any:
        given = self.value()
        return given.rank and (Flip((self.axis(given),)), given)

    def permute(self) -> Any:
        given = self.value()
        return Permute(tuple(int(axis) for axis in self.random.permutation(given.rank))), given

    def view(self) -> Any:
        given = self.value()
        shapes = [(-1,), (-1, 1), (1, *given.shape), (*given.shape, 1), (*given.shape[:-2], -1)]
        if given.rank and given.shape[-1] == 6:
            shapes += [(*given.shape[:-1], 2, 3), (*given.shape[:-1], 3, 2)]
        return View(self.one(shapes)), given

    def expand(self) -> Any:
        given = self.value()
        return Expand((self.one((1, 2, symbol("batch"))), *given.shape)), given

    def concatenate(self) -> Any:
        one = self.value(FLOAT)
        other = self.value(FLOAT, one.rank)
        return one.rank and (Concatenate(self.axis(one)), one, *([other] if other else []))

    def pad(self) -> Any:
        given = self.value(FLOAT)
        return Pad(tuple((self.whole(0, 1), self.whole(0, 2)) for _ in range(given.rank)), 1.5), given

    def upsample(self) -> Any:
        given = self.value(FLOAT)
        return given.rank and (Upsample(self.whole(0, given.rank - 1), self.whole(1, 3)), given)

    def full(self) -> Any:
        given = self.value(FLOAT)
        return Binary("add"), given, self.builder.add(Full(given.shape[-1:], 0.25))


CONSTANTS = [
    lambda make: np.float32(make.random.standard_normal()),
    lambda make: make.numbers(6),
    lambda make: make.numbers(6, 1),
    lambda make: np.int64(make.whole(-2, 3)),
]
KINDS = [
    Maker.activation, Maker.activation, Maker.batch_norm, Maker.binary, Maker.binary, Maker.cast, Maker.cell,
    Maker.choice, Maker.clamp, Maker.concatenate, Maker.convolution, Maker.cumulative, Maker.embedding, Maker.expand,
    Maker.flip, Maker.full, Maker.glu, Maker.gru, Maker.gru, Maker.linear, Maker.linear, Maker.normalize, Maker.pad,
    Maker.permute, Maker.pool, Maker.product, Maker.reduce, Maker.select, Maker.slice, Maker.softmax, Maker.unary,
    Maker.upsample, Maker.view,
]  # fmt: skip


def random_operations(seed: int, nodes: int = 9) -> Graph:
    """A graph of operations that have instructions, and of some that have none."""
    make = Maker(seed)
    for _ in range(nodes * 2):
        if len(make.values) >= nodes + 3:
            break
        make.add()
    outputs = [make.values[-1], make.one(make.values[3:] or make.values), make.one(make.values)]
    try:
        return make.builder.finish(tuple(value.place for value in outputs))
    except FastGRUError:  # sizes that contradict each other
        return random_operations(seed + 1_000_003, nodes)


def arrays_for(seed: int, batch: int, steps: int) -> dict[str, np.ndarray]:
    """Inputs of a random graph, with a zero, an infinity and a NaN now and then."""
    random = np.random.default_rng([seed, batch, steps])
    x = random.standard_normal((batch, steps, 6)).astype(np.float32)
    x[random.random(x.shape) < 0.02] = 0
    if seed % 10 == 0:
        x[random.random(x.shape) < 0.01] = random.choice([np.nan, np.inf, -np.inf])
    v = random.standard_normal((batch, 6)).astype(np.float32)
    return {"x": x, "v": v, "ids": random.integers(0, WORDS, (batch, steps))}


def of(operation: Operation, *shapes: tuple[int, ...], kinds: str = "") -> Graph:
    """A graph of one operation over inputs of these shapes."""
    builder = Builder()
    names = {"f": FLOAT, "i": INTEGER, "b": BOOLEAN}
    inputs = [
        builder.input(f"x{place}", shape, names[kind])
        for place, (shape, kind) in enumerate(zip(shapes, kinds or "f" * len(shapes), strict=True))
    ]
    made = builder.add(operation, *inputs, name="node")
    outputs = made if isinstance(made, tuple) else (made,)
    return builder.finish(tuple(value.place for value in outputs))
