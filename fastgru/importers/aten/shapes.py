"""PyTorch's operations on the shape of a value: views, transposes, and axes of one place.

Where they only rename axes they make no layer. The batch stays a whole axis of its own throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...spec import RepeatVector, Reshape, Select
from .builder import Builder
from .parts import MAX_PARTS, axis_of, rank_of, selected, size
from .values import Array, Size, Stack, Unknown, Weight, Zeros, described, known, same_size

__all__ = [
    "expand",
    "flatten",
    "movedim",
    "mt",
    "permute",
    "squeeze",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
    "zeros",
]  # fmt: skip

MAX_RANK = 8


def zeros(b: Builder, size: Any) -> Zeros:
    return Zeros(tuple(size) if isinstance(size, (list, tuple)) else ())


# Other shapes of the same numbers.


def view(b: Builder, self: Any, size: Any) -> Any:
    if isinstance(self, Weight):
        return _weight_view(b, self, size)
    x = b.array(self)
    _check_sizes(b, size)
    if list(size).count(-1) > 1:
        raise b.error("has more than one size of -1")
    b.counts_axes()
    kept = 0
    while kept < min(len(size), len(x.sizes)) and _stays(x.sizes, list(size), kept):
        kept += 1
    made = _reshaped(b, x, kept, kept, list(size[kept:]))
    _note_sizes(b, x, made, list(size))
    return made


def _note_sizes(b: Builder, x: Array, made: Array, wanted: list[Any]) -> None:
    """Note numbers beside a -1, which takes up what they leave: without it PyTorch fails where they do not fit."""
    if -1 not in wanted:
        return
    for number in wanted:
        if type(number) is int and number in b.evidence.sizes():
            what = f"takes the size {number} beside -1"
            if wanted[-1] == -1 and made.edge != x.edge:
                b.evidence.note_until_required(made.edge, b.operation, what)
            else:
                b.note(what)


def _check_sizes(b: Builder, size: Any) -> None:
    if not isinstance(size, (list, tuple)) or len(size) > MAX_RANK:
        raise b.error(f"its sizes are {described(size)}, wanted a list of at most {MAX_RANK}")
    if not all(type(each) is int or isinstance(each, Unknown) for each in size):
        raise b.error("its sizes are not all whole numbers")


def _weight_view(b: Builder, weight: Weight, size: Any) -> Weight:
    _check_sizes(b, size)
    numbers = [known(each) for each in size]
    if any(number not in (-1, 1, *weight.array.shape) for number in numbers):
        b.note(f"takes the sizes {described(list(size))}")
    rest = [number for number in numbers if number != -1]
    if None in rest or numbers.count(-1) > 1 or min((number for number in rest if number is not None), default=1) < 1:
        raise b.error(f"a weight of {weight.array.shape} cannot become {described(numbers)}")
    total = math.prod(number for number in rest if number is not None)
    if weight.array.size % total or (-1 not in numbers and total != weight.array.size):
        raise b.error(f"a weight of {weight.array.shape} cannot become {described(numbers)}")
    if not weight.array.flags.c_contiguous:
        b.charge(weight.array.size)
    return weight._replace(array=weight.array.reshape([number for number in numbers if number is not None]))


def _stays(sizes: Sequence[Size], wanted: list[Any], at: int) -> bool:
    """Whether the axis ``at`` is as it was; where it is -1, because all behind it multiplies to the same."""
    if wanted[at] != -1:
        return same_size(sizes[at], wanted[at])
    before, after = list(sizes[at + 1 :]), wanted[at + 1 :]
    for each in list(before):
        match = next((other for other in after if same_size(each, other)), None)
        if match is not None:
            before.remove(each)
            after.remove(match)
    return _product(before) == _product(after) is not None


def _product(sizes: Sequence[Any]) -> int | None:
    numbers = [known(size) for size in sizes]
    return None if None in numbers else math.prod(number for number in numbers if number is not None)


def flatten(b: Builder, self: Any, start_dim: int = 0, end_dim: int = -1) -> Array:
    x = b.array(self)
    first, last = axis_of(b, start_dim, len(x.order)), axis_of(b, end_dim, len(x.order))
    if last <= first:
        return x
    together = _product(x.sizes[first : last + 1])
    return _reshaped(b, x, first, last + 1, [-1 if together is None else together])


def unflatten(b: Builder, self: Any, dim: int, sizes: Any) -> Array:
    x = b.array(self)
    at = axis_of(b, dim, len(x.order))
    _check_sizes(b, sizes)
    made = _reshaped(b, x, at, at + 1, list(sizes))
    _note_sizes(b, x, made, list(sizes))
    return made


def _reshaped(b: Builder, x: Array, first: int, end: int, sizes: list[Any]) -> Array:
    """PyTorch's axes from ``first`` to before ``end`` (or all that follow) become ``sizes``."""
    rank = len(x.order)
    if end == first:
        end = rank
    old, rest = x.sizes[first:end], list(range(end, rank))
    if len(old) == len(sizes) and all(same_size(*pair) for pair in zip(old, sizes, strict=True)):
        return x
    batch = x.order.index(0)
    if first <= batch < end:
        raise b.layout_error("the batch is taken together with other axes, or apart")
    sizes = [_resolved(b, each, old, sizes) for each in sizes]
    before = [dim for dim in range(first) if dim != batch]
    dims = [batch, *before, *range(first, end), *(dim for dim in rest if dim != batch)]
    edge = b.arranged(x, dims)
    parts = [[x.sizes[dim] for dim in before], sizes, [x.sizes[dim] for dim in rest if dim != batch]]
    shape = [each for part in parts for each in part]
    numbers = tuple(-1 if known(each) is None else int(known(each) or 0) for each in shape)
    if numbers.count(-1) > 1 or not numbers:
        raise b.error("makes a shape with more than one size that is not known, or with no axis but the batch")
    name = b.add("reshape", Reshape(numbers), edge)
    places = [0 if dim == batch else 1 + before.index(dim) for dim in range(first)]
    made = [1 + len(before) + at for at in range(len(sizes))]
    behind = [dim for dim in rest if dim != batch]
    places += made + [0 if dim == batch else 1 + len(before) + len(sizes) + behind.index(dim) for dim in rest]
    return Array(name, (b.batch, *shape), tuple(places))


