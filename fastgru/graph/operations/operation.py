"""The base of every operation: what it takes and gives, what it computes, and what it does to rows and steps.

An operation is one class. Its fields are its options and weights; ``infer`` is its rule for shapes, ``compute`` its
meaning in NumPy, ``emit`` how it becomes instructions, ``follow`` its rule for the batch and the steps. Nothing else
has to know it: what is not said in a class has the base's answer, which refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ...errors import FastGRUError, ShapeError
from ...records.record import Record, arrays_in
from ...weights.matrices import Matrix
from ..graph import Tensor
from ..layout import Layout, Mixed, Rows
from ..size import Expression, Size, Sizes, Unequal, evaluate, size_text

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..streaming import Streams
    from ..streams import Flow
    from ..writer import Writer

__all__ = [
    "Array",
    "Call",
    "Compute",
    "Operation",
    "Setup",
    "Unstreamed",
    "axis_of",
    "check_fields",
    "check_rank",
    "check_size",
    "one_input",
]

Array = NDArray[Any]


class Setup:
    """What an operation is prepared for: the dtype of its numbers, and the options of the model."""

    def __init__(self, dtype: np.dtype[Any], options: Mapping[str, Any]) -> None:
        self.dtype = dtype
        self.options = options  # precision, n_threads, backend
        self._made: dict[tuple[int, str], Any] = {}
        self._shared: dict[int, tuple[Operation, Operation]] = {}

    def once(self, operation: Operation, what: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives for an operation, made once: packed weights, which every way of running it shares."""
        _, operation = self._shared.get(id(operation), (operation, operation))
        key = id(operation), what
        if key not in self._made:
            self._made[key] = operation, make()
        return self._made[key][1]

    def made(self) -> list[Any]:
        """All that was made once."""
        return [each for _, each in self._made.values()]

    @property
    def arrays(self) -> list[Array]:
        """The arrays in what was made once."""
        return arrays_in(self.made())

    def share(self, operation: Operation, other: Operation) -> None:
        """Let an operation have what was made for another with the same weights."""
        self._shared[id(operation)] = operation, self._shared.get(id(other), (other, other))[1]


class Call:
    """One call of a model: what its symbols are, and where rows end, if they have lengths of their own."""

    def __init__(self, dtype: np.dtype[Any], sizes: Mapping[str, int], rows: Sequence[Rows] | None = None) -> None:
        self.dtype = dtype
        self.sizes = sizes
        self.rows = rows  # of each input of the operation that computes; None without lengths

    def size(self, size: Size) -> int:
        """The number that a size is in this call."""
        return evaluate(size, self.sizes)

    def ends(self, array: Array, axis: int, place: int = 0) -> NDArray[np.intp] | None:
        """How many steps each row of input ``place`` has along an axis, kept at one place; None if all are real."""
        return None if self.rows is None else self.rows[place].ends(array.shape, axis)

    def least(self, array: Array, axis: int) -> int:
        """How many steps the shortest row of the first input has along an axis."""
        ends = self.ends(array, axis)
        return int(array.shape[axis] if ends is None else ends[ends > 0].min(initial=array.shape[axis]))


Compute = Callable[[Sequence[Array], Call], Sequence[Array]]


class Unstreamed(FastGRUError):
    """An operation needs more than the steps so far; the message is the reason."""


class Operation(Record):
    """What a node does."""

    fresh = False  # whether its outputs are always arrays with memory of their own
    alike = False  # whether steps that it makes of a value without steps are all alike

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What each output is.

        Raises
        ------
        ShapeError
            The inputs or the options do not fit; the message begins where the caller has named the operation.
        """
        raise NotImplementedError

    def prepare(self, setup: Setup) -> Compute:
        """The operation as a function, with its weights packed where a kernel takes them so."""
        return self.compute

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        """The outputs, one array each."""
        raise NotImplementedError

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        """Write the operation's instructions; the outputs, of which one that nothing reads may be None.

        None where it has no instructions for such inputs: then it runs in NumPy. What it writes computes what
        ``compute`` does, and keeps every row's bits apart from the batch that it is in.
        """
        return None

    def needs_lengths(self, inputs: Sequence[Layout]) -> bool:
        """Whether what it computes depends on where rows end, in a way that its instructions do not know."""
        return self.looks(inputs) is not None

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        """Where the batch and the steps of the inputs, which have these shapes, are in each output.

        Raises
        ------
        Mixed
            An output would be computed of several rows, or of steps in a way that lengths cannot be followed through.
        """
        raise Mixed("is not known to keep rows apart")

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        """What stands beyond each row's end, by input, when it computes; None where that does not matter."""
        return [None] * len(inputs)

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        """Why a step of the outputs needs more than the same step of the inputs; None where it does not."""
        return None

    def stream(self, inputs: Sequence[Flow], here: Streams) -> Sequence[Flow]:
        """How it goes through a graph some steps at a time: what it adds to it, and keeps from one step to the next.

        Raises
        ------
        Unstreamed
            It needs more than the steps so far.
        """
        reason = self.looks([flow.layout for flow in inputs])
        if reason is not None:
            raise Unstreamed(f"it {reason}")
        return here.each(self, inputs)

    def described(self) -> str:
        """One line for a person: options that are not the default, and the shapes of weights."""
        options = []
        for name, value in self.fields().items():
            if isinstance(value, (np.ndarray, Matrix)):
                options.append(f"{name}={size_text(value.shape)}")
            elif value is not None and value != getattr(type(self), name, None):
                options.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(options)})"


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of an operation's fields."""
    return get_type_hints(kind)


def check_fields(operation: Operation) -> None:
    """Raise unless every field is of the type that its class says: files say what they like."""
    kind: Any = type(operation)
    hints = _hints(kind)
    for name, value in operation.fields().items():
        if not _is_of(value, hints[name]):
            raise ShapeError(f"{name} is {str(value)[:60]} of type {type(value).__name__}, wanted {_text(hints[name])}")


def _is_of(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return value is None or isinstance(value, (bool, int, float, str, Expression))
    if origin in (Union, UnionType):
        return any(_is_of(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(parts) == 2 and parts[1] is Ellipsis:
            return all(_is_of(each, parts[0]) for each in value)
        return len(value) == len(parts) and all(map(_is_of, value, parts))
    if hint in (int, float):
        wanted = (int, np.integer) if hint is int else (int, float, np.integer, np.floating)
        return isinstance(value, wanted) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint) or (hint is np.ndarray and isinstance(value, Matrix))


def _text(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint)) if get_origin(hint) is None else str(hint).replace("typing.", "")


def one_input(inputs: Sequence[Tensor]) -> Tensor:
    """The one input of an operation that takes one."""
    if len(inputs) != 1:
        raise ShapeError(f"takes one input, got {len(inputs)}")
    return inputs[0]


def check_rank(tensor: Tensor, *ranks: int) -> None:
    """Raise unless a value has one of these numbers of axes."""
    if len(tensor.shape) not in ranks:
        raise ShapeError(f"takes {' or '.join(map(str, ranks))} axes, got {size_text(tensor.shape)}")


def check_size(got: Size, wanted: Size, what: str) -> None:
    """Raise unless two sizes are the same; one that is open may turn out to be."""
    if got != wanted:
        raise Unequal(f"got {got} {what}, wanted {wanted}", got, wanted)


def axis_of(axis: object, rank: int) -> int:
    """The place of an axis, counted from the end where it is negative."""
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool) or not -rank <= axis < rank:
        raise ShapeError(f"axis is {axis!r}, wanted {-rank} to {rank - 1}")
    return int(axis) % rank
