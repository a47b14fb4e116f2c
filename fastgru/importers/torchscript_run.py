"""TorchScript's code followed without numbers: what it would do with arrays of which only the axes are known.

Owns the meaning of the language: names, branches, calls of the file's own functions, and the few functions that are not
operations on tensors. Operations are looked up in ``aten``; nothing of the file is ever run. Work is bounded by counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ..checkpoint.torchscript_syntax import (
    Assign,
    Attribute,
    Call,
    Constant,
    Evaluate,
    Expression,
    Function,
    If,
    Index,
    Items,
    Name,
    Return,
    Statement,
    parse_function,
)
from ..errors import UnsupportedModelError
from ..spec import GRUSpec, ModelSpec
from .aten import Array, Builder, Stack, Unknown, Weight, apply, described
from .torchscript_plain import PLAIN, PlainError

__all__ = ["Code", "InputKindError", "follow"]

MAX_STEPS = 40_000  # statements and calls in all attempts; the code of a scripted GRU takes 60
MAX_DEPTH = 80  # of calls and expressions within each other
MAX_TEXT = 1 << 18  # characters of code parsed; the code of a scripted GRU is 5,000
MAX_INPUTS = 16
MAX_OUTPUTS = 1000


class InputKindError(Exception):
    """An input is not what it was taken for: ``kind`` is "ids", "vector" or the number of states."""

    def __init__(self, name: str, kind: str | int) -> None:
        super().__init__(name)
        self.name, self.kind = name, kind


class Code:
    """The functions of a file, each parsed when it is first called."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.modules: Mapping[str, Mapping[str, Any]] = config["modules"]
        self.constants: Sequence[Any] = config["constants"]
        self.where = where
        self._texts: Mapping[str, str] = config["functions"]
        self._parsed: dict[str, Function] = {}
        self._left = MAX_TEXT
        self.steps = MAX_STEPS

    def function(self, name: str) -> Function:
        place = f"{self.where}: {name[:200]}"
        if name not in self._parsed:
            text = self._texts.get(name)
            if text is None:
                raise UnsupportedModelError(f"{place}: the function is not in the file's code")
            self._left -= len(text)
            if self._left < 0:
                raise UnsupportedModelError(f"{place}: the code is too long to be followed")
            self._parsed[name] = parse_function(text, place)
        return self._parsed[name]


class _Module:
    described = "a module"

    def __init__(self, path: str) -> None:
        self.path = path


