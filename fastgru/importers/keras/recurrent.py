"""GRUs of Keras: one layer, cells in an RNN, CuDNNGRU and Bidirectional, of every version.

Owns which arrays belong to which gate in each version, and how the two directions of a Bidirectional are put together.
The state of a stateful layer is not in any file: every call begins with zeros, or with the states that the call is
given; that the layer was stateful is kept, to be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import CheckpointError
from ...gru_weights import GRUSpec, GRUWeights
from ...layers import MERGES, Add, Average, Concatenate, GRULayer, Layer, Multiply, Reverse
from ...records.sealed import sealed
from ...weights.matrices import Matrix
from ..activation_names import keras_activation
from .arrays import gru_weights
from .config import Entry
from .masks import Wire
from .scope import Context, Inputs, LayerCall, Scope
from .tensors import Weights
from .tree import Part

__all__ = ["RECURRENT", "bidirectional", "recurrent_layer"]

RECURRENT = ("Bidirectional", "CuDNNGRU", "GRU", "RNN")
_JOINS: dict[str, Layer] = {"concat": Concatenate(), "sum": Add(), "mul": Multiply(), "ave": Average()}


@dataclass(frozen=True)
class Recurrent:
    """One direction: its cells from the bottom up, and its options."""

    cells: tuple[GRUSpec, ...]
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    zero_masked: bool
    stateful: bool

    def layer(self, zero_masked: bool) -> GRULayer:
        return GRULayer(
            self.cells[0],
            self.cells[1:],
            self.return_sequences,
            self.return_state,
            go_backwards=self.go_backwards,
            zero_masked=zero_masked,
            stateful=self.stateful,
        )


def recurrent_layer(part: Part, context: Context) -> LayerCall:
    """A GRU, a CuDNNGRU or an RNN of GRUCells."""
    found = _recurrent(part, context)
    layer = found.layer(found.zero_masked)

    def apply(scope: Scope, given: Inputs) -> list[Wire]:
        x, mask = _masked_input(part.entry, scope, given)
        made = scope.add(layer, [x, *given.states])
        return _with_mask(scope, made, 1, mask if found.return_sequences else None)

    return LayerCall(apply, layer)


def bidirectional(part: Part, context: Context) -> LayerCall:
    """Two layers over the same input; the backward one's sequence is turned round before the two are merged."""
    entry = part.entry
    merge = entry.config.get("merge_mode", "concat")
    merge = "none" if merge is None else entry.word("merge_mode", "concat", MERGES[:-1])
    forward, backward = (_recurrent(inner, context) for inner in part.inner)
    for name in ("return_sequences", "return_state"):
        if getattr(forward, name) != getattr(backward, name):
            raise CheckpointError(f"{entry.where}: {name} differs between its two layers")
    zero = forward.return_sequences and entry.of_tensorflow
    stack = _one_stack(forward, backward) if zero or not forward.return_sequences else None
    if stack:
        outputs = (forward.return_sequences, forward.return_state, merge)
        layer = GRULayer(stack, (), *outputs, stateful=forward.stateful or backward.stateful)
    else:
        layer = forward.layer(zero)

    def apply(scope: Scope, given: Inputs) -> list[Wire]:
        x, mask = _masked_input(entry, scope, given)
        count = len(forward.cells)
        if given.states and len(given.states) != count + len(backward.cells):
            raise CheckpointError(
                f"{entry.where}: it is called with {len(given.states)} initial states, wanted "
                f"{count + len(backward.cells)}"
            )
        if stack:
            made = scope.add(layer, [x, *given.states])
        else:
            ahead = scope.add(layer, [x, *given.states[:count]], "forward")
            back = scope.add(backward.layer(zero), [x, *given.states[count:]], "backward")
            mask = ahead[0].mask if mask is None else mask
            made = [*_merged(scope, ahead[0], back[0], forward.return_sequences, merge), *ahead[1:], *back[1:]]
        return _with_mask(scope, made, 2 if merge == "none" else 1, mask if forward.return_sequences else None)

    return LayerCall(apply, layer)


def _merged(scope: Scope, ahead: Wire, back: Wire, sequences: bool, merge: str) -> list[Wire]:
    """The outputs of two directions, without a mask: turned round it would be another."""
    ahead, back = (scope.masked(wire, None) for wire in (ahead, back))
    if sequences:
        back = scope.add(Reverse(), [back], "turned")[0]
    return [ahead, back] if merge == "none" else scope.add(_JOINS[merge], [ahead, back])


def _masked_input(entry: Entry, scope: Scope, given: Inputs) -> tuple[Wire, int | None]:
    """The input as the layer takes it, and the mask that its output is to have in place of the one it would have.

    Keras 3 does not see the mask of its input where it is called with an initial state; it hands it on all the same.
    """
    if len(given.inputs) != 1:
        raise CheckpointError(f"{entry.where}: it is called with {len(given.inputs)} inputs, wanted one")
    x = given.inputs[0]
    if given.states and not given.masked and entry.era >= 3:
        return scope.masked(x, None), x.mask
    return x, None


