"""A live module as ``torch.export`` takes it, with the axes that stay open, and those that do not.

torch is used where the caller has it already, and never imported.
"""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from typing import Any

from ...errors import FastGRUError, UnsupportedModelError
from .operators import for_export

__all__ = ["Module"]

Axis = tuple[str, int]  # of an input by its name
_LOGGERS = ("torch.export._trace", "torch.fx.experimental.symbolic_shapes", "torch._subclasses.fake_tensor")


class _WithoutTorch:
    """A stream that leaves out what PyTorch's own code writes to it."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        writer = str(sys._getframe(1).f_globals.get("__name__", ""))
        if self.stream is None or writer.partition(".")[0] == "torch":
            return len(text)
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch prints beside its exceptions: warnings, log lines, and the graph up to an error."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [each.disabled for each in loggers]
    try:
        for each in loggers:
            each.disabled = True
        with warnings.catch_warnings(), redirect_stderr(_WithoutTorch(sys.stderr)):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, was in zip(loggers, before, strict=True):
            each.disabled = was


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


class Module:
    """A module that is exported, once or several times, each time with fewer axes open.

    Attributes
    ----------
    closed : dict of (str, int) to str
        The axes that may only have the example's size, by input and axis, and why.
    alike : bool
        Whether first and second axes that have one size in the example are one: a batch that every input has.
    """

    def __init__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.torch = sys.modules["torch"]
        self.module, self.args, self.kwargs = module, args, kwargs
        self.where = type(module).__name__
        self.closed: dict[Axis, str] = {}
        self.alike = False
        self._tried_alike = False
        self._retreats: Iterator[frozenset[Axis]] | None = None
        self._inputs: dict[str, Any] = {}
        self._mapped(lambda tensor, name: self._inputs.setdefault(name, tensor))

    def axes(self) -> list[Axis]:
        """All axes of all inputs."""
        return [(name, axis) for name, tensor in self._inputs.items() for axis in range(tensor.dim())]

    def close(self, axes: Iterable[Axis], why: str) -> bool:
        """Close the least wanted of these axes, or take sizes that are alike for one; False if nothing is left to do.

        Features and channels go first, which mostly have one size, then the steps, and the batch last.
        """
        fresh = {axis: self._rank(axis) for axis in axes if axis not in self.closed}
        if not fresh:
            return False
        least = min(fresh.values())
        if least >= 2 and self.take_alike():
            return True
        self.closed.update({axis: why for axis, rank in fresh.items() if rank == least})
        return True

    def take_alike(self) -> bool:
        """Take axes that are of one size for one; False if that was tried before."""
        self.alike, before = not self._tried_alike, self._tried_alike
        self._tried_alike = True
        return not before

    def close_features(self, axes: Iterable[Axis], why: str) -> bool:
        """Close those of these axes that are the features of a step; False if none is left."""
        return self.close([each for each in axes if self._rank(each) < 2 and self._inputs[each[0]].dim() < 4], why)

    def retreat(self, why: str) -> bool:
        """After the exporter has failed: try fewer open axes, or, last of all, none; False after that.

        An axis that is one of two which may be the steps is closed alone before both are.
        """
        if self.alike:
            self.alike = False
            return True
        if self._retreats is None:
            kept = dict(self.closed)
            ranks = {axis: self._rank(axis) for axis in self.axes()}
            ones = frozenset(axis for axis, rank in ranks.items() if rank == 0)
            last = frozenset(axis for axis, rank in ranks.items() if rank == 1 and axis[1] > 2) or ones
            third = frozenset(axis for axis, rank in ranks.items() if rank == 1 and axis[1] <= 2)
            steps = frozenset(axis for axis, rank in ranks.items() if rank == 2)
            second = frozenset(axis for axis in steps if self._inputs[axis[0]].dim() > 3)  # channels
            sets = [ones, ones | last, ones | third, ones | second, ones | second | last, ones | second | third,
                    ones | second | last | third, ones | last | third | steps, frozenset(ranks)]  # fmt: skip
            self._kept, self._retreats = kept, iter(dict.fromkeys(sets))
        for axes in self._retreats:
            wanted = {**self._kept, **dict.fromkeys(axes, why)}
            if wanted != self.closed and axes:
                self.closed = wanted
                return True
        return False

    def _rank(self, axis: Axis) -> int:
        """When an axis is closed: before those of a larger number."""
        name, place = axis
        tensor = self._inputs[name]
        if tensor.shape[place] == 1:
            return 0
        last = place == tensor.dim() - 1 and place > 0 and tensor.is_floating_point()
        return 1 if place >= 2 or last else 2 if place == 1 else 3

    def program(self, ones: Mapping[str, int] | None = None, twos: Mapping[str, int] | None = None) -> Any:
        """The ExportedProgram; ``ones`` are axes by input that are cut to one place and closed.

        ``twos`` are axes of which one place is repeated: the exporter would close them where both are 1.

        Raises
        ------
        UnsupportedModelError
            The exporter cannot follow the code.
        """
        from torch.fx.experimental import _config  # torch is there: its module is what was given

        config: Any = _config
        cut, wide = ones or {}, twos or {}
        dim = self.torch.export.Dim

        shared = self._shared()

        def dims(tensor: Any, name: str) -> dict[int, Any]:
            fixed = {axis for given, axis in [*self.closed, *cut.items()] if given == name}
            free = {axis: shared.get((name, axis), dim.AUTO) for axis in range(tensor.dim())}
            return {axis: dim.STATIC if axis in fixed else each for axis, each in free.items()}

        def narrowed(tensor: Any, name: str) -> Any:
            if name in wide and tensor.shape[wide[name]] == 1:
                tensor = self.torch.cat([tensor, tensor], wide[name])
            return tensor.narrow(cut[name], 0, 1).contiguous() if name in cut else tensor

        args, kwargs = self._mapped(narrowed)
        positional, named = self._mapped(dims, tensors_only=True)
        shapes = {**dict(zip(self._names(), positional, strict=False)), **named}
        options = {"use_duck_shape": False, "backed_size_oblivious": True}
        try:
            with _quiet(), for_export(), self.torch.no_grad(), config.patch(**options):
                return self.torch.export.export(
                    self.module, args, kwargs or None, dynamic_shapes=shapes or None, strict=False
                )
        except FastGRUError:
            raise
        except Exception as error:
            raise UnsupportedModelError(
                f"{self.where}: torch.export cannot follow its code: {type(error).__name__}: {_first_line(error)}; a "
                "module whose code branches by the numbers that it is given is run by fastgru.accelerate(module)"
            ) from error

    def check_example(self) -> None:
        """Raise unless the module itself takes the example.

        Raises
        ------
        UnsupportedModelError
            It does not; the message has PyTorch's reason.
        """
        try:
            with _quiet(), self.torch.no_grad():
                self.module(*self.args, **self.kwargs)
        except Exception as error:
            raise UnsupportedModelError(
                f"{self.where}: the module itself does not run on the example: {type(error).__name__}: "
                f"{_first_line(error)}; give an example that module(example) takes"
            ) from error

    def _shared(self) -> dict[Axis, Any]:
        """One open size for first axes, and one for second ones, that are of one size in the example."""
        if not self.alike:
            return {}
        groups: dict[tuple[int, int], list[Axis]] = {}
        for name, axis in self.axes():
            size = self._inputs[name].shape[axis]
            if axis < 2 and size > 1 and (name, axis) not in self.closed:
                groups.setdefault((axis, size), []).append((name, axis))
        dim = self.torch.export.Dim
        return {
            each: made
            for (axis, size), group in groups.items()
            if len(group) > 1
            for made in [dim(f"axis_{axis}_of_{size}")]
            for each in group
        }

    def _mapped(
        self, function: Callable[[Any, str], Any], tensors_only: bool = False
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with ``function`` of every tensor and its name in its place; others as they are, or None."""

        def made(given: Any, name: str) -> Any:
            if isinstance(given, self.torch.Tensor):
                return function(given, name)
            if isinstance(given, (list, tuple)):
                return type(given)(made(each, f"{name}_{at}") for at, each in enumerate(given))
            if isinstance(given, dict):
                return {key: made(each, f"{name}_{key}") for key, each in given.items()}
            return None if tensors_only else given

        positional = tuple(made(each, name) for name, each in zip(self._names(), self.args, strict=False))
        return positional, {name: made(each, name) for name, each in self.kwargs.items()}

    def _names(self) -> list[str]:
        """The names of forward's positional parameters."""
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(self.module.forward).parameters.values()
        names = [each.name for each in parameters if each.kind in positional]
        if len(names) < len(self.args):
            raise UnsupportedModelError(f"{self.where}: its forward takes {len(names)} inputs, got {len(self.args)}")
        return names[: len(self.args)]
