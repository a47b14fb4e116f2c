"""Promise of streams: the bits of the whole sequence, whatever an operation keeps from one step to the next."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from networks import network, same_bits

from fastgru import FastGRUError, Model, ShapeError, UnsupportedModelError
from fastgru.graph.builder import Builder, Value
from fastgru.graph.graph import Graph
from fastgru.graph.operations.convolution import Convolution
from fastgru.graph.operations.create import Full, SizeOf
from fastgru.graph.operations.elementwise import Activation, Binary, Cast, Unary
from fastgru.graph.operations.index import Put
from fastgru.graph.operations.matmul import Einsum, MatMul
from fastgru.graph.operations.parts import Pad, Select, Slice, Windows
from fastgru.graph.operations.pooling import Pool
from fastgru.graph.operations.product import Linear
from fastgru.graph.operations.recurrent import GRU
from fastgru.graph.operations.reduce import Reduce
from fastgru.graph.operations.shape import Concatenate, Expand, Permute, Repeat, View
from fastgru.graph.size import symbol
from fastgru.model import as_tuple

BATCH, STEPS = symbol("batch"), symbol("steps")


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32) / 2


def model_of(make: Any, features: int = 4, **options: Any) -> Model:
    builder = Builder()
    made = make(builder, builder.input("x", (BATCH, STEPS, features)))
    outputs = made.place if isinstance(made, Value) else tuple(each.place for each in made)
    return Model(builder.finish(outputs), **options)


def check(model: Model, batch: int = 2, steps: int = 9, exact: bool = True) -> None:
    """Steps one by one, and in parts of several, beside the whole sequence; what comes late, and what comes last."""
    features = model.graph.tensors[model.graph.inputs[0].value].shape[2]
    x = floats(batch, steps, features, seed=7)
    whole, stream, parts = model(x), model.stream(batch), model.stream(batch)
    single = isinstance(whole, np.ndarray)
    wanted = [whole] if single else list(whole)
    axes = [model._streamed.axes.get(place) for place in model._runner.outputs]
    delay = stream.delay
    for _ in range(2):
        steps_made = [stream.step(x[:, t]) for t in range(steps)]
        parts_made = [parts.run(x[:, :1]), parts.run(x[:, 1:5]), parts.run(x[:, 5:8]), parts.run(x[:, 8:])]
        for made, other in zip(stream.state, parts.state, strict=True):
            assert same_bits(made, other) if exact else np.allclose(made, other, atol=1e-5)
        last = [each.finish() for each in (stream, parts) if model._streamed.behind]
        for at, (axis, array) in enumerate(zip(axes, wanted, strict=True)):
            ones = [made if single else made[at] for made in steps_made]
            some = [made if single else made[at] for made in parts_made]
            one = ones[-1] if axis is None else np.stack(ones, axis=axis)
            other = some[-1] if axis is None else np.concatenate(some, axis=axis)
            for place, made in enumerate((one, other)):
                if axis is not None and delay:
                    before, made = np.split(made, [delay], axis=axis)
                    assert np.isnan(before).all()
                if axis is None and last:
                    made = last[place] if single else last[place][at]
                if axis is not None and last:
                    made = np.concatenate([made, last[place] if single else last[place][at]], axis=axis)
                if exact:
                    assert same_bits(made, array), np.abs(made - array).max()
                np.testing.assert_allclose(made, array, atol=1e-5)
        if not last:
            stream.reset()
            parts.reset()
        assert all(map(same_bits, stream.state, model.stream(batch).state))


def padded(builder: Builder, x: Value, before: int, after: int = 0, value: float = 0.0) -> Value:
    made: Value = builder.add(Pad(((0, 0), (before, after), (0, 0)), value), x)
    return made


def causal(builder: Builder, x: Value, size: int, dilation: int = 1, outputs: int = 4, groups: int = 1) -> Value:
    weight = floats(outputs, x.shape[2] // groups, size, seed=size)
    made: Value = builder.add(Convolution(weight, floats(outputs), (1,), ("causal",), (dilation,), groups), x)
    return made


def gru(builder: Builder, x: Value, hidden: int = 5, layers: int = 1) -> tuple[Value, Value]:
    made: tuple[Value, Value] = builder.add(GRU(network(int(x.shape[2]), hidden, layers)), x)
    return made


def chomped(builder: Builder, x: Value, size: int, dilation: int) -> Value:
    """As temporal convolutional networks are written: padded on both sides, and cut at the end."""
    more = (size - 1) * dilation
    y = builder.add(Convolution(floats(4, 4, size), None, (1,), ((more, more),), (dilation,)), x)
    made: Value = builder.add(Slice(1, None, -more), builder.add(Activation("relu"), y))
    return made


def residual_blocks(builder: Builder, x: Value) -> Value:
    for dilation in (1, 2, 4):
        x = builder.add(Binary("add"), x, chomped(builder, chomped(builder, x, 3, dilation), 2, dilation))
    return x


def channels_first(builder: Builder, x: Value) -> Value:
    """As PyTorch writes it: (batch, channels, steps), padded in front."""
    y = builder.add(Pad(((0, 0), (0, 0), (2, 0))), builder.add(Permute((0, 2, 1)), x))
    y = builder.add(Convolution(floats(6, 4, 3), floats(6)), builder.add(Permute((0, 2, 1)), y))
    return gru(builder, y)[0]


def zeros_in_front(builder: Builder, x: Value) -> Value:
    front = builder.add(Full((BATCH, 2, 4), 0.0), name="zeros")
    y = builder.add(Concatenate(1), front, x)
    made: Value = builder.add(Convolution(floats(3, 4, 3), None), y)
    return made


def delayed(builder: Builder, x: Value) -> Value:
    """Each step beside the one before it."""
    before = builder.add(Slice(1, None, -1), padded(builder, x, 1, 0, 0.5))
    return gru(builder, builder.add(Concatenate(2), x, before))[0]


def led_gru(builder: Builder, x: Value) -> Any:
    """A GRU that has taken two steps of padding before the first."""
    y, h = gru(builder, padded(builder, x, 2, 0, 0.25), layers=2)
    return builder.add(Slice(1, 2, None), y), h


def led_far(builder: Builder, x: Value) -> Value:
    """More in front than the first windows reach over, through operations of every element."""
    y = builder.add(Unary("exp"), padded(builder, x, 6, 0, -0.5))
    y = builder.add(Linear(floats(4, 4), floats(4)), y)
    y = builder.add(Convolution(floats(4, 4, 3), floats(4)), y)
    y = builder.add(Pool("max", (3,), (1,), ((0, 0),)), y)
    made: Value = builder.add(Convolution(floats(2, 4, 3), floats(2)), y)
    return made


def unfolded(builder: Builder, x: Value) -> Value:
    y = builder.add(Windows(1, 3), padded(builder, x, 2))
    made: Value = builder.add(View((BATCH, STEPS, 12)), y)
    return made


def two_outputs(builder: Builder, x: Value) -> Any:
    y, h = gru(builder, causal(builder, x, 3))
    return builder.add(Select(1, -1), y), y, h, causal(builder, y, 2)


def multiplied(builder: Builder, x: Value) -> Value:
    """The features of each step with each other, as heads of attention over a step's parts."""
    y = builder.add(View((BATCH, STEPS, 3, 2)), gru(builder, x, 6)[0])
    scores = builder.add(MatMul(), y, builder.add(Permute((0, 1, 3, 2)), y))
    made: Value = builder.add(Einsum("btij,btjk->btik"), scores, y)
    return made


