"""GRUs as layers of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ShapeError, UnsupportedModelError
from ..gru_weights import GRUSpec, check_gru
from . import operations as op
from .flow import Flow
from .layer import Layer
from .signal import Signal, check_choice, numbers, same

if TYPE_CHECKING:
    from ..graph.builder import Value
    from .scope import Scope

__all__ = ["MERGES", "GRULayer"]

MERGES = ("concat", "sum", "mul", "ave", "none")


class GRULayer(Layer):
    """A GRU as one layer of a model.

    It takes a sequence, and after it, if any, one initial state (hidden,) for every layer and direction. It gives the
    output, or two where ``merge`` is "none", and with ``return_state`` the final states in the same order.
    """

    gru: GRUSpec
    above: tuple[GRUSpec, ...] = ()  # more cells of one direction on top, each of its own size, as RNN([cell, cell])
    return_sequences: bool = True  # False: only the last output (of the reverse direction: its own last, at step 0)
    return_state: bool = False
    merge: str = "concat"  # how the two directions of the output are joined
    go_backwards: bool = False  # one direction, from the end; its output stays in the order it was made
    zero_masked: bool = False  # masked steps give zeros instead of the output before them
    stateful: bool = False  # as it was trained a call goes on from the states of the one before; here none does

    @property
    def input_features(self) -> int:
        return self.gru.input_size

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Units of every state, in the order in which they are given and taken."""
        stacks = (self.gru, *self.above)
        return tuple(spec.hidden_size for spec in stacks for _ in range(spec.num_layers * spec.directions))

    def stacks(self, where: str) -> list[tuple[str, GRUSpec]]:
        """Every stack from the bottom up, after the words for its place in a message."""
        return [(where, self.gru), *((f"{where}: cell {index + 1}", spec) for index, spec in enumerate(self.above))]

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        check_gru(self.gru, where)
        check_choice(self.merge, MERGES, f"{where}: merge")
        top = self.gru
        for cell, spec in self.stacks(where)[1:]:
            check_gru(spec, cell)
            if spec.input_size != top.output_size:
                raise ShapeError(f"{cell} takes {spec.input_size} features, got {top.output_size}")
            top = spec
        if any(spec.directions != 1 for spec in (self.gru, *self.above)) and (self.above or self.go_backwards):
            raise UnsupportedModelError(f"{where}: go_backwards and cells on top need one direction")
        given = numbers(inputs[0], where, 2)
        if not same(given.features, self.gru.input_size):
            raise ShapeError(f"{where}: got {given.features} features, wanted {self.gru.input_size}")
        sizes = self.state_sizes
        for place, state in enumerate(inputs[1:]):
            size = sizes[place] if place < len(sizes) else 0
            if state.kind != "numbers" or len(state.shape) != 1 or not same(state.features, size):
                raise ShapeError(f"{where}: initial state {place} is {state}, wanted ({size},) numbers")
        if len(inputs) - 1 not in (0, len(sizes)):
            raise ShapeError(f"{where}: got {len(inputs) - 1} initial states, wanted none or {len(sizes)}")
        steps = (given.shape[0],) if self.return_sequences else ()
        states = [Signal((size,)) for size in sizes] if self.return_state else []
        if self.merge == "none" and top.directions == 2:
            return [Signal((*steps, top.hidden_size)), Signal((*steps, top.hidden_size)), *states]
        features = top.output_size if self.merge == "concat" else top.hidden_size
        return [Signal((*steps, features), states=top.output_size if self.return_sequences else 0), *states]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        """The stack, or several one on top of the other; directions, masks and states around them."""
        x, mask = inputs[0].value, inputs[0].mask
        if self.go_backwards:
            x = s.add(op.Flip((1,)), x)
            mask = None if mask is None else s.add(op.Flip((1,)), mask)
        directions, first = self.gru.directions, 0
        states: list[Value] = []
        shows_zeros = self.zero_masked or directions == 2
        stacks = self.stacks(s.name)
        for place, (_, stack) in enumerate(stacks):
            count = stack.num_layers * stack.directions
            given = [flow.value for flow in inputs[1 + first : 1 + first + count]]
            zeros = shows_zeros and place == len(stacks) - 1
            operation = s.once(self, str(place), op.GRU(stack, mask is not None, zeros))
            operands = [x, *([mask] if mask is not None else []), *([_stacked(s, given)] if given else [])]
            x, h = s.add(operation, *operands, name=s.name if place == 0 else f"{s.name}, cell {place}")
            states += [s.add(op.Select(0, at), h) for at in range(count)]
            first += count
        final = states[-directions:]
        if self.return_sequences:
            outputs = self._merged(s, x)
            joined = final[0] if directions == 1 else s.add(op.Concatenate(-1), *final)
            flows = [Flow(value, inputs[0].mask, joined if at == 0 else None) for at, value in enumerate(outputs)]
        else:
            flows = [Flow(value) for value in self._merged_states(s, final, mask)]
        return [*flows, *(Flow(state) for state in states)] if self.return_state else flows

    def _merged(self, s: Scope, y: Value) -> list[Value]:
        """Both directions of an output as the layer joins them."""
        if self.gru.directions == 1 or self.merge == "concat":
            return [y]
        half = y.shape[-1] // 2
        return self._joined(s, [s.add(op.Slice(-1, 0, half), y), s.add(op.Slice(-1, half), y)])

    def _joined(self, s: Scope, pair: list[Value]) -> list[Value]:
        if self.merge == "none" or len(pair) == 1:
            return pair
        if self.merge == "concat":
            return [s.add(op.Concatenate(-1), *pair)]
        made = s.add(op.Binary("mul" if self.merge == "mul" else "add"), *pair)
        return [s.add(op.Binary("div"), made, 2.0) if self.merge == "ave" else made]

    def _merged_states(self, s: Scope, final: list[Value], mask: Value | None) -> list[Value]:
        """The last outputs: the final states, but zeros for a row that shows zeros at its last step."""
        if mask is None:
            return self._joined(s, final)
        if self.zero_masked and self.gru.directions == 1:
            seen = s.add(op.Select(1, -1), mask)
        else:
            seen = s.add(op.Reduce("any", (1,)), mask, name=f"{s.name}: whether a step is not masked")
        wide = s.add(op.View((*seen.shape, 1)), seen)
        return self._joined(s, [s.add(op.Where(), wide, state, 0.0) for state in final])

    def described(self) -> str:
        gru = self.gru
        options = "" if gru.num_layers == 1 else f", num_layers={gru.num_layers}"
        options += ", bidirectional=True" if gru.directions == 2 else ""
        options += "" if self.return_sequences else ", return_sequences=False"
        options += ", stateful=True" if self.stateful else ""
        return f"GRU({gru.input_size}, {gru.hidden_size}{options})"


def _stacked(s: Scope, states: Sequence[Value]) -> Value:
    """States of (batch, hidden) as (states, batch, hidden)."""
    name = f"{s.name}: states"
    wide = [s.add(op.View((1, *state.shape)), state, name=name) for state in states]
    made: Value = wide[0] if len(wide) == 1 else s.add(op.Concatenate(0), *wide, name=name)
    return made
