"""TorchScript's functions of lists and dicts. Lists are Python's own, so that what is appended is seen by all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.builder import Value
from .script_values import Record, described

__all__ = ["LISTS", "MAX_ITEMS", "PlainError", "item_of", "made_dict"]

MAX_ITEMS = 2000  # of one list


class PlainError(Exception):
    """A function that cannot be followed; the message says why, after the function's name."""


def _checked(items: Any) -> Any:
    if type(items) is not list:
        raise PlainError(f"takes {described(items)}, wanted a list")
    return items


def _room(count: int) -> None:
    if count > MAX_ITEMS:
        raise PlainError(f"makes a list of more than {MAX_ITEMS} items, which fastgru does not follow")


def appended(items: Any, value: Any) -> Any:
    _room(len(_checked(items)) + 1)
    items.append(value)
    return items


def extended(items: Any, more: Any) -> Any:
    _room(len(_checked(items)) + len(_checked(more)))
    items.extend(list(more))
    return items


def _inserted(items: Any, place: Any, value: Any) -> Any:
    _room(len(_checked(items)) + 1)
    items.insert(_index(place), value)


def _index(place: Any) -> int:
    if type(place) is not int:
        raise PlainError(f"takes the place {described(place)}, wanted a whole number that is known")
    return place


def _placed(items: Any, place: Any) -> int:
    if not -len(items) <= _index(place) < len(items):
        raise PlainError(f"takes item {place} of {len(items)}")
    return int(place)


def _set(items: Any, place: Any, value: Any) -> Any:
    if isinstance(items, dict):
        if not isinstance(place, (str, int)):
            raise PlainError("sets an item of a dict by what is no text")
        _room(len(items) + 1)
        items[place] = value
    else:
        items[_placed(_checked(items), place)] = value
    return items


def _popped(items: Any, place: Any = -1) -> Any:
    return _checked(items).pop(_placed(items, place))


def _copied(items: Any = None) -> Any:
    return list(items) if type(items) in (list, tuple) else items


def _reversed(items: Any) -> Any:
    _checked(items).reverse()


def _cleared(items: Any) -> Any:
    _checked(items).clear()


def sliced(items: Any, *places: Any) -> Any:
    if isinstance(items, Value):
        return NotImplemented
    if len(places) > 3:
        raise PlainError("takes a list and more than three places")
    given: list[Any] = [*places, *[None, None, 1][len(places) :]]
    if type(items) not in (list, tuple, str):
        raise PlainError(f"takes {described(items)}, wanted a list")
    bounds = [None if each is None else _index(each) for each in given]
    if bounds[2] == 0:
        raise PlainError("has a step of 0")
    return items[slice(*bounds)]


def joined(one: Any, other: Any) -> Any:
    """``one + other`` of lists."""
    _room(len(one) + len(other))
    return one + other


def repeated(items: Any, count: Any) -> Any:
    _room(len(items) * max(0, _index(count)))
    return items * _index(count)


def _dict(function: Callable[[dict[Any, Any]], Any]) -> Callable[[Any], Any]:
    def run(given: Any) -> Any:
        if not isinstance(given, dict):
            raise PlainError(f"takes {described(given)}, wanted a dict")
        return function(given)

    return run


def made_dict(items: list[tuple[Any, Any]]) -> dict[Any, Any]:
    if not all(isinstance(key, (str, int)) for key, _ in items):
        raise PlainError("makes a dict whose keys are no texts")
    return dict(items)


def item_of(value: Any, items: list[Any]) -> Any:
    """``value[item]`` of a list, a tuple, a text or a dict."""
    if isinstance(value, dict) and len(items) == 1 and isinstance(items[0], (str, int)):
        if items[0] not in value:
            raise PlainError(f"takes the item {str(items[0])[:80]!r} of a dict that has no such")
        return value[items[0]]
    if type(value) not in (list, tuple, Record, str) or len(items) != 1 or type(items[0]) is not int:
        raise PlainError(f"takes an item, but {described(value)} has no items that could be taken")
    return value[_placed(value, items[0])]


LISTS: dict[str, Callable[..., Any]] = {
    "torch.append": appended,
    "torch.extend": extended,
    "torch.insert": _inserted,
    "torch.pop": _popped,
    "torch.clear": _cleared,
    "torch.reverse": _reversed,
    "torch.list": _copied,
    "torch.slice": sliced,
    "torch._set_item": _set,
    "torch.keys": _dict(lambda given: list(given)),
    "torch.values": _dict(lambda given: list(given.values())),
    "torch.items": _dict(lambda given: list(given.items())),
}
