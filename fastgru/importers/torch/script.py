"""TorchScript files: the graph that their code computes where it can be followed, and else their weights.

Owns the choice between the two. The code is followed by ``script_run``; weights alone are for ``weights.model``,
with what the file says of the modules' classes and options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...errors import CheckpointError, FastGRUError, UnsupportedModelError
from ...graph.builder import Builder, TooMuchError
from ...graph.graph import Graph, Structure
from ...graph.operations.recurrent import GRU
from ...graph.operations.shape import Permute
from ...gru_weights import GRUSpec
from ...layers import ModelSpec
from ..calls import Context
from ..tensors import OnceRead
from ..weights import chain
from ..weights.model import spec_from as spec_from_weights
from .script_code import Code
from .script_inputs import Attempt, Guess, doubt_of, inputs_behind, leaves_of, made_inputs, parameters_of, searched
from .script_modules import as_weights
from .script_operations import Operations
from .script_run import OpenSizeError, Run
from .script_values import Module

__all__ = ["spec_from"]

MAX_OUTPUTS = 1000
# Of errors of what computes with a size that is open: to take the inputs for something else would only hide them.
_OPEN = ("wanted a number that is known", "wanted a whole number that is known", "is not known before the model runs")
_GRUS = ("torch.nn.modules.rnn.GRU", "torch.nn.modules.rnn.GRUCell")
_COUNTER = "num_batches_tracked"  # a batch normalisation counts in it while it is trained


def spec_from(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None, strict: bool
) -> tuple[GRUSpec | ModelSpec | Graph, list[str]]:
    """What is made of the checkpoint, and the tensors of the file that it does not use.

    Without ``layers`` the code is followed from the root's ``forward``. Where that does not succeed nothing else is
    made of the file: its modules may run in another order, and a trace does not say their options.
    """
    config = checkpoint.config or {}
    weights = as_weights(checkpoint)
    root = config["modules"][""]
    if layers is not None or (root["class"] in _GRUS and root["tensors"]):
        return spec_from_weights(weights, layers, strict)
    try:
        graph, used = _followed(config, OnceRead.of(checkpoint.tensors), checkpoint.path)
    except UnsupportedModelError as problem:
        if not any("weight_hh" in name for name in checkpoint):
            raise  # there is no GRU whose weights could be taken by themselves
        try:
            spec_from_weights(weights, None, strict)
        except (CheckpointError, UnsupportedModelError) as error:
            raise type(error)(f"{error}\nThe code in the file cannot be followed: {problem}") from problem
        gru = next(name for name in checkpoint if "weight_hh" in name).rpartition(".")[0]
        alone = f"fastgru.load(path, layers={gru!r})" if gru else "fastgru.from_torch(dict(fastgru.read(path)))"
        raise UnsupportedModelError(
            f"{problem}\nThe code in the file cannot be followed further. {alone} is its GRU alone, without that code; "
            'layers=[...] names several modules in their order, for a trace as fastgru.Named("conv", padding=1)'
        ) from problem
    lone = _lone_gru(graph) if root["class"] == _GRUS[0] else None
    return lone or graph, _left_over(checkpoint.tensors, used)


def _left_over(tensors: Mapping[str, np.ndarray], used: set[str]) -> list[str]:
    """The tensors that code does not name. One that is tied to another counts as used where that is."""
    arrays = {id(tensors[name]) for name in used}
    return [name for name in tensors if id(tensors[name]) not in arrays and name.rpartition(".")[2] != _COUNTER]


def _followed(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], where: str) -> tuple[Graph, set[str]]:
    """The graph that the root's forward computes, and the names of the tensors that it takes."""
    code = Code(config, tensors, where)
    name = f"{code.modules['']['type']}.forward"
    parameters = parameters_of(code.function(name), where)
    numbers = sum(tensor.size for tensor in tensors.values())

    def attempt(guesses: Mapping[str, Guess]) -> Attempt:
        builder = Builder(where, numbers, demands=True)
        run = Run(code, builder, squeezes)
        operations = run.operations
        inputs = made_inputs(parameters, guesses, builder)
        places = dict(enumerate(leaves_of(parameters)))
        graph: Graph | None = None
        problem: FastGRUError | None = None
        try:
            given = dict(zip(_names(code, name), inputs, strict=True))
            returned = run.call(name, [Module("")], {key: each for key, each in given.items() if each is not None})
            graph = builder.finish(_structure(operations, returned))
        except FastGRUError as error:
            # Its frames would hold those of all who called, with their weights, in a cycle.
            problem = error.with_traceback(None)
            problem.__context__ = None
        operands = getattr(problem, "operands", operations.operands)
        blamed = {} if problem is None else inputs_behind(builder, places, operands)
        certain = {places[place]: sure for place, sure in operations.certain.items() if place in places}
        made = None if graph is None else (graph, operations.used)
        doubt = (0, 0, 0) if graph is None else doubt_of(graph)
        is_open = isinstance(problem, OpenSizeError) or any(each in str(problem) for each in _OPEN)
        is_last = code.steps < 0 or is_open or isinstance(problem, TooMuchError)
        undecided.update(operations.undecided)
        return Attempt(made, problem, operations.count, blamed, certain, doubt, is_last)

    squeezes, undecided, names = False, set[str](), list(leaves_of(parameters))
    try:
        try:
            found = searched(names, attempt)
        except FastGRUError:
            if not undecided or code.steps < 0:
                raise
            squeezes = True
            found = searched(names, attempt)
    except UnsupportedModelError:
        raise
    except FastGRUError as error:  # sizes that do not fit, however the inputs are taken
        raise UnsupportedModelError(str(error)) from error
    return found  # type: ignore[no-any-return]


def _names(code: Code, name: str) -> list[str]:
    return [parameter for parameter, _ in code.function(name).parameters[1:]]


def _structure(operations: Operations, made: Any) -> Structure:
    """The outputs as the code gives them: alone, or in tuples, lists and dicts; numbers among them are values too."""
    context: Context = operations.context
    context.name, context.place = "the model's output", ""
    left = MAX_OUTPUTS

    def part(given: Any, depth: int) -> Structure:
        nonlocal left
        left -= 1
        if left < 0 or depth > 20:
            raise UnsupportedModelError(f"the model gives more than {MAX_OUTPUTS} values, wanted fewer")
        if given is None:
            return None
        if isinstance(given, dict):
            if not all(isinstance(key, str) for key in given):
                raise context.error("is a dict whose keys are no texts")
            return {key: part(each, depth + 1) for key, each in given.items()}
        if type(given) is list:
            return [part(each, depth + 1) for each in given]
        if isinstance(given, tuple) and not hasattr(given, "_fields"):
            return tuple(part(each, depth + 1) for each in given)
        return context.value(operations.settled(given)).place

    return part(made, 0)


def _lone_gru(graph: Graph) -> GRUSpec | None:
    """The GRU that a graph is, if it takes and gives what a GRU does: the sequence, and every state."""
    nodes = [node for node in graph.nodes if not isinstance(node.operation, Permute)]
    operation = nodes[0].operation if len(nodes) == 1 else None
    return operation.gru if isinstance(operation, GRU) and not operation.masked and not graph.guards else None
