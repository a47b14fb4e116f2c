"""What the inputs of TorchScript's code are: their number of axes and the kind of their numbers, which no file says.

Each input is taken for a sequence of floats, (batch, steps, features), until the code cannot be followed so; then what
the operation in the way was made of is taken for something else. Whatever is found is right for the inputs that it
takes: a graph checks the axes of every call, and follows the code as it is for that many.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Union

from ...checkpoint.torchscript.tree import Expression, Function, Index, Items, Name
from ...errors import FastGRUError, UnsupportedModelError
from ...graph.builder import Builder, Value
from ...graph.graph import BOOLEAN, FLOAT, INTEGER, Graph
from ...graph.size import Expression as Size_
from ...graph.size import symbol

__all__ = ["Attempt", "Guess", "Leaf", "doubt_of", "made_inputs", "parameters_of", "searched"]

MAX_INPUTS = 16
MAX_ATTEMPTS = 60
MAX_OPERANDS = 8  # of an operation in the way that are asked for the inputs behind them
MAX_IMPROVED = 1000  # operations of code that is followed again to find out which of several ways was meant


class Guess(NamedTuple):
    """What an input is taken for."""

    rank: int
    kind: str


# The usual first.
GUESSES = tuple(
    Guess(rank, kind)
    for rank, kind in (
        (3, FLOAT), (2, FLOAT), (2, INTEGER), (1, INTEGER), (4, FLOAT), (2, BOOLEAN), (1, FLOAT), (3, BOOLEAN),
        (3, INTEGER), (1, BOOLEAN), (4, BOOLEAN), (5, FLOAT),
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
    blamed: Mapping[str, int]  # inputs on which the operation in the way depends, and how many axes it was given
    certain: Mapping[str, bool]  # inputs of whose kind an operation leaves no doubt, and whether of their rank either
    doubt: tuple[int, int, int] = (0, 0, 0)  # of a graph: the less, the more likely it is the one that was meant
    is_last: bool = False  # whether no other way can help


Guesses = Mapping[str, Guess]


class _Way(NamedTuple):
    """A way that waits to be tried; the smallest is the next."""

    unlikely: int  # how much it goes against what operations have shown
    progress: int  # of the way that it is a change of, negative
    cost: int
    order: int
    guesses: dict[str, Guess]


def searched(names: Sequence[str], attempt: Callable[[Guesses], Attempt]) -> Any:
    """What the best way of taking the inputs gives that can be followed to the end.

    The ways that led furthest are gone on with first. Where there are several inputs, those of which no operation is
    sure are also taken for something else: what has the batch of the others and no size of its own is what was most
    likely meant.

    Raises
    ------
    FastGRUError
        That of the way that led furthest.
    """
    guesses, best = _first(names, attempt)
    if best.progress > MAX_IMPROVED:
        return best.result
    for name in names[len(names) > 1 :]:  # of a lone input the kind alone
        for guess in sorted(GUESSES, key=lambda guess: guess.kind != FLOAT):
            before = guesses[name]
            sure = best.certain.get(name)
            wider = guess.rank == before.rank and guess.kind == FLOAT != before.kind  # which takes integers too
            if sure is not None or guess == before or guess.rank > 3 or (len(names) == 1 and not wider):
                continue
            made = attempt({**guesses, name: guess})
            if made.error is None and (made.doubt < best.doubt or (wider and made.doubt == best.doubt)):
                best, guesses = made, {**guesses, name: guess}
    return best.result


def _first(names: Sequence[str], attempt: Callable[[Guesses], Attempt]) -> tuple[Guesses, Attempt]:
    """The first way that can be followed to the end."""
    starts = [dict.fromkeys(names, GUESSES[at]) for at in range(2)]
    waiting = [_Way(0, -(1 << 30), at, at, start) for at, start in enumerate(starts)]
    tried: set[tuple[Any, ...]] = set()
    shown: dict[str, tuple[Guess, bool]] = {}  # what operations have left no doubt of, and whether of the rank either
    furthest: tuple[tuple[int, int], Attempt] | None = None
    while waiting and len(tried) < MAX_ATTEMPTS:
        way = heapq.heappop(waiting)
        key = tuple(way.guesses.items())
        unlikely = _against(way.guesses, shown)
        if key in tried or (tried and unlikely > 1):
            continue
        if unlikely > way.unlikely:
            heapq.heappush(waiting, way._replace(unlikely=unlikely))
            continue
        tried.add(key)
        made = attempt(way.guesses)
        if made.error is None:
            return way.guesses, made
        for name, sure in made.certain.items():
            if name not in shown or sure > shown[name][1]:
                shown[name] = way.guesses[name], sure
        place = (-_against(way.guesses, shown), made.progress)
        if furthest is None or place > furthest[0]:
            furthest = place, made
        if made.is_last:
            break
        for changed, cost in _changes(way.guesses, made):
            against = _against(changed, shown)
            heapq.heappush(waiting, _Way(against, -made.progress, cost, len(tried) * 1000 + len(waiting), changed))
    assert furthest is not None and furthest[1].error is not None
    raise furthest[1].error


def _against(guesses: Guesses, shown: Mapping[str, tuple[Guess, bool]]) -> int:
    """How much guesses go against what operations have shown."""
    total = 0
    for name, (guess, sure) in shown.items():
        other = guesses[name]
        total += 2 * (other.kind != guess.kind or (sure and other.rank != guess.rank)) or other != guess
    return total


_INTEGERS = ("takes integers", "by integers", "and integers")


def _changes(guesses: dict[str, Guess], made: Attempt) -> Iterator[tuple[dict[str, Guess], int]]:
    """Ways that take one of the blamed inputs for something else, and what they cost."""
    message = str(made.error)
    wanted = INTEGER if any(each in message for each in _INTEGERS) else BOOLEAN if "takes booleans" in message else None
    for name, given in made.blamed.items():
        rank = guesses[name].rank
        for guess in GUESSES:
            changed = {**guesses, name: guess}
            cost = sum(GUESSES.index(each) for each in changed.values())
            if guess.kind == wanted:  # most operations on integers take (batch, steps); booleans keep their axes
                usual = rank if wanted == BOOLEAN else rank - given + 2
                cost -= 60 if guess.rank == usual and "takes integers, got" in message else 40
            yield changed, cost


def doubt_of(graph: Graph) -> tuple[int, int, int]:
    """How many inputs have not the batch of the first, how many sizes only one has, and how many axes all values have.

    The batch is what the first input has as its first size.
    """
    shapes = [graph.tensors[source.value].shape for source in graph.inputs]
    symbols = [{name for size in shape if isinstance(size, Size_) for name in size.symbols()} for shape in shapes]
    first = next((size.symbols() for size in shapes[0][:1] if isinstance(size, Size_)), frozenset()) if shapes else ()
    own, alone = 0, 0
    for at, each in enumerate(symbols[1:], 1):
        others: set[str] = set().union(*symbols[:at], *symbols[at + 1 :])
        own += len(each - others)
        alone += not each & set(first)
    return alone, own, sum(len(graph.tensors[out].shape) for node in graph.nodes for out in node.outputs)


def inputs_behind(builder: Builder, inputs: Mapping[int, str], operands: Sequence[Value]) -> dict[str, int]:
    """The inputs on which values depend, and the number of axes of the value; all inputs where there are none."""
    found: dict[str, int] = {}
    for value in operands[:MAX_OPERANDS]:
        wanted = {value.place}
        for node in reversed(builder.nodes):
            if wanted & set(node.outputs):
                wanted |= set(node.inputs)
        found.update({name: value.rank for place, name in inputs.items() if place in wanted})
    return found or dict.fromkeys(inputs.values(), 0)
