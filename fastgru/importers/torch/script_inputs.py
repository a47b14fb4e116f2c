"""What the inputs of TorchScript's code are: their number of axes and the kind of their numbers, which no file says.

Each input is taken for a sequence of floats, (batch, steps, features), until the code cannot be followed so; then what
the operation in the way was made of is taken for something else. Whatever is found is right for the inputs that it
takes: a graph checks the axes of every call, and follows the code as it is for that many.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Union

from ...checkpoint.torchscript_syntax import Expression, Function, Index, Items, Name
from ...errors import FastGRUError, UnsupportedModelError
from ...graph.builder import Builder, Value
from ...graph.graph import BOOLEAN, FLOAT, INTEGER
from ...graph.size import symbol

__all__ = ["Attempt", "Guess", "Leaf", "made_inputs", "parameters_of", "searched"]

MAX_INPUTS = 16
MAX_ATTEMPTS = 60


class Guess(NamedTuple):
    """What an input is taken for."""

    rank: int
    kind: str


# The usual first.
GUESSES = tuple(
    Guess(rank, kind)
    for rank, kind in (
        (3, FLOAT), (2, FLOAT), (2, INTEGER), (1, INTEGER), (4, FLOAT), (2, BOOLEAN), (1, FLOAT), (3, BOOLEAN),
        (3, INTEGER), (1, BOOLEAN), (4, BOOLEAN), (5, FLOAT), (0, INTEGER), (0, FLOAT),
    )
)  # fmt: skip


class Leaf(NamedTuple):
    """One tensor among the inputs, by its name."""

    name: str


Part = Union[Leaf, tuple["Part", ...]]
Parameter = Union[Part, None]  # None where the default is taken


def parameters_of(function: Function, where: str) -> list[Parameter]:
    """What the forward takes behind ``self``; what has a default is left at it."""
    found: list[Parameter] = []
    types = function.types or (None,) * len(function.parameters)
    for (name, default), kind in zip(function.parameters[1:], types[1:], strict=True):
        found.append(None if default is not None else _part(name, kind, where))
    if len(list(leaves_of(found))) > MAX_INPUTS or len(found) > 4 * MAX_INPUTS:
        raise UnsupportedModelError(f"{where}: its forward has more than {MAX_INPUTS} parameters")
    return found


def _part(name: str, kind: Expression | None, where: str) -> Part:
    if kind is None or kind == Name("Tensor") or kind == Index(Name("Optional"), (Name("Tensor"),)):
        return Leaf(name)
    if isinstance(kind, Index) and kind.value == Name("Tuple"):
        items = kind.items[0].items if len(kind.items) == 1 and isinstance(kind.items[0], Items) else kind.items
        if 0 < len(items) <= MAX_INPUTS:
            return tuple(_part(f"{name}_{at}", each, where) for at, each in enumerate(items))
    raise UnsupportedModelError(
        f"{where}: its forward takes {name[:80]!r}, which is no tensor; trace the module with what that is "
        "(torch.jit.trace), or give an example: fastgru.from_torch(module, example)"
    )


def leaves_of(part: Any) -> Iterator[str]:
    """The names of the tensors, in order."""
    if isinstance(part, Leaf):
        yield part.name
    elif part is not None:
        for each in part:
            yield from leaves_of(each)


def made_inputs(parameters: Sequence[Parameter], guesses: Mapping[str, Guess], builder: Builder) -> list[Any]:
    """The inputs of the graph, in the structure that the forward takes; None for what has a default."""

    def made(part: Any) -> Any:
        if isinstance(part, Leaf):
            rank, kind = guesses[part.name]
            shape = [symbol(f"{part.name}_{axis}") for axis in range(rank)]
            return builder.input(part.name, shape, kind)
        return None if part is None else tuple(made(each) for each in part)

    return [made(each) for each in parameters]


class Attempt(NamedTuple):
    """What came of one way of taking the inputs."""

    result: Any  # None where it failed
    error: FastGRUError | None
    progress: int  # operations that were followed
    blamed: frozenset[str]  # inputs on which the operation in the way depends
    certain: frozenset[str]  # inputs that an operation has taken for what they were taken for
    size: int = 0  # how many axes all values have together
    is_last: bool = False  # whether there is no work left to spend on another


Guesses = Mapping[str, Guess]


def searched(names: Sequence[str], attempt: Callable[[Guesses], Attempt]) -> Any:
    """What the best way of taking the inputs gives that can be followed to the end.

    The ways that led furthest are gone on with first. Where there are several inputs, those of which no operation is
    sure are taken for something with fewer axes if all values together have fewer axes then: one that was taken for
    too many is broadcast against the others, and makes values of axes that nobody meant.

    Raises
    ------
    FastGRUError
        That of the way that led furthest.
    """
    found = _first(names, attempt)
    if len(names) == 1:
        return found[1].result
    guesses, best = found
    for name in names[1:]:
        for guess in GUESSES:
            if name in best.certain or best.is_last or guess.rank >= guesses[name].rank:
                continue
            made = attempt({**guesses, name: guess})
            if made.error is None and made.size < best.size:
                best, guesses = made, {**guesses, name: guess}
    return best.result


def _first(names: Sequence[str], attempt: Callable[[Guesses], Attempt]) -> tuple[Guesses, Attempt]:
    """The first way that can be followed to the end."""
    start = dict.fromkeys(names, GUESSES[0])
    waiting: list[tuple[int, int, int, dict[str, Guess]]] = [(0, 0, 0, start)]
    seen = {tuple(start.items())}
    furthest: Attempt | None = None
    for _ in range(MAX_ATTEMPTS):
        if not waiting:
            break
        guesses = heapq.heappop(waiting)[3]
        made = attempt(guesses)
        if made.error is None:
            return guesses, made
        if furthest is None or made.progress > furthest.progress:
            furthest = made
        if made.is_last:
            break
        integers = "integers" in str(made.error)
        for name in names:
            if name not in made.blamed:
                continue
            for guess in GUESSES:
                changed = {**guesses, name: guess}
                key = tuple(changed.items())
                if key not in seen:
                    seen.add(key)
                    cost = sum(GUESSES.index(each) for each in changed.values()) + 100 * (name in made.certain)
                    cost -= 20 * (integers and guess.kind == INTEGER)
                    heapq.heappush(waiting, (-made.progress, cost, len(seen), changed))
    assert furthest is not None and furthest.error is not None
    raise furthest.error


def inputs_behind(builder: Builder, inputs: Mapping[int, str], operands: Sequence[Value]) -> frozenset[str]:
    """The names of the inputs on which values depend; all where there are none."""
    wanted = {value.place for value in operands}
    for node in reversed(builder.nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs)
    found = frozenset(name for place, name in inputs.items() if place in wanted)
    return found or frozenset(inputs.values())
