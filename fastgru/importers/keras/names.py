"""Which tensors of a flat list belong to which layer, by what Keras called its variables.

The order of a list depends on what was trainable when the file was written, and a configuration does not always say
that: not of the directions of a Bidirectional in Keras 2, nor of a GRU's cell or a single variable in Keras 3. Owns
the reading of names such as ``"bidirectional/backward_gru/gru_cell/kernel:0"``. What names leave open is for the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .tree import Part

__all__ = ["Slot", "by_names", "contradiction"]

Slot = tuple[Part, str]  # a layer without layers in it, and what it calls one of its weights

_ALSO_CALLED = {  # by Keras 1
    "alpha": ("alphas",),
    "bias": ("b",),
    "embeddings": ("W",),
    "kernel": ("W",),
    "moving_mean": ("running_mean",),
    "moving_variance": ("running_std", "running_variance"),
    "recurrent_kernel": ("U",),
}


def by_names(root: Part, wanted: Sequence[Slot], names: Sequence[str]) -> list[Slot] | None:
    """The slot of every name; None unless the names tell all of them apart."""
    owners = _owners(root, names)
    slots: dict[int, list[str]] = {}
    for leaf, slot in wanted:
        slots.setdefault(id(leaf), []).append(slot)
    found: list[Slot] = []
    for name, owner in zip(names, owners, strict=True):
        said = None if owner is None else _slot_of(name, slots.get(id(owner), []))
        if owner is None or said is None:
            return None
        found.append((owner, said))
    every = {(id(leaf), slot) for leaf, slot in found}
    return found if len(every) == len(wanted) else None


def contradiction(root: Part, assigned: Sequence[Slot], names: Sequence[str]) -> str | None:
    """The first name that speaks of another layer or another weight than the order gives it to."""
    vocabulary = sorted({slot for _, slot in assigned})
    for name, owner, (leaf, slot) in zip(names, _owners(root, names), assigned, strict=True):
        said = _slot_of(name, vocabulary)
        other = said is not None and said != slot and _slot_of(name, [slot]) is None
        if other or (owner is not None and owner is not leaf):
            return name
    return None


def _owners(root: Part, names: Sequence[str]) -> list[Part | None]:
    """The leaf that each name fits best, None where several fit as well."""
    leaves = list(_labelled(root, ()))
    if len(leaves) == 1:
        return [leaves[0][0]] * len(names)
    owners: list[Part | None] = []
    known: dict[tuple[str, ...], Part | None] = {}
    for name in names:
        words = _words(name)
        if words not in known:
            scores = [sum(1 if words_of & {*words} else -1 for words_of in labels) for _, labels in leaves]
            best = max(scores)
            known[words] = leaves[scores.index(best)][0] if scores.count(best) == 1 else None
        owners.append(known[words])
    return owners


def _labelled(part: Part, labels: tuple[set[str], ...]) -> Iterator[tuple[Part, tuple[set[str], ...]]]:
    """Every leaf, and what the names of its variables may call it and each layer around it, below the root."""
    if not part.inner:
        yield part, labels
    for place, inner in enumerate(part.inner):
        name = inner.entry.name
        called = {name}
        if part.entry.class_name == "Bidirectional":  # Keras puts this before the name, and in Keras 2 once more
            way = ("forward_", "backward_")[place]
            called = {way + name, way + name.removeprefix(way), *([] if way == "forward_" else [name])}
        yield from _labelled(inner, (*labels, called))


def _words(name: str) -> tuple[str, ...]:
    """The layers that a name speaks of; Keras 1 wrote them before the weight, ``"forward_gru_1_W_z"``."""
    *path, last = re.sub(r":\d+$", "", name).split("/")
    return (*path, re.sub(r"_(?:[WUb](?:_[zrh])?|gamma|beta|alphas|running_\w+)$", "", last))


def _slot_of(name: str, slots: Sequence[str]) -> str | None:
    """The one of ``slots`` that a name ends with."""
    last = re.sub(r":\d+$", "", name.rpartition("/")[2])
    for word in (last, re.sub(r"_\d+$", "", last)):  # TensorFlow numbers variables of one name
        fitting = [
            (len(called), slot)
            for slot in slots
            for called in (slot, *_ALSO_CALLED.get(slot, ()))
            if word == called or word.endswith(f"_{called}")
        ]
        if fitting:
            return max(fitting)[1]
    return None