def _resolved(b: Builder, size: Any, old: Sequence[Size], new: Sequence[Any]) -> Size:
    """A new size, where -1 is what the others leave; raise where a number stands for steps that are not known."""
    total = _product(old)
    open_steps = any(isinstance(each, Unknown) and each.opened and each.value is None for each in old)
    if open_steps and not any(each is other for each in old for other in new if isinstance(each, Unknown)):
        raise b.error("its numbers depend on how many steps the model was exported with")
    if size != -1:
        return size  # type: ignore[no-any-return]
    others = _product([each for each in new if each != -1])
    return Unknown() if total is None or not others else total // others


def permute(b: Builder, self: Any, dims: Any) -> Any:
    rank = rank_of(b, self)
    if not isinstance(dims, (list, tuple)) or len(dims) != rank:
        raise b.error(f"dims is {described(dims)}, wanted {rank} axes")
    places = tuple(axis_of(b, dim, rank) for dim in dims)
    if len(set(places)) != rank:
        raise b.error(f"dims is {described(dims)}, wanted every axis once")
    return _permuted(b, self, places)


def _permuted(b: Builder, self: Any, places: Sequence[int]) -> Any:
    if isinstance(self, Weight):
        return self._replace(array=self.array.transpose(places))
    x = b.array(self)
    return x._replace(order=tuple(x.order[place] for place in places))


def transpose(b: Builder, self: Any, dim0: int, dim1: int) -> Any:
    rank = rank_of(b, self)
    dims = list(range(rank))
    one, other = axis_of(b, dim0, rank), axis_of(b, dim1, rank)
    dims[one], dims[other] = dims[other], dims[one]
    return _permuted(b, self, dims)


