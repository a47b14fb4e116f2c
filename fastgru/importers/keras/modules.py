"""What the weights of a Keras file without a configuration belong to: layers, told by the shapes of their arrays.

Owns the grouping of arrays and what each group can be. Where shapes leave a layer open, the names that Keras gave its
arrays or its group decide. The order of the layers is for ``chain``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checkpoint.contents import Checkpoint
from .slots import NINE

__all__ = ["Cell", "Module", "modules_of"]

Tensors = Mapping[str, np.ndarray]
Shapes = Sequence[tuple[int, ...]]

# Words in the names that Keras gives arrays and groups, and the layer that they are said of.
_WORDS = {
    "embedding": "Embedding", "batch_normalization": "BatchNormalization", "moving_mean": "BatchNormalization",
    "running_mean": "BatchNormalization", "layer_normalization": "LayerNormalization",
    "rms_normalization": "RMSNormalization", "p_re_lu": "PReLU", "alpha": "PReLU",
}  # fmt: skip
_OPTIONAL = {"gamma", "beta"}


@dataclass(frozen=True)
class Cell:
    """The arrays of one layer or direction or cell, by what Keras calls them."""

    class_name: str
    names: Mapping[str, str]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Module:
    """One layer of the file.

    ``kind`` is a class of Keras, ``"Matrix"`` for one matrix, an Embedding or a Dense without bias, or ``""`` for what
    is not supported, and then ``looks_like`` says what it may be. ``cells`` are two directions, or the cells of an RNN.
    """

    name: str
    kind: str
    looks_like: str
    tensors: tuple[str, ...]
    cells: tuple[Cell, ...] = ()
    also: tuple[str, ...] = ()  # other names of it


def modules_of(checkpoint: Checkpoint, tensors: Tensors) -> dict[str, Module]:
    """The layers that have weights, by the name that ``layers=`` calls them, in the file's order."""
    lists = checkpoint.metadata.get("weight_names")
    found: dict[str, Module] = {}
    if checkpoint.format == "keras-h5" and isinstance(lists, Mapping):
        for layer, names in lists.items():
            if names:
                found.update({module.name: module for module in _of_list(layer, list(names), tensors)})
        return found
    called = checkpoint.metadata.get("names", {})
    for group, names in _groups(tensors).items():
        short = re.sub(r"(^|/)(_layer_checkpoint_dependencies|layers)/", r"\1", group)
        own = called.get(group) if isinstance(called, Mapping) else None
        also = tuple(each for each in dict.fromkeys((group, own)) if isinstance(each, str) and each != short)
        module = _module(short or "model", names, tensors)
        found[module.name] = Module(module.name, module.kind, module.looks_like, module.tensors, module.cells, also)
    return dict(sorted(found.items(), key=lambda item: _natural(item[0])))


def _natural(name: str) -> list[Any]:
    """gru_2 before gru_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d{1,9})", name)]


def _of_list(layer: str, names: list[str], tensors: Tensors) -> Iterator[Module]:
    """One layer of an HDF5 file: what its whole list is, or the layers of a model in it, one each."""
    whole = _module(layer, names, tensors)
    inner: dict[str, list[str]] = {}
    for name in names:
        inner.setdefault(name.rpartition("/")[0].removesuffix("/gru_cell"), []).append(name)
    if whole.kind or len(inner) < 2:
        yield whole
        return
    for path, own in inner.items():
        yield _module(f"{layer}/{path.rpartition('/')[2]}", own, tensors)


def _groups(tensors: Tensors) -> dict[str, list[str]]:
    """The arrays of a file of groups, by the group of the layer they are in."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in tensors:
        owner, _, index = name.rpartition("/")
        owner = owner.removesuffix("vars").removesuffix("/")
        owner = re.sub(r"/(forward_layer|backward_layer)/cell$|/cell/cells/\w+$|/cell$|/layer$", "", owner)
        groups.setdefault(owner, []).append((int(index) if index.isdigit() else 0, name))
    return {owner: [name for _, name in _in_order(found)] for owner, found in groups.items()}