GRAPHS = {
    "products of two values": multiplied,
    "a causal convolution": lambda b, x: causal(b, x, 3),
    "dilated": lambda b, x: causal(b, x, 3, 4),
    "groups": lambda b, x: causal(b, x, 2, 3, groups=2),
    "of one place": lambda b, x: causal(b, x, 1),
    "before a GRU": lambda b, x: gru(b, causal(b, x, 5))[0],
    "behind a GRU": lambda b, x: causal(b, gru(b, x)[0], 4),
    "final states": lambda b, x: gru(b, causal(b, x, 3), layers=3)[1],
    "maximum": lambda b, x: b.add(Pool("max", (3,), (1,), ((2, 0),)), x),
    "maximum behind padding": lambda b, x: b.add(Pool("max", (3,), (1,), ((0, 0),)), padded(b, x, 2, 0, 1.5)),
    "mean": lambda b, x: b.add(Pool("mean", (4,), (1,), ((0, 0),)), padded(b, x, 3)),
    "mean that counts": lambda b, x: b.add(Pool("mean", (3,), (1,), ((2, 0),)), x),
    "temporal blocks": residual_blocks,
    "channels first": channels_first,
    "zeros in front": zeros_in_front,
    "delayed": delayed,
    "a GRU over padding": led_gru,
    "far in front": led_far,
    "unfolded": unfolded,
    "two outputs": two_outputs,
}


