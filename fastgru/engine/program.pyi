from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .affine import Affine
from .plan import KernelTable, Plan
from .state import Turn
from .strided import Strided

REDUCTIONS: tuple[str, ...]
ALONG: tuple[str, ...]

def has_loop(name: str, kinds: str) -> bool: ...
def elementwise(
    function: str, arrays: list[NDArray[np.float32]], first: float = 0, second: float = 0
) -> NDArray[np.float32]: ...
def along(kernels: KernelTable, function: str, x: NDArray[np.float32]) -> NDArray[np.float32]: ...
def normalize(
    kernels: KernelTable,
    x: NDArray[np.float32],
    gamma: NDArray[np.float64] | None,
    beta: NDArray[np.float64] | None,
    epsilon: float,
    rms: bool,
) -> NDArray[np.float32]: ...

class Arenas: ...

class ProjectedRows:
    table: NDArray[np.float32]
    nbytes: int
    owner: int
    def __init__(self, plan: Plan, table: NDArray[np.float32]) -> None: ...

class Program:
    nbytes: int
    work: int
    is_divided: bool
    def __init__(self, buffers: list[tuple[str, str, Any]], arena_bytes: int) -> None: ...
    def divide(
        self, piece: Program, rest: Program | None, rows: int, count: int, threads: int, divided: list[bool]
    ) -> None: ...
    def __len__(self) -> int: ...
    def elementwise(
        self, name: str, function: str, parts: list[Strided], first: float = 0, second: float = 0
    ) -> None: ...
    def activate(self, name: str, kernels: KernelTable, code: int, out: Strided, x: Strided) -> None: ...
    def reduce(self, name: str, kernels: KernelTable, function: str, out: Strided, x: Strided) -> None: ...
    def along(self, name: str, kernels: KernelTable, function: str, out: Strided, x: Strided) -> None: ...
    def normalize(
        self,
        name: str,
        kernels: KernelTable,
        out: Strided,
        x: Strided,
        gamma: Strided | None,
        beta: Strided | None,
        epsilon: float,
        rms: bool,
    ) -> None: ...
    def pool(
        self,
        name: str,
        kernels: KernelTable,
        largest: bool,
        out: Strided,
        x: Strided,
        size: int,
        stride: int,
        dilation: int,
        before: int,
        counted: tuple[int, int],
    ) -> None: ...
    def embed(self, name: str, out: Strided, table: Strided, index: Strided) -> None: ...
    def matmul(self, name: str, kernels: KernelTable, out: Strided, x: Strided, y: Strided) -> None: ...
    def number(self, name: str, numbers: int, out: Strided, x: Strided) -> None: ...
    def linear(self, name: str, affine: Affine, out: Strided, x: Strided, activation: int = 0) -> None: ...
    def convolve(
        self,
        name: str,
        affine: Affine,
        out: Strided,
        x: Strided,
        size: int,
        stride: int,
        dilation: int,
        before: int,
        activation: int = 0,
    ) -> None: ...
    def recur(
        self,
        name: str,
        plan: Plan,
        out: Strided | None,
        h: Strided,
        x: Strided,
        h0: Strided | None,
        between: Strided | None,
        rows: Strided,
        lengths: Strided,
        shares: Strided,
        team: int,
        projected: ProjectedRows | None = None,
        numbers: Strided | None = None,
        embedding: str = "",
    ) -> None: ...
    def step(self, name: str, plan: Plan, h: Strided, x: Strided, h0: Strided | None, threads: int) -> None: ...
    def run(
        self, arrays: list[NDArray[Any]], arenas: Arenas, seconds: list[tuple[str, float]] | None = None
    ) -> list[NDArray[Any]]: ...

class Carried:
    turn: Turn
    now: list[NDArray[Any]]
    def __init__(self, arrays: list[NDArray[Any]]) -> None: ...
    def put(self, arrays: list[NDArray[Any]]) -> None: ...

class Stepper:
    carried: Carried
    def __init__(
        self,
        program: Program,
        arenas: Arenas,
        carried: Carried,
        takes: list[tuple[int | None, tuple[int, ...], np.dtype[Any]]],
        gives: list[tuple[int, tuple[int, ...], np.dtype[Any]]],
        before: list[int],
        after: list[int],
        alone: bool,
        convert: Callable[[Any, dict[str, Any]], tuple[NDArray[Any], bool]],
        structured: Callable[[list[NDArray[Any]]], Any] | None,
        rooms: Callable[[Any], list[Any]],
    ) -> None: ...
    def step(self, x: Any = None, out: Any = None, **named: Any) -> Any: ...
    def run(
        self,
        arrays: list[NDArray[Any]],
        out: list[NDArray[Any]] | None = None,
        single: bool = False,
        exchange: Exchange | None = None,
    ) -> list[NDArray[Any]]: ...

class Claim:
    def __len__(self) -> int: ...
    def rows(self, other: bool = False) -> NDArray[np.intp]: ...
    def give_back(self) -> None: ...
    def turn(self) -> None: ...
    def leave(self) -> None: ...

class Exchange:
    def __init__(
        self,
        claim: Claim,
        stores: list[NDArray[Any]],
        outers: list[int],
        size: int,
        rows: NDArray[np.intp] | None,
        start: int,
        other: bool,
    ) -> None: ...
    def bring(self, carried: Carried) -> None: ...
    def take_back(self, carried: Carried) -> None: ...

class Slots:
    capacity: int
    count: int
    def __init__(self, capacity: int) -> None: ...
    def join(self, n: int) -> tuple[NDArray[np.int64], Claim]: ...
    def claim(self, ids: NDArray[np.int64]) -> Claim: ...

class Caller:
    def __init__(
        self,
        program: Program,
        arenas: Arenas,
        takes: tuple[int | None, tuple[int, ...], np.dtype[Any]],
        gives: list[tuple[int, tuple[int, ...], np.dtype[Any]]],
    ) -> None: ...
    def call(self, x: Any) -> list[NDArray[Any]] | None: ...
