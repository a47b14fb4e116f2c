"""What is written in place is seen under every name that shares the numbers, and what is uncertain is never read."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.errors import UnsupportedModelError
from fastgru.graph.builder import Builder
from fastgru.importers.calls import Context
from fastgru.importers.torch.kinds import KINDS_IN_FILES
from fastgru.importers.torch.memory import Part
from fastgru.importers.torch.memory_calls import MemoryCalls
from fastgru.importers.torch.symbolic import called


class Program:
    """Calls on a tensor of 0, 1, 2 ... whose results are known at once."""

    def __init__(self) -> None:
        self.context = Context(Builder("here"), KINDS_IN_FILES)
        self.calls = MemoryCalls(self.context, called)
        self.x = self.calls.memory.tensor(self.context.builder.constant(np.arange(12.0).reshape(3, 4)))

    def __call__(self, name, *args, **named):
        self.context.name = name
        return self.calls.called(name, args, named)

    def now(self, tensor):
        return np.asarray(self.calls.read(tensor).array)


@pytest.fixture
def run():
    return Program()


@pytest.fixture
def array():
    return np.arange(12.0).reshape(3, 4)


# Views by PyTorch's name and operands, and the same of NumPy.
VIEWS = {
    "alias": (("alias",), lambda x: x),
    "select": (("select", 1, -2), lambda x: x[:, -2]),
    "slice": (("slice", 1, 1, 4, 2), lambda x: x[:, 1:4:2]),
    "narrow": (("narrow", 0, 1, 2), lambda x: x[1:3]),
    "transpose": (("transpose", 0, 1), lambda x: x.T),
    "swapaxes": (("swapaxes", 0, 1), lambda x: x.T),
    "permute": (("permute", [1, 0]), lambda x: x.T),
    "movedim": (("movedim", 0, 1), lambda x: x.T),
    "t": (("t",), lambda x: x.T),
    "mT": (("mT",), lambda x: x.T),
    "numpy_T": (("numpy_T",), lambda x: x.T),
    "view": (("view", [2, 6]), lambda x: x.reshape(2, 6)),
    "unsqueeze": (("unsqueeze", 1), lambda x: x[:, None]),
    "unflatten": (("unflatten", 1, [2, 2]), lambda x: x.reshape(3, 2, 2)),
    "expand": (("expand", [2, 3, 4]), lambda x: np.broadcast_to(x, (2, 3, 4))),
    "diagonal": (("diagonal",), lambda x: x.diagonal()),
    "unfold": (("unfold", 1, 2, 1), lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1)),
}


@pytest.mark.parametrize(("call", "same"), VIEWS.values(), ids=VIEWS)
def test_a_view_sees_what_is_written_to_its_base(run, array, call, same):
    view = run(call[0], run.x, *call[1:])
    run("mul_", run.x, 3.0)
    np.testing.assert_array_equal(run.now(view), same(array * 3))


@pytest.mark.parametrize(
    ("call", "same"), [each for name, each in VIEWS.items() if name not in ("expand", "diagonal", "unfold")]
)
def test_what_is_written_through_a_view_goes_into_its_base(run, array, call, same):
    view, beside = run(call[0], run.x, *call[1:]), run("slice", run.x, 0, 0, 2)
    run("add_", run("alias", view), 100.0)
    part = same(array)
    part += 100.0
    assert np.shares_memory(part, array)
    np.testing.assert_array_equal(run.now(run.x), array)
    np.testing.assert_array_equal(run.now(view), part)
    np.testing.assert_array_equal(run.now(beside), array[:2])


@pytest.mark.parametrize("name", ["expand", "diagonal", "unfold"])
def test_a_view_of_which_several_places_may_be_one_is_not_written(run, name):
    view = run(VIEWS[name][0][0], run.x, *VIEWS[name][0][1:])
    with pytest.raises(UnsupportedModelError, match="of which several places may be one"):
        run("add_", view, 1.0)


@pytest.mark.parametrize("name", ["chunk", "split", "unbind"])
def test_parts_are_written_one_by_one(run, array, name):
    parts = run(name, run.x, *([] if name == "unbind" else [2]), dim=1)
    for at, part in enumerate(parts):
        run("add_", part, 10.0 * (at + 1))
    width = array.shape[1] // len(parts)
    array += 10.0 * (np.arange(4) // width + 1)
    np.testing.assert_array_equal(run.now(run.x), array)
    for at, part in enumerate(parts):
        np.testing.assert_array_equal(run.now(part).reshape(3, width), array[:, at * width : (at + 1) * width])


@pytest.mark.parametrize("writer", ["x", "flat"])
def test_of_a_view_that_may_be_a_copy_the_other_is_uncertain_after_a_write(run, array, writer):
    flat = run("reshape", run.x, [12])
    one, other = (run.x, flat) if writer == "x" else (flat, run.x)
    run("add_", one, 1.0)
    np.testing.assert_array_equal(run.now(one).reshape(3, 4), array + 1)
    with pytest.raises(UnsupportedModelError, match="may have been changed in place; clone"):
        run.now(other)


def test_a_copy_has_numbers_of_its_own(run, array):
    copy = run("clone", run.x)
    run("zero_", run.x)
    np.testing.assert_array_equal(run.now(copy), array)


def test_axes_change_for_one_tensor_and_numbers_for_all(run, array):
    first = run("select", run.x, 0, 0)
    run("t_", run.x)
    run("fill_", run("select", run.x, 0, 1), 50.0)
    array[:, 1] = 50.0
    np.testing.assert_array_equal(run.now(run.x), array.T)
    np.testing.assert_array_equal(run.now(first), array[0])


def test_a_result_is_written_where_it_is_wanted(run, array):
    out = run("zeros", [3, 4])
    assert run("add", run.x, 1.0, out=out) is out
    np.testing.assert_array_equal(run.now(out), array + 1)
    with pytest.raises(UnsupportedModelError, match="writes a tensor of the shape"):
        run("sum", run.x, out=out)


def part(run, *bounds):
    return run("slice", run.x, 1, *bounds)


@pytest.mark.parametrize(
    ("one", "other"), [((0, 2), (2, 4)), ((3, 4), (0, 1)), ((0, 4, 2), (1, 4, 2)), ((1, 3), (1, 3)), ((-1,), (0, -3))]
)
def test_parts_without_a_place_in_common_are_written_from_each_other(run, array, one, other):
    run("copy_", part(run, *one), part(run, *other))
    array[:, slice(*one) if len(one) > 1 else slice(-1, None)] = array[:, slice(*other)]
    np.testing.assert_array_equal(run.now(run.x), array)


@pytest.mark.parametrize(("one", "other"), [((1, 4), (0, 3)), ((0, 3), (1, 4)), ((0, 4, 2), (2, 4)), ((0, 4), (0, 1))])
def test_what_overlaps_with_what_it_is_written_from_is_refused(run, one, other):
    with pytest.raises(UnsupportedModelError, match=r"an order that PyTorch does not promise; clone\(\)"):
        run("add_", part(run, *one), part(run, *other))


def test_a_product_is_not_written_into_its_own_operand(run):
    square = run("slice", run.x, 1, 0, 3)
    with pytest.raises(UnsupportedModelError, match="an order that PyTorch does not promise"):
        run("addmm_", square, run("clone", square), square)


def test_a_weight_is_not_written(run):
    weight = run.calls.memory.tensor(run.context.builder.constant(np.ones((2, 2))), owner="fc.weight")
    for name, of in (("add_", weight), ("add_", run("t", weight))):
        with pytest.raises(UnsupportedModelError, match=r"changes its own 'fc\.weight'; call model\.eval\(\)"):
            run(name, of, 1.0)
    with pytest.raises(UnsupportedModelError, match="changes its own"):
        run("t_", weight)


@pytest.mark.parametrize(("value", "kind"), [(0.5, "floats"), (True, "booleans")])
def test_numbers_of_another_kind_are_written_only_where_pytorch_writes_them(run, value, kind):
    whole = run("full", [2], 3)
    if kind == "floats":
        with pytest.raises(UnsupportedModelError, match="writes floats into a tensor of integers"):
            run("add_", whole, value)
    else:
        run("gt_", run.x, 5.0)
        np.testing.assert_array_equal(run.now(run.x), np.arange(12.0).reshape(3, 4) > 5)
        assert run.now(run.x).dtype.kind == "f"


def test_parts_are_apart_if_that_is_certain():
    assert Part(0, 0, 2).is_apart(Part(0, 2, 5)) and Part(0, 0, 9, 2).is_apart(Part(0, 1, 9, 2))
    assert not Part(0, 0, 3).is_apart(Part(0, 2, 5)) and not Part(0, 0, 2).is_apart(Part(1, 2, 5))
    assert not Part(0, 0, 9, 2).is_apart(Part(0, 1, 9, 3))
