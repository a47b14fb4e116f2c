"""``--layers`` of the command line: a chain of layers as text, read and never run.

Owns that notation: names of modules, and layers as Python writes them, ``gru,Last(),fc`` or the line that ``fastgru
inspect`` prints, ``layers=["gru", ..., "fc", ...]``. Which modules there are is for the importer, and so is to ask what
belongs at a ``...``.
"""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

from ..errors import FastGRUError

if TYPE_CHECKING:
    from ..importers.weights.chain import LayerItem

__all__ = ["parse_chain"]

_ITEM = re.compile(
    r"""\s*(?: (?P<json>"(?:[^"\\]|\\.)*")
             | '(?P<quoted>[^'\\]*)'
             | (?:fastgru\.)?(?P<layer>[A-Z]\w*)\((?P<arguments>(?:[^()"']|"[^"\\]*"|'[^'\\]*'|\([^()]*\))*)\)
             | (?P<name>[^\s,()\[\]"']+)
         )\s*(?P<end>,|$)""",
    re.VERBOSE,
)


def parse_chain(text: str) -> list[LayerItem]:
    """The items of ``layers=`` that a text names.

    Raises
    ------
    ValueError
        The text cannot be read, or names a layer or an argument that there is not.

    Examples
    --------
    >>> parse_chain("gru,Last(),fc")
    ['gru', Last(), 'fc']
    """
    chain = re.sub(r"^\s*(layers\s*=)?\s*\[(.*)\]\s*$", r"\2", text, flags=re.DOTALL)
    items: list[LayerItem] = []
    position = 0
    while position < len(chain):
        match = _ITEM.match(chain, position)
        if match is None:
            raise ValueError(
                f"cannot read {chain[position:]!r}; wanted names and layers between commas, such as gru,Last(),fc"
            )
        items.append(_item(match))
        position = match.end()
    if not items:
        raise ValueError("names no layer; wanted for example gru,Last(),fc")
    return items


def _item(match: re.Match[str]) -> LayerItem:
    if match["layer"] is not None:
        return _layer(match["layer"], match["arguments"], match[0].strip(" ,"))
    if match["json"] is not None:
        try:
            return str(json.loads(match["json"]))
        except ValueError:
            raise ValueError(f"cannot read the name {match['json']}") from None
    if match["name"] == "...":
        return ...
    return str(match["name"] or match["quoted"] or "")


def _layer(name: str, arguments: str, text: str) -> LayerItem:
    """A layer without weights, or a module with options, by its class and arguments."""
    from ..importers.weights.named import Named
    from ..saved.topology import layer_of

    try:
        positional, named = _arguments(arguments)
        if name == "Named":
            return Named(*positional, **named)
        return layer_of(name, positional, named)
    except (FastGRUError, TypeError) as error:
        raise ValueError(f"{text}: {error}") from None
    except (SyntaxError, ValueError):
        raise ValueError(f"cannot read the arguments of {text}; wanted for example Activation(relu)") from None


def _arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """What stands between the brackets of a call: numbers, words, True, False, None and tuples of numbers."""
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError("it is more than the arguments of one call")
    named = {keyword.arg: _value(keyword.value) for keyword in call.keywords if keyword.arg is not None}
    if len(named) != len(call.keywords):
        raise ValueError("** cannot be read")
    return [_value(each) for each in call.args], named


def _value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
