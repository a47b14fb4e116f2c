"""The activations that layers name: which there are, what options they take, and each as a function of arrays.

The formulas lie in ``formulas``; the kernels compute the six of ``GATE_ACTIVATIONS`` themselves. Nothing
here knows a layer, a file or a framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ShapeError, UnsupportedModelError
from ..records.record import Record
from .formulas import FORMULAS

if TYPE_CHECKING:
    from ..engine.plan import KernelTable

__all__ = [
    "ALIASES",
    "ELEMENTWISE",
    "GATE_ACTIVATIONS",
    "IN_GRU",
    "KNOWN",
    "NamedActivation",
    "activation",
    "check_activation",
    "check_in_gru",
    "check_options",
    "defaults",
    "formula",
    "loop_of",
    "resolved",
    "rounded",
    "shape_after",
]

Array = NDArray[Any]
Shape = tuple["int | None", ...]

# What the kernels know, in the order of their codes. hard_sigmoid is clip(x / 6 + 1/2) as in Keras 3 and PyTorch;
# hard_sigmoid_keras2 is clip(0.2 x + 1/2), which Keras 1 and 2 mean by the same word.
GATE_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "hard_sigmoid", "hard_sigmoid_keras2")

BLOCK = 16384  # numbers computed at a time: their float64 copies stay in a second-level cache

# Other words of Keras and of torch.nn.functional for the same functions, with the defaults of the table.
ALIASES = {
    "hard_sigmoid_keras3": "hard_sigmoid",
    "hard_swish": "hard_silu",
    "hardshrink": "hard_shrink",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_silu",
    "hardtanh": "hard_tanh",
    "identity": "linear",
    "logsigmoid": "log_sigmoid",
    "softshrink": "soft_shrink",
    "sparsemax_keras316": "sparsemax",
    "swish": "silu",
    "tanhshrink": "tanh_shrink",
}

KNOWN = tuple(sorted({*FORMULAS, *ALIASES}))
_ALONG_AN_AXIS = ("glu", "log_softmax", "softmax", "softmin", "sparsemax", "sparsemax_keras315", "sparsemax_keras316")
ELEMENTWISE = tuple(name for name in KNOWN if name not in _ALONG_AN_AXIS)
IN_GRU = tuple(name for name in KNOWN if name != "glu")  # glu gives half as many units as it takes

_AT_LEAST_ZERO = (
    ("hard_shrink", "threshold"),
    ("relu", "max_value"),
    ("relu", "threshold"),
    ("soft_shrink", "threshold"),
    ("squareplus", "b"),
)
_NOT_ZERO = (("celu", "alpha"), ("softplus", "beta"))


class NamedActivation(Record):
    """An activation by its name and its options, for whoever needs more than the name."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()


def defaults(name: str) -> dict[str, Any]:
    """The options of a known activation and their defaults."""
    return dict(FORMULAS[ALIASES.get(name, name)].__kwdefaults__ or {})


def resolved(activation: Any) -> tuple[str, dict[str, Any]]:
    """The name in ``FORMULAS`` and the options that are not the defaults, of a name or of a record of both.

    A record is anything with a ``name`` and ``options``; the answer for one that ``check_options`` would refuse is
    of no use.
    """
    if isinstance(activation, str):
        return ALIASES.get(activation, activation), {}
    name = ALIASES.get(activation.name, activation.name)
    usual = defaults(name)
    return name, {key: value for key, value in dict(activation.options).items() if usual.get(key, ...) != value}


def formula(activation: Any) -> Callable[[Array], Array]:
    """What an activation is, with its options: a function of float64 arrays whose axis 0 is the batch."""
    name, options = resolved(activation)
    function = FORMULAS[name]
    if not options:
        return function
    given = {key: _rounded(value, np.dtype(np.float64)) for key, value in options.items()}
    return lambda x: function(x, **given)