def _in_order(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Directions and cells one after the other, forward first, and in each of them the arrays by their number."""

    def key(item: tuple[int, str]) -> tuple[bool, list[Any], int]:
        owner = item[1].rpartition("/")[0]
        return "/backward_layer/" in owner, _natural(owner), item[0]

    return sorted(found, key=key)


def _module(name: str, names: list[str], tensors: Tensors) -> Module:
    shapes = [tensors[each].shape for each in names]
    cells = _gru_cells(names, shapes)
    if cells:
        both = len(cells) == 2 and all(any(way in each for each in names) for way in ("forward", "backward"))
        kind = "Bidirectional" if both else "RNN" if len(cells) > 1 else cells[0].class_name
        looks_like = f"{kind} of {len(cells)} GRUs" if len(cells) > 1 else kind
        return Module(name, kind, looks_like, tuple(names), tuple(cells))
    cell = _plain(name, names, shapes)
    if cell is not None:
        looks_like = "Embedding or Dense without bias" if cell.class_name == "Matrix" else cell.class_name
        return Module(name, cell.class_name, looks_like, tuple(names), (cell,))
    return Module(name, "", _guess(shapes), tuple(names))


def _gru_cells(names: list[str], shapes: Shapes) -> list[Cell]:
    """The arrays as GRUs one after the other; nothing where they are none."""
    cells: list[Cell] = []
    place = 0
    while place < len(names):
        cell, count = _gru_cell(names[place:], shapes[place:])
        if cell is None:
            return []
        cells.append(cell)
        place += count
    return cells


def _gru_cell(names: list[str], shapes: Shapes) -> tuple[Cell | None, int]:
    """The GRU that the list begins with, and how many arrays it has."""
    if len(shapes) >= 9 and _are_nine(shapes[:9]):
        names_of = dict(zip(NINE, names, strict=False))
        return Cell("GRU", names_of, {"units": shapes[2][0], "reset_after": False}), 9
    if len(shapes) < 2 or len(shapes[0]) != 2 or len(shapes[1]) != 2:
        return None, 0
    units = shapes[1][0]
    if shapes[1] != (units, 3 * units) or shapes[0][1] != 3 * units or not units:
        return None, 0
    bias = shapes[2] if len(shapes) > 2 else ()
    config: dict[str, Any] = {"units": units}
    if bias == (6 * units,):
        return Cell("CuDNNGRU", dict(zip(("kernel", "recurrent_kernel", "bias"), names, strict=False)), config), 3
    if bias not in ((3 * units,), (2, 3 * units)):
        return Cell("GRU", {"kernel": names[0], "recurrent_kernel": names[1]}, config), 2
    config["reset_after"] = len(bias) == 2
    return Cell("GRU", dict(zip(("kernel", "recurrent_kernel", "bias"), names, strict=False)), config), 3


def _are_nine(shapes: Shapes) -> bool:
    """Whether they are the W, U and b of three gates, as Keras 1 has them."""
    units = shapes[2][0] if len(shapes[2]) == 1 else 0
    gate = [shapes[0], (units, units), (units,)]
    return units > 0 and len(shapes[0]) == 2 and shapes[0][1] == units and list(shapes) == gate * 3


def _plain(name: str, names: list[str], shapes: Shapes) -> Cell | None:
    """A layer that is no GRU."""
    said, words = _said(name, names), _words(names)
    first, ranks = shapes[0] if shapes else (), [len(shape) for shape in shapes]
    if ranks == [2] and said == "Embedding" and words != ["kernel"]:
        return Cell("Embedding", {"embeddings": names[0]}, {"input_dim": first[0], "output_dim": first[1]})
    if ranks == [2] and said == "PReLU":
        return Cell("PReLU", {"alpha": names[0]}, {})
    if ranks == [2]:
        return Cell("Dense" if words == ["kernel"] else "Matrix", {"kernel": names[0]}, {"units": first[1]})
    if ranks == [2, 1] and shapes[1] == first[1:]:
        return Cell("Dense", {"kernel": names[0], "bias": names[1]}, {"units": first[1]})
    if ranks in ([3], [3, 1]) and (len(shapes) == 1 or shapes[1] == first[2:]):
        slots = dict(zip(("kernel", "bias"), names, strict=False))
        return Cell("Conv1D", slots, {"filters": first[2], "kernel_size": first[0]})
    return _of_vectors(said, words, names) if set(ranks) == {1} and len({*shapes}) == 1 else None


def _of_vectors(said: str, words: list[str], names: list[str]) -> Cell | None:
    """A normalisation or a PReLU, from vectors of one size."""
    if len(names) == 1 and said in ("PReLU", "RMSNormalization"):
        return Cell(said, {"alpha" if said == "PReLU" else "scale": names[0]}, {})
    batch = said == "BatchNormalization" or len(names) == 4
    statistics = ["moving_mean", "moving_variance"] if batch else []
    count = len(names) - len(statistics)
    kept = [word for word in words if word in _OPTIONAL]
    if len(kept) != count:  # without names of their own they are known where both are there, or neither
        kept = {0: [], 2: ["gamma", "beta"]}.get(count, [])
    if len(kept) != count or (not batch and (not count or said not in ("", "LayerNormalization"))):
        return None
    kind = "BatchNormalization" if batch else "LayerNormalization"
    return Cell(kind, dict(zip([*kept, *statistics], names, strict=True)), {})


def _words(names: Sequence[str]) -> list[str]:
    """What the arrays are called, without their layer and the number that TensorFlow puts behind."""
    return [re.sub(r":\d+$", "", name.rpartition("/")[2]) for name in names]


def _said(name: str, names: Sequence[str]) -> str:
    """The layer that the names speak of."""
    text = " ".join([name, *_words(names)]).lower()
    return next((kind for word, kind in _WORDS.items() if word in text), "")


def _guess(shapes: Shapes) -> str:
    """What arrays that are not supported may belong to, for a message."""
    if len(shapes) > 1 and len(shapes[1]) == 2 and shapes[1][0]:
        gates = shapes[1][1] / shapes[1][0]
        if len(shapes[0]) == 2 and gates in (4, 1) and shapes[0][1] == shapes[1][1]:
            return "LSTM" if gates == 4 else "SimpleRNN"
    if len(shapes) in (12, 24):
        return "LSTM of Keras 1"
    if shapes and len(shapes[0]) > 3:
        return f"Conv{len(shapes[0]) - 2}D"
    return "unknown"
