"""Operations that make values of sizes and integers: ranges, constants, one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ShapeError
from ..graph import BOOLEAN, FLOAT, INTEGER, Tensor
from ..layout import BATCH, Axis, Layout, Mixed, is_steps_size, steps_axis
from ..size import Size, Sizes
from .operation import Array, Call, Operation, one_input

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..writer import Writer

__all__ = ["Arange", "Full", "Longest", "OneHot", "SizeOf"]


class OneHot(Operation):
    """A last axis of ``classes`` places, 1 at the integer and 0 elsewhere."""

    classes: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if given.dtype != INTEGER or type(self.classes) is not int or not 0 < self.classes < 1 << 31:
            raise ShapeError(f"takes integers and a number of classes, got {given} and {self.classes!r}")
        return [Tensor((*given.shape, self.classes), INTEGER)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        index = arrays[0]
        if index.size and (index.min() < 0 or index.max() >= self.classes):
            raise ShapeError(
                f"got the integer {int(index.min())} or {int(index.max())}, wanted 0 to {self.classes - 1}"
            )
        return [(index[..., None] == np.arange(self.classes)).astype(np.int64)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        return [(*inputs[0], (self.classes,))]


class Arange(Operation):
    """``start, start + step, ...`` up to before ``stop``; whole numbers where all three are."""

    start: Any
    stop: Any
    step: Any = 1

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        whole = not any(isinstance(each, float) for each in (self.start, self.stop, self.step))
        if whole and type(self.step) is int and self.step > 0:
            count = (self.stop - self.start + (self.step - 1)) // self.step
        elif all(isinstance(each, (int, float)) for each in (self.start, self.stop, self.step)) and self.step:
            count = int(np.ceil((self.stop - self.start) / self.step))
        else:
            raise ShapeError(f"counts from {self.start} to {self.stop} by {self.step}, which is not known")
        if isinstance(count, int) and not 0 <= count < 1 << 31:
            raise ShapeError(f"counts from {self.start} to {self.stop} by {self.step}")
        return [Tensor((count,), INTEGER if whole else FLOAT)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        bounds = [each if isinstance(each, float) else call.size(each) for each in (self.start, self.stop, self.step)]
        whole = all(isinstance(each, int) for each in bounds)
        return [np.arange(*bounds, dtype=np.int64 if whole else call.dtype)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        return _constant(self, writer)

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        count = self.infer([])[0].shape[0]
        if isinstance(count, int):
            if any(is_steps_size(each) for each in (self.start, self.stop, self.step)):
                raise Mixed("counts from the number of steps, which rows of their own lengths have not alike")
            return [((),) if count == 1 else ((count,),)]
        if is_steps_size(count) and isinstance(self.start, int):
            return [(steps_axis(count),)]
        raise Mixed("counts the rows of the batch")


class Full(Operation):
    """One number everywhere."""

    alike = True
    shape: Sizes
    value: Any
    kind: str = FLOAT

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if self.kind not in (FLOAT, INTEGER, BOOLEAN) or not isinstance(self.value, (int, float)):
            raise ShapeError(f"is filled with {self.value!r} of kind {self.kind!r}, wanted a number")
        return [Tensor(self.shape, self.kind)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        dtype = {FLOAT: call.dtype, INTEGER: np.dtype(np.int64), BOOLEAN: np.dtype(bool)}[self.kind]
        return [np.broadcast_to(np.asarray(self.value, dtype), [call.size(size) for size in self.shape])]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        return _constant(self, writer)

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axes: list[Axis] = []
        for size in self.shape:
            if isinstance(size, int):
                axes.append(() if size == 1 else (size,))
            elif str(size) == "batch":
                axes.append((BATCH,))
            elif is_steps_size(size):
                axes.append(steps_axis(size))
            elif any(name == "batch" or name.startswith("steps") for name in size.symbols()):
                raise Mixed(f"makes an axis of {size} places")
            else:
                axes.append((size,))
        return [tuple(axes)]


class SizeOf(Operation):
    """A size as a number."""

    size: Size

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [Tensor((), INTEGER)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        return [np.asarray(call.size(self.size), np.int64)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        return _constant(self, writer)

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        if isinstance(self.size, int):
            return [()]
        raise Mixed(f"computes with the number of {' and '.join(sorted(self.size.symbols()))}")

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        return "computes with the number of steps" if not isinstance(self.size, int) else None


class Longest(Operation):
    """The lengths of rows as they are, where they are 1 to ``steps``; with ``reached`` the longest has all steps."""

    steps: Size
    reached: bool = True

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if given.dtype != INTEGER or len(given.shape) != 1:
            raise ShapeError(f"takes the lengths of rows, got {given}")
        return [given]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        lengths, steps = arrays[0], call.size(self.steps)
        if lengths.size and (lengths.min() < 1 or lengths.max() > steps):
            raise ShapeError(f"got lengths from {lengths.min()} to {lengths.max()}, wanted 1 to {steps}, the steps")
        if self.reached and lengths.max(initial=0) != steps:
            raise ShapeError(
                f"got {steps} steps and rows of at most {lengths.max(initial=0)}; cut the input to its longest row"
            )
        return [lengths]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        raise Mixed("has the lengths of the rows as an input, beside which there can be no others")

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        return "takes the lengths of the rows"


def _constant(operation: Operation, writer: Writer) -> list[Strided] | None:
    """What an operation without inputs gives in this call."""
    made = np.asarray(operation.compute([], Call(writer.setup.dtype, writer.sizes))[0])
    inner = made[tuple(slice(None) if stride else slice(1) for stride in made.strides)] if made.ndim else made
    kind = {"f": "f", "i": "i", "b": "b"}[made.dtype.kind]
    part = writer.constant(inner, kind).expanded(made.shape)
    return None if part is None else [part]
