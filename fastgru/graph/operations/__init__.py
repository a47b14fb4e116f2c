"""Every operation that a graph can have, a file a family. An operation is one class; this table is made of them."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from .operation import Operation

__all__ = ["Operation", "by_name"]

_FAMILIES = (
    "along", "convolution", "create", "elementwise", "index", "matmul", "normalization", "parts", "pooling",
    "product", "recurrent", "reduce", "shape",
)  # fmt: skip


@cache
def by_name() -> dict[str, type[Operation]]:
    """Every operation by its class's name: all that the name of an operation in a file can mean."""
    found = {}
    for family in _FAMILIES:
        module = import_module(f".{family}", __name__)
        for name in module.__all__:
            each = getattr(module, name)
            if isinstance(each, type) and issubclass(each, Operation):
                found[name] = each
    return found
