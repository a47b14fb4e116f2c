"""PyTorch's operations along axes: sums, means, extremes, softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.builder import Value
from ...graph.graph import BOOLEAN, FLOAT
from ...graph.operations.along import AlongAxis, CumulativeExtreme, CumulativeProduct, CumulativeSum, Glu, TopK
from ...graph.operations.elementwise import Binary, Cast, Unary, Where
from ...graph.operations.parts import Slice
from ...graph.operations.reduce import ArgExtreme, Norm, Reduce
from ...graph.operations.shape import View
from ..calls import Context
from .elementwise import converted

__all__ = [
    "along",
    "arg",
    "cumsum",
    "cumulative_extreme",
    "extreme",
    "glu",
    "logsumexp",
    "norm",
    "normalize",
    "reduced",
    "sort",
    "topk",
    "variance",
]


def reduced(name: str) -> Callable[..., Any]:
    """The sum, mean, product, maximum, minimum, any or all over some axes, or over all."""

    def run(c: Context, self: Any, dim: Any = None, keepdim: Any = False, dtype: Any = None) -> Any:
        x = c.value(self)
        if dtype is not None:
            x = converted(c, x, dtype)
        return c.add(Reduce(name, c.axes(dim, x.rank), bool(keepdim)), x)

    return run


def extreme(name: str) -> Callable[..., Any]:
    """``max`` and ``min``: over all places, over one axis with where it was, or of two values."""

    def run(c: Context, self: Any, dim: Any = None, keepdim: Any = False, other: Any = None) -> Any:
        x = c.value(self)
        if isinstance(dim, Value) and (dim.rank or other is None) and dim.known is None:
            other = dim
        if other is not None:
            return c.add(Binary(f"{name}imum"), x, other)
        if dim is None:
            return c.add(Reduce(name, tuple(range(x.rank))), x)
        axis = c.axis(dim, x.rank)
        return c.add(Reduce(name, (axis,), bool(keepdim)), x), c.add(ArgExtreme(name, axis, bool(keepdim)), x)

    return run


def arg(name: str) -> Callable[..., Any]:
    """``argmax`` and ``argmin``; without an axis over all places in their order."""

    def run(c: Context, self: Any, dim: Any = None, keepdim: Any = False) -> Any:
        x = c.value(self)
        if dim is None:
            return c.add(ArgExtreme(name, 0), c.add(View((-1,)), x))
        return c.add(ArgExtreme(name, c.axis(dim, x.rank), bool(keepdim)), x)

    return run


def variance(name: str) -> Callable[..., Any]:
    """``var`` and ``std``; ``unbiased`` is a correction of 1."""

    def run(
        c: Context, self: Any, dim: Any = None, correction: Any = None, keepdim: Any = False, unbiased: Any = None
    ) -> Any:
        x = c.value(self)
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if isinstance(correction, bool):
            unbiased, correction = correction, None
        less = (
            float(unbiased)
            if unbiased is not None
            else 1.0
            if correction is None
            else c.number(correction, "correction")
        )
        return c.add(Reduce(name, c.axes(dim, x.rank), bool(keepdim), float(less)), x)

    return run


def with_mean(name: str) -> Callable[..., Any]:
    """``var_mean`` and ``std_mean``."""
    spread = variance(name)

    def run(c: Context, self: Any, dim: Any = None, correction: Any = None, keepdim: Any = False,
            unbiased: Any = None) -> Any:  # fmt: skip
        made = spread(c, self, dim, correction, keepdim, unbiased)
        return made, reduced("mean")(c, self, None if isinstance(dim, bool) else dim, keepdim)

    return run


def norm(c: Context, self: Any, p: Any = 2, dim: Any = None, keepdim: Any = False, dtype: Any = None) -> Any:
    x = c.value(self)
    order = 2.0 if p is None or p == "fro" else float(c.number(p, "p"))
    return c.add(Norm(axes=c.axes(dim, x.rank), keepdims=bool(keepdim), p=order), x)


def vector_norm(c: Context, self: Any, ord: Any = 2, dim: Any = None, keepdim: Any = False, dtype: Any = None) -> Any:
    return norm(c, self, ord, dim, keepdim)


def linalg_norm(
    c: Context, self: Any, ord: Any = None, dim: Any = None, keepdim: Any = False, dtype: Any = None
) -> Any:
    """Of vectors; the norms of matrices are another thing."""
    matrices = c.value(self).rank == 2 if dim is None else isinstance(dim, (list, tuple)) and len(dim) == 2
    if ord is not None and matrices:
        raise c.error("takes the norm of matrices")
    return norm(c, self, ord, dim, keepdim)


def along(name: str) -> Callable[..., Any]:
    """softmax and the like."""

    def run(c: Context, self: Any, dim: Any, dtype: Any = None) -> Any:
        x = c.value(self)
        if isinstance(dtype, bool):
            dtype = None  # half_to_float of the inner operations
        if dtype is not None:
            x = converted(c, x, dtype)
        return c.add(AlongAxis(name, c.axis(dim, x.rank)), x)

    return run


def logsumexp(c: Context, self: Any, dim: Any, keepdim: Any = False) -> Any:
    """Over axes: the maximum and the logarithm of the sum of what is left."""
    x = c.value(self)
    axes = c.axes(dim, x.rank)
    most = c.add(Reduce("max", axes, True), x)
    most = c.add(Where(), c.add(Unary("isinf"), most), 0.0, most)  # an infinity is not taken from itself
    total = c.add(Reduce("sum", axes, True), c.add(Unary("exp"), c.add(Binary("sub"), x, most)))
    made = c.add(Binary("add"), most, c.add(Unary("log"), total))
    return made if keepdim else c.add(Reduce("max", axes, False), made)


def glu(c: Context, self: Any, dim: Any = -1) -> Any:
    x = c.value(self)
    return c.add(Glu(c.axis(dim, x.rank)), x)


def cumsum(c: Context, self: Any, dim: Any, dtype: Any = None) -> Any:
    x = c.value(self)
    return c.add(CumulativeSum(c.axis(dim, x.rank)), x if dtype is None else converted(c, x, dtype))


def cumulative_extreme(name: str) -> Callable[..., Any]:
    def run(c: Context, self: Any, dim: Any) -> Any:
        x = c.value(self)
        return c.add(CumulativeExtreme(name, c.axis(dim, x.rank)), x)

    return run


def topk(c: Context, self: Any, k: Any, dim: Any = -1, largest: Any = True, sorted: Any = True) -> Any:
    x = c.value(self)
    return c.add(TopK(c.integer(k, "k"), c.axis(dim, x.rank), bool(largest)), x)


def sort(c: Context, self: Any, dim: Any = -1, descending: Any = False, stable: Any = None) -> Any:
    x = c.value(self)
    axis = c.axis(dim, x.rank)
    size = x.shape[axis]
    if not isinstance(size, int):
        raise c.error(f"sorts an axis whose size is open, {size}")
    return c.add(TopK(size, axis, bool(descending)), x)


def cumprod(c: Context, self: Any, dim: Any, dtype: Any = None) -> Any:
    x = c.value(self)
    return c.add(CumulativeProduct(c.axis(dim, x.rank)), x if dtype is None else converted(c, x, dtype))


def argsort(c: Context, self: Any, dim: Any = -1, descending: Any = False, stable: Any = None) -> Any:
    return sort(c, self, dim, descending)[1]


def kth(c: Context, self: Any, k: Any, dim: Any = -1, keepdim: Any = False) -> Any:
    """The k-th smallest place of an axis, and where it was."""
    x, count = c.value(self), c.integer(k, "k")
    axis = c.axis(dim, x.rank)
    made = [c.add(Slice(axis, count - 1, count), each) for each in c.add(TopK(count, axis, False), x)]
    return tuple(made if keepdim else (c.add(View((*x.shape[:axis], *x.shape[axis + 1 :])), each) for each in made))


def median(c: Context, self: Any, dim: Any = None, keepdim: Any = False) -> Any:
    """The lower of two in the middle."""
    x = c.value(self) if dim is not None else c.add(View((-1,)), self)
    size = x.shape[0 if dim is None else c.axis(dim, x.rank)]
    if not isinstance(size, int):
        raise c.error(f"sorts an axis whose size is open, {size}")
    axis = 0 if dim is None else c.axis(dim, x.rank)
    values, places = kth(c, x, (size + 1) // 2, axis, True)
    if x.dtype == FLOAT:
        is_nan = c.add(Unary("isnan"), c.add(Reduce("max", (axis,), True), x))
        places = c.add(Where(), is_nan, c.add(ArgExtreme("max", axis, True), x), places)
    made = (_nan_of(c, x, axis, values), places)
    if not (keepdim and dim is not None):
        made = tuple(c.add(View((*x.shape[:axis], *x.shape[axis + 1 :])), each) for each in made)
    return made[0] if dim is None else made


def _nan_of(c: Context, x: Any, axis: int, made: Any) -> Any:
    """What was made of an axis that it keeps, but NaN where there is one on the axis."""
    if x.dtype != FLOAT:
        return made
    most = c.add(Reduce("max", (axis,), True), x)
    return c.add(Where(), c.add(Unary("isnan"), most), most, made)


def quantile(
    c: Context, self: Any, q: Any, dim: Any = None, keepdim: Any = False, interpolation: Any = "linear"
) -> Any:
    x = c.value(self) if dim is not None else c.add(View((-1,)), self)
    axis = 0 if dim is None else c.axis(dim, x.rank)
    size, share = x.shape[axis], c.number(q, "q")
    if not isinstance(size, int) or interpolation != "linear":
        raise c.error(f"sorts an axis whose size is open, {size}, or interpolates in a way of its own")
    ordered = sort(c, x, axis)[0]
    place = share * (size - 1)
    low = c.add(Slice(axis, int(place), int(place) + 1), ordered)
    high = c.add(Slice(axis, min(int(place) + 1, size - 1), min(int(place) + 1, size - 1) + 1), ordered)
    rise, rest = c.add(Binary("sub"), high, low), place - int(place)
    if rest < 0.5:  # as PyTorch interpolates: from the nearer one
        between = c.add(Binary("add"), low, c.add(Binary("mul"), rise, rest))
    else:
        between = c.add(Binary("sub"), high, c.add(Binary("mul"), rise, 1 - rest))
    made = _nan_of(c, x, axis, between)
    return made if keepdim else c.add(View((*x.shape[:axis], *x.shape[axis + 1 :])), made)


def count_nonzero(c: Context, self: Any, dim: Any = None) -> Any:
    return reduced("sum")(c, c.add(Binary("ne"), self, 0), dim)


def cdist(c: Context, x1: Any, x2: Any, p: Any = 2.0, compute_mode: Any = None) -> Any:
    """The distance of every row of one to every row of the other."""
    one, two = c.value(x1), c.value(x2)
    rows = c.add(View((*one.shape[:-1], 1, one.shape[-1])), one)
    columns = c.add(View((*two.shape[:-2], 1, *two.shape[-2:])), two)
    return norm(c, c.add(Binary("sub"), rows, columns), p, -1)


def normalize(c: Context, self: Any, p: Any = 2, dim: Any = 1, eps: Any = 1e-12) -> Any:
    x = c.value(self)
    length = c.add(Norm(axes=(c.axis(dim, x.rank),), keepdims=True, p=float(c.number(p, "p"))), x)
    return c.add(Binary("div"), x, c.add(Binary("maximum"), length, float(c.number(eps, "eps"))))


def truth(name: str) -> Callable[..., Any]:
    """``any`` and ``all``."""

    def run(c: Context, self: Any, dim: Any = None, keepdim: Any = False) -> Any:
        x = c.value(self)
        x = x if x.dtype == BOOLEAN else c.add(Cast(BOOLEAN), x)
        return c.add(Reduce(name, c.axes(dim, x.rank), bool(keepdim)), x)

    return run


def cosine_similarity(c: Context, x1: Any, x2: Any, dim: Any = 1, eps: Any = 1e-8) -> Any:
    one, two = c.value(x1), c.value(x2)
    axis = c.axis(dim, max(one.rank, two.rank))
    product = c.add(Reduce("sum", (axis,)), c.add(Binary("mul"), one, two))
    lengths = [
        c.add(Binary("maximum"), c.add(Norm(axes=(axis,), p=2.0), each), float(c.number(eps, "eps")))
        for each in (one, two)
    ]
    return c.add(Binary("div"), product, c.add(Binary("mul"), *lengths))
