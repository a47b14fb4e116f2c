"""Text that comes from a file: how JSON is parsed within bounds, and how a name is put into a message.

JSON is data here: size, nesting and the number of values are checked before the parser sees it. Nothing is looked up.
"""

from __future__ import annotations

import math
import re
from typing import Any

from ..errors import CheckpointError
from ..origin import raised_in

__all__ = ["parse_json", "shown"]

MAX_JSON_BYTES = 8 << 20  # Keras writes about 1 KB a layer, safetensors about 100 bytes a tensor
MAX_JSON_DEPTH = 100
MAX_JSON_VALUES = 250_000
MAX_DIGITS = 20


def shown(text: object, limit: int = 80) -> str:
    """A name from a file, fit for a message: quoted, without control characters, cut to ``limit``."""
    if not isinstance(text, str):
        return f"<{type(text).__name__}>"
    return ascii(text) if len(text) <= limit else ascii(text[:limit]) + "..."


def parse_json(data: bytes, where: str, *, most_values: int = MAX_JSON_VALUES) -> dict[str, Any]:
    """The JSON object in ``data``; a ``CheckpointError`` that begins with ``where`` if it is anything else.

    Files that keep their weights in JSON have more values than others; their lists and objects are as many at most.
    """
    if len(data) > MAX_JSON_BYTES:
        raise CheckpointError(f"{where}: got {len(data)} bytes of JSON, wanted at most {MAX_JSON_BYTES}")
    import json  # 1.3 ms, which a file without JSON does not have to pay

    _check_nesting(data, where, most_values)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_int=_short_integer,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None
    except ValueError as error:  # of the decoding and of the parsing
        if not raised_in(error, "fastgru", "json"):
            raise
        raise CheckpointError(f"{where}: it is not sound JSON ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: got a JSON {type(value).__name__}, wanted an object")
    return value


def _check_nesting(data: bytes, where: str, most_values: int) -> None:
    """Count brackets and commas outside of strings, so that the recursive parser never meets a deep or a vast value."""
    if data.count(b'"') > 4 * MAX_JSON_VALUES:
        raise CheckpointError(f"{where}: got more than {MAX_JSON_VALUES} JSON values")
    without_escapes = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(without_escapes.split(b'"')[::2])
    containers = outside.count(b"[") + outside.count(b"{")
    if containers > MAX_JSON_VALUES or containers + outside.count(b",") > most_values:
        raise CheckpointError(f"{where}: got more than {most_values} JSON values")
    depth = 0
    for mark in re.findall(rb"[\[\]{}]", outside):
        depth += 1 if mark in b"[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise CheckpointError(f"{where}: its JSON is nested deeper than {MAX_JSON_DEPTH}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in value if names.count(name) > 1) if len(names) < 1000 else "a key"
        raise CheckpointError(f"its JSON has {shown(twice)} twice in one object, wanted every key once")
    return value


def _short_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise CheckpointError(f"its JSON has an integer of {len(digits)} digits, wanted at most {MAX_DIGITS}")
    return int(digits)


def _finite(number: str) -> float:
    """A float; NaN, Infinity and what is too large for a float are not JSON that could be written again."""
    value = float(number)
    if not math.isfinite(value):
        raise CheckpointError(f"its JSON has the number {shown(number)}, wanted finite ones")
    return value
