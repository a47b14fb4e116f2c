"""Any live PyTorch module as a graph: it is exported with open sizes, read, and compared with the module itself.

torch is used where the caller has it already, and never imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...errors import DTypeError, FastGRUError, UnsupportedModelError
from ...graph.builder import specialised
from ...graph.graph import RELATIONS, Graph, Guard, same
from ...graph.layout import BATCH, STEPS, Layout, Steps
from ...graph.size import Applied, Expression, Size, evaluate, solved
from ...graph.steps import analyse
from .exporting import Module as _Module
from .fx import graph_of
from .guards import UnreadGuard

__all__ = ["Exported", "call_with", "exported", "flat_inputs", "other_inputs"]

ATTEMPTS = 16  # at an export, each with more axes as they are in the example


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
    source = _Module(module, *arguments(example))
    for _ in range(ATTEMPTS):
        try:
            program = source.program()
        except UnsupportedModelError as error:
            if not source.retreat(str(error)):
                source.check_example()
                raise
            continue
        try:
            graph = graph_of(program, source.where)
            tangled = [size for guard in graph.guards for size in (guard.one, guard.other) if _is_tangled(size)]
            if source.close_features(_axes_named(program, str(tangled)), "its size is bound to those of other axes"):
                continue
            if any(map(_is_loose, graph.guards)) and source.take_alike():
                continue
            graph, analysis = analyse(_settled(graph))
        except FastGRUError as error:
            axes = error.axes if isinstance(error, UnreadGuard) else _axes_named(program, str(error))
            if not source.close(axes, str(error)):
                raise
            continue
        graph = _with_one(source, graph, analysis.inputs)
        open_axes = [
            (each.name, axis)
            for each in graph.inputs
            for axis, size in enumerate(graph.tensors[each.value].shape)
            if isinstance(size, Expression)
        ]
        closed = tuple((name, axis, why) for (name, axis), why in source.closed.items())
        return Exported(graph, tuple(open_axes), closed)
    raise UnsupportedModelError(
        f"{source.where}: the code depends on the sizes of its inputs in ways that are not followed"
    )


def _settled(graph: Graph) -> Graph:
    """The graph with one name for sizes that must be equal in every call."""
    for guard in graph.guards:
        same_size = solved(guard.one, guard.other) if guard.relation == "==" else None
        if same_size is not None:
            return _settled(specialised(graph, dict([same_size])))
    return graph


def _is_loose(guard: Guard) -> bool:
    """Whether one axis may be no longer than another, as where integers name places: most likely they are alike."""
    plain = (isinstance(size, Expression) and str(size) in size.symbols() for size in (guard.one, guard.other))
    return guard.relation not in ("==", "!=") and all(plain)


def _is_tangled(size: Size) -> bool:
    """Whether a size is a product of several open ones, as the conditions of a view have it."""
    if isinstance(size, int):
        return False
    applied = [atom for atoms, _ in size.terms for atom in atoms if isinstance(atom, Applied)]
    inner = any(_is_tangled(atom.one) or _is_tangled(atom.other) for atom in applied)
    return inner or any(len(atoms) > 1 for atoms, _ in size.terms)


def _axes_named(program: Any, message: str) -> list[tuple[str, int]]:
    """The axes of inputs whose symbols an error names: what cannot be built while they are open."""
    return [
        (node.name, axis)
        for node in program.graph.nodes
        if node.op == "placeholder" and hasattr(node.meta.get("val"), "shape")
        for axis, size in enumerate(node.meta["val"].shape)
        if not str(size).isdigit() and re.search(rf"\b{re.escape(str(size))}\b", message)
    ]


def _with_one(source: _Module, graph: Graph, layouts: Mapping[str, Layout]) -> Graph:
    """The graph without the guards that leave out a batch or a sequence of one, where it is right for these too.

    The exporter writes ``batch != 1`` wherever it has looked at the size, mostly because sizes of 1 are repeated.
    Whether the module computes anything else then is seen by exporting it with a batch of 1: it is the same graph or
    it is not.
    """
    places = {
        name: {each.name: layouts[each.name].index(axis) for each in graph.inputs if axis in layouts[each.name]}
        for name, axis in (("batch", (BATCH,)), ("steps", (Steps(STEPS),)))
    }
    for name, other in (("batch", "steps"), ("steps", "batch")):
        guards = [guard for guard in graph.guards if _leaves_out_one(guard, name)]
        if not guards or not places[name]:
            continue
        try:
            program = source.program(places[name], places[other])
            alone = analyse(graph_of(program, source.where))[0]
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


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of a call, of what a caller gives for an example."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    if isinstance(example, Mapping):
        args, kwargs = (), dict(example)
    elif isinstance(example, tuple) and not hasattr(example, "_fields"):
        args, kwargs = example, {}
    else:
        args, kwargs = (example,), {}
    if any(getattr(each, "is_sparse", False) for each in (*args, *kwargs.values())):
        raise DTypeError("example: got a sparse tensor, wanted dense ones: call to_dense()")
    wrong = [each for each in (*args, *kwargs.values()) if isinstance(each, np.ndarray)]
    if wrong:
        raise DTypeError(
            "example: got a NumPy array, wanted tensors as the module takes them: torch.from_numpy(array), or a tuple "
            "of tensors for several inputs"
        )
    return args, kwargs


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
