"""RNNoise's text models (``.rnnn``): a line that names the format, then six layers of whole numbers in a fixed order.

Owns that layout. Which gate is where, and how the layers are connected, is for the importer.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ..errors import CheckpointError, UnsupportedModelError
from ..origin import raised_in
from ..records.sealed import sealed
from .contents import Checkpoint
from .opened import OpenedFile
from .signatures import RNNOISE
from .text import shown

__all__ = ["read_rnnoise"]

VERSION = 1
ACTIVATIONS = ("tanh", "sigmoid", "relu")  # 0, 1, 2
LAYERS = ("input_dense", "vad_gru", "noise_gru", "denoise_gru", "denoise_output", "vad_output")
SCALE = np.float32(1 / 256)  # of every number
MAX_COUNT = 128  # inputs or units of a layer, as RNNoise's own reader has it
MAX_BYTES = 2 << 20  # six layers of 128 take 350,000 numbers of at most five characters


def read_rnnoise(opened: OpenedFile) -> Checkpoint:
    """The arrays of the six layers, ``layer/kernel``, ``layer/recurrent_kernel`` and ``layer/bias``, as Keras has them.

    ``config["layers"]`` has ``inputs``, ``units`` and ``activation`` for each of them.
    """
    where = opened.path
    if opened.size > MAX_BYTES:
        raise CheckpointError(f"{where}: got {opened.size} bytes, wanted at most {MAX_BYTES} for an RNNoise model")
    first, _, rest = opened.read_all().partition(b"\n")
    version = first.removeprefix(RNNOISE).strip()
    if version != str(VERSION).encode():
        raise UnsupportedModelError(
            f"{where}: it is an RNNoise model of version {shown(version.decode('latin-1'), 20)}; only {VERSION} is read"
        )
    numbers = _Numbers(rest, where)
    tensors: dict[str, np.ndarray] = {}
    layers = {}
    for name in LAYERS:
        inputs, units = numbers.count(f"the inputs of {name}"), numbers.count(f"the units of {name}")
        code = numbers.next(f"the activation of {name}")
        if not 0 <= code < len(ACTIVATIONS):
            raise CheckpointError(f"{where}: the activation of {name} is {code}, wanted 0, 1 or 2")
        layers[name] = {"inputs": inputs, "units": units, "activation": ACTIVATIONS[code]}
        for array, shape in _shapes(name, inputs, units).items():
            tensors[f"{name}/{array}"] = numbers.array(shape, f"{name}/{array}")
    if numbers.left():
        raise CheckpointError(f"{where}: it has {numbers.left()} numbers after its last layer; it is damaged")
    return Checkpoint(where, "rnnoise", tensors, {"layers": layers}, {"rnnoise_version": VERSION, "skipped": []})


def _shapes(name: str, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
    """What follows a layer's counts."""
    if name.endswith("_gru"):
        return {"kernel": (inputs, 3 * units), "recurrent_kernel": (units, 3 * units), "bias": (3 * units,)}
    return {"kernel": (inputs, units), "bias": (units,)}


class _Numbers:
    """The numbers of the file, one after the other."""

    def __init__(self, text: bytes, where: str) -> None:
        wrong = re.search(rb"[^-0-9\s]", text)
        if wrong is not None:
            raise CheckpointError(f"{where}: got {wrong[0]!r} among its numbers, wanted whole numbers alone")
        self._words = text.split()
        self._where = where
        self._place = 0

    def left(self) -> int:
        return len(self._words) - self._place

    def next(self, what: str) -> int:
        return self._take(1, what)[0]

    def count(self, what: str) -> int:
        value = self.next(what)
        if not 1 <= value <= MAX_COUNT:
            raise CheckpointError(f"{self._where}: {what} are {value}, wanted 1 to {MAX_COUNT}")
        return value

    def array(self, shape: tuple[int, ...], what: str) -> np.ndarray:
        """The next numbers in C order, scaled."""
        values = np.array(self._take(math.prod(shape), what), np.float32)
        array: np.ndarray = (values * SCALE).reshape(shape)
        return sealed(array)

    def _take(self, count: int, what: str) -> list[int]:
        if count > self.left():
            raise CheckpointError(
                f"{self._where}: {count} numbers are wanted for {what}, {self.left()} are left; the file was cut off"
            )
        words = self._words[self._place : self._place + count]
        self._place += count
        try:
            values = [int(word) if len(word) <= 4 else 1 << 30 for word in words]
        except ValueError as error:
            if not raised_in(error, "fastgru"):
                raise
            raise CheckpointError(f"{self._where}: {what} is not made of whole numbers; the file is damaged") from None
        if min(values) < -128 or max(values) > 127:
            raise CheckpointError(f"{self._where}: {what} has numbers outside of -128 to 127; the file is damaged")
        return values