@pytest.mark.parametrize("options", [{}, {"backend": "blas"}, {"precision": "float64"}, {"precision": "int8"}], ids=str)
@pytest.mark.parametrize("name", GRAPHS)
def test_steps_give_the_bits_of_the_sequence(name: str, options: dict[str, Any]) -> None:
    for batch in (1, 3):
        check(model_of(GRAPHS[name], **options), batch, exact=options in ({}, {"precision": "int8"}))


def random_graph(seed: int) -> tuple[Graph, int]:
    """A graph of which many can be streamed; how many operations of windows it has."""
    rng, builder = np.random.default_rng([seed, 11]), Builder()
    x = builder.input("x", (BATCH, STEPS, 4))
    values, windows = [x], 0
    for place in range(rng.integers(1, 7)):
        x = values[rng.integers(max(0, len(values) - 2), len(values))]
        kind = rng.integers(11)
        size, dilation, before = (int(each) for each in (rng.integers(1, 5), rng.integers(1, 4), rng.integers(0, 5)))
        reach = (size - 1) * dilation
        try:
            if kind == 0:
                padding: Any = [("causal",), ((reach, 0),), ((before, 0),), ((reach, reach),), ((1, 1),)]
                made = Convolution(floats(4, 4, size, seed=place), None, (1,), padding[rng.integers(5)], (dilation,))
                x, windows = builder.add(made, x), windows + 1
            elif kind == 1:
                x = padded(builder, x, before, int(rng.integers(-2, 3)), float(rng.integers(-1, 2)))
            elif kind == 2:
                x = builder.add(Slice(1, [None, 1, 2][rng.integers(3)], [None, -1, -2, -reach][rng.integers(4)]), x)
            elif kind == 3:
                pool = Pool(["max", "mean"][rng.integers(2)], (size,), (1,), ((min(before, size // 2), 0),))
                x, windows = builder.add(pool, x), windows + 1
            elif kind in (4, 5):
                x = gru(builder, x, 4, int(rng.integers(1, 3)))[0]
            elif kind == 6:
                x = builder.add(Activation(["relu", "tanh", "gelu"][rng.integers(3)]), x)
            elif kind == 7:
                other = values[rng.integers(len(values))]
                x = builder.add(Binary(["add", "mul", "maximum"][rng.integers(3)]), x, other)
            elif kind == 8:
                x = builder.add(Linear(floats(4, 4, seed=place), floats(4)), x)
            elif kind == 9:
                front = builder.constant(floats(1, before + 1, 4))
                front = builder.add(Expand((BATCH, before + 1, 4)), front)
                x = builder.add(Concatenate(1), front, x)
            else:
                x = builder.add(Concatenate(2), x, values[rng.integers(len(values))])
                x = builder.add(Linear(floats(4, 8), None), x)
        except FastGRUError:
            continue
        values.append(x)
    return builder.finish(values[-1].place), windows


@pytest.mark.parametrize("block", range(8))
def test_random_graphs_give_the_bits_of_the_sequence_or_refuse(block: int) -> None:
    right = with_windows = 0
    for seed in range(60 * block, 60 * (block + 1)):
        graph, windows = random_graph(seed)
        model = Model(graph)
        if not model._analysis.has_steps:
            continue
        try:
            model.stream(2)
        except UnsupportedModelError:
            continue
        try:
            model(floats(2, 9, 4))
        except ShapeError:
            continue
        if model._streamed.delay < 9 and model._streamed.behind is not None:
            check(model)
        right += 1
        with_windows += windows > 0
    assert right >= 25 and with_windows >= 10


def same(builder: Builder, x: Value, size: int = 5) -> Value:
    """Looks ahead by half its size."""
    made: Value = builder.add(Convolution(floats(4, x.shape[2], size), floats(4), (1,), ("same",)), x)
    return made


LATE = {  # (graph, steps that outputs come later, steps that come when the sequence is over)
    "looks ahead": (same, 2, 2),
    "twice": (lambda b, x: same(b, same(b, x, 3)), 3, 3),
    "before a GRU": (lambda b, x: gru(b, same(b, x), layers=2)[0], 2, 2),
    "on both sides of a GRU": (lambda b, x: same(b, gru(b, same(b, x, 3))[0]), 3, 3),
    "beside its input": (lambda b, x: b.add(Binary("add"), x, same(b, x)), 2, 2),
    "no padding": (lambda b, x: gru(b, b.add(Convolution(floats(4, 4, 4), None), x))[0], 3, 0),
    "padded on both sides": (lambda b, x: b.add(Convolution(floats(4, 4, 3), None), padded(b, x, 1, 1, 0.5)), 1, 1),
    "padding alone": (lambda b, x: b.add(Unary("exp"), padded(b, x, 0, 2, 1.5)), 0, 2),
    "without the last": (lambda b, x: b.add(Slice(1, None, -2), x), 2, 0),
    "without the first": (lambda b, x: b.add(Slice(1, 2), x), 2, 0),
    "a pool": (lambda b, x: b.add(Pool("max", (3,), (1,), ((1, 1),)), same(b, x)), 3, 3),
    "of different times": (
        lambda b, x: b.add(Binary("add"), b.add(Slice(1, None, -2), padded(b, x, 2)), same(b, causal(b, x, 3))), 2, 2
    ),
    "two outputs": (lambda b, x: (same(b, x), causal(b, same(b, x, 3), 2)), 2, 2),
    "beside its last step": (lambda b, x: (same(b, x), b.add(Select(1, -1), x), gru(b, x)[1]), 2, 2),
    "beside a late last step": (lambda b, x: (same(b, x), b.add(Select(1, -1), b.add(Slice(1, None, -2), x))), 2, 2),
    "outputs that end apart": (lambda b, x: (same(b, x), b.add(Slice(1, None, -2), x)), 2, None),
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"backend": "blas"}, {"precision": "float64"}], ids=str)
@pytest.mark.parametrize("name", LATE)
def test_what_looks_ahead_comes_later_and_says_by_how_much(name: str, options: dict[str, Any]) -> None:
    make, delay, behind = LATE[name]
    model = model_of(make, **options)
    stream = model.stream(2)
    assert stream.delay == delay
    assert model._streamed.behind == behind
    if behind is not None:
        check(model, exact=not options)
    if not behind:
        with pytest.raises(UnsupportedModelError, match="nothing to give"):
            model_of(make, **options).stream().finish()
    x, other = floats(2, 12, 4, seed=3), model.stream(1)
    stream.reset()
    stream.run(x[:, :5])
    stream.reset(rows=[1])  # which is behind the other row from then on
    for t in range(5, 12):
        one, alone = stream.step(x[:, t]), other.step(x[1:, t])
        for made, wanted in zip(as_tuple(one), as_tuple(alone), strict=True):
            assert np.allclose(made[1:], wanted, atol=0 if not options else 1e-5, equal_nan=True)


def test_finishing_is_all_or_nothing_and_begins_anew(monkeypatch) -> None:
    model, x = model_of(LATE["on both sides of a GRU"][0]), floats(2, 6, 4)
    stream = model.stream(2)
    stream.run(x)
    before, one = stream.state, type(stream)._one_by_one

    def ended(*given: Any) -> Any:
        one(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(stream), "_one_by_one", ended)
        with pytest.raises(KeyboardInterrupt):
            stream.finish()
    assert all(map(same_bits, stream.state, before))
    assert same_bits(stream.finish(), np.ascontiguousarray(model(x)[:, 3:]))
    assert all(map(same_bits, stream.state, model.stream(2).state))
    room = np.empty((2, 6, 4), np.float32)
    assert stream.run(x, out=room) is room and same_bits(room[:, 3:].copy(), np.ascontiguousarray(model(x)[:, :3]))


def test_outputs_that_are_one_at_each_step_are_all_given() -> None:
    """Those of the whole sequence differ in their last places."""

    def cut_and_whole(builder: Builder, x: Value) -> tuple[Value, Value]:
        made = builder.add(Convolution(floats(4, 4, 2), None), padded(builder, x, 1, 1))
        return builder.add(Slice(1, None, -1), made), made

    for options in ({}, {"precision": "float64"}):
        model, x = model_of(cut_and_whole, **options), floats(2, 6, 4)
        wanted, _ = model(x)
        stream = model.stream(2)
        made = [stream.step(x[:, t]) for t in range(6)]
        for at in range(2):
            assert same_bits(np.stack([each[at] for each in made], 1), wanted)
        stream.reset()
        assert all(same_bits(each, wanted) for each in stream.run(x))
        rooms = [np.full((2, 4), fill, wanted.dtype) for fill in (7, 8)]
        stream.reset()
        stream.step(x[:, 0], out=rooms)
        assert all(same_bits(each, wanted[:, 0].copy()) for each in rooms)
        made[0][0][...] = 9
        assert not (made[0][1] == 9).any()


def test_there_is_nothing_to_finish_before_the_first_step_or_of_open_sizes() -> None:
    model = model_of(same)
    with pytest.raises(UnsupportedModelError, match="no step was taken"):
        model.stream().finish()
    builder = Builder()
    made = padded(builder, builder.input("x", (BATCH, STEPS, symbol("size_2"))), -2, 3)
    stream = Model(builder.finish(made.place)).stream()
    stream.run(np.ones((1, 8, 3), np.float32))
    with pytest.raises(UnsupportedModelError, match="their sizes are open"):
        stream.finish()


def test_inputs_without_steps_are_given_to_the_end_too() -> None:
    builder = Builder()
    x, other = builder.input("x", (BATCH, STEPS, 4)), builder.input("other", (BATCH, 1, 4))
    made = builder.add(Binary("minimum"), same(builder, x), other)
    model = Model(builder.finish((made.place, other.place)))
    x_, other_ = floats(2, 6, 4, seed=5), floats(2, 1, 4, seed=6) / 4
    wanted, stream = model(x_, other_)[0], model.stream(2)
    made_ = [stream.step(x_[:, t], other_)[0] for t in range(6)][stream.delay :]
    for given in ({}, {"x": x_[:, 0]}, {"other": other_, "x": x_[:, 0]}):
        with pytest.raises(ShapeError, match=r"finish: got the inputs .*, wanted .*: other=\.\.\."):
            stream.finish(**given)
    last, lasting = stream.finish(other=other_)
    assert same_bits(np.concatenate([np.stack(made_, 1), last], 1), wanted) and same_bits(lasting, other_)


def test_steps_before_other_places_of_an_axis_come_one_after_the_other() -> None:
    model = model_of(lambda b, x: b.add(View((BATCH, STEPS * 4)), same(b, x)))
    x, stream = floats(2, 8, 4, seed=5), model.stream(2)
    wanted = model(x)
    parts = [stream.run(x[:, :5]), stream.run(x[:, 5:]), stream.finish()]
    made = np.concatenate(parts, 1)
    assert np.isnan(made[:, : 4 * stream.delay]).all() and same_bits(made[:, 4 * stream.delay :].copy(), wanted)


def test_what_cannot_come_later_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="known only when the sequence is over"):
        model_of(lambda b, x: b.add(Activation("relu"), b.add(Select(1, -1), padded(b, x, 0, 2)))).stream()
    with pytest.raises(UnsupportedModelError, match="an output of booleans comes 2 steps late"):
        model_of(lambda b, x: b.add(Binary("ge"), same(b, x), b.constant(np.float32(0)))).stream()
    with pytest.raises(UnsupportedModelError, match=r"an output is not given one step at a time: .* a larger axis"):
        model_of(lambda b, x: (same(b, x), b.add(View((BATCH, STEPS * 4)), x))).stream()
    with pytest.raises(UnsupportedModelError, match="they come 2 steps later"):
        model_of(same).pool(3)


def test_steps_of_their_own_that_are_not_alike_are_refused() -> None:
    """A table of which a row is taken for every step: a stream would take the first row every time."""

    def positions(builder: Builder, x: Value) -> Value:
        table = builder.add(Slice(1, None, STEPS), builder.constant(floats(1, 50, 4)))
        made: Value = builder.add(Binary("add"), x, table)
        return made

    with pytest.raises(UnsupportedModelError, match="steps that are not all alike"):
        model_of(positions).stream()
    alike = model_of(lambda b, x: b.add(Binary("add"), x, b.add(Full((BATCH, STEPS, 4), 0.5))))
    check(alike)


def explicit(layers: int = 1) -> Model:
    builder = Builder()
    x, h = builder.input("x", (BATCH, STEPS, 4)), builder.input("h", (layers, BATCH, 5))
    y, last = builder.add(GRU(network(4, 5, layers)), x, builder.add(Unary("neg"), h))
    return Model(builder.finish({"y": y.place, "h": last.place}))


def test_first_states_are_given_once() -> None:
    model, x, h = explicit(2), floats(3, 6, 4), floats(2, 3, 5)
    whole, stream = model(x, h), model.stream(3, h=h)
    for t in range(6):
        made = stream.step(x[:, t])
        assert same_bits(made["y"], np.ascontiguousarray(whole["y"][:, t]))
    assert same_bits(made["h"], whole["h"])
    stream.reset(rows=[1])
    assert same_bits(stream.state[0][:, 1], -h[:, 1]) and same_bits(stream.state[0][:, 0], whole["h"][:, 0])
    for other in (stream.copy(), pickle.loads(pickle.dumps(stream)), copy.deepcopy(stream)):
        other.reset()
        assert same_bits(other.run(x)["y"], whole["y"])
    with pytest.raises(ShapeError, match=r"wanted the inputs h.*model.stream\(batch, h=...\)"):
        model.stream(3)
    with pytest.raises(ShapeError, match="h: got a batch of 3, wanted 2"):
        model.stream(2, h=h)
    with pytest.raises(ShapeError, match="got the inputs z, wanted h"):
        model.stream(3, h=h, z=1)
    with pytest.raises(ShapeError, match="got the inputs h, wanted none"):
        model_of(GRAPHS["before a GRU"]).stream(h=h)
    with pytest.raises(FastGRUError, match="h: got"):
        model.stream(3, h="x")


@pytest.mark.parametrize("options", [{}, {"precision": "float64"}], ids=str)
@pytest.mark.parametrize("name", ["a GRU over padding", "temporal blocks", "two outputs", "far in front"])
def test_rows_begin_again_and_are_taken_with_all_that_they_keep(name: str, options: dict[str, Any]) -> None:
    model, x = model_of(GRAPHS[name], **options), floats(3, 8, 4)
    stream = model.stream(3)
    stream.run(x[:, :4])
    alone = [model.stream() for _ in range(5)]
    for one, row in zip(alone, [2, 0, 2, 1, 1], strict=True):
        one.run(x[row : row + 1, :4])
    stream.take([2, 0, 2, 1, 1])
    assert stream.batch == 5
    stream.reset(rows=[3])
    alone[3].reset()
    y = floats(5, 4, 4, seed=3).astype(model.dtype)
    for t in range(4):
        made = stream.step(y[:, t])
        for row, one in enumerate(alone):
            ours, theirs = made, one.step(y[row : row + 1, t])
            for got, wanted in zip(*((each,) if isinstance(each, np.ndarray) else each for each in (ours, theirs)),
                                   strict=True):  # fmt: skip
                axis = next(at for at, size in enumerate(got.shape) if size == 5 and wanted.shape[at] == 1)
                np.testing.assert_allclose(got.take([row], axis=axis), wanted, atol=0 if not options else 1e-12)
    before = stream.state
    for rows in ([5], [-1], [], [0.5], np.zeros((2, 2), int)):
        with pytest.raises(FastGRUError, match="rows: "):
            stream.take(rows)
    assert all(map(same_bits, stream.state, before)) and stream.batch == 5


def test_rows_that_are_joined_step_and_begin_again_together() -> None:
    """Rows that were concatenated on their own axis: of the states nobody can say which row they are of."""
    builder = Builder()
    x, v = builder.input("x", (BATCH, STEPS, 4)), builder.input("v", (BATCH, 4))
    _, last = gru(builder, builder.add(Concatenate(0), x, x))
    model = Model(builder.finish((last.place, builder.add(Activation("tanh"), v).place)))
    for batch in (1, 3):
        x, v = floats(batch, 9, 4), floats(batch, 4)
        stream, wanted = model.stream(batch), model(x, v)[0]
        for _ in range(2):
            for t in range(9):
                made = stream.step(x[:, t], v)[0]
            assert same_bits(made, wanted)
            stream.reset(None if batch > 1 else 0)
    with pytest.raises(UnsupportedModelError, match="rows together, of which none begins again alone"):
        stream.reset(1)
    with pytest.raises(UnsupportedModelError, match="rows together, of which none goes on alone"):
        stream.take([1])
    with pytest.raises(UnsupportedModelError, match="a state for every stream"):
        model.pool(3)


def test_a_model_of_a_fixed_number_of_rows_has_no_pool() -> None:
    builder = Builder()
    model = Model(builder.finish(gru(builder, builder.input("x", (4, STEPS, 6)))[0].place))
    assert model.stream(4).step(floats(4, 6)).shape == (4, 5)
    with pytest.raises(UnsupportedModelError, match="made for 4 rows at a time"):
        model.pool(9)


def test_rows_inside_of_a_larger_axis_are_those_of_their_stream() -> None:
    """A GRU over (batch * 3, steps, 4): three sequences of every row."""

    def make(builder: Builder, x: Value) -> Value:
        y = builder.add(View((BATCH, STEPS, 3, 4)), x)
        y = builder.add(View((BATCH * 3, STEPS, 4)), builder.add(Permute((0, 2, 1, 3)), y))
        y = builder.add(View((BATCH, 3, STEPS, 5)), gru(builder, causal(builder, y, 2))[0])
        made: Value = builder.add(View((BATCH, STEPS, 15)), builder.add(Permute((0, 2, 1, 3)), y))
        return made

    model, x = model_of(make, 12), floats(2, 6, 12)
    check(model)
    stream, other = model.stream(2), model.stream(1)
    stream.run(x[:, :3])
    other.run(x[1:, :3])
    stream.reset(rows=0)
    fresh = model.stream(1)
    made = stream.step(x[:, 3])
    assert same_bits(made[1:], other.step(x[1:, 3])) and same_bits(made[:1], fresh.step(x[:1, 3]))
    stream.take([1, 1, 0])
    made = stream.step(x[[1, 1, 0], 4])
    assert same_bits(made[1:2], other.step(x[1:, 4])) and same_bits(made[2:], fresh.step(x[:1, 4]))


OUT = {"one": GRAPHS["before a GRU"], "several": two_outputs}


@pytest.mark.parametrize("options", [{}, {"backend": "blas"}, {"precision": "float64"}], ids=str)
@pytest.mark.parametrize("name", OUT)
def test_results_go_where_they_are_wanted(name: str, options: dict[str, Any]) -> None:
    model, x = model_of(OUT[name], **options), floats(2, 6, 4)
    stream, other = model.stream(2), model.stream(2)
    first = other.step(x[:, 0])
    several = isinstance(first, tuple)
    room = tuple(map(np.empty_like, first)) if several else np.empty_like(first)
    made = stream.step(x[:, 0], out=room)
    assert made is room
    pairs = list(zip(room, first, strict=True)) if several else [(room, first)]
    assert all(same_bits(one, two) for one, two in pairs)
    whole = other.run(x[:, 1:])
    long = tuple(map(np.empty_like, whole)) if several else np.empty_like(whole)
    assert stream.run(x[:, 1:], out=long) is long
    assert all(map(same_bits, long, whole)) if several else same_bits(long, whole)
    before = stream.state
    wrong = np.empty((2, 7), model.dtype)
    for bad in (wrong, "x", wrong[:, ::2], [wrong] * 9):
        with pytest.raises(ShapeError, match="out: "):
            stream.step(x[:, 0], out=bad)
    assert all(map(same_bits, stream.state, before))


def test_a_result_may_lie_where_an_input_does() -> None:
    model = model_of(lambda b, x: b.add(Binary("add"), x, gru(b, x, 4)[0]))
    stream, other, x = model.stream(2), model.stream(2), floats(2, 4)
    for _ in range(3):
        wanted = other.step(x.copy())
        assert stream.step(x, out=x) is x and same_bits(x, wanted)
    room = np.zeros((3, 4), np.float32)
    room[:2] = x
    wanted = other.step(x)
    stream.step(room[:2], out=room[1:])
    assert same_bits(room[1:], wanted)


def test_states_of_every_kind_are_set_and_read() -> None:
    model, x = model_of(two_outputs), floats(2, 6, 4)
    stream = model.stream(2)
    stream.run(x[:, :3])
    states, wanted = stream.state, stream.run(x[:, 3:])
    assert [each.shape for each in states] == [(2, 2, 4), (1, 2, 5), (2, 1, 5)]
    stream.state = [array.tolist() for array in states]
    assert all(map(same_bits, stream.run(x[:, 3:]), wanted))
    for bad in (states[:2], [*states, states[0]], [states[0], states[1], states[1]], [states[0], states[1], "x"], 3):
        with pytest.raises(FastGRUError, match="state: "):
            stream.state = bad


def test_inputs_and_constants_are_outputs_as_they_are() -> None:
    model = model_of(lambda b, x: (x, gru(b, x)[0], b.constant(floats(3)), x))
    x = floats(2, 5, 4)
    whole, stream = model(x), model.stream(2)
    for t in range(5):
        made = stream.step(x[:, t])
        assert same_bits(made[0], x[:, t].copy()) and same_bits(made[1], whole[1][:, t].copy())
        assert same_bits(made[2], floats(3)) and same_bits(made[3], made[0]) and made[0] is not made[3]
        made[0][...] = 7
    assert same_bits(model(x)[0], x)


def padded_twice(builder: Builder, x: Value) -> Value:
    """Steps in front, then more of them and a feature at once."""
    y = builder.add(Pad(((0, 0), (1, 0), (0, 1)), 0.5), padded(builder, x, 2, 0, -1.0))
    made: Value = builder.add(Convolution(floats(3, 5, 4), floats(3)), builder.add(Unary("exp"), y))
    return made


def test_steps_and_features_are_padded_at_once() -> None:
    check(model_of(padded_twice))


BY_STEPS = {
    "a table of places by the steps": lambda b, x: b.add(
        Binary("add"), x, b.add(Reduce("sum", (0,)), b.add(Repeat((STEPS, 1)), b.constant(floats(3, 4))))
    ),
    "places after as many as steps": lambda b, x: b.add(
        Binary("add"), x, b.add(Reduce("sum", (0,)), b.add(Put(0, None, STEPS), b.constant(floats(9, 4)),
                                                       b.add(Full((STEPS, 4), 1.0))))
    ),
    "the number itself": lambda b, x: b.add(Binary("mul"), x, b.add(Cast("float"), b.add(SizeOf(STEPS)))),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_STEPS)
def test_what_is_computed_with_the_number_of_steps_is_not_streamed_nor_given_lengths(name: str) -> None:
    model = model_of(BY_STEPS[name])
    with pytest.raises(UnsupportedModelError, match="steps"):
        model.stream()
    with pytest.raises(FastGRUError, match=r"lengths|steps"):
        model(floats(2, 5, 4), lengths=[5, 2])
