"""Live objects of PyTorch as plain data: a module or a state dict becomes named NumPy arrays, and the tree of classes.

It imports no framework: tensors and modules are told by what they have and can do. The arrays are copies, so that
training on does not change a model that was made from them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...checkpoint.parts import check_part, listed_parts, part_of
from ...checkpoint.torch.modules import COMPILED, HOOKS, MAX_DEPTH, MAX_MODULES, WRAPPERS, plain_options
from ...errors import CheckpointError, DTypeError
from ...origin import raised_in

__all__ = ["checkpoint_of", "contents_of"]

_NARROW = ("float16", "bfloat16")  # widened to float32, exactly
_QUANTISED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
# What libraries raise for a tensor that has no values to give: on the meta device, quantised, deleted.
_CONVERSION_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError)
_PARAMETRIZE = "torch.nn.utils.parametrize"  # makes a class of its own, below the module's, to compute the weights
_SCRIPTED = ("torch.jit._script", "ScriptModule")  # the class of every module that is code, however it was made
_PACKED = "ScriptObject"  # what torch.ao keeps the weights of a quantised module in


def checkpoint_of(module_or_state_dict: object, part: str | None = None) -> Checkpoint:
    """What the object is as a file: a module or a state dict as weights, a scripted module as it saves itself.

    ``part`` is the name of what is meant in it: a module in a module, or a state dict in a dictionary of several.

    Raises
    ------
    DTypeError
        As ``contents_of``.
    CheckpointError
        There is no such part.
    """
    name = type(module_or_state_dict).__name__
    if part is not None:
        check_part(part, name)
        found = part_of(module_or_state_dict, part, _within)
        if found is None:
            raise CheckpointError(
                f"{name}: holds no part {part!r}; it holds {listed_parts(_within(module_or_state_dict) or {})}"
            )
        module_or_state_dict = found
    if any((kind.__module__, kind.__name__) == _SCRIPTED for kind in type(module_or_state_dict).__mro__):
        return _saved(module_or_state_dict).replace(path=name)
    tensors, modules, stored = contents_of(module_or_state_dict, part)
    return Checkpoint(name, "pytorch-live", tensors, modules, stored=stored)


def _within(value: object) -> Mapping[Any, Any] | None:
    """What is in a dictionary, or the tensors and the modules in a module, by name."""
    value = _unwrapped(value)
    if _is_module(value):
        return {**_own_tensors(value), **vars(value)["_modules"]}
    return value if isinstance(value, Mapping) else None


def _saved(module: Any) -> Checkpoint:
    from ...checkpoint import read

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "module.pt")
        try:
            module.save(path)
        except Exception as error:  # as for one that was deleted in part
            if isinstance(error, MemoryError) or not raised_in(error, "fastgru", "torch"):
                raise
            raise DTypeError(f"{type(module).__name__}: it cannot save itself: {error}") from error
        return read(path)


def contents_of(
    module_or_state_dict: object, part: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None, dict[str, str]]:
    """The tensors by name, for a module the tree of classes and options, and the types of tensors that were widened.

    All three are as they are read from a file. ``part`` is what led to the object, for messages.

    Raises
    ------
    DTypeError
        It is neither a module nor a mapping of names to tensors or arrays, or one of its values is not a tensor.
    """
    module = _unwrapped(module_or_state_dict)
    if _is_module(module):
        return _of_module(module)
    state: Any = module_or_state_dict
    if callable(getattr(state, "state_dict", None)) and not isinstance(state, type):
        state = state.state_dict()
    if not isinstance(state, Mapping):
        raise DTypeError(
            f"got {type(module_or_state_dict).__name__}, wanted a module that has state_dict(), "
            "or a dict of names to tensors; to read a file, use fastgru.load(path)"
        )
    tensors: dict[str, np.ndarray] = {}
    stored: dict[str, str] = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise DTypeError(f"a state dict has names as keys, got {name!r} ({type(name).__name__})")
        if isinstance(value, Mapping) and not name.endswith("_extra_state"):
            deeper = name if part is None else f"{part}.{name}"
            raise DTypeError(
                f"{name!r} is a dict, wanted a tensor; is the state dict one level deeper, under [{name!r}]? Then pass "
                f"part={deeper!r}"
            )
        if not name.endswith("_extra_state"):  # anything a torch module likes to keep beside its tensors
            tensors[name] = _array(name, value, stored)
    return tensors, None, stored


def _of_module(module: object) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    tensors: dict[str, np.ndarray] = {}
    stored: dict[str, str] = {}
    root: dict[str, Any] = {}
    waiting: list[tuple[str, dict[str, Any], Any, int]] = [("", root, module, 1)]
    count = 1
    while waiting:
        prefix, node, each, depth = waiting.pop()
        for name, value in _own_tensors(each).items():
            tensors[prefix + name] = _array(prefix + name, value, stored)
        state = vars(each)
        children = {name: _unwrapped(child) for name, child in state["_modules"].items() if _is_module(child)}
        count += len(children)
        if count > MAX_MODULES or depth > MAX_DEPTH:
            raise DTypeError(f"got modules nested deeper than {MAX_DEPTH}, or more than {MAX_MODULES} of them")
        hooks = [hook for attribute in HOOKS for hook in dict(state.get(attribute) or {}).values()]
        hooks += [state["forward"]] if "forward" in state else []  # which this one has in place of that of its class
        node.update(
            class_name=_class_of(type(each)),
            options=plain_options(state),
            hooks=[_class_of(type(hook)) for hook in hooks],
            children={name: {} for name in children},
        )
        below = [(f"{prefix}{name}.", node["children"][name], child, depth + 1) for name, child in children.items()]
        waiting.extend(reversed(below))
    return tensors, root, stored


def _own_tensors(module: Any) -> dict[str, Any]:
    """What a module itself holds by name: parameters, buffers that a state dict keeps, and packed weights."""
    state = vars(module)
    left_out = state.get("_non_persistent_buffers_set", ())
    own = {**state["_parameters"], **state.get("_buffers", {})}
    own = {name: value for name, value in own.items() if value is not None and name not in left_out}
    for name, value in state.items():
        if type(value).__name__ == _PACKED:
            own.update({f"{name}.{part}": tensor for part, tensor in _packed(value).items()})
    return own


def _packed(script_object: Any) -> dict[str, Any]:
    """The tensors of a packed weight, by the names that ``checkpoint.torch.packed`` has for them."""
    content = script_object.__getstate__()[0]  # and the name of its class
    if len(content) == 2:
        return {name: tensor for name, tensor in zip(("weight", "bias"), content, strict=True) if tensor is not None}
    pairs = zip(("ih", "hh"), content[4], strict=True)
    return {f"{name}_{side}": tensor for side, each in pairs for name, tensor in _packed(each).items()}


def _unwrapped(module: object) -> object:
    """The module that DataParallel, an averaged model or torch.compile holds; any other object as it is."""
    for _ in range(MAX_DEPTH):
        name = _class_of(type(module))
        inner = "_orig_mod" if name == COMPILED else "module" if name in WRAPPERS else ""
        if not inner or not _is_module(module):
            break
        module = vars(module)["_modules"].get(inner, module)
    return module


def _is_module(value: object) -> bool:
    """Whether it keeps parameters and modules as PyTorch's modules do."""
    state = getattr(value, "__dict__", {})
    return isinstance(state.get("_modules"), dict) and isinstance(state.get("_parameters"), dict)


