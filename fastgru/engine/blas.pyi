from typing import Any

import numpy as np
from numpy.typing import NDArray

class BlasPlan:
    input_size: int
    hidden_size: int
    num_layers: int
    directions: int
    reset_after: bool
    dtype: np.dtype[Any]
    def __init__(
        self,
        layers: list[list[tuple[NDArray[Any], ...]]],
        reset_after: bool,
        activation: int,
        recurrent_activation: int,
    ) -> None: ...
    @property
    def kernel_level(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def arrays(self) -> list[NDArray[Any]]: ...
    def form(self, index: int, which: int) -> tuple[NDArray[Any], None]: ...
    def run(
        self,
        x: NDArray[Any],
        h0: NDArray[Any] | None,
        rows: NDArray[np.intp],
        lengths: NDArray[np.intp],
        shares: NDArray[np.intp],
        sequences: bool = True,
    ) -> tuple[NDArray[Any] | None, NDArray[Any]]: ...
