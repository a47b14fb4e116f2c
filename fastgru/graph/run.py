"""A graph as it runs: node by node in NumPy, or compiled for the shapes of a call where operations have instructions.

In NumPy each node runs when its inputs are there; each value is kept for as long as it is needed. Both ways give the
same bits. A graph is compiled by the first call with new shapes. The first, second and third call of a shape took, and
in brackets the first one in NumPy, 365, 126 and 77 us (278) of texts of 60 to 100 words through a two-way GRU of 64
units, 390, 205 and 157 (380) of a tagger of 100 units, 141, 75 and 41 (109) of two GRUs of 50 units over 28 to 68
steps, and 43, 26 and 2 (35) of one dense layer (Zen 4, one thread, medians of 205 shapes). So up to a third is lost
where shapes never come again, and more is gained where they do: compiled by the second call, that one took 94 to 595.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.program import Arenas, Caller, ProjectedRows
from ..errors import FastGRUError, ShapeError
from ..threads import asked_for
from .compile import Compiled, Stretch, compiles
from .facts import Facts
from .graph import BOOLEAN, FLOAT, INTEGER, RELATIONS, Graph, Guard, Node, leaves
from .layout import Rows, Steps
from .limits import check_fixed
from .operations.operation import Array, Call, Compute, Setup
from .passes import rewritten
from .size import Expression, evaluate, is_symbol, size_text
from .steps import Analysis

__all__ = ["Runner"]

MAX_COMPILED = 256  # shapes of inputs for which a graph is kept compiled
_NO_LENGTHS = np.zeros(0, np.intp)


class Runner:
    """The nodes of a graph, ready to run. An operation that stands in several nodes is prepared once."""

    def __init__(self, graph: Graph, analysis: Analysis, setup: Setup) -> None:
        graph = rewritten(graph)
        self.graph, self.analysis, self.setup = graph, analysis, setup
        prepared: dict[int, Compute] = {}
        for node in graph.nodes:
            if id(node.operation) not in prepared:
                prepared[id(node.operation)] = _prepared(node, setup)
        self.computes = [prepared[id(node.operation)] for node in graph.nodes]
        self.constants = {
            place: np.asarray(array, setup.dtype, order="C") if array.dtype.kind == "f" else array
            for place, array in graph.constants.items()
        }
        self.facts = Facts(graph, analysis, setup, self.constants)
        self.outputs = [*dict.fromkeys(leaves(graph.outputs))]
        self._symbols = [  # of each input: its axes whose sizes are symbols
            [(axis, str(size)) for axis, size in enumerate(graph.tensors[source.value].shape) if is_symbol(size)]
            for source in graph.inputs
        ]
        self.numbers_of_steps: dict[Expression, str] = {}  # that values have, and a layer that makes such a value
        for node in () if analysis.mixes else graph.nodes:
            for factor in (each for place in node.outputs for axis in analysis.layout(place) for each in axis):
                if isinstance(factor, Steps) and isinstance(factor.size, Expression):
                    self.numbers_of_steps.setdefault(factor.size, node.name)
        self._made_for = [*_made_for(graph, analysis)]
        fresh = {place for node in graph.nodes if node.operation.fresh for place in node.outputs}
        self.shared = set(self.outputs) - fresh  # outputs that may be views of inputs, constants or each other
        last = {place: index for index, node in enumerate(graph.nodes) for place in node.inputs}
        kept = set(self.outputs)
        self._done: list[list[int]] = [[] for _ in graph.nodes]
        for place, index in last.items():
            if place not in kept:
                self._done[index].append(place)
        self._compiles = compiles(setup)
        self._compiled: dict[Any, Compiled] = {}  # by the shapes of the inputs, the latest last
        self.arenas = Arenas()
        # By the shape of the only input, where it came again without lengths; None where a call is more than a program.
        self.callers: dict[tuple[int, ...], Caller | None] = {}

    @property
    def arrays(self) -> list[Array]:
        """All that it computes with: the constants, and what operations were prepared with."""
        return [*self.constants.values(), *self.setup.arrays]

    @property
    def nbytes_of_rows(self) -> int:
        """Bytes of the rows of tables that were multiplied so far."""
        return sum(each.nbytes for each in self.setup.made() if isinstance(each, ProjectedRows))

    def __call__(
        self, inputs: Mapping[str, Array], lengths: Mapping[str, NDArray[np.intp]] | None = None
    ) -> tuple[dict[int, Array], dict[int, NDArray[np.bool_] | None]]:
        """The outputs by their places, and which of their elements lie within lengths, None if all; others are zero."""
        values: dict[int, Array] = dict(self.constants)
        for source in self.graph.inputs:
            values[source.value] = inputs[source.name]
        sizes, steps = self._steps_of(values, lengths)
        if lengths is not None:
            self._check_rows(sizes, lengths)
        for step, done in steps:
            if isinstance(step, int):
                self._run_node(step, values, sizes, lengths)
            else:
                step.run(values, lengths, self.arenas)
            for place in done:
                values.pop(place, None)
        return self._results(values, sizes, lengths)

    def _steps_of(self, values: dict[int, Array], lengths: Mapping[str, Any] | None) -> tuple[Mapping[str, int], Any]:
        """The sizes of a call, and what runs in turn: nodes in NumPy and programs, each with the values then done."""
        key = (*(values[source.value].shape for source in self.graph.inputs), lengths and tuple(lengths), asked_for())
        compiled = self._compiled.get(key)
        if compiled is None:
            sizes = self.sizes(values)
            if lengths is not None:
                self.analysis.check_lengths()
            if not self._compiles:
                return sizes, enumerate(self._done)
            compiled = Compiled(self.facts, sizes, lengths is not None)
            _keep(self._compiled, key, compiled, MAX_COMPILED)
        elif len(self.graph.inputs) == 1 and lengths is None and asked_for() is None:
            shape = values[self.graph.inputs[0].value].shape
            if shape not in self.callers:
                self._add_caller(shape, compiled)
        return compiled.sizes, zip(compiled.steps, compiled.done, strict=True)

    def whole(self, shapes: Mapping[str, tuple[int, ...]]) -> Stretch | None:
        """The one program of the whole graph for inputs of these shapes; None where a part of it runs in NumPy."""
        if not self._compiles:
            return None
        values = {source.value: np.broadcast_to(np.float32(0), shapes[source.name]) for source in self.graph.inputs}
        key = (*(values[source.value].shape for source in self.graph.inputs), None, asked_for())
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = Compiled(self.facts, self.sizes(values), False)
            _keep(self._compiled, key, compiled, MAX_COMPILED)
        return compiled.whole

    def direct(self, x: Any) -> Array | dict[int, Array] | None:
        """The output, or several by their places, for an array that fits a program as it lies; None for others."""
        caller = self.callers.get(x.shape) if type(x) is np.ndarray else None
        made = None if caller is None or asked_for() is not None else caller.call(x)
        if made is None:
            return None
        return made[0] if isinstance(self.graph.outputs, int) else dict(zip(self.outputs, made, strict=True))

    def _add_caller(self, shape: tuple[int, ...], compiled: Compiled) -> None:
        """Where a call is one program from the input to the outputs, let arrays of that shape go straight to it."""
        step = compiled.whole
        made = {} if step is None else {place: (at, size) for place, at, size, _ in step.outputs}
        if step is None or not made.keys() >= set(self.outputs) or step.repeats:
            _keep(self.callers, shape, None, MAX_COMPILED)
            return
        source = self.graph.inputs[0]
        dtypes = {FLOAT: np.dtype(self.setup.dtype), INTEGER: np.dtype(np.int64), BOOLEAN: np.dtype(np.bool_)}
        kinds = [dtypes[self.graph.tensors[place].dtype] for place in (source.value, *self.outputs)]
        inputs = {place: at for at, (place, _) in enumerate(step.inputs)}
        gives = [(*made[place], kind) for place, kind in zip(self.outputs, kinds[1:], strict=True)]
        caller = Caller(step.program, self.arenas, (inputs.get(source.value), shape, kinds[0]), gives)
        _keep(self.callers, shape, caller, MAX_COMPILED)

    def _run_node(self, index: int, values: dict[int, Array], sizes: Mapping[str, int], lengths: Any) -> None:
        node = self.graph.nodes[index]
        made = self._computed(node, self.computes[index], values, sizes, lengths)
        values.update(zip(node.outputs, made, strict=True))

    def _results(
        self, values: dict[int, Array], sizes: Mapping[str, int], lengths: Any
    ) -> tuple[dict[int, Array], dict[int, NDArray[np.bool_] | None]]:
        outputs = {place: values[place] for place in self.outputs}
        real: dict[int, NDArray[np.bool_] | None] = dict.fromkeys(outputs)
        for place, array in outputs.items() if lengths is not None else ():
            assert lengths is not None
            real[place] = Rows(self.analysis.layout(place), lengths, sizes).real(array.shape)
            outputs[place] = _filled(array, real[place], 0.0)
        return outputs, real

    def apart(self, values: dict[int, Array], inputs: Mapping[str, Array]) -> dict[int, Array]:
        """The outputs as arrays of their own: who fills an input anew, or changes an output, changes no other."""
        taken = [*inputs.values(), *self.constants.values()]
        for place in self.shared:
            array = values[place]
            others = (*taken, *(other for each, other in values.items() if each != place))
            if not array.flags.writeable or any(np.may_share_memory(array, other) for other in others):
                values[place] = array.copy()
        return values

    def _computed(
        self, node: Node, compute: Compute, values: dict[int, Array], sizes: Mapping[str, int], lengths: Any
    ) -> Sequence[Array]:
        arrays = [values[place] for place in node.inputs]
        rows = None
        try:
            if lengths is not None:
                layouts = [self.analysis.layout(place) for place in node.inputs]
                rows = [Rows(layout, lengths, sizes) for layout in layouts]
                fills = node.operation.fills(layouts)
                arrays = [
                    array if fill is None else _filled(array, each.real(array.shape), fill)
                    for each, array, fill in zip(rows, arrays, fills, strict=True)
                ]
            made = compute(arrays, Call(self.setup.dtype, sizes, rows))
            self._check(node, made, sizes)
            return made
        except FastGRUError as error:
            raise type(error)(f"layer {node.name!r}: {error}") from None
        except ValueError as error:  # NumPy's own, of shapes that no rule could know
            raise ShapeError(f"layer {node.name!r}: {error}") from None

    def sizes(self, values: Mapping[int, Array]) -> dict[str, int]:
        """What the symbols are in this call."""
        sizes: dict[str, int] = {}
        for source, symbols in zip(self.graph.inputs, self._symbols, strict=True):
            tensor, array = self.graph.tensors[source.value], values[source.value]
            if array.ndim != len(tensor.shape):
                raise ShapeError(f"{source.name}: got shape {array.shape}, wanted {size_text(tensor.shape)}")
            check_fixed(source, array.shape, self.analysis.inputs[source.name])
            for axis, name in symbols:
                sizes.setdefault(name, array.shape[axis])
        for source in self.graph.inputs:
            tensor, array = self.graph.tensors[source.value], values[source.value]
            wanted = tuple(evaluate(size, sizes) for size in tensor.shape)
            if array.shape != wanted:
                open_sizes = [
                    size
                    for size, got, other in zip(tensor.shape, array.shape, wanted, strict=True)
                    if got != other and isinstance(size, Expression)
                ]
                differ = {name for size in open_sizes for name in size.symbols()}
                known = ", ".join(f"{name} is {size}" for name, size in sizes.items() if name in differ)
                here = f", where {known}" if known else ""
                raise ShapeError(f"{source.name}: got shape {array.shape}, wanted {size_text(tensor.shape)}{here}")
        for one, relation, other, reason in self.graph.guards:
            left, right = evaluate(one, sizes), evaluate(other, sizes)
            if not RELATIONS[relation](left, right):
                raise ShapeError(f"got {left} for {one}, wanted {relation} {right}: {reason}")
        return sizes

    def _check_rows(self, sizes: Mapping[str, int], lengths: Mapping[str, NDArray[np.intp]]) -> None:
        """Raise unless the graph holds for each row alone; one step counts as any, where only that is left out."""
        for guard in self.graph.guards:
            for symbol, ends in lengths.items():
                for length in sorted({*ends.tolist()}):
                    if length > 1 or not _leaves_out_one(guard):
                        left, right = (evaluate(size, {**sizes, symbol: length}) for size in (guard.one, guard.other))
                        if not RELATIONS[guard.relation](left, right):
                            raise ShapeError(f"lengths: got a row of {length} steps, and there {guard.reason}")
        for size, name in self.numbers_of_steps.items():
            (symbol,) = size.symbols()
            ends = lengths.get(symbol, _NO_LENGTHS)
            if ends.size and evaluate(size, {symbol: int(ends.min())}) < 1:
                raise ShapeError(f"lengths: a row of {ends.min()} steps has none left in layer {name!r}")

    def check_tables(self, lengths: Mapping[str, NDArray[np.intp]], only_ones: bool) -> None:
        """Raise unless every row alone has as many steps as each table that it meets has places.

        ``only_ones``: of rows that have others only those are refused whose one step would be repeated.
        """
        for size, wanted, name in self._made_for:
            (symbol,) = size.symbols()
            for length in sorted({*lengths.get(symbol, _NO_LENGTHS).tolist()}):
                made = evaluate(size, {symbol: length})
                if made != wanted and (made == 1 or not only_ones):
                    raise ShapeError(f"lengths: got a row of {length} steps, but layer {name!r} is made for {wanted}")

    def _check(self, node: Node, made: Sequence[Array], sizes: Mapping[str, int]) -> None:
        """Raise unless every output has the shape that was inferred for it."""
        for place, array in zip(node.outputs, made, strict=True):
            wanted = tuple(evaluate(size, sizes) for size in self.graph.tensors[place].shape)
            if array.shape != wanted:
                raise ShapeError(
                    f"makes {array.shape}, but the model was made for {size_text(self.graph.tensors[place].shape)}, "
                    f"here {wanted}"
                )


def _made_for(graph: Graph, analysis: Analysis) -> Iterator[tuple[Expression, int, str]]:
    """Where steps that may be any meet as many places as there are: how many these are, and in which layer."""
    sizes = (size for source in graph.inputs for size in graph.tensors[source.value].shape)
    known = {name for size in sizes if isinstance(size, Expression) for name in size.symbols()}
    for node in () if analysis.mixes else graph.nodes:
        for place in node.outputs:
            for axis, size in zip(analysis.layout(place), graph.tensors[place].shape, strict=True):
                made = axis[0].size if len(axis) == 1 and isinstance(axis[0], Steps) else None
                if isinstance(size, int) and isinstance(made, Expression) and set(made.symbols()) <= known:
                    yield made, size, node.name


def _keep(kept: dict[Any, Any], key: Any, value: Any, limit: int) -> None:
    """Add an item to the last ones that are kept.

    Without a lock, which a signal's handler would wait for in vain, and a forked child too: other threads may add items
    between any two lines.
    """
    kept[key] = value
    while len(kept) > limit:
        try:
            kept.pop(next(iter(kept)), None)
        except (RuntimeError, StopIteration):  # changed since it was looked at
            continue


def _leaves_out_one(guard: Guard) -> bool:
    """Whether a guard may stand there only because some operations take a size of 1 for one to be repeated."""
    return (guard.relation, guard.other) in (("!=", 1), (">", 1), (">=", 2))


def _prepared(node: Node, setup: Setup) -> Compute:
    try:
        return node.operation.prepare(setup)
    except FastGRUError as error:  # a weight that the precision has not
        raise type(error)(f"layer {node.name!r}: {error}") from error


def _filled(array: Array, real: NDArray[np.bool_] | None, fill: float) -> Array:
    """An array with another number beyond the rows' ends."""
    if real is None:
        return array
    if array.dtype.kind == "f":
        return np.where(real, array, np.asarray(fill, array.dtype))
    limits = np.iinfo(np.int64)
    whole = limits.min if fill == -np.inf else limits.max if fill == np.inf else fill
    return np.where(real, array, np.asarray(whole).astype(array.dtype))
