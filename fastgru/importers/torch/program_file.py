"""``torch.export`` files as a model: one graph of operations, or the GRU where the program is one GRU and nothing else.

Owns the question of sizes: such a file has those of its example as numbers, and they stay what they are unless no
number in it can have been computed from them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ...checkpoint.contents import Checkpoint
from ...errors import FastGRUError, ShapeError, UnsupportedModelError
from ...graph.builder import MAX_RANK, specialised
from ...graph.graph import FLOAT, RELATIONS, FixedAxis, Graph
from ...graph.operations.recurrent import GRU
from ...graph.operations.shape import Permute
from ...graph.size import Expression, Size, evaluate, symbol
from ...gru_weights import GRUSpec
from ..tensors import OnceRead
from ..weights.chain import LayerItem
from ..weights.model import spec_from as spec_from_weights
from .evidence import Evidence
from .file_program import FileProgram
from .file_sizes import FileInput, FileSizes
from .file_walk import Walk

__all__ = ["spec_from"]

_WRITTEN = "torch.export wrote the model for this size, and "
_TURNED = Permute((1, 0, 2))
_COUNTER = "num_batches_tracked"  # a batch normalisation counts in it while it is trained
MAX_WALKED = 5000  # operations that are followed for several sizes: a loop over hundreds of steps, unrolled
Axis = tuple[str, int]  # of an input by its name


def spec_from(
    checkpoint: Checkpoint, layers: Sequence[LayerItem] | None, strict: bool
) -> tuple[GRUSpec | Graph, list[str]]:
    """The model, or the GRU where the graph is one GRU and nothing else; and the tensors that it does not use.

    With ``layers`` the file is taken for its weights, like a state dict.

    Raises
    ------
    UnsupportedModelError
        An operation is not supported; the message names it and its node, and the weights can still be read.
    CheckpointError
        The JSON does not fit together, or a tensor is missing or misshapen.
    """
    if layers is not None:
        return spec_from_weights(checkpoint.replace(config=None), layers, strict)  # type: ignore[return-value]
    program = FileProgram(checkpoint.config or {}, OnceRead.of(checkpoint.tensors), checkpoint.path)
    try:
        graph, used = _graph_of(program, FileSizes(checkpoint.config or {}, program.inputs, checkpoint.path))
    except ShapeError as error:  # of sizes that PyTorch computes with and this package cannot follow, or of damage
        raise UnsupportedModelError(f"{checkpoint.path}: {_reason(program, error)}") from None
    return _lone_gru(graph) or graph, _left_over(checkpoint, program, used)


class _Attempt(NamedTuple):
    """What came of taking some numbers for sizes that are open."""

    graph: Graph | None
    used: set[str]  # the tensors that it takes
    problem: str  # why these sizes stay what they are
    settled: set[Axis]  # axes that weights want as they are
    known: bool  # whether a number of the graph may come from them
    axes: Collection[Axis] = ()  # that were open
    cost: int = 0  # how many operations its graph had


def _graph_of(program: FileProgram, sizes: FileSizes) -> tuple[Graph, set[str]]:
    """The graph with the axes that are open, and the names of the tensors that it uses."""
    candidates = _candidates(program.inputs, sizes)
    attempt = _Attempt(None, set(), "it is too large to be read for several sizes", set(), False)
    problem = attempt.problem  # of the widest attempt
    for place, axes in enumerate(_choices(candidates, max(1, len(program.nodes)))):
        settled = attempt.settled
        attempt = _opened(program, sizes, {axis: candidates[axis] for axis in axes}, candidates)
        attempt.settled.update(settled)
        problem = attempt.problem if place == 0 else problem
        if attempt.graph is not None or attempt.known or attempt.cost > MAX_WALKED:
            break
    graph, used = attempt.graph, attempt.used
    if graph is None:
        graph, used = _as_written(program, sizes)
    fixed = _fixed(program, candidates, attempt, problem, sizes)
    inputs = tuple(source._replace(fixed=tuple(fixed.get(source.name, ()))) for source in graph.inputs)
    return graph._replace(inputs=inputs), used


def _as_written(program: FileProgram, sizes: FileSizes) -> tuple[Graph, set[str]]:
    """The program with the sizes of the file; symbols that cannot be followed are what they were in the example."""
    tries = 3 if len(program.nodes) < MAX_WALKED // 3 else 2
    for attempt in range(tries):
        walk = Walk(program, sizes.shapes, sizes.examples)
        try:
            sizes.note(walk.builder, sizes.shapes)
            walk.run()
            return walk.finish(), walk.used
        except (ShapeError, UnsupportedModelError) as error:
            walk.close()
            left, reason = sizes.symbols(), _reason(program, error)
            if attempt == tries - 1 or not left:
                raise
            named = {name for name in left if re.search(rf"\b{re.escape(name)}\b", reason)}
            sizes.fix(left if not named or attempt == tries - 2 else named, f"{_WRITTEN}{reason}")
    raise AssertionError


def _reason(program: FileProgram, error: FastGRUError) -> str:
    return str(error).partition("\n")[0].removeprefix(f"{program.where}: ")


def _candidates(inputs: Sequence[FileInput], sizes: FileSizes) -> dict[Axis, int]:
    """The axes that may be the batch, the steps or features, of which the file has a number."""
    named = sizes.named()
    found = {}
    for each in inputs:
        rank = len(each.shape)
        last = min(rank, 3 if rank == 3 and each.kind == FLOAT else 1 if rank == 2 and each.kind == FLOAT else 2)
        for axis in range(last):
            size = each.shape[axis]
            if isinstance(size, int) and size > 0 and (each.name, axis) not in named:
                found[each.name, axis] = size
    return found


def _choices(candidates: Mapping[Axis, int], operations: int) -> list[list[Axis]]:
    """Which of them are opened together: all, those that are no features, and those that may be the batch."""
    choices: list[list[Axis]] = []
    for most in (MAX_RANK, 2, 1):
        axes = [axis for axis in candidates if axis[1] < most]
        if axes and axes not in choices:
            choices.append(axes)
    return choices[: MAX_WALKED // operations]


def _opened(
    program: FileProgram, sizes: FileSizes, axes: Mapping[Axis, int], candidates: Mapping[Axis, int]
) -> _Attempt:
    """The program with symbols for the sizes of these axes, if nothing in it knows them."""
    names = {axis: f"open{place}" for place, axis in enumerate(axes)}
    shapes: dict[str, tuple[Size, ...]] = {
        name: tuple(symbol(names[name, axis]) if (name, axis) in names else size for axis, size in enumerate(shape))
        for name, shape in sizes.shapes.items()
    }
    examples = {**sizes.examples, **{names[axis]: number for axis, number in axes.items()}}
    walk = Walk(program, shapes, examples)
    others = {number for axis, number in candidates.items() if axis not in axes and axis[1] < 2}
    opened = {names[axis]: (number, axis[1] == 0) for axis, number in axes.items()}
    walk.evidence = Evidence(walk.builder, opened, others, examples, walk.made)
    problem, graph = "", None
    try:
        sizes.note(walk.builder, sizes.shapes)
        walk.run()
        graph = walk.finish()
        problem = walk.evidence.found or _contradiction(graph, program.inputs, examples)
    except FastGRUError as error:
        problem = _reason(program, error)
    finally:
        walk.close()
    settled = {axis for axis, name in names.items() if isinstance(walk.builder.settled(symbol(name)), int)}
    found = walk.evidence.found
    whole = None if found or problem else graph
    return _Attempt(whole, walk.used, found or problem, settled, bool(found), axes, len(walk.builder.nodes))


def _contradiction(graph: Graph, inputs: Sequence[FileInput], examples: Mapping[str, int]) -> str:
    """Why the graph is not for the sizes of the example; an empty text where it is."""
    shapes = {source.name: graph.tensors[source.value].shape for source in graph.inputs}
    try:
        for each in inputs:
            if any(evaluate(size, examples) != number for size, number in
                   zip(shapes[each.name], each.example, strict=True)):  # fmt: skip
                return f"its sizes are bound to {str(shapes[each.name])[:200]}"
        for one, relation, other, reason in graph.guards:
            if not RELATIONS[relation](evaluate(one, examples), evaluate(other, examples)):
                return reason
        specialised(graph, examples, folds=False)  # what may fit for other sizes has to fit for these
    except FastGRUError as error:
        return str(error)
    return ""


def _fixed(
    program: FileProgram, candidates: Mapping[Axis, int], attempt: _Attempt, problem: str, sizes: FileSizes
) -> dict[str, list[FixedAxis]]:
    """The axes of each input that have one size, and why."""
    unseen, named = program.unseen(), sizes.named()
    found: dict[str, list[FixedAxis]] = {}
    for each in program.inputs:
        for axis, number in enumerate(each.example):
            key = each.name, axis
            reason, opens = sizes.why.get(key, ""), False
            if key in named and isinstance(each.shape[axis], int):
                reason = f"{_WRITTEN}its conditions name it"
            if key in candidates and key not in attempt.settled:
                opens = attempt.graph is not None and key in attempt.axes
                why = unseen if opens else attempt.problem or problem
                reason = _WRITTEN + why if why else ""
            if reason and number is not None:
                found.setdefault(each.name, []).append(FixedAxis(axis, number, reason, opens))
    return found


def _lone_gru(graph: Graph) -> GRUSpec | None:
    """The GRU that the graph is, if it takes and gives what a GRU does: the sequence, and every state."""
    recurrent = [node for node in graph.nodes if isinstance(node.operation, GRU)]
    others = [node for node in graph.nodes if node not in recurrent]
    if len(recurrent) != 1 or graph.guards or any(source.fixed for source in graph.inputs):
        return None
    (node,) = recurrent
    operation = node.operation
    assert isinstance(operation, GRU)
    given, made = list(node.inputs), list(node.outputs)
    if others:  # the steps first, in the sequence and in the output
        before = [each for each in others if each.outputs == (given[0],)]
        after = [each for each in others if each.inputs == (made[0],)]
        if len(before) != 1 or len(after) != 1 or len(others) != 2 or any(each.operation != _TURNED for each in others):
            return None
        given[0], made[0] = before[0].inputs[0], after[0].outputs[0]
    whole = given == [source.value for source in graph.inputs] and graph.outputs == tuple(made)
    return operation.gru if whole and not operation.masked and _is_open(graph) else None


def _is_open(graph: Graph) -> bool:
    """Whether the batch and the steps of the sequence may be any."""
    sizes = graph.tensors[graph.inputs[0].value].shape[:2]
    return all(isinstance(size, Expression) for size in sizes) and sizes[0] != sizes[1]


def _left_over(checkpoint: Checkpoint, program: FileProgram, used: set[str]) -> list[str]:
    """The weights that no operation takes; one that is tied to another counts as used where that is."""
    arrays = {id(checkpoint.tensors[name]) for name in used}
    return [
        name for name, array in checkpoint.tensors.items()
        if name not in used and name not in program.buffers and id(array) not in arrays
        and name.rpartition(".")[2] != _COUNTER
    ]  # fmt: skip
