"""Words for activations that versions of Keras mean differently, where a caller says one in ``layers=``.

An ``Activation`` means the later function of the two whatever the file; an option of a ``Named`` means what the Keras
that wrote the file meant by it, if that is known. Owns the question where a word could be read wrongly.
"""

from __future__ import annotations

from typing import NamedTuple

from ...activations import ALIASES
from ...errors import CheckpointError
from ...layers import Activation
from ..weights.named import Named

__all__ = ["refuse_doubtful"]

Version = tuple[int, ...]


class _Word(NamedTuple):
    changed: Version  # the Keras that first meant the other function
    both: str
    before: str
    after: str


_WORDS = {
    "hard_sigmoid": _Word(
        (3,),
        "which Keras 1 and 2 compute as 0.2 x + 0.5 and Keras 3 as x / 6 + 0.5",
        "hard_sigmoid_keras2",
        "hard_sigmoid_keras3",
    ),
    "sparsemax": _Word(
        (3, 16),
        "which Keras up to 3.15 computes with another threshold than later ones",
        "sparsemax_keras315",
        "sparsemax_keras316",
    ),
}


def refuse_doubtful(item: object, earliest: Version, latest: Version, where: str) -> None:
    """Raise where an element of ``layers=`` has a word that may be meant otherwise than it is read.

    ``earliest`` and ``latest`` are the versions between which the Keras lies that wrote the file, both included.
    """
    options = {"": item.name} if isinstance(item, Activation) else item.options if isinstance(item, Named) else {}
    for option, said in options.items():
        name = ALIASES.get(said, said) if isinstance(said, str) else ""
        word = _WORDS.get(name)
        if word is None or said in (word.before, word.after) or earliest >= word.changed:
            continue
        if option and latest < word.changed:
            continue
        written = (f"{option}={{!r}}" if option else "fastgru.Activation({!r})").format
        unknown = ", as the file does not say which of them wrote it" if latest >= word.changed else ""
        raise CheckpointError(
            f"{where}: layers= says {written(name)}, {word.both}; write {written(word.before)} or "
            f"{written(word.after)}{unknown}"
        )
