"""Whether fastgru computes of a file what PyTorch computes: at every size, with lengths, in streams, on threads.

The reference is float32: within ``BOUND`` of the largest output it is right. Beyond it the weights are moved by their
last bits; a difference of the size of what that makes is the model's own and no error (a threshold that a value
meets, a normalisation of what hardly varies).
"""

from __future__ import annotations

import itertools
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from case import Outcome
from torch_numbers import difference, largest, moved, reason, row_of
from torch_programs import has_dead_code, used_modules
from torch_source import Arrays, arrays_of, flat, rows_of, tensors_of

import fastgru
from fastgru.errors import FastGRUError
from fastgru.graph.graph import leaves
from fastgru.graph.layout import BATCH

__all__ = ["Comparison", "Wrong"]

BOUND = 2e-5
Wanted = list[np.ndarray]


class Wrong(Exception):
    """An answer that is not PyTorch's; ``defect`` says in a word or two what kind it is."""

    def __init__(self, message: str, defect: str) -> None:
        super().__init__(message)
        self.defect = defect


class Refused(Exception):
    """PyTorch itself does not compute it."""


def _moved_inputs(arrays: Arrays, seed: int) -> Arrays:
    random = np.random.default_rng(seed)
    return {
        name: (array * (1 + 1e-6 * random.standard_normal(array.shape))).astype(array.dtype)
        if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }  # fmt: skip


