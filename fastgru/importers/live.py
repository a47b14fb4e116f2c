"""Live objects of other libraries as plain arrays: a module or a state dict becomes named NumPy arrays.

It imports no framework: tensors are told by what they can do. The arrays are copies, so that training on does not
change a model that was made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DTypeError

__all__ = ["tensors_of"]

_NARROW = ("float16", "bfloat16")  # widened to float32, exactly
# What libraries raise for a tensor that has no values to give: on the meta device, quantised, deleted.
_CONVERSION_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError)


def tensors_of(module_or_state_dict: object) -> dict[str, np.ndarray]:
    """The tensors of a module that has ``state_dict()``, or of a mapping of names to tensors or arrays.

    Raises
    ------
    DTypeError
        It is neither, or one of its values is not a tensor.
    """
    state: Any = module_or_state_dict
    if callable(getattr(state, "state_dict", None)) and not isinstance(state, type):
        state = state.state_dict()
    if not isinstance(state, Mapping):
        raise DTypeError(
            f"got {type(module_or_state_dict).__name__}, wanted a module that has state_dict(), "
            "or a dict of names to tensors; to read a file, use fastgru.load(path)"
        )
    tensors = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise DTypeError(f"a state dict has names as keys, got {name!r} ({type(name).__name__})")
        if not name.endswith("_extra_state"):  # anything a torch module likes to keep beside its tensors
            tensors[name] = _array(name, value)
    return tensors


def _array(name: str, value: Any) -> np.ndarray:
    """A tensor or an array as an ndarray of its own."""
    if isinstance(value, Mapping):
        raise DTypeError(f"{name!r} is a dict, wanted a tensor; is the state dict one level deeper, under [{name!r}]?")
    try:
        if callable(getattr(value, "detach", None)):
            value = value.detach().cpu()
            if str(value.dtype).rpartition(".")[2] in _NARROW:
                value = value.float()
            if hasattr(value, "data_ptr") and value.numel() and not value.data_ptr():
                raise ValueError("its storage was freed")
            value = value.numpy()
        elif not hasattr(value, "__array__"):
            raise TypeError(f"{type(value).__name__} has no values to read")
        array = np.array(value, order="C", copy=True)
        return array.astype(np.float32) if array.dtype.name in _NARROW else array
    except _CONVERSION_ERRORS as error:
        raise DTypeError(f"{name!r} is {type(value).__name__}, wanted a tensor or an array: {error}") from error
