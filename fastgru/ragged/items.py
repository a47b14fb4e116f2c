"""Sequences of unequal length as a caller has them: each by itself, or all in one array with their lengths or offsets.

Owns the check of one sequence, and the cutting of a flat array into them; computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import as_integers
from ..errors import DTypeError, ShapeError
from ..graph.size import Size, size_text
from ..model_inputs import Source, as_kind, by_name

__all__ = ["Check", "items_of"]

Array = NDArray[Any]


def items_of(
    sources: Sequence[Source], sequences: Any, lengths: Any, offsets: Any, dtype: np.dtype[Any], layers: bool
) -> tuple[Iterator[Any], int | None]:
    """The sequences one by one as a caller gave them, and how many there are, if that is known.

    Raises
    ------
    ShapeError, DTypeError
        Nothing that can be iterated, or lengths or offsets that do not fit the values.
    """
    if lengths is None and offsets is None:
        if isinstance(sequences, Mapping) or not isinstance(sequences, Iterable):
            raise DTypeError(
                f"sequences: got {type(sequences).__name__}, wanted an iterable of sequences, or values of all of them "
                "one behind the other with lengths= or offsets="
            )
        return iter(sequences), len(sequences) if isinstance(sequences, Sized) else None
    if lengths is not None and offsets is not None:
        raise ShapeError("got lengths and offsets, wanted one of them")
    name, given = ("lengths", lengths) if offsets is None else ("offsets", offsets)
    values = by_name(sources, (sequences,), {}, layers)
    stepped = [each.name for each in sources if each.steps is not None] or [each.name for each in sources]
    if not isinstance(given, Mapping):
        if len(sources) > 1 and all(each.steps is None for each in sources):
            raise ShapeError(f"{name}: it is not known which inputs have steps; give a dict by the names of those")
        given = dict.fromkeys(stepped, given)
    wrong = [str(each) for each in given if each not in values]
    if wrong or not given:
        raise ShapeError(f"{name}: got those of {', '.join(wrong) or 'no input'}, wanted {', '.join(stepped)}")
    cuts = {}
    for source in sources:
        if source.name in given:
            values[source.name] = _as_values(source, values[source.name], dtype)
            cuts[source.name] = _cuts(name, given[source.name], values[source.name].shape[_steps_axis(source)])
    counts = {each: len(ends) - 1 for each, ends in cuts.items()}
    for source in sources:
        if source.name not in cuts:
            values[source.name] = value = as_kind(source, values[source.name], dtype)
            counts[source.name] = len(value) if value.ndim else 0
    if len({*counts.values()}) > 1:
        raise ShapeError(f"values: the inputs have different numbers of sequences: {counts}")
    return _cut(sources, values, cuts), next(iter(counts.values()))


def _steps_axis(source: Source) -> int:
    """Where a sequence without a batch axis has its steps; the first axis if that is not known."""
    if source.steps is None:
        return 0
    return source.steps - (source.batch is not None and source.batch < source.steps)


def _alone(source: Source) -> tuple[Size, ...]:
    """The shape of an input without its batch axis."""
    return tuple(size for axis, size in enumerate(source.shape) if axis != source.batch)


def _as_values(source: Source, given: Any, dtype: np.dtype[Any]) -> Array:
    """The values of all sequences; an array stays what it is, so that its parts are checked when they are taken."""
    values = given if isinstance(given, np.ndarray) else as_kind(source, given, dtype)
    wanted = list(_alone(source))
    if values.ndim != len(wanted):
        axis = _steps_axis(source)
        shape = ", ".join("steps of all sequences" if at == axis else str(size) for at, size in enumerate(wanted))
        raise ShapeError(
            f"{source.called}: got shape {values.shape}, wanted ({shape}); for a padded batch call "
            "model(x, lengths=lengths)"
        )
    return values


def _cuts(name: str, given: Any, total: int) -> Array:
    """Where sequences begin, and where the last one ends: (n + 1,)."""
    ends = as_integers(given, name)
    if ends.ndim != 1 or (name == "offsets" and not ends.size):
        wanted = "one for each sequence" if name == "lengths" else "(n + 1,) for n sequences"
        raise ShapeError(f"{name}: got shape {ends.shape}, wanted {wanted}")
    if name == "lengths":
        if ends.size and ends.min() < 0:
            raise ShapeError(f"lengths: sequence {int(ends.argmin())} has length {ends.min()}, wanted at least 0")
        if sum(map(int, ends)) != total:
            raise ShapeError(f"lengths: got {sum(map(int, ends))} steps in all, and values of {total}")
        return np.concatenate(([0], np.cumsum(ends)))
    falls = np.flatnonzero(ends[1:] < ends[:-1])
    if falls.size or ends[0] < 0 or ends[-1] > total:
        wrong = int(falls[0]) if falls.size else 0 if ends[0] < 0 else ends.size - 2
        got = ends[max(wrong, 0) : wrong + 2].tolist()
        raise ShapeError(f"offsets: sequence {wrong} is from {got[0]} to {got[-1]}, wanted within 0 to {total}, rising")
    return ends


def _cut(sources: Sequence[Source], values: Mapping[str, Any], cuts: Mapping[str, Array]) -> Iterator[dict[str, Any]]:
    for place in range(len(next(iter(cuts.values()))) - 1):
        item = {}
        for source in sources:
            ends = cuts.get(source.name)
            index: Any = place
            if ends is not None:
                index = (*[slice(None)] * _steps_axis(source), slice(ends[place], ends[place + 1]))
            item[source.name] = values[source.name][index]
        yield item


class Check:
    """The check of one sequence against what a model takes without a batch axis."""

    def __init__(self, sources: Sequence[Source], dtype: np.dtype[Any], layers: bool) -> None:
        self._sources, self._dtype, self._layers = sources, dtype, layers
        self._wanted = [_alone(source) for source in sources]
        self._sizes = [
            [(axis, size) for axis, size in enumerate(wanted) if isinstance(size, int)] for wanted in self._wanted
        ]

    def arrays_of(self, item: Any) -> tuple[Array, ...]:
        """The inputs of a sequence, as arrays that nobody else can change.

        Raises
        ------
        ShapeError, DTypeError
            It does not fit the model.
        """
        if len(self._sources) == 1 and not isinstance(item, Mapping):
            return (self._array(0, item),)
        named = by_name(self._sources, (item,), {}, self._layers)
        return tuple(self._array(place, named[source.name]) for place, source in enumerate(self._sources))

    def _array(self, place: int, given: Any) -> Array:
        array = as_kind(self._sources[place], given, self._dtype)
        wanted, shape = self._wanted[place], array.shape
        if len(shape) != len(wanted) or any(shape[axis] != size for axis, size in self._sizes[place]):
            where = "" if len(self._sources) == 1 else f"{self._sources[place].name!r}: "
            whole = "" if self._sources[place].batch is not None else ": all axes, since none is known to be the batch"
            raise ShapeError(f"{where}got shape {shape}, wanted {size_text(wanted)}{whole}")
        return array.copy()  # a generator may fill one buffer again and again