class Comparison:
    """One model of PyTorch, and what fastgru makes of its file.

    Parameters
    ----------
    case : dict
    run : callable
        The model in PyTorch, on tensors.
    path : str
        The file to load, or where ``model`` is given the one that stands for it.
    module : nn.Module
        The same as it was before it was traced or exported: the reference at sizes that ``run`` does not take.
    """

    def __init__(self, case: dict[str, Any], run: Callable[..., Any], load: Callable[..., Any], folder: str,
                 module: torch.nn.Module) -> None:  # fmt: skip
        self.case, self.run, self.load, self.folder, self.module = case, run, load, folder, module
        self.batch_axes: list[int | None] = []
        self.has_steps: list[bool] = []
        self.answered = 0
        self.refusals: list[str] = []
        self.refused = ""  # why PyTorch has no answer

    def outcome(self) -> Outcome:
        made = [*used_modules(self.case), *self.case.get("chain", ()), self.case.get("base", "")]
        if self.case["time_first"] and not any("nn.GRU" in text for text in made):
            return Outcome("skipped", "no GRU says that the steps are first")
        try:
            self._look_at_axes()
            return self._outcome()
        except Refused as refused:
            return Outcome("skipped", str(refused))
        except Wrong as wrong:
            return Outcome("wrong", str(wrong), wrong.defect)

    def _outcome(self) -> Outcome:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                model = self.load()
            except FastGRUError as error:
                return Outcome("refused", reason(error))
            except Exception as error:
                raise Wrong(f"load: {type(error).__name__}: {error}", f"load: {type(error).__name__}") from error
        if not self._is_certain() and not told:
            raise Wrong("PyTorch's output is random, and nothing is said of it", "random")
        if not self._is_certain():
            return Outcome("refused", "a warning: its output is random")
        for batch, steps in [self.case["example"], *self.case["sizes"]]:
            self._size(model, batch, steps)
        if self.answered:
            self._checks(model)
        if not self.answered and not self.refusals:
            return Outcome("skipped", "PyTorch refuses every size")
        return Outcome("right") if self.answered else Outcome("refused", self.refusals[0])

    # PyTorch's side.

    def _torch(self, arrays: Arrays, run: Callable[..., Any] | None = None) -> list[torch.Tensor]:
        try:
            with torch.no_grad():
                return flat((run or self.run)(*tensors_of(self.case, arrays)))
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {str(error)[-100:]}") from error

    def _look_at_axes(self) -> None:
        """Which axis of each output is the batch's, and whether it has steps, by what other sizes change."""
        batch, steps = self.case["example"]
        shapes = [each.shape for each in self._torch(arrays_of(self.case, batch, steps))]
        try:
            more_rows = [each.shape for each in self._torch(arrays_of(self.case, batch + 1, steps))]
        except Refused:
            more_rows = shapes
        try:
            more_steps = [each.shape for each in self._torch(arrays_of(self.case, batch, steps + 4))]
        except Refused:
            more_steps = shapes
        for one, rows, longer in zip(shapes, more_rows, more_steps, strict=True):
            if not len(one) == len(rows) == len(longer):
                raise Refused("the number of axes changes with a size")
            axes = [axis for axis, (a, b) in enumerate(zip(one, rows, strict=True)) if a != b]
            # Where PyTorch keeps to one size, the axis of that size that has it is the batch's.
            same = [axis for axis, size in enumerate(one) if size == batch] if more_rows is shapes else []
            self.batch_axes.append(axes[0] if axes else same[0] if same else None)
            self.has_steps.append(one != longer)

    def _is_certain(self) -> bool:
        arrays = arrays_of(self.case, *self.case["example"])
        one, two = self._torch(arrays), self._torch(arrays)
        return all(torch.equal(a, b) or bool(a.isnan().any()) for a, b in zip(one, two, strict=True))

    # fastgru's side.

    def _call(self, model: Any, arrays: Arrays, lengths: Any = None) -> list[np.ndarray]:
        """The outputs; a FastGRUError goes through, anything else is wrong."""
        try:
            if isinstance(model, fastgru.Model) and model.spec is None:
                tensors = [each.numpy() for each in tensors_of(self.case, arrays)]
                return [np.asarray(each) for each in flat(model(*tensors, lengths=lengths), np.ndarray)]
            given = self._given(model, arrays)
            if isinstance(model, fastgru.GRU) and self.case["inputs"][0][1] == "vector":
                return [model(given[0][:, None])[1][0]]  # a cell becomes a GRU of any number of steps
            if isinstance(model, fastgru.GRU):
                return list(model(*given, lengths=lengths))
            made = model(given[0] if len(given) == 1 else given, lengths=lengths)
        except FastGRUError:
            raise
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {str(error)[:200]}", type(error).__name__) from error
        return list(made) if isinstance(made, tuple) else [made]

    def _given(self, model: Any, arrays: Arrays) -> list[np.ndarray]:
        """The inputs as a GRU or a Model takes them: batch first, and the states of a GRU apart for a Model."""
        if isinstance(model, fastgru.GRU):
            return [arrays[name] for name, *_ in self.case["inputs"]]
        given: list[np.ndarray] = []
        whole = len(model.spec.inputs) == len(self.case["inputs"])
        for name, kind, *sizes in self.case["inputs"]:
            if kind == "states" and (sizes[0] == 1 or not whole):
                given += list(arrays[name])
            else:  # states that go into no GRU as such
                given.append(arrays[name].swapaxes(0, 1) if kind == "states" else arrays[name])
        return given

    def _size(self, model: Any, batch: int, steps: int) -> None:
        arrays = arrays_of(self.case, batch, steps)
        where = f"batch {batch}, {steps} steps"
        first = [batch, steps] == self.case["example"]
        try:
            got = self._call(model, arrays)
        except FastGRUError as error:
            if self._wanted(arrays) is not None:
                self.refusals.append(f"at a size: {reason(error)}")
            return
        wanted = self._wanted(arrays)
        if wanted is None:
            self._check_size(where, got, "no such size")
        else:
            self._compare(model, got, wanted, where, arrays, "example" if first else "another size")
            self.answered += 1

    def _wanted(self, arrays: Arrays) -> list[torch.Tensor] | None:
        """What PyTorch computes; None where it computes nothing."""
        for run in (self.run, self.module):
            try:
                return self._torch(arrays, run)
            except Refused as refused:
                self.refused = str(refused)
        return None

    def _check_size(self, where: str, got: Sequence[np.ndarray], defect: str) -> None:
        """Raise for an answer where PyTorch has none, but for code that fails and of which nothing comes.

        PyTorch normalises no single number, as training would come to nothing; what it would be is plain.
        """
        if not has_dead_code(self.case) and "Expected more than 1" not in self.refused:
            raise Wrong(f"{where}: an answer of {[each.shape for each in got]}; PyTorch: {self.refused}", defect)

    def _compare(self, model: Any, got: Sequence[np.ndarray], wanted: Sequence[torch.Tensor], where: str,
                 arrays: Arrays, kind: str, row: int | None = None) -> None:  # fmt: skip
        """Raise unless the outputs are those of PyTorch, batch first, each state of a stack apart.

        For a ``row`` of lengths PyTorch was given that row alone, as every row of the batch.
        """
        choices = self._as_outputs([each.numpy() for each in wanted], len(got), model)
        if not choices:
            shapes = [tuple(each.shape) for each in wanted]
            raise Wrong(f"{where}: {len(got)} outputs, wanted {shapes}", f"{kind}: outputs")
        problems = []
        for place, expected in enumerate(choices):
            try:
                self._compare_outputs(model, got, expected, where, arrays, kind, row, place)
                return
            except Wrong as wrong:
                problems.append(wrong)
        raise problems[0]

    def _compare_outputs(self, model: Any, got: Sequence[np.ndarray], expected: Wanted, where: str, arrays: Arrays,
                         kind: str, row: int | None, choice: int) -> None:  # fmt: skip
        bare, graph = isinstance(model, fastgru.GRU), (isinstance(model, fastgru.Model) and model.spec is None)
        for number, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
            if row is not None:
                axis = self.batch_axes[number] if graph else 1 if bare and number else 0
                if graph and _has_rows_of_steps(model, number):
                    rows = next(len(arrays[name]) for name, kind, *_ in self.case["inputs"] if kind != "states")
                    mine, theirs = (each.reshape(rows, -1, *each.shape[1:]) for each in (mine, theirs))
                mine, theirs = (row_of(each, row, axis or 0) for each in (mine, theirs))
                mine = self._within(mine, theirs, where, number)
            if mine.shape != theirs.shape:
                raise Wrong(f"{where}: output {number}: shape {mine.shape}, wanted {theirs.shape}", f"{kind}: shape")
            error = difference(mine, theirs)
            if error <= BOUND * max(1.0, largest(theirs)):
                continue
            if not error <= 30 * self._sensitivity(arrays, number, len(got), model, choice):
                raise Wrong(f"{where}: output {number}: {error:.3g} off, of {largest(theirs):.3g}", kind)

    def _within(self, mine: np.ndarray, theirs: np.ndarray, where: str, number: int) -> np.ndarray:
        """What lies within the length; beyond it all must be zero."""
        if mine.ndim != theirs.ndim:
            return mine
        part = tuple(slice(0, size) for size in theirs.shape)
        beyond = mine.copy()
        beyond[part] = 0
        if beyond.any():
            raise Wrong(f"{where}: output {number} is not zero beyond the length", "lengths: padding")
        return mine[part]

    def _sensitivity(self, arrays: Arrays, number: int, count: int, model: Any, choice: int) -> float:
        """How much an output changes where the weights and the inputs change by about 1e-6 of themselves."""
        try:
            made = [self._torch(arrays, run) for run in (self.module, *map(moved(self.module), range(4)))]
            made += [self._torch(_moved_inputs(arrays, seed), self.module) for seed in range(4)]
            outputs = [self._as_outputs([each.numpy() for each in one], count, model)[choice] for one in made]
            return max(difference(each[number], outputs[0][number]) for each in outputs[1:])
        except Refused:
            return 0.0

    def _as_outputs(self, wanted: Wanted, count: int, model: Any) -> list[Wanted]:
        """PyTorch's outputs as a model of that many outputs may have them: states apart, or the batch first."""
        if isinstance(model, fastgru.Model) and model.spec is None:
            return [wanted] if len(wanted) == count else []
        bare = isinstance(model, fastgru.GRU)
        choices: list[list[Wanted]] = []
        for each, axis, steps in zip(wanted, self.batch_axes, self.has_steps, strict=True):
            if axis is None or (bare and axis == 1 and each is wanted[-1]):
                choices.append([[each]])
            elif axis == 1 and each.ndim == 3 and not steps:
                choices.append([list(each), [np.moveaxis(each, axis, 0)]])
            else:
                choices.append([[np.moveaxis(each, axis, 0)]])
        if bare:
            return [[np.moveaxis(wanted[0], self.batch_axes[0] or 0, 0), *wanted[1:]]] if len(wanted) == count else []
        made = ([each for part in choice for each in part] for choice in itertools.product(*choices[:8]))
        return [each for each in made if len(each) == count]

    # Beyond plain calls.

    def _checks(self, model: Any) -> None:
        for name in self.case["checks"]:
            getattr(self, f"_check_{name}")(model)

    def _check_lengths(self, model: Any) -> None:
        if not any(kind in ("sequence", "ids") for _, kind, *_ in self.case["inputs"]):
            return
        if self.case.get("time_first") and has_dead_code(self.case) and self.case["way"].startswith("frozen"):
            return  # the GRU may be among what freezing leaves out, and nothing else says which axis the steps are
        batch, steps = self.case["example"]
        for rows, longest, least in ((4, steps, 1), (4, 7, 1), (4, 7, 5), (batch, steps, 1), (batch, steps, 2)):
            lengths = [max(least, each) for each in (longest, longest // 2, 1, longest - 1)][-rows:]
            arrays = arrays_of(self.case, rows, longest)
            try:
                got = self._call(model, arrays, lengths)
            except FastGRUError:
                continue
            self._compare_rows(model, got, arrays, lengths)

    def _compare_rows(self, model: Any, got: Sequence[np.ndarray], arrays: Arrays, lengths: Sequence[int]) -> None:
        for row, length in enumerate(lengths):
            alone = rows_of(self.case, arrays, [row] * len(lengths), length)
            where = f"row {row} of lengths {list(lengths)}"
            wanted = self._wanted(alone)
            if wanted is None:
                self._check_size(where, got, "lengths: no such size")
            else:
                self._compare(model, got, wanted, where, alone, "lengths", row)

    def _check_stream(self, model: Any) -> None:
        if [kind for _, kind, *_ in self.case["inputs"]] not in (["sequence"], ["ids"]):
            return
        try:
            stream = model.stream(2)
        except FastGRUError:
            return
        arrays = arrays_of(self.case, 2, 5)
        ((name, *_),) = self.case["inputs"]
        if isinstance(model, fastgru.Model) and (model._streamed.delay or model._streamed.behind != 0):
            self._check_late(model, stream, arrays, name)
            return
        for step in range(5):
            try:
                made = stream.step(arrays[name][:, step])
            except FastGRUError:
                return
            so_far = rows_of(self.case, arrays, [0, 1], step + 1)
            try:
                wanted = self._torch(so_far)
            except Refused:
                continue
            outputs = [each.numpy() for each in wanted]
            if isinstance(model, fastgru.Model):
                count = len(flat(made, np.ndarray))
                choices = self._as_outputs(outputs, count, model)
                if not choices:
                    raise Wrong(f"step {step} of a stream: {count} outputs, wanted {len(wanted)}", "stream: outputs")
                self._compare_with_one(choices, model, stream, made, so_far, step)
                continue
            got = [np.asarray(made)]
            (theirs,) = self._as_outputs(outputs, 2, model)[-1][:1]
            theirs = theirs[:, -1] if self.has_steps[0] and theirs.ndim > got[0].ndim else theirs
            if got[0].shape != theirs.shape:
                raise Wrong(f"step {step} of a stream: shape {got[0].shape}, wanted {theirs.shape}", "stream: shape")
            error = difference(got[0], theirs)
            if not error <= 5 * BOUND * max(1.0, largest(theirs)):
                raise Wrong(f"step {step} of a stream: {error:.3g} off, of {largest(theirs):.3g}", "stream")

    def _check_late(self, model: Any, stream: Any, arrays: Arrays, name: str) -> None:
        """What comes later than its step, and when the sequence is over, beside the whole sequence."""
        if model.spec is not None or model._streamed.delay >= 5:
            return
        try:
            parts = [flat(stream.step(arrays[name][:, step]), np.ndarray) for step in range(5)]
            last = flat(stream.finish(), np.ndarray) if model._streamed.behind else None
            wanted = [each.numpy() for each in self._torch(arrays)]
        except (FastGRUError, Refused):
            return
        for number, place in enumerate(leaves(model.graph.outputs)):
            axis = model._streamed.axes.get(place)
            theirs = wanted[number]
            if axis is None and last is None:
                continue
            if axis is None:
                made = last[number]
            else:
                made = np.stack([part[number] for part in parts[model._streamed.delay :]], axis=axis)
                made = made if last is None else np.concatenate([made, last[number]], axis=axis)
                theirs = theirs if last is not None else theirs.take(range(made.shape[axis]), axis)
            if made.shape != theirs.shape:
                raise Wrong(f"a late stream: shape {made.shape}, wanted {theirs.shape}", "stream: shape")
            error = difference(made, theirs)
            if not error <= 5 * BOUND * max(1.0, largest(theirs)):
                raise Wrong(f"a late stream: {error:.3g} off, of {largest(theirs):.3g}", "stream")

    def _compare_with_one(
        self, choices: list[Wanted], model: Any, stream: Any, made: Any, so_far: Arrays, step: int
    ) -> None:
        """Compare a step with each of the ways in which a model may have PyTorch's outputs, until one agrees."""
        for choice in reversed(choices):
            try:
                self._compare_step(model, stream, made, choice, so_far, step)
                return
            except Wrong:
                if choice is choices[0]:
                    raise

    def _compare_step(self, model: Any, stream: Any, made: Any, wanted: Wanted, so_far: Arrays, step: int) -> None:
        """What a graph gives for a step beside the last step, or the end, of what PyTorch gives so far."""
        got = flat(made, np.ndarray)
        if len(got) != len(wanted):
            raise Wrong(f"step {step} of a stream: {len(got)} outputs, wanted {len(wanted)}", "stream: outputs")
        for number, (mine, theirs, place) in enumerate(zip(got, wanted, leaves(model.graph.outputs), strict=True)):
            axis = model._streamed.axes.get(place)
            last = theirs if axis is None else np.take(theirs, -1, axis=axis)
            if mine.ndim != last.ndim or any(own > other for own, other in zip(mine.shape, last.shape, strict=True)):
                raise Wrong(f"step {step} of a stream: shape {mine.shape}, wanted {last.shape}", "stream: shape")
            last = last[tuple(slice(other - own, None) for own, other in zip(mine.shape, last.shape, strict=True))]
            error = difference(mine, last)
            near = error <= 5 * BOUND * max(1.0, largest(last))
            if not near and not error <= 30 * self._sensitivity(so_far, number, len(got), model, 0):
                raise Wrong(f"step {step} of a stream: {error:.3g} off, of {largest(last):.3g}", "stream")

    def _check_saved(self, model: Any) -> None:
        path = os.path.join(self.folder, "saved.safetensors")
        try:
            model.save(path)
            again = fastgru.load(path)
        except Exception as error:
            raise Wrong(f"saved and loaded: {type(error).__name__}: {error}",
                        f"saved: {type(error).__name__}") from error
        arrays = arrays_of(self.case, *self.case["example"])
        try:
            wanted = self._call(model, arrays)
        except FastGRUError:
            return  # as was counted where the example was compared
        self._bits(wanted, self._call(again, arrays), "saved and loaded")

    def _check_threads(self, model: Any) -> None:
        arrays = arrays_of(self.case, *self.case["example"])
        try:
            wanted = self._call(model, arrays)
        except FastGRUError:
            return  # as was counted where the example was compared
        made: list[Any] = [None, None]

        def run(place: int) -> None:
            try:
                for _ in range(3):
                    made[place] = self._call(model, arrays)
            except BaseException as error:
                made[place] = error

        threads = [threading.Thread(target=run, args=(place,)) for place in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in made:
            if isinstance(each, BaseException):
                raise Wrong(f"on two threads: {type(each).__name__}: {each}", f"threads: {type(each).__name__}")
            self._bits(wanted, each, "on two threads")

    def _check_float64(self, model: Any) -> None:
        arrays = arrays_of(self.case, *self.case["example"])
        try:
            exact = self.load(precision="float64")
        except Exception as error:
            raise Wrong(f"float64: {type(error).__name__}: {error}", f"float64: {type(error).__name__}") from error
        try:
            wanted = self._torch(arrays)
        except Refused:
            return
        try:
            got = self._call(exact, arrays)
        except FastGRUError as error:
            if self.answered == len(self.case["sizes"]):
                raise Wrong(f"float64: {error}", "float64: refused") from error
            return
        self._compare(exact, got, wanted, "float64", arrays, "float64")

    def _bits(self, one: Sequence[np.ndarray], two: Sequence[np.ndarray], where: str) -> None:
        for mine, theirs in zip(one, two, strict=True):
            if not np.array_equal(mine, theirs, equal_nan=True):
                raise Wrong(f"{where}: other bits", f"{where}: bits")


def _has_rows_of_steps(model: Any, number: int) -> bool:
    """Whether an output has the steps of every row one row after the other on its first axis."""
    layout = model._analysis.layout([*leaves(model.graph.outputs)][number])
    return bool(layout) and len(layout[0]) == 2 and layout[0][0] == BATCH
