"""The program in a ``torch.export`` file, walked once, call by call: what its JSON says becomes a graph.

Owns the schema of its operations: how operands are written, what they name and what they change. What an operation does
is for the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...checkpoint.text import shown
from ...errors import CheckpointError, FastGRUError, UnsupportedModelError
from ...graph.builder import Builder, Value
from ...graph.graph import FLOAT, INTEGER, Graph
from ...graph.size import evaluate, substitute
from ..calls import Context
from .evidence import Evidence
from .file_parts import names_of
from .file_program import WEIGHTS, FileProgram, is_own
from .file_sizes import example_of
from .kinds import KINDS_IN_FILES
from .memory_calls import MemoryCalls
from .structures import output_structure
from .symbolic import OPERATORS, called
from .table import IGNORED, bare

__all__ = ["Walk"]

MAX_OPERATIONS = 10_000
MAX_MADE = 25_000  # of the graph: a list of all steps is one operation of the file
MAX_NESTED = 10  # of graphs in graphs
_OPERATION = re.compile(r"torch\.ops\.(?:aten|fastgru)\.([A-Za-z0-9_]{1,100})\.([A-Za-z0-9_]{1,100})")
_FUNCTION = re.compile(r"(?:_operator\.([a-z_]{1,40})|torch\._?(sym_[a-z_]{1,40})|torch\._C\.(_set_grad_enabled))")
_SUBGRAPH = "torch.ops.higher_order.wrap_with_set_grad_enabled"
_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_SAME_KIND = {"half": FLOAT, "narrow": INTEGER}


class Walk:
    """One way through a program: with the sizes of the file, or with some of its numbers taken for open ones.

    Attributes
    ----------
    used : set of str
        The tensors of the file that an operation takes.
    """

    def __init__(self, program: FileProgram, shapes: Mapping[str, Sequence[Any]], examples: Mapping[str, int]) -> None:
        self.program, self.parts, self.where = program, program.parts, program.where
        self.examples = examples
        self.builder = Builder(self.where, sum(array.size for array in program.tensors.values()))
        self.context = Context(self.builder, KINDS_IN_FILES)
        self.context.sizes_of_example = True
        self._calls = MemoryCalls(self.context, called)
        self.used: set[str] = set()
        self.made: set[Value] = set()  # constants that the code may have made of a size
        self.evidence: Evidence | None = None
        self._weights: dict[str, str] = {}  # the tensors of the file by their names in the graph
        self._found: list[tuple[str, Value, Any]] = []  # what the file says of values, to be compared
        self._known: dict[str, Any] = {}
        self._count = 0
        self._give(shapes)

    def _give(self, shapes: Mapping[str, Sequence[Any]]) -> None:
        """Bind what the graph is given: weights, and the inputs of the model."""
        kinds = {each.name: each.kind for each in self.program.inputs}
        for source in self.program.sources:
            kind, content = self.parts.one(source, "an input")
            if kind in WEIGHTS:
                name = self.parts.text(self.parts.dict(content, "arg"), "name")
                self._bind(self._known, name, self._weight(name, self.parts.text(content, WEIGHTS[kind])))
                if kind == "tensor_constant":
                    self.made.add(self._read(self._known[name]))
            elif kind == "user_input":
                way, value = self.parts.one(self.parts.dict(content, "arg"), "an input")
                if way == "as_tensor":
                    name = value["name"]
                    taken = self.builder.input(name, tuple(shapes[name]), kinds[name])
                    self._bind(self._known, name, taken)  # what is written into it is not the caller's to see
            elif kind == "constant_input":
                value = self.parts.operand(self.parts.dict(content, "value"), self._nothing)
                self._bind(self._known, self.parts.text(content, "name"), value)
            else:
                raise UnsupportedModelError(f"{self.where}: an input of the kind {shown(kind)} is not supported")

    def _weight(self, name: str, tensor: str) -> Value:
        array = self.program.tensors.get(tensor)
        if array is None:
            raise CheckpointError(f"{self.where}: tensor {shown(tensor)} is missing")
        value = self.builder.constant(array)
        self.context.names[id(array)] = tensor
        self._weights[name] = tensor
        return self._calls.memory.tensor(value, owner=tensor)

    def _nothing(self, name: str) -> Any:
        raise self.parts.damaged(f"the graph takes {shown(name)} before anything is made")

    def run(self) -> None:
        """Make every operation."""
        self._nodes(self.program.graph, self.program.nodes, self._known, 0)

    def close(self) -> None:
        """Let go of the values: views hold each other, and another way through the program follows."""
        self._calls.memory.clear()
        self._known.clear()
        self._found.clear()
        self.made.clear()

    def finish(self) -> Graph:
        """The graph with the model's outputs."""
        places = []
        for arg in self.program.wanted:
            value = self.parts.operand(arg, lambda name: self._named(name, self._known))
            self.context.name, self.context.place = "the model's output", ""
            value = self._read(value)
            places.append(None if value is None else self.context.value(value).place)
        structure = output_structure(self.program.calling.get("out_spec"), places, self.where)
        self._compare()
        return self.builder.finish(structure)

    def _nodes(self, graph: Mapping[str, Any], nodes: Sequence[Any], known: dict[str, Any], depth: int) -> None:
        metas = graph.get("tensor_values")
        self._count += len(nodes)
        if self._count > MAX_OPERATIONS:
            raise UnsupportedModelError(f"{self.where}: the model has more than {MAX_OPERATIONS} operations")
        for node in nodes:
            node = self.parts.checked(node, dict, "a node")
            target = self.parts.text(node, "target")
            place = node.get("name")
            self.context.place = f" (node {shown(place)})" if isinstance(place, str) else ""
            self.context.name = target[:120]
            if target == _SUBGRAPH:
                made = self._subgraph(node, known, depth)
            else:
                made = self._operation(node, target, known)
            if len(self.builder.nodes) > MAX_MADE:
                raise UnsupportedModelError(f"{self.where}: its operations become more than {MAX_MADE} of the graph")
            self._bind_outputs(node, made, known, metas if isinstance(metas, dict) else {})

    def _subgraph(self, node: Mapping[str, Any], known: Mapping[str, Any], depth: int) -> list[Any]:
        """What ``with torch.no_grad():`` gives: its graph is part of this one."""
        operands = [self.parts.dict(each, "arg") for each in self.parts.list(node, "inputs")]
        if len(operands) < 2 or "as_graph" not in operands[1] or depth > MAX_NESTED:
            raise self.context.error("is nested too deeply, or without a graph of its own")
        inner = self.parts.dict(self.parts.dict(operands[1], "as_graph"), "graph")
        given = [self.parts.operand(each, lambda name: self._named(name, known)) for each in operands[2:]]
        scope: dict[str, Any] = {}
        names = [name for each in self.parts.list(inner, "inputs") for name in names_of(self.parts, each)]
        if len(names) != len(given):
            raise self.context.error(f"has {len(given)} inputs, wanted {len(names)}")
        for name, value in zip(names, given, strict=True):
            if name is not None:
                self._bind(scope, name, value)
        self._nodes(inner, self.parts.list(inner, "nodes"), scope, depth + 1)
        outputs = self.parts.list(inner, "outputs")
        return [self.parts.operand(arg, lambda name: self._named(name, scope)) for arg in outputs]

    def _operation(self, node: Mapping[str, Any], target: str, known: Mapping[str, Any]) -> Any:
        found = _OPERATION.fullmatch(target)
        function = _FUNCTION.fullmatch(target)
        name = found[1] if found else next(filter(None, function.groups())) if function else ""
        if not name:
            raise self.context.error("the operation is not supported")
        if name in IGNORED:
            return None
        args: list[Any] = []
        named: dict[str, Any] = {}
        for operand in self.parts.list(node, "inputs"):
            key = self.parts.text(operand, "name")
            value = self.parts.operand(self.parts.dict(operand, "arg"), lambda name: self._named(name, known))
            if function:
                args.append(value)
            elif key in named:
                raise CheckpointError(f"{self.where}: {target[:120]} has an operand twice; the file is damaged")
            else:
                named[key] = value
        name = OPERATORS.get(name, name) if function and function[1] else name
        own = is_own(node)
        try:
            return self._called(name, args, named, own)
        except FastGRUError as error:
            if str(error).startswith(f"{self.where}: "):
                raise
            raise type(error)(f"{self.where}: {name}{self.context.place}: {error}") from None
        except _MISFITS as error:
            raise UnsupportedModelError(
                f"{self.where}: {name}{self.context.place}: its operands do not fit: {str(error)[:200]}"
            ) from None

    def _called(self, name: str, args: list[Any], named: dict[str, Any], own: bool) -> Any:
        """What an operation gives: tensors, sizes, or lists of these."""
        if self.evidence is None:
            return self._calls.called(name, args, named)
        row, values = bare(name), self._read(args or named)
        given = dict(enumerate(values)) if args else values
        made = self.evidence.operands(row, self.context.place, own, {str(key): each for key, each in given.items()})
        if not args:  # sizes that were numbers
            named = {key: named[key] if made[key] is given[key] else made[key] for key in named}
        result = self._calls.called(name, args, named)
        self.evidence.result(row, made, result)
        return result

    def _bind_outputs(
        self, node: Mapping[str, Any], made: Any, known: dict[str, Any], metas: Mapping[str, Any]
    ) -> None:
        names = [name for output in self.parts.list(node, "outputs") for name in names_of(self.parts, output)]
        values = list(made) if isinstance(made, (tuple, list)) else [made]
        if len(values) < len(names):
            raise CheckpointError(
                f"{self.where}: a node has {len(names)} outputs, wanted {len(values)}; the file is damaged"
            )
        for name, value in zip(names, values, strict=False):
            if name is not None:
                self._bind(known, name, value)
                if name in metas and isinstance(value, Value):
                    self._found.append((name, self._read(value), metas[name]))

    def _bind(self, known: dict[str, Any], name: str, value: Any) -> None:
        if name in known:
            raise CheckpointError(f"{self.where}: the graph makes {shown(name)} twice; the file is damaged")
        known[name] = value

    def _named(self, name: str, known: Mapping[str, Any]) -> Any:
        if name not in known:
            raise CheckpointError(
                f"{self.where}: the graph takes {shown(name)}, which nothing before it makes; the file is damaged"
            )
        if name in self._weights and known is self._known:
            self.used.add(self._weights[name])
        return known[name]

    def _read(self, given: Any) -> Any:
        """Operands with what their tensors are now."""
        if isinstance(given, dict):
            return {key: self._read(each) for key, each in given.items()}
        return self._calls.read(given)

    def _compare(self) -> None:
        """Raise unless every value has the kind and the sizes that the file says, for the sizes of its example."""
        for name, value, meta in self._found:
            if not isinstance(meta, dict):
                raise self.parts.damaged(f"what it says of {shown(name)} is no object")
            dtype, sizes = meta.get("dtype"), meta.get("sizes")
            kind = KINDS_IN_FILES.get(dtype) if type(dtype) is int else None
            wanted = [example_of(size) for size in sizes] if isinstance(sizes, list) else []
            made = [self._number(size) for size in value.shape]
            known = len(made) == len(wanted) and all(
                got is None or want is None or got == want for got, want in zip(made, wanted, strict=True)
            )
            if not known or (kind is not None and _SAME_KIND.get(kind, kind) != value.dtype):
                raise UnsupportedModelError(
                    f"{self.where}: {shown(name)} would be {value.dtype}s of {tuple(made)}, the file says "
                    f"{kind} of {str(tuple(wanted))[:200]}"
                )

    def _number(self, size: Any) -> int | None:
        try:
            return evaluate(substitute(self.builder.settled(size), {}), self.examples)
        except FastGRUError:
            return None
