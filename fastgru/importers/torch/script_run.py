"""TorchScript's code followed without numbers: what it would do with tensors of which only the shapes are known.

Owns the meaning of the language: names, branches, loops, calls of the file's own functions. Operations are calls of the
table, by ``script_operations``; nothing of the file is ever run. Work is bounded by counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ...checkpoint.torchscript.tree import (
    Assign,
    Attribute,
    Call,
    Constant,
    DictItems,
    Evaluate,
    Expression,
    For,
    If,
    Index,
    Items,
    ListItems,
    Name,
    Return,
    SetAttribute,
    Statement,
    While,
    With,
)
from ...errors import UnsupportedModelError
from ...graph.builder import Builder, Value
from .script_calls import CODES, rank_of
from .script_code import MAX_STEPS, Code, raises
from .script_lists import PlainError, item_of, made_dict
from .script_operations import OpenSizeError, Operations
from .script_plain import KEEPS_TENSORS, PLAIN
from .script_values import PACKED, Condition, Module, Named, Record, ScriptObject, described

__all__ = ["OpenSizeError", "Run"]

MAX_DEPTH = 80  # of calls and expressions within each other
# Contexts in which numbers are computed as outside of them.
_GRADIENT_MODES = ("no_grad", "enable_grad", "inference_mode", "set_grad_enabled")
Scope = dict[str, Any]


class Run:
    """One attempt to follow the code."""

    def __init__(self, code: Code, builder: Builder, squeezes: bool = False) -> None:
        self._code = code
        self.operations = Operations(code, builder, squeezes)
        self._depth = 0
        self._place = ""

    def error(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self._code.where}: {self._place[:200]}: {message}")

    def call(self, name: str, args: Sequence[Any], named: Mapping[str, Any] | None = None) -> Any:
        """What one of the file's own functions returns."""
        function = self._code.function(name)
        if len(args) > len(function.parameters):
            raise self.error("a function is called with more arguments than it takes")
        above, self._place, self.operations.expected = self._place, name, None
        known: Scope = dict(zip((parameter for parameter, _ in function.parameters), args, strict=False))
        given = named or {}
        for parameter, default in function.parameters[len(args) :]:
            if parameter in given:
                known[parameter] = given[parameter]
            elif default is None:
                raise self.error("it is called without all of its arguments")
            else:
                known[parameter] = self.value(default, known)
        if not set(given) <= {parameter for parameter, _ in function.parameters[len(args) :]}:
            raise self.error("a function is called with an argument that it has not")
        if name.endswith(".TransformerEncoder.forward") and known.get("src_key_padding_mask") is not None:
            raise self.error(
                "gives zeros, or not, where a mask leaves out a step, by whether gradients are recorded; call "
                "torch.backends.mha.set_fastpath_enabled(False) and use fastgru.from_torch(module, example)"
            )
        returned = self.block(function.body, known)
        self._place = above
        return None if returned is None else returned[0]

    def block(self, statements: Iterable[Statement], known: Scope) -> tuple[Any] | None:
        """What is returned, in a tuple of its own; None where the end is reached."""
        self._deeper()
        for statement in statements:
            self.step()
            returned = self._statement(statement, known)
            if returned is not None:
                self._depth -= 1
                return returned
        self._depth -= 1
        return None

    def _statement(self, statement: Statement, known: Scope) -> tuple[Any] | None:
        if isinstance(statement, Return):
            return (self.value(statement.value, known),)
        if isinstance(statement, If):
            return self.block(self._branch(statement, known), known)
        if isinstance(statement, Assign):
            self._assign(statement, known)
        elif isinstance(statement, Evaluate):
            self.value(statement.value, known)
        elif isinstance(statement, For):
            return self._for(statement, known)
        elif isinstance(statement, While):
            return self._while(statement, known)
        elif isinstance(statement, With):
            return self._with(statement, known)
        elif isinstance(statement, SetAttribute):
            raise self.error(
                f"it changes its own attribute {statement.target.name[:80]!r} when it runs, which is not followed; "
                "give that value as an input and an output"
            )
        return None

    def _branch(self, statement: If, known: Scope) -> list[Statement]:
        """The branch that is taken; where that is not known, the one that does not raise an exception."""
        truth = self._truth(self.value(statement.condition, known))
        if isinstance(truth, bool):
            return statement.then if truth else statement.otherwise
        if isinstance(truth, Condition) and truth.other == 0 and truth.relation in ("==", "!="):
            self._demand(truth if truth.relation == "!=" else truth.opposite())  # as of what has no elements
            return statement.otherwise if truth.relation == "==" else statement.then
        raising = [raises(statement.then), raises(statement.otherwise)]
        if raising not in ([True, False], [False, True]):
            what = f" ({truth.one} {truth.relation} {truth.other})" if isinstance(truth, Condition) else ""
            raise self.error(f"it branches by something that is not known before the model runs{what[:200]}")
        if isinstance(truth, Condition):
            self._demand(truth.opposite() if raising[0] else truth)
        return statement.otherwise if raising[0] else statement.then

    def _demand(self, held: Condition) -> None:
        """Note what the sizes of every call must satisfy."""
        reason = f"the code does something else otherwise ({self._place[:200]})"
        if held.relation == "==":
            self.operations.builder.same(held.one, held.other, reason)
        else:
            self.operations.builder.guard(*held, reason)

    def _truth(self, value: Any) -> Any:
        """A bool, a condition, or something that is not known."""
        if isinstance(value, Value):
            value = self.operations.current(value)
            if value.number is not None:
                return bool(value.number)
        return bool(value) if type(value) in (int, float) else value

    def _for(self, statement: For, known: Scope) -> tuple[Any] | None:
        count = statement.turns
        args = [self.value(each, known) for each in count.args] if isinstance(count, Call) else []
        if not isinstance(count, Call) or count.function != Name("range") or len(args) != 1:
            raise self.error("it has a loop over something else than a range")
        (times,) = args
        if isinstance(times, Value):
            times = self.operations.current(times).number
        if type(times) is not int:
            message = (
                f"it has a loop, for {statement.name} in range(...), over a number of turns that is not known before "
                "the model runs; trace the module for one number of steps (torch.jit.trace), or give an example: "
                "fastgru.from_torch(module, example)"
            )
            raise OpenSizeError(str(self.error(message)))
        for turn in range(times):
            self.step()
            known[statement.name] = turn
            returned = self.block(statement.body, known)
            if returned is not None:
                return returned
        return None

    def _while(self, statement: While, known: Scope) -> tuple[Any] | None:
        while True:
            self.step()
            truth = self._truth(self.value(statement.condition, known))
            if not isinstance(truth, bool):
                raise self.error("it has a loop, while ..., by something that is not known before the model runs")
            if not truth:
                return None
            returned = self.block(statement.body, known)
            if returned is not None:
                return returned

    def _with(self, statement: With, known: Scope) -> tuple[Any] | None:
        context = self.value(statement.context, known)
        name = context.name.rpartition(".")[2] if isinstance(context, ScriptObject) else ""
        if name not in _GRADIENT_MODES:
            raise self.error(f"it runs within {described(context)}, of which only torch.no_grad() is followed")
        return self.block(statement.body, known)

    def _assign(self, statement: Assign, known: Scope) -> None:
        if not statement.unpacks:
            known[statement.targets[0]] = self.value(statement.value, known)
            return
        self.operations.expected = len(statement.targets)
        value = self.value(statement.value, known)
        self.operations.expected = None
        if not isinstance(value, (list, tuple)) or len(value) != len(statement.targets):
            raise self.error(f"{described(value)} is taken apart into {len(statement.targets)} values")
        known.update(zip(statement.targets, value, strict=True))

    def value(self, expression: Expression, known: Scope) -> Any:
        """What an expression is."""
        self._deeper()
        if isinstance(expression, Constant):
            value = expression.value
        elif isinstance(expression, Name):
            value = known[expression.name] if expression.name in known else _unbound(expression.name)
        elif isinstance(expression, ListItems):
            value = [self.value(item, known) for item in expression.items]
        elif isinstance(expression, Items):
            value = tuple(self.value(item, known) for item in expression.items)
        elif isinstance(expression, DictItems):
            items = [(self.value(key, known), self.value(item, known)) for key, item in expression.items]
            value = self._from("it", made_dict, items)
        elif isinstance(expression, Attribute):
            value = self._attribute(self.value(expression.value, known), expression.name)
        elif isinstance(expression, Index):
            value = self._item(self.value(expression.value, known), [self.value(i, known) for i in expression.items])
        else:
            value = self._called(expression, known)
        self._depth -= 1
        return value

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, Named):
            if owner.name == "CONSTANTS":
                return self._constant(name)
            return Named(f"{owner.name}.{name}")
        if isinstance(owner, Record) and name in owner.fields:
            return owner[owner.fields.index(name)]
        if not isinstance(owner, Module):
            raise self.error(f"{name[:80]!r} of {described(owner)} is not known")
        module = self._code.modules[owner.path]
        if name in module["tensors"]:
            return self.operations.weight(module["tensors"][name])
        if name in module["children"]:
            return Module(module["children"][name])
        if name in module["tensor_lists"]:
            return [self.operations.weight(each) for each in module["tensor_lists"][name]]
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
        return self.operations.weight(value["tensor"])

    def _item(self, value: Any, items: list[Any]) -> Any:
        return value if isinstance(value, Named) else self._from("it", item_of, value, items)  # of a type itself

    def _from(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """What a plain function gives; its errors begin with where the code is, and its name."""
        try:
            return function(*args)
        except PlainError as problem:
            raise self.error(f"{name} {problem}") from None

    def _called(self, call: Call, known: Scope) -> Any:
        self.step()
        if isinstance(call.function, Attribute):
            owner = self.value(call.function.value, known)
            method = call.function.name
            if isinstance(owner, ScriptObject) and method == "__init__":
                return None
            if isinstance(owner, Module):
                args, named = self._args(call, known)
                return self.call(f"{self._code.modules[owner.path]['type']}.{method}", [owner, *args], named)
            function = self._attribute(owner, method)
        else:
            function = self.value(call.function, known)
        if not isinstance(function, Named):
            raise self.error(f"{described(function)} is called")
        args, named = self._args(call, known)
        return self._function(function.name, args, named)

    def _args(self, call: Call, known: Scope) -> tuple[list[Any], dict[str, Any]]:
        return [self.value(arg, known) for arg in call.args], {key: self.value(each, known) for key, each in call.named}

    def _function(self, name: str, args: list[Any], named: dict[str, Any]) -> Any:
        """What a function gives, by its full name."""
        if name.startswith("__torch__."):
            return self._own_function(name, args, named)
        own = self._OWN.get(name)
        if own is not None and not named:
            return own(self, args)
        if name in PLAIN:
            made = self._plain(name, args, named)
            if made is not NotImplemented:
                return made
        package, _, operation = name.partition(".")
        if package != "torch" or "." in operation:
            raise self.error(f"{name[:80]!r} is not supported")
        nodes = len(self.operations.builder.nodes)
        self.step(4)
        made = self.operations.call(operation, args, named, f" (in {self._place[:200]})")
        self.step(3 * (len(self.operations.builder.nodes) - nodes))
        return made

    def _own_function(self, name: str, args: list[Any], named: dict[str, Any]) -> Any:
        if name in self._code.tuples:
            fields = tuple(self._code.tuples[name])
            if len(args) != len(fields) or named:
                raise self.error(f"a named tuple of {len(fields)} is made of {len(args)} values")
            made = Record(args)
            made.fields = fields
            return made
        if name.endswith(".__new__"):
            return ScriptObject(name.removesuffix(".__new__"))
        return self.call(name, args, named)

    def _plain(self, name: str, args: list[Any], named: dict[str, Any]) -> Any:
        args = [self.operations.settled(each) for each in args] if name not in KEEPS_TENSORS else args
        try:
            return PLAIN[name](*args, **named) if not named or name == "torch.div" else NotImplemented
        except PlainError as problem:
            raise self.error(f"{name} {problem}") from None
        except TypeError as problem:
            if problem.__traceback__ is not None and problem.__traceback__.tb_next is not None:
                raise
            if any(isinstance(each, Value) for each in args):
                return NotImplemented
            raise self.error(f"{name} is called with {len(args)} arguments, which is not read") from None

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error(f"its calls are nested deeper than {MAX_DEPTH}")

    def step(self, count: int = 1) -> None:
        """Charge for work that is done."""
        self._code.steps -= count
        if self._code.steps < 0:
            raise self.error(f"it takes more than {MAX_STEPS} steps")

    # Functions that are not operations on tensors.

    def _raised(self, args: list[Any]) -> Any:
        raise self.error("it would raise an exception")

    def _tensor(self, args: list[Any]) -> Value:
        given = args[0] if len(args) == 1 else None
        if not isinstance(given, Value):
            raise self.error(f"it asks for something of {described(given)}, wanted a tensor")
        self.operations.operands = [given]
        return self.operations.current(given)

    def _rank(self, args: list[Any]) -> int:
        if len(args) == 1 and type(args[0]) in PACKED:
            return rank_of(self.operations.context, args[0])
        return rank_of(self.operations.context, self._tensor(args))

    def _count(self, args: list[Any]) -> Any:
        if len(args) == 1 and isinstance(args[0], Value) and (shape := self.operations.current(args[0]).shape):
            return self.operations.settled(shape[0])
        return self._plain("torch.len", args, {})

    def _dtype(self, args: list[Any]) -> int:
        if len(args) == 1 and type(args[0]) in PACKED:
            return CODES["float"]
        return CODES[self._tensor(args).dtype]

    def _is_float(self, args: list[Any]) -> bool:
        return self._tensor(args).dtype == "float"

    def _attribute_of(self, args: list[Any]) -> Any:
        if len(args) != 2 or not isinstance(args[1], str):
            raise self.error("an attribute is asked for by something else than its name")
        return self._attribute(args[0], args[1])

    _OWN: ClassVar[dict[str, Callable[[Run, list[Any]], Any]]] = {
        "getattr": _attribute_of,
        "ops.prim.RaiseException": _raised,
        "ops.prim.dtype": _dtype,
        "torch.dim": _rank,
        "torch.is_floating_point": _is_float,
        "torch.len": _count,
    }


_NOT_FINITE = {"inf": math.inf, "nan": math.nan}


def _unbound(name: str) -> Any:
    """A name that no statement has given a value."""
    return _NOT_FINITE[name] if name in _NOT_FINITE else Named(name)