def _with_mask(scope: Scope, made: list[Wire], sequences: int, mask: int | None) -> list[Wire]:
    """The outputs, of which the sequences have the mask."""
    if mask is None:
        return made
    return [scope.masked(wire, mask) for wire in made[:sequences]] + made[sequences:]


def _one_stack(forward: Recurrent, backward: Recurrent) -> GRUSpec | None:
    """Both directions as one layer of two, where they differ in nothing but their weights."""
    if len(forward.cells) != 1 or len(backward.cells) != 1 or forward.go_backwards or not backward.go_backwards:
        return None
    one, other = forward.cells[0], backward.cells[0]
    if _options(one) != _options(other):
        return None
    return one.replace(layers=((one.layers[0][0], other.layers[0][0]),))


def _options(gru: GRUSpec) -> tuple[object, ...]:
    return (
        gru.input_size, gru.hidden_size, gru.reset_after, gru.activation, gru.recurrent_activation, gru.bias,
    )  # fmt: skip


def _recurrent(part: Part, context: Context) -> Recurrent:
    entry = part.entry
    if entry.problem:
        raise entry.unsupported(entry.problem)
    if entry.class_name not in RECURRENT[1:]:
        raise entry.unsupported(f"Bidirectional of {entry.class_name[:80]} is not supported, only of GRU")
    if entry.flag("time_major", False):
        raise entry.unsupported("time_major=True is not supported; fastgru is batch first")
    cells = tuple(_cell(cell, context) for cell in (_cells(part.inner[0]) if part.inner else [part]))
    return Recurrent(
        cells,
        entry.flag("return_sequences", False),
        entry.flag("return_state", False),
        entry.flag("go_backwards", False),
        entry.flag("zero_output_for_mask", False),
        entry.flag("stateful", False),
    )


def _cells(part: Part) -> Sequence[Part]:
    return part.inner if part.inner and part.entry.class_name == "StackedRNNCells" else [part]


def _cell(part: Part, context: Context) -> GRUSpec:
    """One cell, from a GRU, a GRUCell or a CuDNNGRU."""
    entry = part.entry
    if entry.problem or entry.class_name not in ("CuDNNGRU", "GRU", "GRUCell"):
        raise entry.unsupported(entry.problem or f"RNN of {entry.class_name[:80]} is not supported, only of GRUCell")
    weights, units = context.weights(part), entry.size("units")
    if entry.class_name == "CuDNNGRU":
        return GRUSpec(((_of_cudnn(weights, units),),))
    activation = keras_activation(entry.config.get("activation", "tanh"), entry.version, f"{entry.where}: activation")
    usual = "sigmoid" if entry.era >= 3 else "hard_sigmoid"
    word = entry.config.get("recurrent_activation", usual)
    recurrent_activation = keras_activation(word, entry.version, f"{entry.where}: recurrent_activation")
    after = entry.flag("reset_after", entry.era >= 3 or len(weights.shape("bias")) == 2)
    if "W_z" in weights.names:
        return GRUSpec(((_of_nine(weights, units),),), False, activation, recurrent_activation)
    kernel = weights.matrix("kernel", None, 3 * units)
    recurrent = weights.matrix("recurrent_kernel", units, 3 * units)
    bias = weights.optional("bias", *((2, 3 * units) if after else (3 * units,)))
    made = gru_weights(kernel, recurrent, bias)
    return GRUSpec(((made,),), after, activation, recurrent_activation, bias is not None)


def _of_nine(weights: Weights, units: int) -> GRUWeights:
    """Keras 1 has an array for each gate."""
    kernel, recurrent, bias = (
        np.concatenate([weights.take(f"{matrix}_{gate}", *shape, units) for gate in "zrh"], axis=-1)
        for matrix, shape in (("W", (None,)), ("U", (units,)), ("b", ()))
    )
    return gru_weights(kernel, recurrent, bias)


def _of_cudnn(weights: Weights, units: int) -> GRUWeights:
    """cuDNN's matrices are turned round: a gate of the kernel is (inputs, units) numbers that mean (units, inputs)."""
    kernel, recurrent = weights.matrix("kernel", None, 3 * units), weights.matrix("recurrent_kernel", units, 3 * units)
    bias = weights.take("bias", 6 * units).reshape(2, 3 * units)
    w_ih, w_hh = (_OfCuDNN(each) if isinstance(each, Matrix) else _from_cudnn(each) for each in (kernel, recurrent))
    return gru_weights(w_ih, w_hh, bias)


def _from_cudnn(matrix: np.ndarray) -> np.ndarray:
    return np.hstack([gate.reshape(gate.shape[::-1]).T for gate in np.split(matrix, 3, axis=1)])


class _OfCuDNN(Matrix):
    """The same of a ``Matrix``, when it is asked for."""

    def __init__(self, given: Matrix) -> None:
        self._given, self.shape, self.dtype = given, given.shape, given.dtype

    def array(self) -> np.ndarray:
        return sealed(_from_cudnn(self._given.array()))
