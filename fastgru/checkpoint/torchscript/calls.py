"""What the calls of PyTorch's functions in the code of a TorchScript file tell: options, and which constant is what.

A traced GRU has its options only as literals of a call of ``torch.gru``; a frozen module has its weights only as
numbered constants, whose place in a call says what they are. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import UnsupportedModelError
from .syntax import parse_function
from .tree import (
    Assign,
    Attribute,
    Call,
    Constant,
    Evaluate,
    Expression,
    If,
    Index,
    Items,
    ListItems,
    Name,
    Return,
    Statement,
    With,
)

__all__ = ["constant_names", "gru_options"]

# Which argument of a call is which parameter of the module that makes it.
_PARAMETERS: dict[str, dict[int, str]] = {
    "embedding": {0: "weight"},
    "linear": {1: "weight", 2: "bias"},
    "conv1d": {1: "weight", 2: "bias"},
    "_convolution": {1: "weight", 2: "bias"},
    "prelu": {1: "weight"},
    "layer_norm": {2: "weight", 3: "bias"},
    "batch_norm": {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"},
}
_GRU_ARGUMENTS = 9  # input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
MAX_LAYERS = 1000


def gru_options(functions: Mapping[str, str], kind: str) -> dict[str, Any]:
    """``num_layers``, ``bias``, ``bidirectional`` and ``batch_first`` of the one GRU that a class calls, or nothing."""
    found = [call for call in _calls(functions, f"{kind}.forward") if _function(call) == "gru"]
    return _options(found[0]) if len(found) == 1 else {}


def constant_names(functions: Mapping[str, str], kind: str) -> dict[int, str]:
    """Names for the numbered constants that a frozen module's ``forward`` uses: ``gru.weight_ih_l0``, ``linear.bias``.

    Where one function is called several times its constants are ``linear``, ``linear_1`` and so on, in that order. A
    constant that is used twice has the first of its names.
    """
    names: dict[int, str] = {}
    lists: dict[str, ListItems] = {}
    count: dict[str, int] = {}
    for call in _calls(functions, f"{kind}.forward", lists):
        function = _function(call)
        parameters = _gru_parameters(call, lists) if function == "gru" else _parameters(call, function)
        numbers = {number: name for name, value in parameters if (number := _constant(value)) is not None}
        if not numbers:
            continue
        place = count[function] = count.get(function, -1) + 1
        module = function.lstrip("_") + (f"_{place}" if place else "")
        for number, name in numbers.items():
            names.setdefault(number, f"{module}.{name}")
    return names


def _parameters(call: Call, function: str) -> list[tuple[str, Expression]]:
    return [(name, call.args[at]) for at, name in _PARAMETERS.get(function, {}).items() if at < len(call.args)]


def _gru_parameters(call: Call, lists: Mapping[str, ListItems]) -> list[tuple[str, Expression]]:
    """The parameters of a GRU by name, as PyTorch orders them in the list it is called with."""
    options = _options(call)
    if not options:
        return []
    values = call.args[2]
    if isinstance(values, Name):
        values = lists.get(values.name, ListItems(()))
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if options["bias"] else 2]
    ways = ("", "_reverse")[: 2 if options["bidirectional"] else 1]
    names = [f"{kind}_l{layer}{way}" for layer in range(options["num_layers"]) for way in ways for kind in kinds]
    if not isinstance(values, ListItems) or len(values.items) != len(names):
        return []
    return list(zip(names, values.items, strict=True))


def _options(call: Call) -> dict[str, Any]:
    """The options of a call of ``torch.gru`` where they are all literals."""
    if len(call.args) != _GRU_ARGUMENTS:
        return {}
    named = {
        "bias": call.args[3],
        "num_layers": call.args[4],
        "bidirectional": call.args[7],
        "batch_first": call.args[8],
    }
    options = {name: value.value for name, value in named.items() if isinstance(value, Constant)}
    kinds = {name: int if name == "num_layers" else bool for name in named}
    if any(type(options.get(name)) is not kind for name, kind in kinds.items()):
        return {}
    return options if 1 <= int(str(options["num_layers"])) <= MAX_LAYERS else {}


def _constant(value: Expression) -> int | None:
    """K where the expression is ``CONSTANTS.cK``."""
    if isinstance(value, Attribute) and value.value == Name("CONSTANTS") and value.name[1:].isdecimal():
        return int(value.name[1:]) if len(value.name) < 8 else None
    return None


def _function(call: Call) -> str:
    """``gru`` where the call is of ``torch.gru``."""
    function = call.function
    return function.name if isinstance(function, Attribute) and function.value == Name("torch") else ""


def _calls(functions: Mapping[str, str], name: str, lists: dict[str, ListItems] | None = None) -> Iterator[Call]:
    """Every call in a function in the order of its code, inner ones first; lists that are assigned go to ``lists``."""
    try:
        body = parse_function(functions.get(name, ""), name).body
    except UnsupportedModelError:
        return
    waiting: list[Statement] = body[::-1]
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, If):
            yield from _within(statement.condition)
            waiting += statement.otherwise[::-1] + statement.then[::-1]
            continue
        if isinstance(statement, With):
            waiting += statement.body[::-1]
            continue
        if isinstance(statement, Assign) and isinstance(statement.value, ListItems) and lists is not None:
            lists[statement.targets[0]] = statement.value
        if isinstance(statement, (Assign, Evaluate, Return)):
            yield from _within(statement.value)


def _within(expression: Expression) -> list[Call]:
    """The calls in an expression, inner ones first."""
    found: list[Call] = []
    waiting: list[Expression] = [expression]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Call):
            found.append(each)
            waiting += [each.function, *each.args, *(value for _, value in each.named)]
        elif isinstance(each, (Attribute, Index)):
            waiting.append(each.value)
            waiting += each.items if isinstance(each, Index) else ()
        elif isinstance(each, (Items, ListItems)):
            waiting += each.items
    return found[::-1]