def check_options(name: object, options: Mapping[str, Any], where: str) -> None:
    """Raise unless the activation is known, and has these options and can take these values.

    Raises
    ------
    UnsupportedModelError
        There is no activation or no option of that name.
    ShapeError
        An option has a value that it cannot have, or one that has no default is missing.
    """
    if not isinstance(name, str) or name not in KNOWN:
        raise UnsupportedModelError(f"{where}: {short(name)} is not supported; known are {', '.join(KNOWN)}")
    name = ALIASES.get(name, name)
    code = FORMULAS[name].__code__
    taken = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    for option, value in options.items():
        if option not in taken:
            known = f"its options are {', '.join(taken)}" if taken else "it takes none"
            raise UnsupportedModelError(f"{where}: {name} has no option {short(option)}; {known}")
        wanted = _wanted(name, option, value)
        if wanted:
            raise ShapeError(f"{where}: {name}: {option} is {short(value)}, wanted {wanted}")
    missing = [option for option in taken if option not in {**defaults(name), **options}]
    if missing:
        raise ShapeError(f"{where}: {name} needs its options {', '.join(missing)}, which have no default")
    limits = {**defaults(name), **options}
    if name == "hard_tanh" and limits["min_value"] > limits["max_value"]:
        raise ShapeError(f"{where}: hard_tanh: min_value {limits['min_value']} is above max_value")


def _wanted(name: str, option: str, value: Any) -> str:
    """What an option should have been, or nothing where it can be ``value``."""
    if option == "approximate":
        return "" if isinstance(value, (bool, np.bool_)) else "True or False"
    if option == "axis":
        axes = value if isinstance(value, (list, tuple)) and name == "softmax" and value else [value]
        whole = all(isinstance(axis, (int, np.integer)) and not isinstance(axis, bool) for axis in axes)
        return "" if whole and 0 not in axes else "an axis other than 0, which is the batch"
    if value is None and defaults(name).get(option, ...) is None:
        return ""
    if not _is_number(value):
        return "a finite number"
    if (name, option) in _AT_LEAST_ZERO and value < 0:
        return "a number of at least 0"
    return "a number other than 0" if (name, option) in _NOT_ZERO and value == 0 else ""


def _is_number(value: object) -> bool:
    if isinstance(value, (float, np.floating)):
        return math.isfinite(value)
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and abs(int(value)) <= 2**53


def check_in_gru(name: object, options: Mapping[str, Any], where: str) -> None:
    """``check_options``, and that a GRU can use it: on every unit for itself, or over all units of a gate."""
    check_options(name, options, where)
    if name not in IN_GRU:
        raise UnsupportedModelError(f"{where}: a GRU cannot use {name}, which gives fewer units than it takes")
    if options.get("axis", -1) != -1:
        raise UnsupportedModelError(f"{where}: {name}: axis is {short(options['axis'])}, in a GRU only -1, its units")


def check_activation(activation: object, where: str, *, in_gru: bool = False) -> None:
    """Raise unless it is a known name, or a ``NamedActivation`` of a known name with known options."""
    known = check_in_gru if in_gru else check_options
    if isinstance(activation, NamedActivation):
        known(activation.name, dict(activation.options), where)
    else:
        known(activation, {}, where)


