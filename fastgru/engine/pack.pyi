from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

def aligned_empty(size: int) -> NDArray[np.float32]: ...
def last_vectors(units: int, vector_length: int) -> int: ...
def pack_matrix(
    rows: NDArray[np.float32] | NDArray[np.uint16], gates: int, vector_length: int, last: int = 0
) -> NDArray[np.float32]: ...
def pack_weights(
    weights: NDArray[Any],
    scales: NDArray[np.float32] | None,
    gates: int,
    vector_length: int,
    input_zero: int,
    tile_words: int = 1,
    last: int = 0,
) -> NDArray[np.float32]: ...
def release_freed() -> None: ...
def unpack_matrix(
    packed: NDArray[np.float32] | NDArray[np.uint16], rows: NDArray[Any], gates: int, vector_length: int, last: int = 0
) -> None: ...
def unpack_weights(
    packed: NDArray[np.float32],
    kind: str,
    rows: int,
    inputs: int,
    gates: int,
    vector_length: int,
    tile_words: int = 1,
    last: int = 0,
) -> tuple[NDArray[Any], NDArray[np.float32] | None]: ...
def joined(weights: NDArray[Any], count: int, words: int, before: int = 0) -> NDArray[np.float32]: ...
def pack_vector(
    vector: NDArray[np.floating], gates: int, vector_length: int, last: int = 0
) -> NDArray[np.float32]: ...
def pack_columns(
    matrix: NDArray[np.floating],
    vector_length: int,
    convert: Callable[[NDArray[np.floating]], NDArray[np.float32]] = ...,
) -> NDArray[np.float32]: ...
def unpack_columns(
    packed: NDArray[np.float32], outputs: int, inputs: int, vector_length: int
) -> NDArray[np.float32]: ...
