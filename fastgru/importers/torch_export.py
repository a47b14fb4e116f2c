"""The graph of a ``torch.export`` file as a model: what its JSON says is walked once, operation by operation.

Owns the schema of that JSON: which inputs are weights, how operands are written, which outputs are the model's. What an
operation does is for ``aten``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..checkpoint.contents import Checkpoint
from ..errors import CheckpointError, UnsupportedModelError
from ..spec import GRUSpec, ModelSpec
from . import chain, pytorch_weights
from .aten import IGNORED, Array, Builder, Stack, Weight, apply, first_that_fits, left_over
from .tensors import UsedTensors
from .torch_export_sizes import ExportedSizes

__all__ = ["spec_from"]

_INTEGERS = (1, 2, 3, 4, 5)  # of the numbers that stand for types
_FLOATS = (6, 7, 8, 13)
_WEIGHTS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
_OPERATION = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]{1,100})\.([A-Za-z0-9_]{1,100})")
_OPERATOR = re.compile(r"_operator\.(add|sub|mul|floordiv|truediv)")
_OVERLOADS = {("max", "dim"), ("max", "default")}
_PLAIN = ("as_int", "as_ints", "as_bool", "as_bools", "as_float", "as_floats", "as_string", "as_scalar_type")
_IGNORED_KINDS = ("as_device", "as_layout", "as_memory_format")
# Modules of PyTorch's whose options come from their maker, so that no size can have given them.
_OWN = re.compile(
    r"torch\.nn\.modules\.(activation\.(?!Multihead)\w+|conv\.Conv1d|pooling\.\w+|normalization\.(Layer|RMS)Norm"
    r"|batchnorm\.BatchNorm1d|padding\.\w+|flatten\.\w+|dropout\.\w+|linear\.\w+)"
)
# Modules whose code treats all sizes alike.
_OWN_CODE = re.compile(r"torch\.nn\.modules\.(?!transformer|activation\.Multihead)\w+\.\w+")
_TYPES = {**dict.fromkeys(_INTEGERS, "integer"), **dict.fromkeys((7, 8), "float")}  # to half is to round


def spec_from(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None, strict: bool
) -> tuple[GRUSpec | ModelSpec, list[str]]:
    """The model, or the GRU where the graph is one GRU and nothing else; and the tensors that it does not use.

    Its inputs are batch first; where the exported model takes the steps first, the two are the other way round in every
    input and output. With ``layers`` the file is taken for its weights, like a state dict.

    Raises
    ------
    UnsupportedModelError
        An operation is not supported; the message names it and its node, and the weights can still be read.
    CheckpointError
        The JSON does not fit together, or a tensor is missing or misshapen.
    """
    if layers is not None:
        return pytorch_weights.spec_from(checkpoint.replace(config=None), layers, strict)
    graph = _Graph(checkpoint.config or {}, checkpoint.path)
    tensors = UsedTensors(checkpoint.tensors)
    spec = first_that_fits(graph.followed, tensors, checkpoint.path, _TYPES)
    return spec, left_over(tensors)


class _Graph:
    """The JSON, every part of it checked when it is used."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.where = where
        module = self._dict(config, "graph_module")
        self.graph = self._dict(module, "graph")
        signature = self._dict(module, "signature")
        self.nodes = self._list(self.graph, "nodes")
        self.inputs = self._list(signature, "input_specs")
        self.outputs = self._list(signature, "output_specs")
        self.values = self._dict(self.graph, "tensor_values")
        self._sizes = ExportedSizes(config, where)
        self._made: set[str] = set()  # constants that the code may have made of a size

    def followed(self, builder: Builder) -> GRUSpec | ModelSpec:
        """The model, where every operation can be followed."""
        wanted = self._wanted()
        builder.unseen = self._unseen()
        known = self._given(builder)
        for node in self.nodes:
            self._operation(builder, self._checked(node, dict, "a node"), known)
        outputs = [self._value(arg, known) for arg in wanted]
        return builder.finished([value for value in outputs if value is not None])

    def _unseen(self) -> str:
        """What code of its author's is in it: an if, a loop or a cut that did nothing leave no trace in a graph."""
        for node in self.nodes:
            for kind in _modules_of(node):
                if _OWN_CODE.fullmatch(kind) is None:
                    name = kind.rpartition(".")[2][:80]
                    return f"whether the code of {name} treats other sizes otherwise, the file does not say"
        return ""

    def _wanted(self) -> list[dict[str, Any]]:
        """What the model gives; a model that changes its own tensors is refused."""
        wanted = []
        for output in self.outputs:
            ((kind, content),) = self._one(output, "an output").items()
            if kind != "user_output":
                raise UnsupportedModelError(
                    f"{self.where}: the model has an output of the kind {kind[:80]!r}, which changes or trains it; "
                    "call model.eval() before it is exported"
                )
            wanted.append(self._dict(content, "arg"))
        return wanted

    def _given(self, builder: Builder) -> dict[str, Any]:
        """What the graph is given: weights, and the inputs of the model."""
        known: dict[str, Any] = {}
        states = self._states()
        for source in self.inputs:
            ((kind, content),) = self._one(source, "an input").items()
            content = self._checked(content, dict, "an input")
            if kind in _WEIGHTS:
                if kind == "tensor_constant":
                    self._made.add(self._checked(self._dict(content, "arg").get("name"), str, "a name"))
                weight = self._checked(content.get(_WEIGHTS[kind]), str, "the name of a weight")
                if weight not in builder.tensors:
                    raise CheckpointError(f"{self.where}: tensor {weight[:200]!r} is missing")
                name = self._checked(self._dict(content, "arg").get("name"), str, "a name")
                self._bind(known, name, Weight((weight,), builder.tensors[weight]))
            elif kind == "user_input":
                ((way, value),) = self._one(self._dict(content, "arg"), "an input").items()
                if way == "as_tensor":
                    name = self._checked(self._checked(value, dict, "an input").get("name"), str, "a name")
                    self._bind(known, name, self._input(builder, name, name in states))
            elif kind != "constant_input":
                raise UnsupportedModelError(f"{self.where}: an input of the kind {kind[:80]!r} is not supported")
        return known

    def _input(self, builder: Builder, name: str, is_state: bool) -> Array | Stack:
        meta = self._dict(self.values, name)
        dtype = meta.get("dtype")
        sizes = self._sizes.of(self._list(meta, "sizes"), is_state)
        if type(dtype) is not int or dtype not in (*_INTEGERS, *_FLOATS) or not 1 <= len(sizes) <= 6:
            raise UnsupportedModelError(f"{self.where}: input {name[:80]!r} has a type or axes that are not read")
        if is_state and len(sizes) == 3 and type(sizes[0]) is int and 1 <= sizes[0] <= 2000:
            return builder.states(name, sizes[0], sizes[2])
        return builder.input(name, sizes, integers=dtype in _INTEGERS)

    def _states(self) -> set[str]:
        """The names that only stand for the initial states of GRUs."""
        states: set[str] = set()
        others: set[str] = set()
        for node in self.nodes:
            node = self._checked(node, dict, "a node")
            for operand in self._list(node, "inputs"):
                operand = self._checked(operand, dict, "an operand")
                arg = self._dict(operand, "arg").get("as_tensor")
                name = arg.get("name") if isinstance(arg, dict) else None
                if isinstance(name, str):
                    is_state = node.get("target") == "torch.ops.aten.gru.input" and operand.get("name") == "hx"
                    (states if is_state else others).add(name)
        return states - others

    def _operation(self, builder: Builder, node: dict[str, Any], known: dict[str, Any]) -> None:
        target = self._checked(node.get("target"), str, "the target of a node")
        place = node.get("name")
        name = f" (node {place[:80]!r})" if isinstance(place, str) else ""
        found = _OPERATION.fullmatch(target) or _OPERATOR.fullmatch(target)
        if found is None:
            raise UnsupportedModelError(f"{self.where}: {target[:120]}{name}: the operation is not supported")
        if found[1] in IGNORED:
            return
        builder.options_are_own = _OWN.fullmatch(_modules_of(node)[-1]) is not None
        operands = {}
        for operand in self._list(node, "inputs"):
            operand = self._checked(operand, dict, "an operand")
            key = self._checked(operand.get("name"), str, "the name of an operand")
            if key in operands:
                raise CheckpointError(f"{self.where}: {target[:120]}{name} has an operand twice; the file is damaged")
            arg = self._dict(operand, "arg")
            operands[key] = self._value(arg, known)
            if self._made and any(name in self._made for name in _names_in(arg)):
                builder.evidence.note(found[1] + name, "takes a tensor that its code made")
        if found.re is _OPERATOR:
            made = apply(builder, found[1], list(operands.values()), {}, name)
        else:
            made = apply(builder, found[1], [], operands, name)
        self._bind_outputs(node, made, known)

    def _bind_outputs(self, node: dict[str, Any], made: Any, known: dict[str, Any]) -> None:
        outputs = self._list(node, "outputs")
        names: list[Any] = []
        for output in outputs:
            ((_, content),) = self._one(output, "an output").items()
            each = content if isinstance(content, list) else [content]
            names += [part.get("name", part.get("as_name")) if isinstance(part, dict) else None for part in each]
        values = list(made) if isinstance(made, (tuple, list)) and type(made) in (tuple, list) else [made]
        if len(values) < len(names):
            raise CheckpointError(f"{self.where}: a node has {len(names)} outputs, wanted {len(values)}; it is damaged")
        for name, value in zip(names, values, strict=False):
            if isinstance(name, str):
                self._bind(known, name, value)

    def _bind(self, known: dict[str, Any], name: str, value: Any) -> None:
        if name in known:
            raise CheckpointError(f"{self.where}: the graph makes {name[:80]!r} twice; the file is damaged")
        known[name] = value

    def _value(self, arg: dict[str, Any], known: Mapping[str, Any]) -> Any:
        """What an operand is: a value made before, a list of them, or a plain value."""
        ((kind, content),) = self._one(arg, "an operand").items()
        if kind in ("as_tensor", "as_sym_int", "as_optional_tensor"):
            return self._named(content, known)
        if kind in ("as_tensors", "as_sym_ints", "as_optional_tensors"):
            return [self._named(each, known) for each in self._checked(content, list, "a list")]
        if kind == "as_none" or kind in _IGNORED_KINDS:
            return None
        if kind == "as_float" and isinstance(content, str):
            return {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}.get(content)
        if kind in _PLAIN:
            return content
        raise UnsupportedModelError(f"{self.where}: an operand of the kind {kind[:80]!r} is not supported")

    def _named(self, content: Any, known: Mapping[str, Any]) -> Any:
        content = self._checked(content, dict, "an operand")
        if "as_int" in content:
            return content["as_int"]
        if "as_none" in content:
            return None
        inner = content.get("as_tensor", content)
        name = inner.get("name", inner.get("as_name")) if isinstance(inner, dict) else None
        if not isinstance(name, str) or name not in known:
            raise CheckpointError(f"{self.where}: the graph takes {str(name)[:80]!r}, which nothing before it makes")
        return known[name]

    # The parts of the JSON, each of its kind or an error.

    def _checked(self, value: Any, kind: type, what: str) -> Any:
        if not isinstance(value, kind):
            raise CheckpointError(f"{self.where}: {what} in its graph is {type(value).__name__}; the file is damaged")
        return value

    def _dict(self, parent: Any, key: str) -> dict[str, Any]:
        value = parent.get(key) if isinstance(parent, dict) else None
        found: dict[str, Any] = self._checked(value, dict, key[:80])
        return found

    def _list(self, parent: dict[str, Any], key: str) -> list[Any]:
        found: list[Any] = self._checked(parent.get(key), list, key)
        return found

    def _one(self, value: Any, what: str) -> dict[str, Any]:
        """A union: an object with one key."""
        if not isinstance(value, dict) or len(value) != 1:
            raise CheckpointError(f"{self.where}: {what} in its graph is no object with one key; the file is damaged")
        return value


def _modules_of(node: Any) -> list[str]:
    """The classes of the modules that an operation is in, the innermost last, as the file says."""
    metadata = node.get("metadata") if isinstance(node, dict) else None
    stack = metadata.get("nn_module_stack") if isinstance(metadata, dict) else None
    return [each.rpartition(",")[2] for each in stack.split(";")] if isinstance(stack, str) else ["the module"]


def _names_in(arg: Mapping[str, Any]) -> list[str]:
    """The values that an operand names."""
    content = next(iter(arg.values()), None)
    each = content if isinstance(content, list) else [content]
    inner = [part.get("as_tensor", part) for part in each if isinstance(part, dict)]
    return [part["name"] for part in inner if isinstance(part, dict) and isinstance(part.get("name"), str)]
