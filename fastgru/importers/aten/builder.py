"""The making of a ModelSpec, node by node, out of PyTorch's operations.

Owns the names of nodes, the moving of axes where a layer needs them, and the end: what nobody uses is left out, and a
graph that is one GRU and nothing else becomes a GRUSpec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...spec import (
    Concatenate,
    Edge,
    GRULayer,
    GRUSpec,
    Layer,
    ModelSpec,
    Node,
    Permute,
    Reshape,
    edge_of,
)
from ..tensors import UsedTensors, take
from .evidence import Evidence
from .inputs import Reasons, input_of
from .values import Array, LayoutError, Size, Stack, Unknown, Weight, described, known

__all__ = ["Builder"]

MAX_NODES = 10_000
SPARE = 1 << 20  # numbers that layers may take beyond three times those of the file


class Builder:
    """One attempt at a model.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        The file's, by name.
    where : str
        The file, for messages.
    time_first : bool
        Whether the model's inputs and outputs have their steps before their batch.
    fixed : str or None
        Why sizes stay what they are in the file where it has numbers for them; None to leave them open.
    types : mapping of int to str
        What the file's numbers for types stand for: ``"float"``, ``"integer"`` or something else.
    """

    def __init__(
        self,
        tensors: Mapping[str, np.ndarray],
        where: str,
        *,
        time_first: bool,
        fixed: str | None,
        types: Mapping[int, str],
    ) -> None:
        self.tensors, self.where, self.types = tensors, where, types
        self.time_first, self._fixed = time_first, fixed
        self.batch = Unknown()
        self.evidence = Evidence()
        self.unseen = ""  # what in the code may know a size and leaves no trace in the graph, as a sentence
        self.options_are_own = False  # of the operation: it is in a module of PyTorch's, which has them from its maker
        self.batch_is_certain = False  # once an operation that never mixes rows has taken it for its own
        self.ranks_are_guessed = False  # inputs may have an axis less than they were taken to have
        self._rank_matters, self._rank_is_certain = "", False  # the first operation that counts axes
        self.count = 0  # of operations so far
        self.operation = ""  # the one that is being looked at
        self._inputs: list[tuple[str, tuple[Size, ...], bool]] = []
        self._nodes: list[Node] = []
        self._taken: dict[str, int] = {}
        self._layers: dict[tuple[Any, ...], Layer] = {}
        self._roots: dict[Edge, Edge] = {}  # what a view is a view of
        self._changed: set[Edge] = set()  # by an operation in place, and everything that shares its numbers
        self._left = SPARE + 3 * sum(tensor.size for tensor in tensors.values())

    def error(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self.where}: {self.operation}: {message}")

    def layout_error(self, message: str) -> LayoutError:
        return LayoutError(f"{self.where}: {self.operation}: {message}")

    # What a model takes.

    def input(self, name: str, sizes: Sequence[Size], *, integers: bool = False) -> Array:
        """A new input whose axes are ``sizes`` as PyTorch has them, the batch among them."""
        rank = len(sizes)
        order = (1, 0, *range(2, rank)) if self.time_first and rank >= (2 if integers else 3) else tuple(range(rank))
        if not order:
            raise LayoutError(f"{self.where}: input {name!r} has no batch axis")
        shape = [sizes[axis] for axis in order]
        self._take_batch(name, shape[0])
        shape[0] = self.batch
        # Of (batch, steps, features) either may be the steps; operations with weights will tell which are features.
        for axis in (1, 2) if rank == 3 and not integers else (1,) if rank > 3 or (integers and rank == 2) else ():
            if isinstance(shape[axis], int):
                shape[axis] = size = Unknown(known(shape[axis]), opened=True)
                self.evidence.axes.append(size)
                if self._fixed is not None:
                    size.fix()
        name = self._free(name)
        self._inputs.append((name, tuple(shape[1:]), integers))
        return Array(name, tuple(shape), order, integers)

    def states(self, name: str, count: int, features: Size) -> Stack:
        """An input of initial states, (count, batch, features) for PyTorch: one input of the model for each."""
        names = [name] if count == 1 else [f"{name}_{index}" for index in range(count)]
        items = []
        for each in names:
            free = self._free(each)
            self._inputs.append((free, (features,), False))
            items.append(Array(free, (self.batch, features), (0, 1)))
        return Stack(tuple(items))

    def _take_batch(self, name: str, size: Size) -> None:
        """Of several inputs all have the same batch."""
        batch = self.batch
        example = size if isinstance(size, int) else size.example
        if example is not None and batch.example not in (None, example):
            raise LayoutError(
                f"{self.where}: input {name!r} has {example} rows where another has {batch.example}; fastgru takes "
                "inputs of one batch"
            )
        batch.example = example if batch.example is None else batch.example
        if isinstance(size, Unknown):
            batch.least = max(batch.least, size.least)
            batch.most = min((most for most in (batch.most, size.most) if most is not None), default=None)
        elif not batch.opened:
            batch.opened, self.evidence.batch = True, batch

    def is_input_size(self, size: Size) -> bool:
        """Whether it is the size of an input, so that what is demanded of it can be checked."""
        return size is self.batch or any(size is each for _, shape, _ in self._inputs for each in shape)

    def has_steps(self) -> bool:
        return any(len(shape) >= (1 if integers else 2) for _, shape, integers in self._inputs)

    def note(self, what: str) -> None:
        """Note that the operation takes what the sizes of the example may have given."""
        self.evidence.note(self.operation, what)

    def counts_axes(self) -> None:
        """Note that the operation would do something else to a value with an axis less."""
        self._rank_matters = self._rank_matters or self.operation

    def rank_is_certain(self) -> None:
        """Note that the operation takes no value with an axis less."""
        self._rank_is_certain = True

    def axis(self, dim: Any, rank: int) -> int:
        """PyTorch's axis ``dim`` of ``rank``."""
        if type(dim) is not int or not -rank <= dim < rank:
            raise self.error(f"dim is {described(dim)}, wanted one of {rank} axes")
        if dim in (rank - 1, -rank):
            self.rank_is_certain()
        elif dim != -1:
            self.counts_axes()
        return dim % rank

    def check_ranks(self) -> None:
        """Raise where it was guessed how many axes an input has, and the guess makes a difference."""
        if self.ranks_are_guessed and self._rank_matters and not self._rank_is_certain:
            raise UnsupportedModelError(
                f"{self.where}: {self._rank_matters}: it counts axes, and the file does not say how many its input "
                "has; write the model with torch.export.save, which does"
            )

    # What it does.

    def add(self, name: str, layer: Layer, *inputs: Edge) -> str:
        """A node, called ``name`` or with the first of _1, _2 ... that is free; its name."""
        name = self._free(name)
        if len(self._nodes) >= MAX_NODES:
            raise self.error(f"the model has more than {MAX_NODES} layers")
        self._nodes.append(Node(name, layer, inputs))
        return name

    def layer(self, kind: str, operands: Sequence[Any], make: Callable[[], Layer]) -> Layer:
        """What ``make`` gives, or what it gave for the same weights and options before: a layer that is used twice."""
        key = (kind, *(_identity(operand) for operand in operands))
        if key not in self._layers:
            self.charge(sum(operand.array.size for operand in operands if isinstance(operand, Weight)))
            self._layers[key] = make()
        else:
            self.note("runs a layer again, as a loop over the steps does")
        return self._layers[key]

    def charge(self, count: int) -> None:
        """Note that so many numbers are taken or made; a file cannot ask for many times what it holds."""
        self._left -= count
        if self._left < 0:
            raise self.error("with it the layers take many times the numbers that the file holds")

    def check_unchanged(self, values: Iterable[Any]) -> None:
        """Raise where an operand was changed in place since it was made: what is known of it is not so any more."""
        for array in _arrays_in(values):
            if self._roots.get(array.edge, array.edge) in self._changed:
                raise self.error("it takes a value that was changed in place before; write that operation without it")

    def is_view(self, operands: Iterable[Any], made: Any) -> None:
        """Note that the arrays in ``made`` share their numbers with those in ``operands``."""
        roots = [self._roots.get(array.edge, array.edge) for array in _arrays_in(operands)]
        for array in _arrays_in([made]):
            if roots and array.edge != roots[0]:
                self._roots[array.edge] = roots[0]

    def change(self, operand: Any) -> None:
        """Note that an operation changes its operand in place; its result is a value of its own."""
        self._changed.update(self._roots.get(array.edge, array.edge) for array in _arrays_in([operand]))

    def array(self, value: Any) -> Array:
        """The operand as one array: states that are still apart are put along an axis of their own."""
        if isinstance(value, Array):
            return value
        if isinstance(value, Stack):
            return self._joined(value)
        raise self.error(f"takes the output of a layer here, got {described(value)}")

    def arranged(self, array: Array, dims: Sequence[int]) -> Edge:
        """The edge on which PyTorch's axes ``dims`` are the axes 0, 1, 2 ... of fastgru."""
        places = tuple(array.order[dim] for dim in dims)
        if places[0] != 0:
            raise self.layout_error("the batch is not the axis that it is taken along")
        if places == tuple(range(len(places))):
            return array.edge
        return self.add("permute", Permute(places[1:]), array.edge)

    def weight(self, value: Any, *shape: int | None) -> np.ndarray:
        """An operand that must be a weight of that shape."""
        if not isinstance(value, Weight):
            raise self.error("has weights that are computed while the model runs; fastgru needs them in the file")
        for name in value.names:
            if name in self.tensors:
                take(self.tensors, name, (None,) * self.tensors[name].ndim, self.where)
        made = f"{self.operation}: {' with '.join(value.names)}"
        taken = take({made: value.array}, made, shape, self.where)
        if not np.may_share_memory(taken, value.array):
            self.charge(taken.size)
        return taken

    def optional(self, value: Any, *shape: int | None) -> np.ndarray | None:
        return None if value is None else self.weight(value, *shape)

    def number(self, weight: Weight) -> float:
        """A tensor without axes, as traced models keep the numbers in their formulas."""
        for name in weight.names:
            if isinstance(self.tensors, UsedTensors) and name in self.tensors:
                self.tensors.use(name)
        if weight.array.ndim or weight.array.dtype.kind not in "iuf":
            raise self.error(f"takes {weight.array.dtype} of shape {weight.array.shape}, wanted one number")
        return float(weight.array)

    def require(self, array: Array, dim: int, features: int) -> None:
        """Note or check that PyTorch's axis ``dim`` has that size."""
        size = array.sizes[dim]
        if dim == len(array.order) - 1:
            self.evidence.required(array.edge)
        if isinstance(size, Unknown) and size.value in (None, features) and size is not self.batch:
            size.value, size.required = features, True
        elif known(size) != features:
            raise self.error(f"takes {features} features, got {known(size)}")

    # The end.

    def finished(self, outputs: Sequence[Any]) -> GRUSpec | ModelSpec:
        """The model with these outputs; states that are still apart are one output each."""
        self.check_unchanged(outputs)
        self.check_ranks()
        if self._fixed is None and self.evidence.matters and self.evidence.found:
            raise UnsupportedModelError(f"{self.where}: {self.evidence.found}")
        edges: list[Edge] = []
        for value in outputs:
            if isinstance(value, Stack):
                edges += [item.edge for item in value.items]
            elif isinstance(value, Array):
                edges.append(self._output(value))
            else:
                raise self.error(f"the model gives {described(value)}, wanted outputs of layers")
        nodes = _used(self._nodes, edges)
        reasons = Reasons(self._fixed, self.evidence.found, self.unseen)
        inputs = tuple(
            input_of(name, (self.batch, *shape), integers, reasons) for name, shape, integers in self._inputs
        )
        spec = ModelSpec(inputs, nodes, tuple(edges))
        return _only_gru(spec) or spec

    def _output(self, array: Array) -> Edge:
        """The edge of an output, its axes as PyTorch has them, but the batch first where the steps were."""
        self.operation = "the model's output"
        batch = array.order.index(0)
        if batch > (1 if self.time_first else 0):
            raise self.layout_error(f"its batch is axis {batch}")
        dims = [batch, *(dim for dim in range(len(array.order)) if dim != batch)]
        return self.arranged(array, dims)

    def _joined(self, stack: Stack) -> Array:
        features = stack.items[0].shape[1]
        size = known(features)
        if size is None:
            raise self.error("joins states of a size that is not known")
        edges = [self.add("reshape", Reshape((1, size)), item.edge) for item in stack.items]
        edge = edges[0] if len(edges) == 1 else self.add("stack", Concatenate(axis=1), *edges)
        return Array(edge, (self.batch, len(edges), features), (1, 0, 2))

    def _free(self, name: str) -> str:
        """The name, or with the first of _1, _2 ... that is free."""
        free = name
        while free in self._taken:
            self._taken[name] += 1
            free = f"{name}_{self._taken[name]}"
        self._taken[free] = 0
        return free


