"""Any live PyTorch module as a graph: it is exported with open sizes, read, and compared with the module itself.

torch is used where the caller has it already, and never imported.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...errors import FastGRUError, UnsupportedModelError
from ...graph.builder import specialised
from ...graph.graph import RELATIONS, Graph, Guard, same
from ...graph.layout import BATCH, STEPS, Layout, Steps
from ...graph.size import Expression, evaluate
from ...graph.steps import analyse
from .fx import graph_of
from .guards import UnreadGuard
from .operators import grus_as_operators

__all__ = ["Exported", "call_with", "exported", "flat_inputs", "other_inputs"]

ATTEMPTS = 4  # at an export, each with more axes as they are in the example


class Exported(NamedTuple):
    """A module as a graph, and what of its axes stays open."""

    graph: Graph
    open_axes: tuple[tuple[str, int], ...]  # (input, axis)
    fixed_axes: tuple[tuple[str, int, str], ...]  # (input, axis, why)


def exported(module: Any, example: Any) -> Exported:
    """The module as a graph, for every size that it is right for.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode.
    example : tensor, or tuple of what ``forward`` takes, or dict of it by name
        What the module is exported with. Sizes that the code does not depend on stay open.

    Raises
    ------
    UnsupportedModelError
        The exporter cannot follow the code, or an operation has no word here; the message says what does work.
    """
    torch = sys.modules["torch"]
    args, kwargs = arguments(example)
    where = type(module).__name__
    closed: dict[tuple[str, int], str] = {}
    for _ in range(ATTEMPTS):
        program = _export(torch, module, args, kwargs, closed, where)
        try:
            graph, analysis = analyse(graph_of(program, where))
        except FastGRUError as error:
            axes = error.axes if isinstance(error, UnreadGuard) else _axes_named(program, str(error))
            fresh = {axis: str(error) for axis in axes if axis not in closed}
            if not fresh:
                raise
            closed.update(fresh)
            continue
        graph = _with_one(torch, module, args, kwargs, closed, where, graph, analysis.inputs)
        axes = [
            (source.name, axis)
            for source in graph.inputs
            for axis, size in enumerate(graph.tensors[source.value].shape)
            if isinstance(size, Expression)
        ]
        return Exported(graph, tuple(axes), tuple((name, axis, why) for (name, axis), why in closed.items()))
    raise UnsupportedModelError(f"{where}: the code depends on the sizes of its inputs in ways that are not followed")


def _axes_named(program: Any, message: str) -> list[tuple[str, int]]:
    """The axes of inputs whose symbols an error names: what cannot be built while they are open."""
    return [
        (node.name, axis)
        for node in program.graph.nodes
        if node.op == "placeholder" and hasattr(node.meta.get("val"), "shape")
        for axis, size in enumerate(node.meta["val"].shape)
        if not str(size).isdigit() and re.search(rf"\b{re.escape(str(size))}\b", message)
    ]


def _with_one(
    torch: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], closed: Mapping[tuple[str, int], str],
    where: str, graph: Graph, layouts: Mapping[str, Layout],
) -> Graph:  # fmt: skip
    """The graph without the guards that leave out a batch or a sequence of one, where it is right for these too.

    The exporter writes ``batch != 1`` wherever it has looked at the size, mostly because sizes of 1 are repeated. Whether
    the module computes anything else then is seen by exporting it with a batch of 1: it is the same graph or it is not.
    """
    for name, axis in (("batch", (BATCH,)), ("steps", (Steps(STEPS),))):
        guards = [guard for guard in graph.guards if _leaves_out_one(guard, name)]
        places = [
            (source.name, layouts[source.name].index(axis)) for source in graph.inputs if axis in layouts[source.name]
        ]
        if not guards or not places:
            continue
        try:
            ones = _narrowed(torch, module, args, kwargs, dict(places))
            program = _export(torch, module, *ones, {**closed, **dict.fromkeys(places, "")}, where)
            alone = analyse(graph_of(program, where))[0]
            equal = same(specialised(graph._replace(guards=()), {name: 1}), specialised(alone._replace(guards=()), {}))
        except FastGRUError:
            continue
        if equal:
            graph = graph._replace(guards=tuple(guard for guard in graph.guards if guard not in guards))
    return graph


def _leaves_out_one(guard: Guard, name: str) -> bool:
    """Whether a guard is of this symbol alone, and does not hold where it is 1 but holds for all above."""
    symbols = {each for size in (guard.one, guard.other) if isinstance(size, Expression) for each in size.symbols()}
    if symbols != {name}:
        return False
    holds = [
        RELATIONS[guard.relation](evaluate(guard.one, {name: number}), evaluate(guard.other, {name: number}))
        for number in (1, 2, 3, 4, 5, 6, 7, 8, 64, 65)
    ]
    return not holds[0] and all(holds[1:])


def _narrowed(
    torch: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], places: Mapping[str, int]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with one place of these axes."""

    def made(given: Any, name: str) -> Any:
        if isinstance(given, torch.Tensor):
            return given.narrow(places[name], 0, 1) if name in places else given
        if isinstance(given, (list, tuple)):
            return type(given)(made(each, f"{name}_{at}") for at, each in enumerate(given))
        return {key: made(each, f"{name}_{key}") for key, each in given.items()} if isinstance(given, dict) else given

    names = _parameter_names(module, len(args))
    return (
        tuple(made(each, name) for name, each in zip(names, args, strict=False)),
        {name: made(each, name) for name, each in kwargs.items()},
    )


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of a call, of what a caller gives for an example."""
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple) and not hasattr(example, "_fields"):
        return example, {}
    return (example,), {}


def _export(
    torch: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], closed: Mapping[tuple[str, int], str],
    where: str,
) -> Any:  # fmt: skip
    from torch.fx.experimental import _config as config  # torch is there: its module is what was given

    def dims(given: Any, name: str) -> Any:
        if isinstance(given, torch.Tensor):
            auto, static = torch.export.Dim.AUTO, torch.export.Dim.STATIC
            return {axis: static if (name, axis) in closed else auto for axis in range(given.dim())}
        if isinstance(given, (list, tuple)):
            return type(given)(dims(each, f"{name}_{at}") for at, each in enumerate(given))
        if isinstance(given, dict):
            return {key: dims(each, f"{name}_{key}") for key, each in given.items()}
        return None

    names = _parameter_names(module, len(args))
    shapes = {name: dims(each, name) for name, each in zip(names, args, strict=False)}
    shapes.update({name: dims(each, name) for name, each in kwargs.items()})
    options = {key: False for key in ("use_duck_shape",)} | {"backed_size_oblivious": True}
    try:
        with warnings.catch_warnings(), grus_as_operators(), torch.no_grad(), config.patch(**options):
            warnings.simplefilter("ignore")
            return torch.export.export(module, args, kwargs or None, dynamic_shapes=shapes or None, strict=False)
    except FastGRUError:
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0][:300]
        raise UnsupportedModelError(
            f"{where}: torch.export cannot follow its code: {type(error).__name__}: {first}; a module whose code "
            "branches by the numbers that it is given is run by fastgru.accelerate(module)"
        ) from error


def _parameter_names(module: Any, count: int) -> list[str]:
    """The names of forward's positional parameters."""
    code = type(module).forward.__code__
    names = list(code.co_varnames[1 : code.co_argcount])
    if len(names) < count:
        raise UnsupportedModelError(f"{type(module).__name__}: its forward takes {len(names)} inputs, got {count}")
    return names[:count]


