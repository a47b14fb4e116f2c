"""The formula of every activation that Keras and PyTorch have, in float64 NumPy: the definition of each.

A formula's keyword arguments are its options and their defaults. It is given float64 arrays whose first axis is the
batch, changes none of them, and is free to overflow, underflow and compute with NaN: whoever calls it wants no warning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMULAS", "sigmoid", "softmax"]

Array = NDArray[Any]

# erfc(x) exp(x^2) for x >= 0 as a polynomial in (4 - x) / (4 + x): its interpolation at 22 Chebyshev points, within
# 7e-16 of it, computed with 60 digits.
_ERFC = (
    0.13699945762506144, 0.2590680487601717, 0.21871967891825023, 0.16425781669728917, 0.10896317739949331,
    0.0631078156405381, 0.03129905650946151, 0.012843946018779312, 0.004060263698399383, 0.0007991269148180322,
    -2.1762074248607736e-05, -7.898365425362107e-05, -2.255498238141092e-05, 1.9045738125016195e-06,
    2.9425016481725e-06, 4.062429789853215e-07, -2.8150179151028765e-07, -9.332788860326101e-08,
    2.3270090926444534e-08, 1.324726314486992e-08, -1.3639835103201336e-09, -1.1135088284602945e-09,
)  # fmt: skip


def _gelu(x: Array, *, approximate: bool = False) -> Array:
    """x times the normal distribution up to x, or the tanh form of it: 1 + tanh(u) = 2 sigmoid(2 u)."""
    if approximate:
        return np.asarray(x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x)))
    size = np.abs(x) * math.sqrt(0.5)
    at = (4 - np.minimum(size, 30)) / (4 + np.minimum(size, 30))  # erfc(30) is 0 in float64
    series = np.full_like(at, _ERFC[-1])
    for coefficient in _ERFC[-2::-1]:
        series *= at
        series += coefficient
    beyond = 0.5 * np.exp(-size * size) * series  # of the distribution on the far side of x
    return np.asarray(x * np.where(x > 0, 1 - beyond, beyond))


def _glu(x: Array, *, axis: int = -1) -> Array:
    """The first half along an axis, gated by the second."""
    kept, gate = np.split(x, 2, axis=axis)
    return np.asarray(kept * sigmoid(gate))


def _log_softmax(x: Array, *, axis: int = -1) -> Array:
    below = x - x.max(axis=axis, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(axis=axis, keepdims=True)))


def _relu(x: Array, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Array:
    """x above the threshold and at most ``max_value``; below it ``negative_slope * (x - threshold)``."""
    kept = np.maximum(x, 0) if threshold == 0 else np.where(x <= threshold, 0, x)
    if max_value is not None:
        kept = np.clip(kept, 0, max_value)
    return kept if negative_slope == 0 else kept + negative_slope * np.minimum(x - threshold, 0)


def _selu(x: Array) -> Array:
    return 1.0507009873554804934193349852946 * np.where(x > 0, x, 1.6732632423543772848170429916717 * np.expm1(x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), with all its digits on both sides."""
    power = np.abs(np.asarray(x, np.float64))
    np.exp(np.negative(power, out=power), out=power)
    above = np.minimum(x, 0.0)
    np.exp(above, out=above)  # 1, or the power on the left
    return np.asarray(np.divide(above, np.add(power, 1, out=power), out=above))


