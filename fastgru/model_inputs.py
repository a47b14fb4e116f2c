"""What a model is given: every input by its name, checked, and the lengths of those that have steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import as_integers, as_lengths, as_numbers
from .errors import DTypeError, ShapeError
from .graph.graph import BOOLEAN, FLOAT, INTEGER, Graph
from .graph.layout import BATCH, is_steps
from .graph.limits import check_lengths
from .graph.size import Size, size_text, symbol
from .graph.steps import Analysis
from .layers import Input, ModelSpec

__all__ = ["Source", "as_kind", "as_tuple", "by_name", "lengths_by_symbol", "of_layers", "prepared", "sources_of"]

Array = NDArray[Any]


class Source(NamedTuple):
    """An input of a model. ``batch`` and ``steps`` are the places of these axes, None where there is no such axis."""

    name: str
    kind: str  # FLOAT, INTEGER or BOOLEAN
    shape: tuple[Size, ...]
    batch: int | None = None
    steps: int | None = None
    symbol: str = ""  # of the steps
    called: str = ""  # in messages
    fixed: tuple[tuple[int, int], ...] = ()  # axes that the file fixed, and their sizes
    takes_booleans: bool = True  # for floats, as layers do; code may compute something else of booleans

    @property
    def has_fixed_batch(self) -> bool:
        """Whether the file fixed how many rows run together."""
        return self.batch is not None and any(axis == self.batch for axis, _ in self.fixed)

    @property
    def has_fixed_steps(self) -> bool:
        """Whether it has one number of steps."""
        return self.steps is not None and isinstance(self.shape[self.steps], int)

    def sizes(self, batch: int, steps: int) -> tuple[int, ...]:
        """A shape that it takes, every open size but the batch as large as there are steps."""
        opened = [steps if not isinstance(size, int) else size for size in self.shape]
        if self.batch is not None and not isinstance(self.shape[self.batch], int):
            opened[self.batch] = batch
        for axis, size in self.fixed:
            opened[axis] = size
        return tuple(opened)


def sources_of(graph: Graph, analysis: Analysis, spec: ModelSpec | None) -> list[Source]:
    """The inputs of a graph; one that was made of layers has theirs, which fix more sizes."""
    described: dict[str, Input] = {} if spec is None else {source.name: source for source in spec.inputs}
    sources = []
    for source in graph.inputs:
        tensor, layout = graph.tensors[source.value], analysis.inputs[source.name]
        batch = next((place for place, axis in enumerate(layout) if axis == (BATCH,)), None)
        steps = next((place for place, axis in enumerate(layout) if is_steps(axis)), None)
        name = "" if steps is None else str(layout[steps][0].size)  # type: ignore[union-attr]
        shape, called, fixed = tensor.shape, source.name, tuple((each.axis, each.size) for each in source.fixed)
        if spec is not None:
            layer = described[source.name]
            steps = 1 if layer.has_steps else None
            shape = _sizes(layer, tensor.shape)
            called = "x" if len(described) == 1 else f"x: {source.name!r}"
        takes_booleans = spec is not None
        sources.append(Source(source.name, tensor.dtype, shape, batch, steps, name, called, fixed, takes_booleans))
    return sources


def _sizes(layer: Input, known: Sequence[Size]) -> tuple[Size, ...]:
    """The shape of a layer's input with the batch in front, and a symbol for every size that is open."""
    opened: list[Size] = [symbol("batch")]
    for size, found in zip(layer.shape, known[1:], strict=True):
        fixed = found if size is None else size
        steps = len(opened) == 1 and (layer.integers or len(layer.shape) > 1)
        opened.append(int(fixed) if isinstance(fixed, int) else symbol("steps" if steps else "any"))
    return tuple(opened)


def by_name(
    sources: Sequence[Source], given: tuple[Any, ...], named: Mapping[str, Any], layers: bool
) -> dict[str, Any]:
    """Every input by name, given in order or by name, or all of them in one list, tuple or dict.

    A model of ``layers`` takes several inputs in one list, tuple or dict alone.
    """
    names = [source.name for source in sources]
    lone = given[0] if len(given) == 1 and not named else None
    if isinstance(lone, Mapping):
        given, named = (), lone
        if set(named) != set(names):
            raise ShapeError(f"x: got inputs {sorted(map(str, named))}, wanted {names}")
    elif len(names) > 1 and isinstance(lone, (list, tuple)):
        given = tuple(lone)
        if len(given) != len(names):
            raise ShapeError(
                f"x: got {len(given)} arrays, wanted a list of {len(names)} arrays, or a dict by name, of {names}"
            )
    elif layers and len(names) > 1:
        got = type(lone).__name__ if lone is not None else f"{len(given) + len(named)} arguments"
        raise ShapeError(f"x: got {got}, wanted a list of {len(names)} arrays, or a dict by name, of {names}")
    found = {**dict(zip(names, given, strict=False)), **named}
    if len(given) > len(names) or set(found) != set(names) or len(found) < len(given) + len(named):
        count = f"{len(given) or 'no'} input{'' if len(given) == 1 else 's'}"
        by = f" and by name {', '.join(sorted(map(str, named)))}" if named else ""
        raise ShapeError(f"got {count}{by}, wanted {len(names)}: {', '.join(names)}")
    return found


