"""Operations that take or set places of an axis by their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ShapeError
from ..graph import INTEGER, Tensor
from ..layout import Layout, Mixed, broadcast, has_steps, is_plain, is_steps, is_steps_size
from ..size import Size, Sizes, size_text
from .elementwise import broadcast_shapes
from .operation import Array, Call, Operation, axis_of
from .parts import Slice, check_not_batch, without

__all__ = ["Gather", "Index", "Put", "Scatter", "Take"]


class Take(Operation):
    """The places that integers name along an axis, whose shape takes that axis's place: ``numpy.take``."""

    axis: int = 0

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != 2 or inputs[1].dtype != INTEGER:
            raise ShapeError("takes a value and the integers that name its places")
        place = axis_of(self.axis, len(inputs[0].shape))
        shape = inputs[0].shape
        return [Tensor((*shape[:place], *inputs[1].shape, *shape[place + 1 :]), inputs[0].dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x, index = arrays
        size = x.shape[axis_of(self.axis, x.ndim)]
        if index.size and (index.min() < -size or index.max() >= size):
            wrong = int(index.min()) if index.min() < -size else int(index.max())
            raise ShapeError(f"got the integer {wrong}, wanted {-size} to {size - 1}")
        return [np.take(x, index, axis=self.axis)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        rest = (*inputs[0][:axis], *inputs[0][axis + 1 :])
        if not is_plain(inputs[0][axis]):
            raise Mixed("takes rows, or steps, by their numbers")
        if any(not is_plain(each) for each in rest) and any(not is_plain(each) for each in inputs[1]):
            raise Mixed("takes places of each row by numbers of each row")
        return [(*inputs[0][:axis], *inputs[1], *inputs[0][axis + 1 :])]


class Gather(Operation):
    """``x[i][index[i][j]]`` along an axis: ``numpy.take_along_axis``; other axes are cut to the index's sizes."""

    axis: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != 2 or inputs[1].dtype != INTEGER or len(inputs[0].shape) != len(inputs[1].shape):
            raise ShapeError("takes a value and integers of as many axes")
        axis_of(self.axis, len(inputs[0].shape))
        return [Tensor(inputs[1].shape, inputs[0].dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x, index = arrays
        axis = axis_of(self.axis, x.ndim)
        if any(at != axis and cut > size for at, (size, cut) in enumerate(zip(x.shape, index.shape, strict=True))):
            raise ShapeError(f"got {x.shape} and integers of {index.shape}, wanted no size beyond")
        x = x[tuple(slice(None) if at == axis else slice(cut) for at, cut in enumerate(index.shape))]
        ends = call.ends(x, axis)
        low, high = (int(index.min()), int(index.max())) if index.size else (0, 0)
        if index.size and (low < 0 or high >= x.shape[axis]):
            raise ShapeError(f"got the integer {low if low < 0 else high}, wanted 0 to {x.shape[axis] - 1}")
        if ends is not None and (index >= np.maximum(ends, 1)).any():
            raise ShapeError("got an integer beyond a row's length")
        return [np.take_along_axis(x, index, axis=axis)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        check_not_batch(inputs[0][axis], "takes rows")
        if has_steps(inputs[1][axis]):
            raise Mixed("takes places by numbers of each step")
        return [without(broadcast([without(inputs[0], axis, ()), inputs[1]]), axis, inputs[1][axis])]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        return "takes steps by their numbers" if has_steps(inputs[0][axis_of(self.axis, len(inputs[0]))]) else None


class Index(Operation):
    """Some axes taken by arrays of integers together, as NumPy's ``x[:, i, j]``; input 1 + n is for ``axes[n]``."""

    axes: tuple[int, ...]

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        rank = len(inputs[0].shape)
        places = [axis_of(axis, rank) for axis in self.axes]
        if len(inputs) != 1 + len(places) or places != list(range(places[0], places[0] + len(places))):
            raise ShapeError(f"takes axes {self.axes} by {len(inputs) - 1} arrays, wanted axes beside each other")
        if any(each.dtype != INTEGER for each in inputs[1:]):
            raise ShapeError("takes places by integers")
        shape = broadcast_shapes([each.shape for each in inputs[1:]])
        return [Tensor((*inputs[0].shape[: places[0]], *shape, *inputs[0].shape[places[-1] + 1 :]), inputs[0].dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0]
        for axis, index in zip(self.axes, arrays[1:], strict=True):
            size = x.shape[axis]
            if index.size and (index.min() < -size or index.max() >= size):
                raise ShapeError(f"got the integers {index.min()} to {index.max()}, wanted {-size} to {size - 1}")
        return [x[(slice(None),) * axis_of(self.axes[0], x.ndim) + tuple(arrays[1:])]]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        first, last = (axis_of(self.axes[at], len(inputs[0])) for at in (0, -1))
        if not all(is_plain(axis) for axis in inputs[0][first : last + 1]):
            raise Mixed("takes rows, or steps, by their numbers")
        rest = (*inputs[0][:first], *inputs[0][last + 1 :])
        index = broadcast(inputs[1:])
        if any(not is_plain(axis) for axis in rest) and any(not is_plain(axis) for axis in index):
            raise Mixed("takes places of each row by numbers of each row")
        return [(*inputs[0][:first], *index, *inputs[0][last + 1 :])]


class Scatter(Operation):
    """``x[i][index[i][j]] = y[i][j]`` along an axis, or ``+=`` where it adds; the last of equal integers counts."""

    axis: int
    adds: bool = False

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != 3 or inputs[1].dtype != INTEGER or inputs[0].dtype != inputs[2].dtype:
            raise ShapeError("takes a value, integers that name its places, and values of its kind for them")
        if len({len(each.shape) for each in inputs}) > 1:
            raise ShapeError("takes three inputs of as many axes each")
        axis_of(self.axis, len(inputs[0].shape))
        return [inputs[0]]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x, index, y = arrays
        axis = axis_of(self.axis, x.ndim)
        others = [at for at in range(x.ndim) if at != axis]
        if index.shape != y.shape or any(x.shape[at] != index.shape[at] for at in others):
            raise ShapeError(f"got {x.shape}, integers of {index.shape} and {y.shape} for them, which do not fit")
        if index.size and (index.min() < 0 or index.max() >= x.shape[axis]):
            raise ShapeError(f"got the integers {index.min()} to {index.max()}, wanted 0 to {x.shape[axis] - 1}")
        made = x.astype(np.float64) if self.adds and x.dtype.kind == "f" else x.copy()
        if self.adds:
            places = list(np.meshgrid(*map(np.arange, index.shape), indexing="ij", sparse=True))
            np.add.at(made, (*places[:axis], index, *places[axis + 1 :]), y)
        else:
            np.put_along_axis(made, index, y, axis)
        return [made.astype(x.dtype, copy=False)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        if not is_plain(inputs[0][axis]):
            raise Mixed("puts values in rows, or steps, by their numbers")
        along = broadcast([(inputs[1][axis],), (inputs[2][axis],)])[0]
        if not is_plain(along) and not (self.adds and is_steps(along)):
            raise Mixed("puts values of several rows, or steps, in one place")
        rest = broadcast([without(layout, axis, ()) for layout in inputs])
        return [without(rest, axis, inputs[0][axis])]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [None, 0.0, 0.0]  # nothing is added where a row has ended

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        return "takes all steps together" if has_steps(inputs[1][axis_of(self.axis, len(inputs[1]))]) else None


class Put(Operation):
    """The first input with the second in some places of an axis: ``x[..., start:stop:stride] = y``."""

    axis: int
    start: Size | None = None
    stop: Size | None = None
    stride: int = 1

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != 2:
            raise ShapeError(f"takes two inputs, got {len(inputs)}")
        part = Slice(self.axis, self.start, self.stop, self.stride).infer(inputs[:1])[0]
        if len(part.shape) != len(inputs[1].shape) or any(
            one != other and isinstance(one, int) == isinstance(other, int)
            for one, other in zip(part.shape, inputs[1].shape, strict=True)
        ):
            raise ShapeError(f"puts {size_text(inputs[1].shape)} in a part of {size_text(part.shape)}")
        return [inputs[0]]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0].copy()
        start, stop = (None if bound is None else call.size(bound) for bound in (self.start, self.stop))
        part = x[(slice(None),) * axis_of(self.axis, x.ndim) + (slice(start, stop, self.stride),)]
        if part.shape != arrays[1].shape:
            raise ShapeError(f"puts {arrays[1].shape} in a part of {part.shape}")
        part[...] = arrays[1]
        return [x]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        if not is_plain(inputs[0][axis]):
            raise Mixed("puts values in some steps, or rows")
        if any(bound is not None and is_steps_size(bound) for bound in (self.start, self.stop)):
            raise Mixed("puts values in places by the number of steps, which rows of their own lengths have not alike")
        return [without(broadcast([without(layout, axis, ()) for layout in inputs]), axis, inputs[0][axis])]
