"""Whether an exported graph holds numbers that may have been computed from the sizes it was exported with.

``torch.export`` writes a size that it fixed as a plain number, and so whatever the code computed from it: ``y / 7`` may
be ``y / x.size(1)`` and ``y[:, 6]`` the last step. Nothing in the file tells the two apart. Such a size may have other
values only where no number is left that could come from it; what cannot be told counts as such. Not seen are an ``if``
and a loop of Python that leave no number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...graph.builder import Builder, Value
from ...graph.size import Expression, Size, evaluate, symbol
from .sizes_in_views import expanded, viewed

__all__ = ["Evidence"]

END = 1 << 62  # at and beyond it a slice goes to the end
_WORD = "which may have been computed from it"
# Operands that choose an axis or a type, or that weights check.
_SAFE = frozenset(
    ("dim", "dims", "dim0", "dim1", "start_dim", "end_dim", "source", "destination", "axis0", "axis1", "dtype",
     "num_layers", "dropout", "groups", "padding_idx", "normalized_shape", "momentum", "p", "keepdim", "dim1", "dim2")
)  # fmt: skip
_DEFAULTS = {
    "alpha": (1,), "beta": (1, 1.0), "negative_slope": (0.01,), "threshold": (20,), "eps": (1e-5,), "lambd": (0.5,),
    "stride": (1, [1], []), "padding": (0, [0]), "dilation": (1, [1]), "min_val": (-1,), "max_val": (1,),
    "correction": (1,), "index": (), "value": (), "step": (1,),
}  # fmt: skip
_WITH_WEIGHTS = {  # the operand whose features weights check, of operations that a loop runs again
    "gru": "input", "gru_cell": "input", "linear": "input", "layer_norm": "input", "rms_norm": "input",
    "batch_norm": "input", "prelu": "self", "matmul": "self", "mm": "self", "addmm": "mat1", "embedding": "indices",
    "conv1d": "input", "conv2d": "input", "convolution": "input", "_convolution": "input",
}  # fmt: skip
_VIEWS = frozenset(("view", "reshape", "_unsafe_view", "view_copy", "_reshape_alias"))
_FILLED = frozenset(("zeros", "new_zeros", "empty", "new_empty"))


class Evidence:
    """What was found so far.

    Parameters
    ----------
    builder : Builder
        Which knows what symbols have turned out to be.
    opened : mapping of str to (int, bool)
        The symbols that stand for a number of the file: the number, and whether it is that of a first axis.
    others : set of int
        The numbers of other axes, which stay: one of the graph that is among them may still come from the open ones.
    examples : mapping of str to int
        The numbers of all symbols in the example.
    made : set of Value
        Tensors that the code made, of numbers that it may have computed.
    """

    def __init__(
        self, builder: Builder, opened: Mapping[str, tuple[int, bool]], others: set[int], examples: Mapping[str, int],
        made: set[Value],
    ) -> None:  # fmt: skip
        self._builder, self._opened, self._others = builder, opened, others
        self._examples, self._made = examples, made
        self._symbols = {name: symbol(name) for name in opened}
        self._found = ""
        self._pending: dict[int, str] = {}  # by the value that weights may yet check
        self._layers: set[tuple[Any, ...]] = set()
        self._zeros: set[int] = set()
        self._states: set[int] = set()
        self._name = ""  # of the operation
        self._viewed: list[Any] = []  # the sizes of a view as the file has them

    @property
    def found(self) -> str:
        """The first operation that may know a size, as a sentence; an empty text where none does."""
        return self._found or next(iter(self._pending.values()), "")

    def is_open(self, size: Size) -> bool:
        """Whether a size depends on one that the file has as a number, and that nothing has settled yet."""
        settled = self._builder.settled(size)
        return isinstance(settled, Expression) and not settled.symbols().isdisjoint(self._opened)

    def example(self, size: Size) -> int:
        return evaluate(size, self._examples)

    def sizes(self, steps: bool = False) -> set[int]:
        """The numbers that others may come from; ``steps`` for those of later axes than the first."""
        found = {
            example for name, (example, first) in self._opened.items()
            if not (steps and first) and isinstance(self._builder.settled(self._symbols[name]), Expression)
        }  # fmt: skip
        return found | self._others if found else found

    def note(self, what: str) -> None:
        self._found = self._found or f"its operation {self._name} {what}, {_WORD}"

    def operands(self, name: str, place: str, own: bool, operands: Mapping[str, Any]) -> dict[str, Any]:
        """The operands, with sizes in the place of numbers that certainly are these; others are noted.

        ``own`` says that a module of PyTorch's is called, whose options come from its maker.
        """
        self._viewed = []
        if not self.sizes():
            return dict(operands)
        self._name = name + place
        made = dict(operands)
        self._look_at_values(name, made)
        rule = _RULES.get(name)
        if rule is not None:
            rule(self, made)
        elif not own and name not in _FILLED:
            for key, given in made.items():
                self._note_numbers(key, given)
        return made

    def result(self, name: str, operands: Mapping[str, Any], made: Any) -> None:
        """Note what an operation gave."""
        if name == "gru" and isinstance(made, tuple):
            self._states.add(made[1].place)
        elif name in _FILLED and isinstance(made, Value) and _numbers_in(operands.get("size")):
            self._zeros.add(made.place)
        elif name in _VIEWS and isinstance(made, Value):
            self._look_beside(self._viewed, made)

    def _look_at_values(self, name: str, operands: Mapping[str, Any]) -> None:
        """Note tensors that a size may have made, and layers that run again."""
        for key, value in ((key, value) for key, given in operands.items() for value in _values_in(given)):
            if value in self._made:
                self.note("takes a tensor that its code made")
            if value.place in self._zeros and not (name in ("gru", "gru_cell") and key == "hx"):
                self.note("takes zeros of a number of places")
        if name not in _WITH_WEIGHTS:
            return
        weights = [each.place for given in operands.values() for each in _values_in(given) if each.known is not None]
        layer = (name, *weights)
        if weights and layer in self._layers:
            self.note("runs a layer again, as a loop over the steps does")
        self._layers.add(layer)
        checked = operands.get(_WITH_WEIGHTS[name])
        if weights and isinstance(checked, Value) and (name != "batch_norm" or checked.rank == 2):
            self._pending.pop(checked.place, None)

    def _note_numbers(self, key: str, given: Any) -> None:
        if key in _SAFE or given in _DEFAULTS.get(key, ()):
            return
        for number in _numbers_in(given):
            self.note(f"takes {key} = {str(number)[:40]}")

    def _look_beside(self, size: list[Any], made: Value) -> None:
        """Note numbers beside a -1, which takes up what they leave: without it PyTorch fails where they do not fit.

        Where weights take what is made, and check its last axis, PyTorch fails for other sizes too.
        """
        for number in _numbers_in(size) if -1 in size else ():
            what = f"takes the size {number} beside -1"
            if number in self.sizes() and number > 1 and size[-1] != -1:
                self.note(what)
            elif number > 1:
                self._pending[made.place] = f"its operation {self._name} {what}, {_WORD}"

    # The rules of single operations.

    def _view(self, operands: dict[str, Any]) -> None:
        key = "shape" if "shape" in operands else "size"
        x, size = operands.get("self"), operands.get(key)
        self._viewed = list(size) if isinstance(size, (list, tuple)) else []
        if isinstance(x, Value) and isinstance(size, (list, tuple)):
            operands[key] = viewed(self, x, list(size))
            if x.known is not None and any(each not in (-1, 1, *x.shape) for each in _numbers_in(size)):
                self.note(f"takes the sizes {str(list(size))[:60]}")

    def _unflatten(self, operands: dict[str, Any]) -> None:
        x, sizes, dim = operands.get("self"), operands.get("sizes"), operands.get("dim")
        if not isinstance(x, Value) or not isinstance(sizes, (list, tuple)) or type(dim) is not int:
            return
        numbers = [each for each in _numbers_in(sizes) if each != -1]
        if x.known is not None or self.is_open(x.shape[dim]) or (-1 in sizes and not self.sizes().isdisjoint(numbers)):
            self.note(f"takes the sizes {str(list(sizes))[:60]}")

    def _expand(self, operands: dict[str, Any]) -> None:
        x, size = operands.get("self"), operands.get("size")
        if isinstance(x, Value) and isinstance(size, (list, tuple)):
            operands["size"] = expanded(self, x, list(size))

    def _select(self, operands: dict[str, Any]) -> None:
        x, dim, index = (operands.get(name) for name in ("self", "dim", "index"))
        if not isinstance(x, Value) or type(index) is not int or type(dim) is not int or not -x.rank <= dim < x.rank:
            return
        if x.place in self._states and dim == 0:
            return
        size = x.shape[dim]
        near = self.sizes() | {example - 1 for example in self.sizes()}
        first = index == 0 and 1 not in self.sizes(steps=True)  # of one step the first is also the last
        known = x.known is None and isinstance(size, int) and size > 0 and index % size not in near
        if not (index == -1 or first or known):
            self.note(f"takes the place {index}")

    def _slice(self, operands: dict[str, Any]) -> None:
        x, dim = operands.get("self"), operands.get("dim", 0)
        start, end, step = operands.get("start"), operands.get("end"), operands.get("step", 1)
        if not isinstance(x, Value) or type(dim) is not int or not -x.rank <= dim < x.rank:
            return
        end = None if type(end) is int and end >= END else end
        if (start in (None, 0) and end is None and step == 1) or (x.place in self._states and dim == 0):
            return
        for bound in (start, end):
            self._note_part(bound, x, dim)
        self._note_numbers("step", step)

    def _split(self, operands: dict[str, Any]) -> None:
        x, dim = operands.get("self"), operands.get("dim", 0)
        if not isinstance(x, Value) or type(dim) is not int or not -x.rank <= dim < x.rank:
            return
        for key in ("split_size", "split_sizes", "chunks"):
            for number in _numbers_in(operands.get(key)):
                self._note_part(number, x, dim)

    def _note_part(self, number: Any, x: Value, dim: int) -> None:
        """Of features that weights made, a part that divides them evenly is one that their author counted."""
        size = x.shape[dim]
        if type(number) is not int or number == -1 or (number == 0 and 1 not in self.sizes(steps=True)):
            return
        even = x.known is None and isinstance(size, int) and number != 0 and size % number == 0
        if not even or abs(number) in self.sizes():
            self.note(f"takes the number {number}")

    def _squeeze(self, operands: dict[str, Any]) -> None:
        x, dim = operands.get("self"), operands.get("dim")
        if not isinstance(x, Value):
            return
        dims = range(x.rank) if dim is None else dim if isinstance(dim, (list, tuple)) else [dim]
        known = [each for each in dims if type(each) is int and -x.rank <= each < x.rank]
        if any(isinstance(x.shape[each], Expression) and self.is_open(x.shape[each]) for each in known):
            self.note("drops axes of one place")

    def _gru_cell(self, operands: dict[str, Any]) -> None:
        if self.sizes(steps=True):
            self.note("is one step of a sequence, as a loop over the steps has it")

    def _product(self, operands: dict[str, Any]) -> None:
        if -1 not in [each for each in operands.values() if type(each) in (int, float)]:
            self._sum(operands)

    def _complement(self, operands: dict[str, Any]) -> None:
        """``1 - x``."""
        if operands.get("other") != 1 or operands.get("alpha", 1) != 1 or 1 in self.sizes(steps=True):
            self._sum(operands)

    def _sum(self, operands: dict[str, Any]) -> None:
        """Any number may come from a size."""
        for key, given in operands.items():
            for number in _numbers_in(given):
                if key != "alpha" or number != 1:
                    self.note(f"takes the number {str(number)[:40]}")

    def _clamp(self, operands: dict[str, Any]) -> None:
        if operands.get("min") == 0 and operands.get("max") is None:  # the number of a relu
            return
        self._sum({key: operands.get(key) for key in ("min", "max")})


_RULES: dict[str, Callable[[Evidence, dict[str, Any]], None]] = {
    **dict.fromkeys(_VIEWS, Evidence._view), "unflatten": Evidence._unflatten,
    "expand": Evidence._expand, "broadcast_to": Evidence._expand, "select": Evidence._select,
    "slice": Evidence._slice, "squeeze": Evidence._squeeze, "gru_cell": Evidence._gru_cell,
    **dict.fromkeys(
        ("split", "split_with_sizes", "chunk", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes"),
        Evidence._split,
    ),
    "mul": Evidence._product, "rsub": Evidence._complement, "add": Evidence._sum, "sub": Evidence._sum,
    "div": Evidence._sum, "clamp": Evidence._clamp, "clamp_min": Evidence._clamp,
}  # fmt: skip


def _values_in(given: Any) -> Iterator[Value]:
    if isinstance(given, Value):
        yield given
    elif isinstance(given, (list, tuple)):
        for each in given:
            yield from _values_in(each)


def _numbers_in(given: Any) -> Sequence[int | float]:
    """The numbers that an operand is or lists, the infinite ones apart, which no size is."""
    each = given if isinstance(given, (list, tuple)) else [given]
    return [number for number in each if type(number) in (int, float) and math.isfinite(number)]
