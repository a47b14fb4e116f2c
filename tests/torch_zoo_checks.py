"""What is promised of a module as a graph, checked against the module itself: sizes, lengths, saving, float64."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from torch_zoo_registry import Entry

from fastgru.errors import FastGRUError, ShapeError, UnsupportedModelError
from fastgru.graph.graph import Graph, leaves
from fastgru.graph.layout import BATCH, Batch, Rows, Steps
from fastgru.graph.saved import from_data, to_data
from fastgru.importers.torch.live import exported, other_inputs
from fastgru.model import Model

BOUND = 5e-6  # of the largest output of a whole model, as elsewhere
WIDE = 1e-9  # where both compute in float64
ACCELERATED = 2e-6  # of GRUs that compute here inside a module
TRIALS = 7


class Zoo:
    """One module, its graph, and what has been seen of it."""

    def __init__(self, entry: Entry) -> None:
        torch.manual_seed(3)
        self.entry, self.module = entry, entry.make().eval()
        self.exported = exported(self.module, entry.example)
        self.model = Model(self.exported.graph)
        self.graph: Graph = self.model.graph
        flat = pytree.tree_leaves(entry.example)
        self.example = {s.name: x.numpy() for s, x in zip(self.graph.inputs, flat, strict=True)}
        self.symbols = sorted({n for s in self.graph.inputs for size in self.graph.tensors[s.value].shape
                               if not isinstance(size, int) for n in size.symbols()})  # fmt: skip

    def inputs(self, trial: int) -> dict[str, np.ndarray]:
        """Those of the example, or random ones of other sizes; the first of these is a batch of one."""
        if trial == 0:
            return self.example
        random = np.random.default_rng(trial)
        sizes = {name: int(random.integers(2, 12)) for name in self.symbols}
        if trial == 1:
            sizes = {name: 1 if name == "batch" else 7 for name in self.symbols}
        if trial == 6:  # features that may be any may still belong together
            sizes.update(self.features())
        made = other_inputs(self.graph, self.example, sizes, trial)
        if self.entry.fit is not None:
            self.entry.fit(made)
        return made

    def features(self) -> dict[str, int]:
        """The sizes that the example has where they are neither of the batch nor of steps."""
        found = {}
        for source in self.graph.inputs:
            shape = self.graph.tensors[source.value].shape
            found.update((str(size), own) for size, own in zip(shape, self.example[source.name].shape, strict=True))
        return {name: size for name, size in found.items() if name in self.symbols and name.startswith("size")}

    def torch(self, inputs, module=None):
        """What the module gives, or None where PyTorch refuses."""
        tensors = [torch.tensor(inputs[source.name]) for source in self.graph.inputs]
        args = pytree.tree_unflatten(tensors, pytree.tree_structure(self.entry.example))
        try:
            with torch.no_grad():
                return (module or self.module)(*args)
        except (RuntimeError, IndexError, ValueError):
            return None

    def check_sizes(self) -> int:
        """Assert the module's outputs, in its structure; how many other sizes than the example's were compared."""
        compared = 0
        for trial in range(TRIALS):
            inputs = self.inputs(trial)
            wanted = self.torch(inputs)
            try:
                got = self.model(inputs)
            except FastGRUError:
                assert trial, "it refuses its own example"
                continue
            assert wanted is not None, f"PyTorch refuses {[each.shape for each in inputs.values()]}"
            assert pytree.tree_structure(plain(got)) == pytree.tree_structure(plain(wanted))
            for one, other in zip(flat(got), flat(wanted), strict=True):
                agree(one, other.numpy())
            compared += trial > 0
        return compared

    def check_saved(self) -> None:
        """Assert the same bits of what is written and read again."""
        data, tensors = to_data(self.graph)
        again = Model(from_data(json.loads(json.dumps(data, allow_nan=False)), tensors.__getitem__, "here"))
        for one, other in zip(flat(self.model(self.example)), flat(again(self.example)), strict=True):
            assert one.dtype == other.dtype and one.tobytes() == other.tobytes()

    def check_wide(self) -> None:
        """Assert float64 beside the module as doubles."""
        if not self.entry.wide:
            return
        model = Model(self.exported.graph, precision="float64")
        module = copy.deepcopy(self.module).double()
        inputs = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in self.example.items()}
        wanted = self.torch(inputs, module)
        if wanted is None:
            return  # tensors of float32 are made in its code
        for one, other in zip(flat(model(inputs)), flat(wanted), strict=True):
            if other.dtype == torch.float32:
                return  # and here
            agree(one, other.numpy(), WIDE)

    def check_lengths(self) -> bool:
        """Assert that every row is what it is alone, cut to its length; False where lengths are refused."""
        for alike in (False, True):
            try:
                return self._check_lengths(alike)
            except ShapeError:  # sequences that are of one length, or fewer steps than the module takes
                continue
        return False

    def _check_lengths(self, alike: bool) -> bool:
        sizes = {n: 4 if n == "batch" else 9 if alike or n == "steps" else 8 if n.startswith("steps") else 3
                 for n in self.symbols} | self.features()  # fmt: skip
        inputs = other_inputs(self.graph, self.example, sizes, 5)
        if self.entry.fit is not None:
            self.entry.fit(inputs)
        layouts = self.model._analysis.inputs
        if self.model._analysis.mixes:
            with pytest.raises(UnsupportedModelError):
                self.model._analysis.check_lengths()
            return False
        steps = sorted({str(axis[0].size) for layout in layouts.values() for axis in layout
                        if len(axis) == 1 and isinstance(axis[0], Steps)})  # fmt: skip
        batches = {inputs[name].shape[layout.index((BATCH,))] for name, layout in layouts.items() if (BATCH,) in layout}
        if not steps or not batches:
            return False
        (batch,) = batches
        full = {str(layout[at][0].size): inputs[name].shape[at] for name, layout in layouts.items()
                for at in range(len(layout)) if layout[at] and isinstance(layout[at][0], Steps)}  # fmt: skip
        random = np.random.default_rng(5)
        lengths = {name: random.integers(min(5, full[name]), full[name] + 1, batch).astype(np.intp) for name in steps}
        if alike:
            lengths = dict.fromkeys(steps, random.integers(5, min(full[name] for name in steps) + 1, batch))
        given = {name: lengths[str(axis[0].size)] for name, layout in layouts.items() for axis in layout
                 if len(axis) == 1 and isinstance(axis[0], Steps) and (BATCH,) in layout}  # fmt: skip
        try:
            got = flat(self.model(inputs, lengths=given))
        except UnsupportedModelError:
            return False
        for row in range(batch):
            own = {name: int(each[row]) for name, each in lengths.items()}
            alone = {name: cut(array, layouts[name], row, own) for name, array in inputs.items()}
            wanted = self.torch(alone)
            if wanted is None:
                continue
            for place, one, other in zip(leaves(self.graph.outputs), got, flat(wanted), strict=True):
                real = self._of_row(place, one, row, lengths, other.shape, sizes)
                agree(real, other.numpy())
        return True

    def _of_row(self, place, array, row, lengths, shape, sizes):
        """The real part of one row of an output, in the shape that the row has alone."""
        rows = Rows(self.model._analysis.layout(place), lengths, sizes)
        parts = [rows._parts(axis, size) for axis, size in zip(rows.layout, array.shape, strict=True)]
        fine = [part for axis in parts for part in axis]
        index = []
        for factor, _ in fine:
            ends = rows.of(factor) if isinstance(factor, Steps) else None
            batch = slice(row, row + 1) if isinstance(factor, Batch) else slice(None)
            index.append(batch if ends is None else slice(0, int(ends[row])))
        split = array.reshape([size for _, size in fine])
        for at, (factor, _) in enumerate(fine):  # steps beyond the row's end are zero
            ends = rows.of(factor) if isinstance(factor, Steps) else None
            if ends is not None and any(isinstance(each, Batch) for each, _ in fine):
                beyond = [slice(row, row + 1) if isinstance(each, Batch) else slice(None) for each, _ in fine]
                beyond[at] = slice(int(ends[row]), None)
                assert not split[tuple(beyond)].any()
        return split[tuple(index)].reshape(tuple(shape))


def cut(array, layout, row, lengths):
    """One row of an input, up to its own last step."""
    index = []
    for axis in layout:
        if axis == (BATCH,):
            index.append(slice(row, row + 1))
        elif len(axis) == 1 and isinstance(axis[0], Steps):
            index.append(slice(0, lengths[str(axis[0].size)]))
        else:
            index.append(slice(None))
    return array[tuple(index)]


def plain(outputs):
    """Named tuples of torch as tuples."""
    if isinstance(outputs, dict):
        return {key: plain(each) for key, each in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        made = [plain(each) for each in outputs]
        return made if isinstance(outputs, list) else tuple(made)
    return outputs


def flat(outputs):
    return [each for each in pytree.tree_leaves(plain(outputs)) if each is not None]


def agree(got, wanted, bound=BOUND):
    """Assert shapes, kinds and numbers."""
    assert got.shape == wanted.shape, f"{got.shape}, wanted {wanted.shape}"
    assert (got.dtype.kind == "f") == (wanted.dtype.kind == "f"), f"{got.dtype}, wanted {wanted.dtype}"
    assert (got.dtype.kind == "b") == (wanted.dtype.kind == "b"), f"{got.dtype}, wanted {wanted.dtype}"
    if not got.size:
        return
    if got.dtype.kind != "f":
        assert np.array_equal(got, wanted)
        return
    assert np.array_equal(np.isnan(got), np.isnan(wanted))
    finite = np.isfinite(wanted)
    assert np.array_equal(got[~finite & ~np.isnan(wanted)], wanted[~finite & ~np.isnan(wanted)])
    if finite.any():
        worst = np.abs(got[finite] - wanted[finite]).max()
        assert worst <= bound * max(1.0, np.abs(wanted[finite]).max()), f"differs by {worst}"