def of_layers(inputs: tuple[Any, ...], lengths: Any) -> tuple[tuple[Any, ...], Any]:
    """The arguments of a model of layers: x, and perhaps lengths behind it."""
    if len(inputs) == 2 and lengths is None:
        return inputs[:1], inputs[1]
    return inputs, lengths


def prepared(
    sources: Sequence[Source], given: Mapping[str, Any], dtype: np.dtype[Any], layers: bool
) -> tuple[dict[str, Array], bool]:
    """Every input as an array that fits, and whether all came without a batch axis, which models of layers take."""
    ready = [_ready(source, given[source.name], dtype, layers) for source in sources]
    if len({single for _, single in ready}) > 1:
        raise ShapeError("x: some inputs have a batch axis and some have not; give all of them one, or none")
    arrays = {source.name: array for source, (array, _) in zip(sources, ready, strict=True)}
    if layers and len(sources) > 1:
        batches = {name: len(array) for name, array in arrays.items()}
        if len(set(batches.values())) > 1:
            raise ShapeError(f"x: the inputs have different batch sizes: {batches}")
    return arrays, ready[0][1] if ready else False


def _ready(source: Source, given: Any, dtype: np.dtype[Any], layers: bool) -> tuple[Array, bool]:
    array = as_kind(source, given, dtype)
    single = layers and array.ndim == len(source.shape) - 1
    array = array[None] if single else array
    fits = array.ndim == len(source.shape) and all(
        not layers  # a graph checks its own sizes, and says why they are fixed
        or not isinstance(wanted, int)
        or got == wanted
        for got, wanted in zip(array.shape, source.shape, strict=True)
    )
    if not fits:
        kind = "" if source.kind == FLOAT else f" {source.kind}s"
        wanted = f"{size_text(source.shape)}{kind}"
        one = f" or, for one of it, {size_text(source.shape[1:])}" if layers else ""
        raise ShapeError(f"{source.called}: got shape {np.shape(given)}, wanted {wanted}{one}")
    empty = 0 in array.shape[1:] if layers else source.steps is not None and array.shape[source.steps] == 0
    if empty:
        raise ShapeError(f"{source.called}: got shape {np.shape(given)}, that is no steps; wanted at least one")
    return array, single


def as_kind(source: Source, given: Any, dtype: np.dtype[Any]) -> Array:
    """An array of the input's kind of elements."""
    if source.kind == FLOAT:
        numbers = as_numbers(given, source.called, dtype)
        if numbers is not given and not source.takes_booleans and np.asarray(given).dtype == np.bool_:
            raise DTypeError(
                f"{source.called}: got booleans, wanted floats, since code can compute something else of booleans; if "
                f"they stand for 0 and 1, pass {source.called}.astype('float32')"
            )
        return numbers
    if source.kind == INTEGER:
        return as_integers(given, source.called)
    array = np.asarray(given)
    if source.kind == BOOLEAN and array.dtype != np.bool_:
        raise DTypeError(f"{source.called}: got dtype {array.dtype}, wanted booleans")
    return array


def lengths_by_symbol(
    sources: Sequence[Source],
    arrays: Mapping[str, Array],
    lengths: Any,
    graph: Graph,
    analysis: Analysis,
    single: bool,
    layers: bool,
) -> dict[str, NDArray[np.intp]]:
    """How many steps of each row are real, by the symbol of these steps."""
    fixed = {source.name: source for source in graph.inputs}
    stepped = {source.name: source for source in sources if source.steps is not None and source.batch is not None}
    given = dict(lengths) if isinstance(lengths, Mapping) else dict.fromkeys(stepped, lengths)
    if not stepped:
        analysis.check_lengths()
    wrong = [str(name) for name in given if name not in stepped]
    if wrong or not stepped:
        got = ", ".join(wrong) or "lengths"
        raise ShapeError(f"lengths: got {got}, but the inputs with steps are {', '.join(stepped) or 'none'}")
    if not given:
        raise ShapeError(f"lengths: got none, wanted those of {', '.join(stepped)}")
    made: dict[str, NDArray[np.intp]] = {}
    for name, source in stepped.items():
        others = [other for other in given if stepped[other].symbol == source.symbol]
        if others and name not in given:
            raise ShapeError(
                f"lengths: got those of {', '.join(others)}, wanted those of {name} too: they are taken step by step "
                "together"
            )
    for name, each in given.items():
        source, shape = stepped[name], arrays[name].shape
        assert source.batch is not None and source.steps is not None
        ends = as_lengths(each, shape[source.batch], shape[source.steps], single)
        if not layers:
            check_lengths(fixed[name], ends, source.shape, analysis.inputs[name])
        if not np.array_equal(made.setdefault(source.symbol, ends), ends):
            raise ShapeError("lengths: inputs that are taken step by step together have different lengths")
    return made


def as_tuple(made: Any) -> tuple[Array, ...]:
    """What a model gave, in whatever structure, as a tuple of arrays."""
    if isinstance(made, dict):
        return tuple(array for part in made.values() for array in as_tuple(part))
    if isinstance(made, (tuple, list)):
        return tuple(array for part in made for array in as_tuple(part))
    return () if made is None else (made,)
