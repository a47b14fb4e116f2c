import numpy as np
from numpy.typing import NDArray

from .plan import KernelTable

class Affine:
    inputs: int
    outputs: int
    @property
    def precision(self) -> str: ...
    @property
    def weight(self) -> NDArray[np.float32]: ...
    @property
    def arrays(self) -> list[NDArray[np.float32]]: ...
    def __init__(
        self, kernels: KernelTable, weight: NDArray[np.float32], bias: NDArray[np.float32], precision: str = "float32"
    ) -> None: ...
    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]: ...