class _Named:
    """A name that begins with torch, ops or __torch__, until it is called."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def described(self) -> str:
        return f"the name {self.name[:80]!r}"


def follow(code: Code, kinds: Mapping[str, str | int], builder: Builder) -> GRUSpec | ModelSpec:
    """The model that the root module's ``forward`` computes.

    ``kinds`` are those of inputs that are not sequences of numbers.
    """
    root = code.modules[""]["type"]
    name = f"{root}.forward"
    parameters = code.function(name).parameters[1:]
    if len(parameters) > MAX_INPUTS:
        raise UnsupportedModelError(f"{code.where}: its forward has more than {MAX_INPUTS} parameters")
    run = _Run(code, builder)
    inputs = []
    for parameter, default in parameters:
        if default is None:
            inputs.append(run.input(parameter, kinds.get(parameter, "sequence")))
        else:
            inputs.append(run.value(default, {}))
    return builder.finished(_flat(run.call(name, [_Module(""), *inputs])))


def _flat(value: Any) -> list[Any]:
    """The outputs, those of a tuple within a tuple among them."""
    outputs: list[Any] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if type(each) in (list, tuple):
            waiting += list(each)[::-1]
        else:
            outputs.append(each)
        if len(outputs) > MAX_OUTPUTS:
            raise UnsupportedModelError(f"the model gives more than {MAX_OUTPUTS} values, wanted fewer")
    return outputs


class _Run:
    """One attempt to follow the code."""

    def __init__(self, code: Code, builder: Builder) -> None:
        self._code, self._builder = code, builder
        self._inputs: dict[Any, str] = {}  # the parameter's name by its edge
        self._depth = 0
        self._place = ""

    def input(self, name: str, kind: str | int) -> Array | Stack:
        if isinstance(kind, int):
            return self._builder.states(name, kind, Unknown())
        sizes = [Unknown() for _ in range(3 if kind == "sequence" else 2)]
        self._builder.ranks_are_guessed |= kind in ("sequence", "ids")
        array = self._builder.input(name, sizes, integers=kind == "ids")
        self._inputs[array.edge] = name
        return array

    def error(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self._code.where}: {self._place[:200]}: {message}")

    def call(self, name: str, args: Sequence[Any]) -> Any:
        """What one of the file's own functions returns."""
        function = self._code.function(name)
        if len(args) > len(function.parameters):
            raise self.error("a function is called with more arguments than it takes")
        above, self._place = self._place, name
        known: dict[str, Any] = dict(zip((parameter for parameter, _ in function.parameters), args, strict=False))
        for parameter, default in function.parameters[len(args) :]:
            if default is None:
                raise self.error("it is called without all of its arguments")
            known[parameter] = self.value(default, known)
        returned = self._block(function.body, known)
        self._place = above
        return None if returned is None else returned[0]

    def _block(self, statements: list[Statement], known: dict[str, Any]) -> tuple[Any] | None:
        """What is returned, in a tuple of its own; None where the end is reached."""
        self._deeper()
        for statement in statements:
            self._step()
            if isinstance(statement, Return):
                returned = self.value(statement.value, known)
                self._depth -= 1
                return (returned,)
            if isinstance(statement, If):
                returned = self._block(self._branch(statement, known), known)
                if returned is not None:
                    self._depth -= 1
                    return returned
            elif isinstance(statement, Assign):
                self._assign(statement, known)
            elif isinstance(statement, Evaluate):
                self.value(statement.value, known)
        self._depth -= 1
        return None

    def _branch(self, statement: If, known: dict[str, Any]) -> list[Statement]:
        """The branch that is taken; where that is not known, the one that does not raise an exception."""
        truth = self.value(statement.condition, known)
        if isinstance(truth, bool):
            return statement.then if truth else statement.otherwise
        raising = [_raises(statement.then), _raises(statement.otherwise)]
        if raising == [True, False]:
            return statement.otherwise
        if raising == [False, True]:
            return statement.then
        raise self.error("it branches by something that is not known before the model runs")

    def _assign(self, statement: Assign, known: dict[str, Any]) -> None:
        value = self.value(statement.value, known)
        if not statement.unpacks:
            known[statement.targets[0]] = value
            return
        if type(value) not in (list, tuple) or len(value) != len(statement.targets):
            raise self.error(f"{described(value)} is taken apart into {len(statement.targets)} values")
        known.update(zip(statement.targets, value, strict=True))

    def value(self, expression: Expression, known: Mapping[str, Any]) -> Any:
        """What an expression is."""
        self._deeper()
        if isinstance(expression, Constant):
            value = expression.value
        elif isinstance(expression, Name):
            value = known[expression.name] if expression.name in known else _unbound(expression.name)
        elif isinstance(expression, Items):
            value = [self.value(item, known) for item in expression.items]
        elif isinstance(expression, Attribute):
            value = self._attribute(self.value(expression.value, known), expression.name)
        elif isinstance(expression, Index):
            value = self._item(self.value(expression.value, known), [self.value(i, known) for i in expression.items])
        else:
            value = self._called(expression, known)
        self._depth -= 1
        return value

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, _Named):
            if owner.name == "CONSTANTS":
                return self._constant(name)
            return _Named(f"{owner.name}.{name}")
        if not isinstance(owner, _Module):
            raise self.error(f"{name[:80]!r} of {described(owner)} is not known")
        module = self._code.modules[owner.path]
        if name in module["tensors"]:
            return self._weight(module["tensors"][name])
        if name in module["children"]:
            return _Module(module["children"][name])
        if name in module["tensor_lists"]:
            return [self._weight(each) for each in module["tensor_lists"][name]]
        if name in module["options"]:
            return module["options"][name]
        raise self.error(f"the module {owner.path[:80]!r} has no plain attribute {name[:80]!r}")

    def _constant(self, name: str) -> Any:
        number = int(name[1:]) if name[1:].isdecimal() and len(name) < 8 else -1
        if not 0 <= number < len(self._code.constants):
            raise self.error(f"its constant {name[:80]!r} is not in the file")
        value = self._code.constants[number]
        if not isinstance(value, dict):
            return value
        if "tensor" not in value:
            raise self.error(f"its constant {name} is {value['unread']}, which is not read")
        return self._weight(value["tensor"])

    def _weight(self, name: str) -> Weight:
        return Weight((name,), self._builder.tensors[name])

    def _item(self, value: Any, items: list[Any]) -> Any:
        if isinstance(value, _Named):  # a type
            return value
        if type(value) not in (list, tuple) or len(items) != 1 or type(items[0]) is not int:
            raise self.error(f"{described(value)} has no items that could be taken")
        if not -len(value) <= items[0] < len(value):
            raise self.error(f"there is no item {items[0]} of {len(value)}")
        return value[items[0]]

    def _called(self, call: Call, known: Mapping[str, Any]) -> Any:
        self._step()
        if isinstance(call.function, Attribute):
            owner = self.value(call.function.value, known)
            method = call.function.name
            if isinstance(owner, _Module):
                self._check_positional(call)
                args = [self.value(arg, known) for arg in call.args]
                return self.call(f"{self._code.modules[owner.path]['type']}.{method}", [owner, *args])
            function = self._attribute(owner, method)
        else:
            function = self.value(call.function, known)
        if not isinstance(function, _Named):
            raise self.error(f"{described(function)} is called")
        args = [self.value(arg, known) for arg in call.args]
        if function.name.startswith("__torch__.") or function.name in PLAIN:
            self._check_positional(call)
        if function.name.startswith("__torch__."):
            return self.call(function.name, args)
        if function.name in PLAIN:
            try:
                return PLAIN[function.name](args)
            except PlainError as problem:
                raise self.error(f"{function.name} {problem}") from None
        own = self._OWN.get(function.name)
        if own is not None:
            return own(self, args)
        package, _, name = function.name.partition(".")
        if package != "torch" or "." in name:
            raise self.error(f"{function.name[:80]!r} is not supported")
        named = {key: self.value(value, known) for key, value in call.named}
        self._check_inputs(name, args)
        return apply(self._builder, name, args, named, f" (in {self._place[:200]})")

    def _check_positional(self, call: Call) -> None:
        if call.named:
            raise self.error("a function of the file is called with arguments by their names, which is not read")

    def _check_inputs(self, name: str, args: list[Any]) -> None:
        """Raise where an operation shows that an input of the model is something else than it was taken for."""
        for place, arg in enumerate(args):
            own = self._inputs.get(arg.edge) if isinstance(arg, Array) else None
            if own is None:
                continue
            if name == "embedding" and place == 1 and not arg.integers:
                raise InputKindError(own, "ids")
            if name == "gru_cell" and place < 2 and len(arg.order) == 3:
                raise InputKindError(own, "vector")
            if name == "gru" and place == 1 and len(args) == 9 and type(args[4]) is int:
                raise InputKindError(own, args[4] * (2 if args[7] else 1))

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error(f"its calls are nested deeper than {MAX_DEPTH}")

    def _step(self) -> None:
        self._code.steps -= 1
        if self._code.steps < 0:
            raise self.error(f"it takes more than {MAX_STEPS} steps")

    # Functions that are not operations on tensors.

    def _raised(self, args: list[Any]) -> Any:
        raise self.error("it would raise an exception")

    def _size(self, args: list[Any]) -> Any:
        made = apply(self._builder, "size", args, {}, f" (in {self._place[:200]})")
        return list(made) if isinstance(made, tuple) else made

    def _rank(self, args: list[Any]) -> int:
        sizes = getattr(args[0], "sizes", None) if args else None
        if sizes is None:
            raise self.error("it asks for the number of axes of something else than a tensor")
        return len(sizes)

    def _attribute_of(self, args: list[Any]) -> Any:
        if len(args) != 2 or not isinstance(args[1], str):
            raise self.error("an attribute is asked for by something else than its name")
        return self._attribute(args[0], args[1])

    _OWN: ClassVar[dict[str, Callable[[_Run, list[Any]], Any]]] = {
        "getattr": _attribute_of,
        "ops.prim.RaiseException": _raised,
        "torch.dim": _rank,
        "torch.size": _size,
    }


_NOT_FINITE = {"inf": math.inf, "nan": math.nan}


def _unbound(name: str) -> Any:
    """A name that no statement has given a value."""
    return _NOT_FINITE[name] if name in _NOT_FINITE else _Named(name)


def _raises(statements: list[Statement]) -> bool:
    """Whether a branch ends in an exception, as its own last statements."""
    names = [
        statement.value.function.name
        for statement in statements
        if isinstance(statement, Evaluate)
        and isinstance(statement.value, Call)
        and isinstance(statement.value.function, Attribute)
    ]
    return "RaiseException" in names
