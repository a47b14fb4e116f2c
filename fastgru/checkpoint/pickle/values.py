"""The few calls in a pickle that make plain Python values, done by hand: OrderedDict, bytes, complex, NumPy scalars.

Each function takes the arguments as the file has them and answers NotImplemented where they are not what the call
should get, which leaves a stub. Nothing of the file's choosing is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .inert import Global, Ordered, Stub

__all__ = ["STANDARD"]

Builder = Callable[[tuple[Any, ...]], Any]


def _ordered(args: tuple[Any, ...]) -> Any:
    if not args:
        return Ordered()
    pairs = args[0]
    if len(args) != 1 or not isinstance(pairs, (list, tuple)):
        return NotImplemented
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        return NotImplemented
    return Ordered((key, value) for key, value in pairs)


def _encode(args: tuple[Any, ...]) -> Any:
    """Bytes as protocol 2 writes them: text in latin1."""
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        return NotImplemented
    try:
        return args[0].encode("latin-1")
    except UnicodeEncodeError:
        return NotImplemented


def _no_bytes(args: tuple[Any, ...]) -> Any:
    """Empty bytes, which protocol 2 writes as a call without arguments."""
    return NotImplemented if args else b""


def _bytearray(args: tuple[Any, ...]) -> Any:
    if not args:
        return bytearray()
    return bytearray(args[0]) if len(args) == 1 and isinstance(args[0], bytes) else NotImplemented


def _complex(args: tuple[Any, ...]) -> Any:
    if len(args) != 2 or not all(type(part) is float for part in args):
        return NotImplemented
    return complex(*args)


def _instance(args: tuple[Any, ...]) -> Any:
    """copyreg._reconstructor(class, base, state), the way protocols 0 and 1 write any object."""
    if len(args) != 3 or not isinstance(args[0], Global):
        return NotImplemented
    return Stub(args[0].module, args[0].name, (args[2],))


def _numpy_scalar(args: tuple[Any, ...]) -> Any:
    """numpy.core.multiarray.scalar(dtype, raw bytes): a plain Python number."""
    if len(args) != 2 or not isinstance(args[0], Stub) or not isinstance(args[1], bytes):
        return NotImplemented
    kind = args[0]
    if (kind.module, kind.name) != ("numpy", "dtype") or not isinstance(kind.args, tuple) or not kind.args:
        return NotImplemented
    code = kind.args[0]
    if not isinstance(code, str) or code not in _SCALARS or len(args[1]) != int(code[1:]):
        return NotImplemented
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    return np.frombuffer(args[1], (">" if order == ">" else "<") + code)[0].item()


_SCALARS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])

STANDARD: dict[tuple[str, str], Builder] = {
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
    ("builtins", "bytearray"): _bytearray,
    ("__builtin__", "bytearray"): _bytearray,
    ("builtins", "complex"): _complex,
    ("__builtin__", "complex"): _complex,
    ("copyreg", "_reconstructor"): _instance,
    ("copy_reg", "_reconstructor"): _instance,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
}