def flat_inputs(torch: Any, example: Any) -> list[np.ndarray]:
    """The tensors of an example in the order of the graph's inputs, as arrays."""
    args, kwargs = arguments(example)
    leaves = torch.utils._pytree.tree_leaves((args, kwargs))
    return [leaf.detach().cpu().numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def call_with(torch: Any, module: Any, example: Any, inputs: Mapping[str, np.ndarray]) -> Any:
    """What a module gives for other tensors in the places of the example's, as arrays."""
    args, kwargs = arguments(example)
    leaves, spec = torch.utils._pytree.tree_flatten((args, kwargs))
    arrays = iter(inputs.values())
    given = [
        torch.from_numpy(np.array(next(arrays))).to(leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf
        for leaf in leaves
    ]
    args, kwargs = torch.utils._pytree.tree_unflatten(given, spec)
    with torch.no_grad():
        made = module(*args, **kwargs)
    return torch.utils._pytree.tree_map(
        lambda each: each.detach().cpu().numpy() if isinstance(each, torch.Tensor) else each, made
    )


def other_inputs(graph: Graph, example: Mapping[str, np.ndarray], sizes: Mapping[str, int], seed: int) -> Any:
    """Inputs of other sizes, with numbers like those of the example."""
    random = np.random.default_rng(seed)
    made = {}
    for source in graph.inputs:
        given = example[source.name]
        shape = [evaluate(size, sizes) for size in graph.tensors[source.value].shape]
        if given.dtype.kind == "f":
            made[source.name] = (random.normal(size=shape) * (given.std() or 1.0) + given.mean()).astype(given.dtype)
        elif given.dtype.kind == "b":
            made[source.name] = random.random(shape) < 0.7
        else:
            low, high = (int(given.min()), int(given.max())) if given.size else (0, 0)
            made[source.name] = random.integers(low, high + 1, shape).astype(given.dtype)
    return made