def t(b: Builder, self: Any) -> Any:
    if rank_of(b, self) > 2:
        raise b.error("takes two axes at most")
    return transpose(b, self, 0, 1) if rank_of(b, self) == 2 else self


def mt(b: Builder, self: Any) -> Any:
    return transpose(b, self, -2, -1)


def movedim(b: Builder, self: Any, source: Any, destination: Any) -> Any:
    rank = rank_of(b, self)
    source, destination = (each[0] if isinstance(each, (list, tuple)) and len(each) == 1 else each
                           for each in (source, destination))  # fmt: skip
    dims = list(range(rank))
    moved = dims.pop(axis_of(b, source, rank))
    dims.insert(axis_of(b, destination, rank), moved)
    return _permuted(b, self, dims)


def squeeze(b: Builder, self: Any, dim: Any = None) -> Any:
    sizes = size(b, self)
    dims = range(len(sizes)) if dim is None else dim if isinstance(dim, (list, tuple)) else [dim]
    places = sorted({axis_of(b, each, len(sizes)) for each in dims}, reverse=True)
    for place in places:
        if known(sizes[place]) == 1:
            self = selected(b, self, place, 0)
        elif known(sizes[place]) is None:
            _keep(b, sizes[place], place, certain=dim is not None)
    return self


def _keep(b: Builder, size: Any, place: int, certain: bool) -> None:
    """An axis of unknown size stays where it has two places or more, as it had in the example."""
    if size.example == 1 or (certain and size.example is None) or not b.is_input_size(size):
        raise b.layout_error(f"axis {place} may be the batch, or have more than one place")
    if size.opened:
        b.note("drops axes of one place")
    size.least = max(size.least, 2)
    size.why = f"{b.operation.partition(' ')[0]} drops an axis of one place, so that one alone is another model"


def unsqueeze(b: Builder, self: Any, dim: int) -> Any:
    if isinstance(self, Weight):
        return self._replace(array=np.expand_dims(self.array, axis_of(b, dim, self.array.ndim + 1)))
    x = b.array(self)
    rank = len(x.order)
    at = axis_of(b, dim, rank + 1)
    if at == 0 and x.order == (0, 1) and not x.integers:
        return Stack((x,))
    place = max(x.order[at], 1) if at < rank else rank
    shape = [*x.shape[1:place], 1, *x.shape[place:]]
    numbers = tuple(-1 if known(each) is None else int(known(each) or 0) for each in shape)
    if numbers.count(-1) > 1:
        raise b.error("more than one size is not known")
    order = [axis + (axis >= place) for axis in x.order]
    order.insert(at, place)
    return Array(b.add("unsqueeze", Reshape(numbers), x.edge), (b.batch, *shape), tuple(order))


def expand(b: Builder, self: Any, size: Any) -> Any:
    """One state for several layers, one vector for several steps, or zeros for anything."""
    if isinstance(self, Zeros):
        own = self.sizes
        fits = isinstance(size, (list, tuple)) and len(size) == len(own)
        return zeros(b, [old if each == -1 else each for each, old in zip(size, own, strict=True)] if fits else size)
    if not isinstance(size, (list, tuple)) or len(size) != len(getattr(self, "sizes", ())):
        raise b.error(f"cannot be expanded to {described(size)}")
    grown = [at for at, each in enumerate(size) if each != -1 and not same_size(self.sizes[at], each)]
    if not grown:
        return self
    count = known(size[grown[0]])
    if len(grown) > 1 or count is None or not 1 <= count <= MAX_PARTS or known(self.sizes[grown[0]]) != 1:
        raise b.error(f"cannot be expanded to {described(size)}")
    if isinstance(self, Stack) and grown == [0]:
        return Stack(self.items * count)
    b.note(f"repeats something {count} times")
    x = b.array(self)
    if len(x.order) != 3 or x.order[grown[0]] != 1:
        raise b.error("only a vector can be expanded, to several steps")
    vector = b.add("select", Select(1, 0), x.edge)
    return Array(b.add("repeat", RepeatVector(count), vector), (b.batch, count, x.shape[2]), x.order)
