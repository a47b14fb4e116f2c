from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from .plan import KernelTable

class PythonTable(KernelTable): ...

def with_gates(
    kernels: KernelTable,
    activation: Callable[[NDArray[Any]], NDArray[Any]],
    recurrent_activation: Callable[[NDArray[Any]], NDArray[Any]],
) -> KernelTable: ...