def _arrays_in(values: Iterable[Any]) -> Iterator[Array]:
    for value in values:
        if isinstance(value, Array):
            yield value
        elif isinstance(value, Stack):
            yield from value.items
        elif type(value) in (list, tuple):
            yield from (each for each in value if isinstance(each, Array))


def _identity(operand: Any) -> Any:
    """What tells operands of a layer from others: a weight by the memory it is in."""
    if isinstance(operand, Weight):
        array = operand.array
        return (*operand.names, array.__array_interface__["data"][0], array.shape, array.strides)
    return tuple(_identity(each) for each in operand) if isinstance(operand, (list, tuple)) else operand


def _used(nodes: Sequence[Node], outputs: Sequence[Edge]) -> tuple[Node, ...]:
    """The nodes that the outputs need, GRUs without states that nobody takes."""
    needed: dict[str, int] = {}  # the largest index of each node's outputs that is taken
    without: dict[int, Layer] = {}  # so that a layer used twice stays one
    kept: list[Node] = []

    def take_edges(edges: Sequence[Edge]) -> None:
        for name, index in map(edge_of, edges):
            needed[name] = max(index, needed.get(name, 0))

    take_edges(outputs)
    for node in reversed(nodes):
        if node.name not in needed:
            continue
        if isinstance(node.layer, GRULayer) and node.layer.return_state and needed[node.name] == 0:
            shared = without.setdefault(id(node.layer), node.layer.replace(return_state=False))
            node = node.replace(layer=shared)
        kept.append(node)
        take_edges(node.inputs)
    return tuple(reversed(kept))


def _only_gru(spec: ModelSpec) -> GRUSpec | None:
    """The GRU that the model is, if it takes and gives what a GRU does: the sequence, and every state."""
    layer = spec.nodes[0].layer if len(spec.nodes) == 1 else None
    if not isinstance(layer, GRULayer) or not layer.return_state or not layer.return_sequences:
        return None
    if any(source.limits is not None for source in spec.inputs):
        return None
    count = len(layer.state_sizes)
    names = [source.name for source in spec.inputs]
    given = [edge_of(edge) for edge in spec.nodes[0].inputs]
    made = [edge_of(edge) for edge in spec.outputs]
    whole = made == [(spec.nodes[0].name, index) for index in range(count + 1)]
    return layer.gru if whole and given == [(name, 0) for name in names] else None
