"""GRUs: stacks over a sequence, and one cell for one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.plan import Plan
from ...engine.program import ProjectedRows
from ...errors import ShapeError
from ...gru_weights import GRUSpec, check_gru
from ...records.record import owned
from ...threads import order_of, threads_for_steps
from ..graph import BOOLEAN, FLOAT, Tensor
from ..layout import BATCH, Layout, Mixed, Rows, broadcast, has_steps, is_plain, is_steps
from ..size import Sizes, size_text
from .operation import Array, Call, Compute, Operation, Setup, Unstreamed, check_rank, check_size

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ...gru import GRU as Stack
    from ..streaming import Streams
    from ..streams import Flow
    from ..writer import Writer

__all__ = ["GRU", "GRUCell", "PackedGRU"]


# Of a table whose rows are kept as a first layer projects them. Projected, 50 steps take this share of the time, with
# tables of 100 and of 20,000 rows, 32 to 512 units, batches of 1 and 32: of 4 features 0.91 to 1.10, of 8 0.89 to 1.10,
# of 16 0.81 to 0.99, of 32 0.71 to 0.96, of 64 0.55 to 0.97 (Zen 3, AVX2, one thread, least of 15).
MIN_FEATURES = 16
MAX_PROJECTED_BYTES = 64 << 20


class GRU(Operation):
    """A stack of GRU layers over (batch, steps, features), from zeros or from a last input of states.

    Gives the last layer's output of every step, (batch, steps, directions * hidden), and the final states of every
    layer and direction, (layers * directions, batch, hidden), in the order of PyTorch; so are initial states.

    ``masked`` stacks take booleans (batch, steps) as their second input: a step that is not real keeps the state, and
    shows the output before it, or zeros with ``zero_masked``.
    """

    fresh = True
    gru: GRUSpec
    masked: bool = False
    zero_masked: bool = False

    @property
    def state_count(self) -> int:
        return self.gru.num_layers * self.gru.directions

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        least = 2 if self.masked else 1
        floats = [inputs[0], *inputs[least:]]
        if len(inputs) not in (least, least + 1) or any(each.dtype != FLOAT for each in floats):
            raise ShapeError(f"takes a sequence and perhaps initial states, got {', '.join(map(str, inputs))}")
        check_gru(self.gru, "its weights")
        check_rank(inputs[0], 3)
        batch, steps, features = inputs[0].shape
        check_size(features, self.gru.input_size, "features")
        if self.masked and (inputs[1].dtype != BOOLEAN or not _fits(inputs[1].shape, (batch, steps))):
            raise ShapeError(f"got a mask of {inputs[1]}, wanted booleans {size_text((batch, steps))}")
        states = (self.state_count, batch, self.gru.hidden_size)
        if len(inputs) > least and not _fits(inputs[-1].shape, states):
            raise ShapeError(f"got initial states {size_text(inputs[-1].shape)}, wanted {size_text(states)}")
        return [Tensor((batch, steps, self.gru.output_size)), Tensor(states)]

    def prepare(self, setup: Setup) -> Compute:
        return PackedGRU(self, setup)

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        own = self.replace(gru=owned(self.gru))
        return own.prepare(Setup(call.dtype, {"precision": str(call.dtype)}))(arrays, call)

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        if self.masked:
            return None
        x = inputs[0]
        h0 = writer.together(inputs[1]) if len(inputs) > 1 else None
        ends = None
        if writer.layouts is not None and has_steps(writer.layouts[0][1]):
            ends = _ends_by(writer.layouts[0], x.shape, writer.sizes)
        return _emit_stack(self, x, h0, ends, writer)

    def needs_lengths(self, inputs: Sequence[Layout]) -> bool:
        return self.masked

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        rows, steps, features = inputs[0]
        if BATCH in steps:
            raise Mixed("runs from one row of the batch to the next")
        if not is_plain(features) or (has_steps(steps) and not is_steps(steps)):
            raise Mixed("takes steps together with other places")
        if self.masked:
            broadcast([(rows, steps), inputs[1]])
        states = inputs[2:] if self.masked else inputs[1:]
        if states and not (is_plain(states[0][0]) and is_plain(states[0][2])):
            raise Mixed("takes states whose batch is not their second axis")
        if states and states[0][1] not in (rows, ()):
            raise Mixed("takes states of other rows than its sequence has")
        hidden, count, width = self.gru.hidden_size, self.state_count, self.gru.output_size
        return [(rows, steps, _plain(width)), (_plain(count), rows, _plain(hidden))]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        if self.gru.directions == 2 and has_steps(inputs[0][1]):
            return "has a reverse direction, which begins at the last step"
        return "is told by a mask which steps are real" if self.masked else None

    def stream(self, inputs: Sequence[Flow], here: Streams) -> Sequence[Flow]:
        x = inputs[0]
        if not is_steps(x.layout[1]):
            return super().stream(inputs, here)
        if self.gru.directions == 2:
            raise Unstreamed("it is bidirectional, and its reverse direction begins with the last step")
        own = here.alike(self, masked=False, zero_masked=False) if self.masked else self
        value = here.add(AllReal(), x.value, inputs[1].value) if self.masked else x.value
        shape = (self.state_count, x.value.shape[0], self.gru.hidden_size)
        first: Any = np.zeros((self.state_count, *here.row_shape(x, 1, 1)[:1], self.gru.hidden_size))
        if len(inputs) > 1 + self.masked:
            given = inputs[-1]
            if given.knows:
                raise Unstreamed("its first states are given to it by steps, and a stream begins before the first")
            known = here.known(given.place)
            first = given.place if known is None else known
        outputs = None
        if x.lead > 0:
            if self.masked or isinstance(first, int):
                raise Unstreamed("there are steps before the first, which its mask or an input is for")
            outputs, first = here.computed([here.beginning(x), first], x.ahead)
        state = here.state(shape, (_plain(self.state_count), x.layout[0], _plain(self.gru.hidden_size)), first)
        y, h = here.add(own, value, state)
        if here.delays is not None:
            h = here.delays.kept(here, x, h, state)
        here.keep(state, h)
        made = x._replace(value=y, first=outputs)
        return [made, made._replace(value=h)]

    def described(self) -> str:
        gru = self.gru
        options = "" if gru.num_layers == 1 else f", num_layers={gru.num_layers}"
        options += ", bidirectional=True" if gru.directions == 2 else ""
        options += ", masked=True" if self.masked else ""
        return f"GRU({gru.input_size}, {gru.hidden_size}{options})"


class PackedGRU:
    """A GRU ready to run: ``stack`` has its packed weights."""

    def __init__(self, operation: GRU, setup: Setup) -> None:
        self.operation = operation
        self.stack = _stack_of(operation, setup)

    def __call__(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        masked = self.operation.masked
        x = np.ascontiguousarray(arrays[0], call.dtype)
        states = arrays[2:] if masked else arrays[1:]
        h0 = np.ascontiguousarray(states[0], call.dtype) if states else None
        lengths = _lengths(x, call)
        if masked:
            real = np.broadcast_to(arrays[1], x.shape[:2])
            if lengths is not None:
                real = real & (np.arange(x.shape[1]) < lengths[:, None])
            return self._masked(x, real, h0)
        y, h = self.stack._run(x, h0, lengths, sequences=True)
        assert y is not None
        return [y, h]

    def _masked(self, x: Array, real: Array, h0: Array | None) -> list[Array]:
        """Rows as short as they have real steps, which are moved together where others are among them."""
        counts = real.sum(axis=1)
        if bool((real[:, 1:] <= real[:, :-1]).all()):
            y, h = self._short(x, counts, h0)
            rows, steps = np.nonzero(~real)
            if self.operation.zero_masked:
                y[rows, steps] = 0
            else:
                y[rows, steps] = y[rows, np.maximum(counts, 1)[rows] - 1]
            y[counts == 0] = 0
            return [y, h]
        order = np.argsort(~real, axis=1, kind="stable")
        y, h = self._short(np.take_along_axis(x, order[..., None], axis=1), counts, h0)
        places = np.cumsum(real, axis=1) - 1
        spread = np.take_along_axis(y, np.maximum(places, 0)[..., None], axis=1)
        shown = real if self.operation.zero_masked else places >= 0
        return [np.where(shown[..., None], spread, np.zeros((), y.dtype)), h]

    def _short(self, x: Array, counts: Array, h0: Array | None) -> tuple[Array, Array]:
        """Rows of their first steps; one without any keeps its states, and what it shows means nothing."""
        y, h = self.stack._run(x, h0, np.maximum(counts, 1), sequences=True)
        assert y is not None
        empty = counts == 0
        if empty.any():
            h[:, empty] = 0 if h0 is None else h0[:, empty]
        return y, h


class AllReal(Operation):
    """The first input, where the second, booleans, says that all steps of it are real."""

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [inputs[0]]

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        if not arrays[1].all():
            raise ShapeError("got a step that it masks; leave it out of the stream")
        return [arrays[0]]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        return [inputs[0]]


def _lengths(x: Array, call: Call) -> Array | None:
    """How many steps each row has."""
    if call.rows is None or not has_steps(call.rows[0].layout[1]):
        return None
    rows = call.rows[0]
    real = type(rows)(rows.layout[:2], rows.lengths, rows.sizes).real(x.shape[:2])
    return None if real is None else np.broadcast_to(real, x.shape[:2]).sum(axis=1)


class GRUCell(Operation):
    """One step of a GRU of one layer: (rows, features) and the states (rows, hidden) before it give those after it."""

    fresh = True
    gru: GRUSpec

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) not in (1, 2) or any(each.dtype != FLOAT or len(each.shape) != 2 for each in inputs):
            raise ShapeError(f"takes a step and perhaps states of two axes, got {', '.join(map(str, inputs))}")
        check_gru(self.gru, "its weights")
        rows, features = inputs[0].shape
        check_size(features, self.gru.input_size, "features")
        states = (rows, self.gru.hidden_size)
        if len(inputs) == 2 and not _fits(inputs[1].shape, states):
            raise ShapeError(f"got states {size_text(inputs[1].shape)}, wanted {size_text(states)}")
        return [Tensor(states)]

    def prepare(self, setup: Setup) -> Compute:
        stack = _stack_of(self, setup)

        def compute(arrays: Sequence[Array], call: Call) -> list[Array]:
            x = np.ascontiguousarray(arrays[0], call.dtype)[:, None]
            h0 = None if len(arrays) < 2 else np.ascontiguousarray(arrays[1], call.dtype)[None]
            _, h = stack._run(x, h0, None, sequences=False)
            return [h[0]]

        return compute

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        own = self.replace(gru=owned(self.gru))
        return own.prepare(Setup(call.dtype, {"precision": str(call.dtype)}))(arrays, call)

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        x = writer.together(inputs[0])
        h0 = writer.together(inputs[1]).viewed((1, *inputs[1].shape)) if len(inputs) > 1 else None
        rows, features = x.shape
        x = x.viewed((rows, 1, features))
        writer.needs = [False, True]
        made = _emit_stack(self, x, h0, None, writer)
        return None if made is None or made[1] is None else [made[1].taken(0, 0)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        if any(not is_plain(layout[1]) for layout in inputs):
            raise Mixed("takes the places of the batch or of the steps for features")
        if len(inputs) == 2 and inputs[0][0] != inputs[1][0]:
            raise Mixed("takes states of other rows than its step has")
        return [(inputs[0][0], _plain(self.gru.hidden_size))]


def _fits(got: Sizes, wanted: Sizes) -> bool:
    """Whether a shape is the one wanted."""
    if len(got) != len(wanted):
        return False
    for one, other in zip(got, wanted, strict=True):
        if one != other and isinstance(one, int) and isinstance(other, int):
            return False
        check_size(one, other, "places")
    return True


def _plain(size: int) -> Any:
    return () if size == 1 else (size,)


def _stack_of(operation: GRU | GRUCell, setup: Setup) -> Stack:
    """The packed weights, which from now on are those of the operation too; of one that is packed they are others."""
    from ...gru import GRU as Stack

    made: Stack = setup.once(operation, "stack", lambda: Stack.within(operation.gru, **setup.options))
    return made


def _ends_by(layout: Layout, shape: Sequence[int], sizes: Mapping[str, int]) -> Any:
    """A function of the lengths of a call that gives how many steps each row has."""

    def ends(lengths: Mapping[str, NDArray[np.intp]]) -> NDArray[np.intp]:
        real = Rows(layout[:2], lengths, sizes).real(shape[:2])
        if real is None:
            return np.full(shape[0], shape[1], np.intp)
        return np.asarray(np.broadcast_to(real, shape[:2]).sum(axis=1), np.intp)

    return ends


def _emit_stack(
    operation: GRU | GRUCell, x: Strided, h0: Strided | None, ends: Any, writer: Writer
) -> Sequence[Strided | None] | None:
    """The instruction of a stack over (batch, steps, features): its outputs, if they are needed, and final states."""
    stack = _stack_of(operation, writer.setup)
    plan = stack._plan
    if not plan.is_instruction:
        return None
    batch, steps, _ = x.shape
    spec = stack.spec
    shares, team = stack._threads_of(batch, steps)
    states = writer.new((spec.num_layers * spec.directions, batch, spec.hidden_size))
    if steps == spec.directions == shares == 1 and ends is None:
        x = writer.together(x)
        writer.write("step", [states], plan, states, x, h0, threads_for_steps(stack.n_threads))
        return [states.taken(0, spec.num_layers - 1).reshaped((batch, 1, spec.hidden_size)), states]
    made = writer.new((batch, steps, spec.output_size)) if writer.needs[0] else None
    between = None
    if spec.num_layers > 1:
        between = writer.new((min(spec.num_layers - 1, 2), batch, steps, spec.output_size))
    if ends is None:
        schedule = [writer.constant(each, "i") for each in order_of(batch, steps, None, shares)]
    else:
        schedule = writer.schedule(batch, shares + 1, lambda given: order_of(batch, steps, ends(given), shares))
    written = [part for part in (made, states, between) if part is not None]
    found = writer.looked_up(x)
    if found is None or not _is_worth_it(found.table, plan):
        writer.write("recur", written, plan, made, states, writer.together(x), h0, between, *schedule, team)
        return [made, states]
    table, index, numbers = found.table, found.numbers, writer.new((batch, steps), "i")
    projected = writer.setup.once(operation, f"rows of {id(table)}", lambda: ProjectedRows(plan, table))
    more = projected, numbers, found.instruction.name
    writer.write("recur", [*written, numbers], plan, made, states, index, h0, between, *schedule, team, *more)
    writer.replace(found.instruction)
    return [made, states]


def _is_worth_it(table: NDArray[Any], plan: Plan) -> bool:
    """Whether the rows of a table are kept as the first layer projects them."""
    numbers, features = table.shape
    nbytes = numbers * plan.directions * 3 * plan.width * 4
    return bool(features >= MIN_FEATURES and nbytes <= MAX_PROJECTED_BYTES)