def softmax(x: Array, *, axis: int | tuple[int, ...] = -1) -> Array:
    """exp(x) over its sum along an axis, or several."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _softplus(x: Array, *, beta: float = 1.0, threshold: float | None = None) -> Array:
    """log(1 + exp(beta x)) / beta; x itself where ``beta * x`` is above the threshold, as in PyTorch."""
    scaled = beta * x
    y = (np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))) / beta
    return y if threshold is None else np.where(scaled > threshold, x, y)


def _sparsemax(x: Array, *, axis: int = -1) -> Array:
    """The point of the simplex nearest to x: max(x - t, 0) with the t that makes the sum 1 (arXiv 1602.02068)."""
    below = x - x.max(axis=axis, keepdims=True)
    sums, within = _support(below, axis)
    k = np.count_nonzero(within, axis=-1, keepdims=True)
    t = (np.take_along_axis(sums, k - 1, axis=-1) - 1) / k
    return np.asarray(np.maximum(below - np.moveaxis(t, -1, axis), 0))


def _sparsemax_keras315(x: Array, *, axis: int = -1) -> Array:
    """What Keras up to 3.15 means by sparsemax: its t adds the sums themselves, so that results add up to less than 1.

    It is mended in later versions (keras-team/keras pull request 23469); a model computes as it was trained.
    """
    sums, _ = _support(x, axis)
    _, within = _support(x - x.max(axis=axis, keepdims=True), axis)
    k = np.count_nonzero(within, axis=-1, keepdims=True)
    t = (np.where(within | np.isnan(sums), sums, 0).sum(axis=-1, keepdims=True) - 1) / k
    return np.asarray(np.maximum(x - np.moveaxis(t, -1, axis), 0))


def _support(x: Array, axis: int) -> tuple[Array, Array]:
    """With an axis sorted to fall and put last: the sums of its first k numbers, and which stay above zero.

    Those are the first k, k being the last for which 1 + k x_k > x_1 + ... + x_k.
    """
    falling = np.sort(np.moveaxis(x, axis, -1), axis=-1)[..., ::-1]
    sums = np.cumsum(falling, axis=-1)
    return sums, 1 + np.arange(1, x.shape[axis] + 1) * falling > sums


def _squareplus(x: Array, *, b: float = 4.0) -> Array:
    """(x + sqrt(x^2 + b)) / 2; for x < 0 as b / 2 / (sqrt(x^2 + b) - x), which loses no digits."""
    root = np.hypot(x, math.sqrt(b))
    return np.where(x >= 0, (x + root) / 2, b / (2 * (root - x)))


def _tanh_shrink(x: Array) -> Array:
    """x - tanh(x), near zero by its series, for there the difference loses all digits."""
    square = x * x
    series = x * square * (1 / 3 - square * (2 / 15 - square * (17 / 315 - square * (62 / 2835))))
    return np.where(np.abs(x) < 0.05, series, x - np.tanh(x))


def _threshold(x: Array, *, threshold: float, default_value: float) -> Array:
    return np.where(x <= threshold, default_value, x)


# Results at NaN are NaN; at -inf they are what the formula gives, as in the frameworks: silu's is -inf * 0, a NaN.
FORMULAS: dict[str, Callable[..., Array]] = {
    "celu": lambda x, *, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(x / alpha)),
    "elu": lambda x, *, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(x)),
    "exponential": lambda x: np.exp(x),
    "gelu": _gelu,
    "glu": _glu,
    "hard_shrink": lambda x, *, threshold=0.5: np.where(np.abs(x) <= threshold, 0, x),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid_keras2": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x, *, min_value=-1.0, max_value=1.0: np.clip(x, min_value, max_value),
    "leaky_relu": lambda x, *, negative_slope=0.2: np.where(x > 0, x, negative_slope * x),
    "linear": lambda x: x,
    "log_sigmoid": lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    "log_softmax": _log_softmax,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "relu": _relu,
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": _selu,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "soft_shrink": lambda x, *, threshold=0.5: x - np.clip(x, -threshold, threshold),
    "softmax": softmax,
    "softmin": lambda x, *, axis=-1: softmax(-x, axis=axis),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "sparsemax": _sparsemax,
    "sparsemax_keras315": _sparsemax_keras315,
    "squareplus": _squareplus,
    "tanh": lambda x: np.tanh(x),
    "tanh_shrink": _tanh_shrink,
    "threshold": _threshold,
}
