from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packed import Layout, PackedMatrix

THREADS: str
GATES: tuple[tuple[int, ...], tuple[int, ...]]

class KernelTable:
    dtype: np.dtype[Any]
    def __init__(self, capsule: Any) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def vector_length(self) -> int: ...
    @property
    def tile_words(self) -> int: ...
    def last_vectors(self, units: int) -> int: ...
    @property
    def pairs(self) -> bool: ...
    @property
    def half_bytes(self) -> int: ...
    @property
    def as_bfloat16_bytes(self) -> int: ...
    @property
    def layout(self) -> Layout: ...
    def weight_kind(self, precision: str, terms: int) -> str: ...
    def may_narrow(self, size: int) -> bool: ...
    def kind_of_packed(self, matrices: Iterable[Any]) -> str | None: ...
    def activate(self, activation: int, x: NDArray[np.float32]) -> NDArray[np.float32]: ...

class Plan:
    input_size: int
    hidden_size: int
    num_layers: int
    directions: int
    width: int
    reset_after: bool
    dtype: np.dtype[Any]
    kernels: KernelTable
    packed: list[tuple[PackedMatrix, PackedMatrix]]
    def __init__(
        self,
        kernels: KernelTable,
        layers: list[list[tuple[Any, ...]]],
        reset_after: bool,
        activation: int,
        recurrent_activation: int,
        precision: str = "float32",
        kept: str = "",
    ) -> None: ...
    @property
    def is_instruction(self) -> bool: ...
    @property
    def kernel_level(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def arrays(self) -> list[NDArray[Any]]: ...
    def form(self, index: int, which: int) -> tuple[NDArray[Any], NDArray[np.float32] | None]: ...
    def run(
        self,
        x: NDArray[Any],
        h0: NDArray[Any] | None,
        rows: NDArray[np.intp],
        lengths: NDArray[np.intp],
        shares: NDArray[np.intp],
        sequences: bool = True,
        team: int = 1,
    ) -> tuple[NDArray[Any] | None, NDArray[Any]]: ...

def check_rows(
    rows: NDArray[np.intp], lengths: NDArray[np.intp], shares: NDArray[np.intp], batch: int, steps: int
) -> int: ...