def shape_after(name: str, options: Mapping[str, Any], shape: Shape, where: str) -> Shape:
    """The shape of the result, where ``shape`` is that of the argument; both without the batch, None is any size.

    Raises
    ------
    ShapeError
        An axis is not one of the shape's, or is the batch; or ``glu`` has an odd number to split.
    """
    if name in ELEMENTWISE:
        return shape
    axis, rank = options.get("axis", -1), len(shape) + 1
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    places = [each % rank for each in axes]
    if 0 in places or len({*places}) < len(places) or not all(-rank < each < rank for each in axes):
        known = f"the axes are 1 to {rank - 1}, or -1 to {1 - rank}"
        raise ShapeError(f"{where}: {name}: axis is {short(axis)}, but {known}")
    if name != "glu":
        return shape
    size = shape[places[0] - 1]
    if size is not None and size % 2:
        raise ShapeError(f"{where}: glu splits axis {axis} in two, but its size is {size}")
    return (*shape[: places[0] - 1], None if size is None else size // 2, *shape[places[0] :])


def activation(
    name: str,
    options: Mapping[str, Any] | None = None,
    dtype: DTypeLike = np.float32,
    kernels: KernelTable | None = None,
) -> Callable[[Array], Array]:
    """A function of an array whose first axis is the batch, that gives an array of ``dtype``.

    It computes in float64 and rounds once, so its error in float32 is little more than half an ulp of the formula; the
    options are rounded to ``dtype`` first, as the frameworks do. A row's result depends on no other row.

    Parameters
    ----------
    name : str
    options : mapping, optional
        Those that are not the default.
    dtype : dtype
        float32 or float64.
    kernels : KernelTable, optional
        Where it is given, it computes float32 results that it knows: faster, and within 2.5 ulp.

    Raises
    ------
    UnsupportedModelError, ShapeError
        As ``check_options``; the function raises what ``shape_after`` raises.

    Examples
    --------
    >>> import numpy as np
    >>> activation("leaky_relu", {"negative_slope": 0.5})(np.array([[-1.0, 2.0]]))
    array([[-0.5,  2. ]], dtype=float32)
    """
    options = dict(options or {})
    check_options(name, options, "activation")
    name = ALIASES.get(name, name)
    to = np.dtype(dtype)
    if name == "linear":
        return lambda x: np.asarray(x, to)
    if kernels is not None and to == np.float32 and not options and name in GATE_ACTIVATIONS:
        return _by_kernels(GATE_ACTIVATIONS.index(name), kernels)
    given_options = rounded(options, to)
    loop = loop_of(name, options) if to == np.float32 and name in ELEMENTWISE else None

    def formula(x: Array) -> Array:
        return FORMULAS[name](x, **given_options)

    def run(x: Array) -> Array:
        given = np.ascontiguousarray(x)
        if loop is not None and given.dtype == np.float32:
            from ..engine.program import elementwise

            return elementwise(loop[0], [given], *loop[1:])
        result = np.empty((*x.shape[:1], *shape_after(name, given_options, x.shape[1:], "activation")), to)
        rows, out = (given.ravel(), result.ravel()) if name in ELEMENTWISE else (given, result)
        at_a_time = max(1, BLOCK // max(1, rows[:1].size))
        with np.errstate(all="ignore"):  # an underflow of exp is zero, as it should be
            for first in range(0, len(rows), at_a_time):
                block = rows[first : first + at_a_time]
                out[first : first + at_a_time] = formula(np.asarray(block, np.float64))
        return result

    return run


def rounded(options: Mapping[str, Any], to: DTypeLike) -> dict[str, Any]:
    """Options that were checked, as functions of a dtype take them."""
    with np.errstate(all="ignore"):
        return {key: _rounded(value, np.dtype(to)) for key, value in options.items()}


def _rounded(value: Any, to: np.dtype[Any]) -> Any:
    """An option that was checked: a number as ``to`` holds it, an axis or several as NumPy takes them."""
    if isinstance(value, list):
        return tuple(value)
    return np.asarray(value, to).item() if isinstance(value, (float, np.floating)) else value


def _by_kernels(code: int, kernels: KernelTable) -> Callable[[Array], Array]:
    def run(x: Array) -> Array:
        flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1)
        return kernels.activate(code, flat).reshape(x.shape)

    return run


def loop_of(name: str, options: Mapping[str, Any]) -> tuple[str, float, float] | None:
    """The engine's function for an activation with all its options, and these as it takes them; None without one."""
    options = {**defaults(name), **rounded(options, np.float32)}
    given = {key: float(value) for key, value in options.items() if isinstance(value, (int, float))}
    if name in ("elu", "celu"):
        return name, given["alpha"], 0
    if name in ("hard_shrink", "leaky_relu"):
        return name, given["threshold" if name == "hard_shrink" else "negative_slope"], 0
    if name == "gelu":
        return "gelu_by_tanh" if options["approximate"] else "gelu", 0, 0
    if name == "hard_tanh":
        return "clipped", given["min_value"], given["max_value"]
    if name == "relu6":
        return "clipped", 0, 6
    if name == "relu" and given["threshold"] == 0 and given["negative_slope"] == 0:
        return "clipped", 0, np.inf if options["max_value"] is None else given["max_value"]
    if name == "softplus":
        return name, given["beta"], np.inf if options["threshold"] is None else given["threshold"]
    if name in ("exponential", "hard_silu", "log_sigmoid", "mish", "selu", "silu", "softsign"):
        return name, 0, 0
    return None
