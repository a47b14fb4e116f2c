from typing import Any

import numpy as np

from .plan import KernelTable

def kernels(hidden_size: int, dtype: np.dtype[Any] | type[np.floating[Any]]) -> KernelTable: ...

class BlasTable(KernelTable): ...

def capsule(hidden_size: int, dtype: np.dtype[Any] | type[np.floating[Any]]) -> Any: ...
