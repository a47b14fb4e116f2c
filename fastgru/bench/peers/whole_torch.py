"""A model file that PyTorch runs by itself, and its export to ONNX.

That is TorchScript and a ``.pt2`` of ``torch.export``, which hold their own programs. A pickle of a module holds the
names of classes, whose code would have to be imported; that is not done here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checkpoint.kinds import kind_of
from ...checkpoint.opened import open_checkpoint
from ..cases import ModelWork
from .interface import CannotRun

if TYPE_CHECKING:
    import torch

__all__ = ["is_runnable", "loaded", "onnx_of", "with_arguments"]

TORCHSCRIPT, EXPORTED = "a TorchScript file", "a torch.export file (.pt2)"
OPSET = 17
ADVICE = "save the module with torch.export.save or torch.jit.save to compare with it"


def is_runnable(path: str | None) -> bool:
    """Whether a file holds a program that PyTorch runs, and PyTorch is installed."""
    from . import installed

    return installed("torch") and _kind(path) in (TORCHSCRIPT, EXPORTED)


def loaded(path: str | None, trusted: bool) -> tuple[torch.nn.Module, Any]:
    """The module of a file, and how its arguments are nested, where the file says so.

    ``torch.export.load`` unpickles what it finds, which can run any code, so the user has to trust the file.

    Raises
    ------
    CannotRun
        The file holds no program of PyTorch's, or it is not trusted.
    """
    kind = _kind(path)
    if kind not in (TORCHSCRIPT, EXPORTED):
        what = "holds no program of PyTorch's" if kind is None else f"is {kind}, with no program of PyTorch's"
        raise CannotRun(f"the model's file {what}; {ADVICE}")
    if not trusted:
        raise CannotRun("PyTorch would run any code in the model's file; give --trust if the file is your own")
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript, which is deprecated
        if kind == TORCHSCRIPT:
            return torch.jit.load(path).eval(), None
        program = torch.export.load(path)
        return program.module(check_guards=False), program.call_spec.in_spec


def with_arguments(work: ModelWork) -> tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]:
    """The module of a file, and its arguments and named arguments, of the model's inputs in order."""
    import torch

    module, nested = loaded(work.path, work.trusted)
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in work.inputs.values()]
    if nested is None:
        return module, tuple(tensors), {}
    if nested.num_leaves != len(tensors):
        raise CannotRun(f"the file's program takes {nested.num_leaves} inputs, the model takes {len(tensors)}")
    arguments, named = torch.utils._pytree.tree_unflatten(tensors, nested)
    return module, arguments, named


def onnx_of(work: ModelWork) -> bytes:
    """The ONNX of a file's program for inputs of just these shapes, by the exporter that needs no further packages."""
    import torch

    module, arguments, named = with_arguments(work)
    tensors = tuple(torch.utils._pytree.tree_leaves((arguments, named)))
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if not isinstance(module, torch.jit.ScriptModule):
            module.requires_grad_(False)  # they become constants of the trace
            module = torch.jit.trace(_flat(module, arguments, named), tensors, check_trace=False)
        torch.onnx.export(module, tensors, written, dynamo=False, opset_version=OPSET, input_names=list(work.inputs))
    return written.getvalue()


def _flat(module: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Callable[..., Any]:
    """It as a function from tensors to a tuple of tensors: the exporter knows no others."""
    import torch

    tree = torch.utils._pytree
    _, nested = tree.tree_flatten((arguments, named))

    def call(*tensors: Any) -> tuple[Any, ...]:
        given, by_name = tree.tree_unflatten(tensors, nested)
        return tuple(leaf for leaf in tree.tree_leaves(module(*given, **by_name)) if leaf is not None)

    return call


def _kind(path: str | None) -> str | None:
    if path is None:
        return None
    with open_checkpoint(path) as opened:
        return kind_of(opened)
