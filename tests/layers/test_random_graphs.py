"""Promise of every layer, in random graphs of all of them: a right number or a ``FastGRUError``, and nothing else.

A row gives what it gives alone: in a batch, with ``lengths`` cut to its own, and step by step in a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from random_graphs import Maker, random_graph, random_inputs

from fastgru import FastGRUError, Model
from fastgru.layers import ModelSpec, Reshape, validate

BLOCKS = range(4)  # of seeds, so that processes can share them
OF_A_BLOCK = 150
BOUND = 2e-5  # of numbers around 1, through a few layers by the BLAS backend; the packed kernels give the same bits


def graphs(block: int) -> Iterator[tuple[int, ModelSpec]]:
    for seed in range(block * OF_A_BLOCK, (block + 1) * OF_A_BLOCK):
        spec = random_graph(seed, 1 + seed % 9)
        if spec is not None:
            yield seed, spec


def made(spec: ModelSpec) -> Model | None:
    """The model, or None where its sizes contradict each other in every call."""
    try:
        return Model(spec)
    except FastGRUError:
        return None


def run(model: Model, arrays: list[np.ndarray], **options: Any) -> list[np.ndarray] | None:
    """The outputs, or None if the model refuses."""
    try:
        made = model(arrays if len(arrays) > 1 else arrays[0], **options)
    except FastGRUError:
        return None
    return list(made) if isinstance(made, tuple) else [made]


def assert_alike(got: np.ndarray, wanted: np.ndarray, seed: int) -> None:
    assert got.shape == wanted.shape, seed
    if got.dtype == bool:
        assert np.array_equal(got, wanted), seed
    else:
        np.testing.assert_allclose(got, wanted, rtol=BOUND, atol=BOUND, err_msg=f"seed {seed}")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_graph_that_is_accepted_gives_numbers_or_is_refused_in_words(block):
    ran = 0
    for seed, spec in graphs(block):
        model, random = made(spec), np.random.default_rng(seed)
        if model is None:
            continue
        for steps in (0, 1, 4):  # 0: of every open axis another
            arrays = random_inputs(spec, random, steps=steps)
            together = run(model, arrays)
            if together is None:
                continue
            ran += 1
            alone = run(model, [array[1:2] for array in arrays])
            assert alone is not None, seed
            for one, whole in zip(alone, together, strict=True):
                assert_alike(one[0], whole[1], seed)
    assert ran > OF_A_BLOCK


def opened(spec: ModelSpec) -> ModelSpec | None:
    """The same graph for any number of steps, if it is one for any."""
    steps = {source.shape[0] for source in spec.inputs if source.has_steps} - {None}
    nodes = []
    for node in spec.nodes:
        layer = node.layer
        if isinstance(layer, Reshape) and layer.shape[0] in steps and -1 not in layer.shape:
            node = node.replace(layer=Reshape((-1, *layer.shape[1:])))
        nodes.append(node)
    inputs = [each.replace(shape=(None, *each.shape[1:])) if each.has_steps else each for each in spec.inputs]
    made = spec.replace(inputs=tuple(inputs), nodes=tuple(nodes))
    try:
        validate(made)
    except FastGRUError:
        return None
    return made


def beyond(array: np.ndarray, length: int) -> np.ndarray:
    """The same up to a length, and then other numbers."""
    made = array.copy()
    made[:, length:] = made[:, length:][:, ::-1] + made[:, :1]
    return made % 5 if made.dtype.kind == "i" else made


@pytest.mark.parametrize("block", BLOCKS)
def test_a_row_with_a_length_gives_what_it_gives_alone_cut_to_it(block):
    right = 0
    for seed, spec in graphs(block):
        random = np.random.default_rng(seed)
        arrays = random_inputs(spec, random, 4, steps=int(random.integers(2, 7)))
        stepped = [source.has_steps for source in spec.inputs]
        if not any(stepped):
            continue
        steps = min(array.shape[1] for array, has in zip(arrays, stepped, strict=True) if has)
        lengths = random.integers(1, steps + 1, 4)
        model, cut = made(spec), opened(spec)
        together = None if model is None else run(model, arrays, lengths=lengths)
        if together is None or cut is None:
            continue
        model = Model(cut)
        for row, length in enumerate(lengths):
            rows = [array[row : row + 1] for array in arrays]
            own = [array[:, :length] if has else array for array, has in zip(rows, stepped, strict=True)]
            alone = run(model, own)
            if alone is None:  # it has numbers for each step: then what lies beyond must not matter
                changed = [beyond(array, length) if has else array for array, has in zip(rows, stepped, strict=True)]
                one_row = run(model, changed, lengths=[length])
                assert one_row is not None, f"seed {seed}: row {row} of {length} steps is refused alone"
                for one, whole in zip(one_row, together, strict=True):
                    assert_alike(one[0], whole[row], seed)
                continue
            for one, whole in zip(alone, together, strict=True):
                within = tuple(map(slice, one[0].shape))
                assert_alike(whole[row][within], one[0], seed)
                others = np.array(whole[row])
                others[within] = 0
                assert not others.any(), f"seed {seed}: beyond the length"
        right += 1
    assert right > OF_A_BLOCK // 4


def of_the_last_step(stream: Any, whole: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What of an output for all steps belongs to the last: its place along the axis of the steps, or the end of one
    that has them beside others."""
    for axis in stream._model._streamed.axes.values():
        whole = np.take(whole, -1, axis=axis)
    return whole[tuple(slice(-size, None) for size in shape)]


def gives_the_sequence_later(stream, x, whole, seed) -> bool:
    """Whether what a stream gives from its delay on, and at the end, was compared with the sequence."""
    axes = [*stream._model._streamed.axes.values()]
    if whole is None or not axes or stream.delay >= x.shape[1]:
        return False
    made = [stream.step(x[:, t]) for t in range(x.shape[1])][stream.delay :]
    made = np.stack(made, axis=axes[0])
    if stream._model._streamed.behind:
        made = np.concatenate([made, stream.finish()], axis=axes[0])
    assert_alike(made, whole[0], seed)
    return True


@pytest.mark.parametrize("block", BLOCKS)
def test_a_stream_gives_what_the_model_gives_for_the_steps_so_far(block):
    right = 0
    for seed in range(4 * block * OF_A_BLOCK, 4 * (block + 1) * OF_A_BLOCK):
        maker = Maker(np.random.default_rng([seed, 7]))
        spec = maker.graph(1 + seed % 4, [((None, 3), False), ((None,), True), ((None, 2, 3), False)])
        try:
            model = Model(spec.replace(outputs=spec.outputs[:1]))
            stream = model.stream(3)
        except FastGRUError:
            continue
        x = random_inputs(spec, np.random.default_rng(seed), steps=4)[0]
        if stream.delay or model._streamed.behind:
            right += gives_the_sequence_later(stream, x, run(model, [x]), seed)
            continue
        for t in range(4):
            try:
                got = stream.step(x[:, t])
            except FastGRUError:
                break
            whole = run(model, [x[:, : t + 1]])
            if whole is not None:  # some take no sequences so short
                assert_alike(got, of_the_last_step(stream, whole[0], got.shape), seed)
        else:
            right += 1
    assert right > OF_A_BLOCK // 4