def _class_of(kind: type) -> str:
    """The full name of a class; of a parametrised module's the class that it was before."""
    if kind.__module__ == _PARAMETRIZE and len(kind.__mro__) > 1:
        kind = kind.__mro__[1]
    return f"{kind.__module__}.{kind.__qualname__}"


def _array(name: str, value: Any, stored: dict[str, str]) -> np.ndarray:
    """A tensor or an array as an ndarray of its own; of one that is widened or dequantised ``stored`` gets the type."""
    try:
        kind = str(getattr(value, "dtype", "")).rpartition(".")[2]
        if callable(getattr(value, "detach", None)):
            value = value.detach().cpu()
            value = value.dequantize() if getattr(value, "is_quantized", False) else value
            if str(value.dtype).rpartition(".")[2] in _NARROW:
                value = value.float()
            if hasattr(value, "data_ptr") and value.numel() and not value.data_ptr():
                raise ValueError("its storage was freed")
            value = value.numpy()
        elif not hasattr(value, "__array__"):
            raise TypeError(f"{type(value).__name__} has no values to read")
        array = np.array(value, order="C", copy=True)
        if kind in _NARROW or kind in _QUANTISED:
            stored[name] = _QUANTISED.get(kind, kind)
        return array.astype(np.float32) if array.dtype.type.__name__ in _NARROW else array
    except _CONVERSION_ERRORS as error:
        if not raised_in(error, "fastgru", "torch", "numpy"):
            raise
        raise DTypeError(f"{name!r} is {type(value).__name__}, wanted a tensor or an array: {error}") from error
