"""A live ``torch.export.ExportedProgram`` as a graph: its nodes are walked once, call by call.

torch is never imported here: what is read are the attributes of objects that somebody who has torch made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...graph.builder import Builder
from ...graph.graph import BOOLEAN, FLOAT, INTEGER, Graph, Structure
from ...graph.size import Size, symbol
from ..calls import Context
from .guards import fixed_axes, read_guards
from .kinds import KINDS
from .memory_calls import MemoryCalls
from .structures import structure
from .symbolic import OPERATORS, called
from .table import IGNORED

__all__ = ["graph_of"]

_CODES = {name: code for code, name in enumerate(KINDS)}
_SYMBOL = re.compile(r"[su]\d+")


class _Program:
    """One ExportedProgram that is being read."""

    def __init__(self, program: Any, where: str) -> None:
        self.program, self.where = program, where
        tensors = {**dict(program.state_dict), **dict(program.constants)}
        self.tensors = {name: _array(tensor) for name, tensor in tensors.items() if hasattr(tensor, "detach")}
        self.builder = Builder(where, sum(array.size for array in self.tensors.values()))
        self.context = Context(self.builder, {code: KINDS[name] for name, code in _CODES.items()})
        self.calls = MemoryCalls(self.context, called)
        self.symbols: dict[str, Size] = {}
        self.known: dict[Any, Any] = {}
        self.inputs: dict[Any, Sequence[Size]] = {}
        self.guarded = False

    def graph(self, dims: Mapping[str, str]) -> Graph:
        """The graph; ``dims`` has names for the exporter's symbols."""
        self.dims = dims
        self.guards = list(getattr(self.program, "_guards_code", None) or [])
        shapes = {
            node.name: [str(size) for size in node.meta["val"].shape]
            for node in self.program.graph.nodes
            if node.op == "placeholder" and hasattr(node.meta.get("val"), "shape")
        }
        for (name, axis), number in fixed_axes(self.guards).items():
            if name in shapes and axis < len(shapes[name]):
                self.symbols[shapes[name][axis]] = number
        signature = self.program.graph_signature
        sources = {spec.arg.name: spec for spec in signature.input_specs if hasattr(spec.arg, "name")}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.known[node] = self._placeholder(node, sources.get(node.name))
            elif node.op == "call_function":
                if not self.guarded:
                    self.guarded = True
                    read_guards(self.guards, self.inputs, self.builder)
                self.known[node] = self._called(node)
            elif node.op == "output":
                return self._finished(node.args[0])
        raise UnsupportedModelError(f"{self.where}: the exported program has no output")

    def _placeholder(self, node: Any, spec: Any) -> Any:
        kind = str(getattr(spec, "kind", "")).rpartition(".")[2]
        if kind == "USER_INPUT":
            found = node.meta.get("val")
            if not hasattr(found, "shape"):
                return found
            shape = [self._size(size) for size in found.shape]
            dtype = KINDS.get(str(found.dtype))
            if dtype not in (FLOAT, INTEGER, BOOLEAN):
                raise UnsupportedModelError(f"{self.where}: input {node.name!r} has the type {found.dtype}")
            self.inputs[node.name] = shape
            return self.builder.input(node.name, shape, dtype)
        name = getattr(spec, "target", None)
        if name not in self.tensors:
            raise UnsupportedModelError(f"{self.where}: the input {node.name!r} of kind {kind} is not supported")
        value = self.calls.memory.tensor(self.builder.constant(self.tensors[name]), owner=str(name))
        self.context.names[id(self.tensors[name])] = str(name)
        return value

    def _size(self, size: Any) -> Size:
        """A size of an input, whose symbols become the graph's own."""
        text = str(size)
        if text.isdigit():
            return int(text)
        found = _SYMBOL.fullmatch(text)
        if found is None:
            return self._expression(text)
        return self.symbols.setdefault(text, symbol(self.dims.get(text, text)))

    def _expression(self, text: str) -> Size:
        """A sum of products of symbols, as the exporter writes a size that depends on another."""
        total: Size = 0
        for sign, term in re.findall(r"([+-]?)\s*([^+-]+)", text):
            product: Size = -1 if sign == "-" else 1
            for factor in term.strip().split("*"):
                factor = factor.strip()
                if not factor.isdigit() and not _SYMBOL.fullmatch(factor):
                    raise UnsupportedModelError(f"{self.where}: a size is {text[:80]}, which is not followed")
                product = product * (int(factor) if factor.isdigit() else self._size(factor))
            total = total + product
        return total

    def _called(self, node: Any) -> Any:
        name = self._name(node.target)
        self.context.place = f" (node {node.name!r})"
        if name in IGNORED:
            return None
        args = [self._operand(each) for each in node.args]
        named = {key: self._operand(each) for key, each in node.kwargs.items()}
        schema = getattr(node.target, "_schema", None)
        if schema is not None and len(args) <= len(schema.arguments):  # by name, so that overloads need no care
            named = {**dict(zip((each.name for each in schema.arguments), args, strict=False)), **named}
            args = []
        if name == "getitem":
            return args[0][args[1]]
        return self.calls.called(name, args, named)

    def _name(self, target: Any) -> str:
        text = getattr(target, "_schema", None)
        if text is not None:
            return str(target._schema.name).rpartition("::")[2]
        name = str(getattr(target, "__name__", target))
        module = str(getattr(target, "__module__", ""))
        if module == "_operator":
            return OPERATORS.get(name, name)
        return name

    def _operand(self, given: Any) -> Any:
        if given in self.known if _hashable(given) else False:
            return self.known[given]
        if isinstance(given, (list, tuple)):
            return [self._operand(each) for each in given]
        if given is None or isinstance(given, (bool, int, float, str)):
            return given
        text = str(given)
        if text in _CODES:
            return _CODES[text]
        if text.startswith(("torch.", "cpu")) or type(given).__name__ in ("device", "layout", "memory_format"):
            return None
        raise UnsupportedModelError(f"{self.where}: {self.context.name}: takes {text[:80]}")

    def _finished(self, outputs: Any) -> Graph:
        specs = self.program.graph_signature.output_specs
        wanted = []
        for spec, node in zip(specs, outputs, strict=True):
            kind = str(spec.kind).rpartition(".")[2]
            if kind != "USER_OUTPUT":
                raise UnsupportedModelError(
                    f"{self.where}: the model changes its own {str(getattr(spec, 'target', kind))!r} when it runs; "
                    "call module.eval() before, or keep what changes outside the module"
                )
            self.context.name, self.context.place = "the model's output", ""
            value = self.calls.read(self._operand(node))
            wanted.append(None if value is None else self.context.value(value).place)
        return self.builder.finish(self._structure(wanted))

    def _structure(self, places: list[int | None]) -> Structure:
        """The outputs as the module gives them: alone, or in tuples, lists and dicts."""
        spec = self.program.call_spec.out_spec
        flat = iter(places)

        def made(part: Any) -> Structure:
            if part.is_leaf():
                return next(flat)
            children = [made(child) for child in part.children()]
            kind = "tuple" if issubclass(part.type, tuple) else part.type.__name__
            return structure(kind, part.context, children, self.where)

        return made(spec)


def graph_of(program: Any, where: str, dims: Mapping[str, str] | None = None) -> Graph:
    """An ExportedProgram as a graph whose outputs are a flat tuple.

    Parameters
    ----------
    program : torch.export.ExportedProgram
    where : str
        What errors begin with.
    dims : mapping of str to str, optional
        Names for the exporter's symbols, such as ``{"s0": "batch", "s1": "steps"}``.
    """
    return _Program(program, where).graph(dims or {})


def _array(tensor: Any) -> np.ndarray:
    detached = tensor.detach().cpu()
    if str(detached.dtype) in ("torch.bfloat16", "torch.float16"):
        detached = detached.float()
    return np.ascontiguousarray(detached.numpy())


def _hashable(given: Any) -> bool:
    return not isinstance(given, (list, tuple, dict, slice)) and type(given).__hash__ is not None
