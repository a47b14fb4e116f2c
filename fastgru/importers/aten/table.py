"""Which of PyTorch's operations are known: one row each, with the names of its operands in their order.

The rows are the only place where the name of an operation in a file means anything. To read another, add its row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from ...origin import raised_in
from ...spec import Max, Mean
from . import elementwise, joins, layers, parts, shapes
from .builder import Builder
from .elementwise import activation, along, binary
from .values import Array, Weight, described

__all__ = ["IGNORED", "OPERATIONS", "apply"]

MAX_OPERATIONS = 5000


class Row(NamedTuple):
    function: Callable[..., Any]
    parameters: dict[str, str]  # the function's own names of the operands, by PyTorch's
    options: frozenset[str]  # of these, numbers that a module has from its maker, or that code may compute


def _row(function: Callable[..., Any], operands: str) -> Row:
    """``operands`` in PyTorch's order, options with a ``?``; if the function calls one otherwise, ``theirs:ours``."""
    pairs = [operand.rstrip("?").partition(":") for operand in operands.split()]
    options = frozenset(operand.rstrip("?").rpartition(":")[2] for operand in operands.split() if operand[-1] == "?")
    return Row(function, {theirs: ours or theirs for theirs, _, ours in pairs}, options)


_ONE = "self"
_TWO = "self other alpha?"
_POOL = "self kernel_size? stride? padding?"
_CONV = "input weight bias stride? padding? dilation? groups"
_CONVOLUTION = "input weight bias stride? padding? dilation? transposed output_padding groups"

OPERATIONS: dict[str, Row] = {
    # with weights
    "gru": _row(layers.gru, "input hx params has_biases num_layers dropout train bidirectional batch_first"),
    "gru_cell": _row(layers.gru_cell, "input hx w_ih w_hh b_ih b_hh"),
    "embedding": _row(layers.embedding, "weight indices padding_idx scale_grad_by_freq sparse"),
    "linear": _row(layers.linear, "input weight bias"),
    "matmul": _row(layers.matmul, "self:input other"),
    "mm": _row(layers.matmul, "self:input mat2:other"),
    "addmm": _row(layers.addmm, "self:bias mat1 mat2 beta alpha"),
    "conv1d": _row(layers.conv1d, _CONV),
    "convolution": _row(layers.convolution, _CONVOLUTION),
    "_convolution": _row(layers.convolution, f"{_CONVOLUTION} benchmark deterministic cudnn_enabled allow_tf32"),
    "layer_norm": _row(layers.layer_norm, "input normalized_shape weight bias eps? cudnn_enable"),
    "rms_norm": _row(layers.rms_norm, "input normalized_shape weight eps?"),
    "batch_norm": _row(
        layers.batch_norm, "input weight bias running_mean running_var training momentum eps? cudnn_enabled"
    ),
    "prelu": _row(layers.prelu, "self:input weight"),
    "_weight_norm_interface": _row(layers.weight_norm, "v g dim"),
    "_weight_norm": _row(lambda b, v, g, dim=0: layers.weight_norm(b, v, g, dim)[0], "v g dim"),
    # activations
    "relu": _row(activation("relu"), _ONE),
    "relu6": _row(activation("relu6"), _ONE),
    "tanh": _row(activation("tanh"), _ONE),
    "sigmoid": _row(activation("sigmoid"), _ONE),
    "silu": _row(activation("silu"), _ONE),
    "mish": _row(activation("mish"), _ONE),
    "selu": _row(activation("selu"), _ONE),
    "softsign": _row(activation("softsign"), _ONE),
    "hardsigmoid": _row(activation("hard_sigmoid"), _ONE),
    "hardswish": _row(activation("hard_silu"), _ONE),
    "log_sigmoid": _row(activation("log_sigmoid"), _ONE),
    "exp": _row(activation("exponential"), _ONE),
    "abs": _row(elementwise.absolute, _ONE),
    "neg": _row(lambda b, self: binary("mul")(b, self, -1), _ONE),
    "elu": _row(activation("elu", alpha="alpha"), "self alpha?"),
    "celu": _row(activation("celu", alpha="alpha"), "self alpha?"),
    "leaky_relu": _row(elementwise.leaky_relu, "self negative_slope?"),
    "hardtanh": _row(activation("hard_tanh", min_val="min_value", max_val="max_value"), "self min_val? max_val?"),
    "hardshrink": _row(activation("hard_shrink", lambd="threshold"), "self lambd?"),
    "softshrink": _row(activation("soft_shrink", lambd="threshold"), "self lambd?"),
    "softplus": _row(elementwise.softplus, "self beta? threshold?"),
    "gelu": _row(elementwise.gelu, "self approximate"),
    "threshold": _row(elementwise.threshold, "self threshold? value?"),
    "clamp": _row(elementwise.clamp, "self min max"),
    "clamp_min": _row(elementwise.clamp, "self min"),
    "softmax": _row(along("softmax"), "self dim dtype"),
    "log_softmax": _row(along("log_softmax"), "self dim dtype"),
    "_softmax": _row(along("softmax"), "self dim half_to_float:dtype"),
    "_log_softmax": _row(along("log_softmax"), "self dim half_to_float:dtype"),
    "glu": _row(elementwise.glu, "self dim"),
    # two operands
    "add": _row(binary("add"), _TWO),
    "sub": _row(binary("sub"), _TWO),
    "rsub": _row(binary("sub", turned=True), _TWO),
    "mul": _row(binary("mul"), "self other"),
    "div": _row(binary("div"), "self other"),
    "floordiv": _row(binary("floordiv"), "self other"),
    "maximum": _row(binary("maximum"), "self other"),
    "minimum": _row(binary("minimum"), "self other"),
    # over the steps
    "sum": _row(elementwise.total, "self dim keepdim dtype"),
    "mean": _row(elementwise.mean, "self dim keepdim dtype"),
    "amax": _row(elementwise.maximum, "self dim keepdim"),
    "max": _row(elementwise.max_with_index, "self dim keepdim"),
    "adaptive_avg_pool1d": _row(elementwise.adaptive_pool1d(Mean), "self output_size"),
    "adaptive_max_pool1d": _row(elementwise.adaptive_pool1d(Max, indices=True), "self output_size"),
    "max_pool1d": _row(elementwise.max_pool1d, f"{_POOL} dilation? ceil_mode"),
    "avg_pool1d": _row(elementwise.avg_pool1d, f"{_POOL} ceil_mode count_include_pad"),
    "pad": _row(elementwise.pad, "self pad? mode value"),
    "constant_pad_nd": _row(
        lambda b, self, pad, value=0: elementwise.pad(b, self, pad, "constant", value), "self pad? value"
    ),
    # shapes
    "view": _row(shapes.view, "self size"),
    "reshape": _row(shapes.view, "self shape:size"),
    "flatten": _row(shapes.flatten, "self start_dim end_dim"),
    "unflatten": _row(shapes.unflatten, "self dim sizes"),
    "permute": _row(shapes.permute, "self dims"),
    "transpose": _row(shapes.transpose, "self dim0 dim1"),
    "swapaxes": _row(shapes.transpose, "self axis0:dim0 axis1:dim1"),
    "t": _row(shapes.t, _ONE),
    "mT": _row(shapes.mt, _ONE),
    "movedim": _row(shapes.movedim, "self source destination"),
    "squeeze": _row(shapes.squeeze, "self dim"),
    "unsqueeze": _row(shapes.unsqueeze, "self dim"),
    "expand": _row(shapes.expand, "self size"),
    "select": _row(parts.select, "self dim index"),
    "slice": _row(parts.slice_, "self dim start end step"),
    "split": _row(parts.split, "self split_size dim"),
    "split_with_sizes": _row(parts.split, "self split_sizes:split_size dim"),
    "chunk": _row(parts.chunk, "self chunks dim"),
    "unsafe_chunk": _row(parts.chunk, "self chunks dim"),
    "unbind": _row(parts.unbind, "self dim"),
    "cat": _row(joins.cat, "tensors dim"),
    "stack": _row(joins.stack, "tensors dim"),
    "size": _row(parts.size, "self dim"),
    "sym_size": _row(parts.size, "self dim"),
    "zeros": _row(shapes.zeros, "size"),
    "new_zeros": _row(lambda b, self, size: shapes.zeros(b, size), "self size"),
    "zeros_like": _row(lambda b, self: shapes.zeros(b, parts.size(b, self)), _ONE),
}
_SAME_AS = {
    "_unsafe_view": "view", "absolute": "abs", "concat": "cat", "concatenate": "cat", "divide": "div",
    "logsigmoid": "log_sigmoid", "multiply": "mul", "negative": "neg", "subtract": "sub", "swapdims": "transpose",
    "truediv": "div", "view_copy": "view",
}  # fmt: skip
# They give what they were given, whatever else they take.
_NOTHING = frozenset(
    ("alias", "clone", "contiguous", "cpu", "detach", "lift_fresh", "lift_fresh_copy", "requires_grad")
)
_DROPOUTS = frozenset(("alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout", "native_dropout"))
_CONVERSIONS = frozenset(("_to_copy", "to", "type_as"))
# Checks of the exporting program, without an output.
IGNORED = frozenset(
    (
        "_assert_async",
        "_assert_scalar",
        "_assert_tensor_metadata",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    )
)
_PLACEMENT = frozenset(("device", "dtype", "layout", "pin_memory", "memory_format", "non_blocking", "copy"))


def _converted(builder: Builder, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """A conversion to another type of float, or of integers to integers, is what it converts."""
    value = args[0] if args else named.get("self", next(iter(named.values())))
    kinds = {builder.types.get(each) for each in (*args[1:], named.get("dtype")) if type(each) is int}
    if isinstance(value, Array) and kinds - {"integer" if value.integers else "float"}:
        raise builder.error("rounds numbers, or takes integers for numbers; fastgru converts no values")
    return value


def _not_dropped(builder: Builder, input: Any, p: Any, train: Any) -> Any:
    """What a dropout gives where it drops nothing."""
    if train is not False and p != 0:
        raise builder.error(layers.RANDOM)
    return input


def _note_options(builder: Builder, row: Row, values: Mapping[str, Any]) -> None:
    """Note options that are not PyTorch's own and that no module of PyTorch's was made with."""
    for name in () if builder.options_are_own else row.options & values.keys():
        parameter = _signature(row.function).parameters.get(name)
        default = None if parameter is None else parameter.default
        if isinstance(values[name], (bool, str)) or values[name] in (default, [default], (), [], None):
            continue
        builder.note(f"takes {name} = {described(values[name])}")


_DROPOUT = _row(_not_dropped, "input p train")


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def apply(builder: Builder, name: str, args: Sequence[Any], named: Mapping[str, Any], place: str = "") -> Any:
    """The output of an operation, or the outputs as a tuple.

    Parameters
    ----------
    builder : Builder
    name : str
        Of the operation, such as ``"gru"``; one that works in place, ``"relu_"``, is taken as ``"relu"``.
    args, named : the operands, by place and by name
    place : str
        Where it stands in the file, for messages.

    Raises
    ------
    UnsupportedModelError
        The operation is not known, or does something that fastgru has no layer for.
    """
    builder.count += 1
    builder.operation = f"{name[:80]}{place}"
    if builder.count > MAX_OPERATIONS:
        raise builder.error(f"the model has more than {MAX_OPERATIONS} operations")
    builder.check_unchanged((*args, *named.values()))
    bare = name if name in OPERATIONS else name.removesuffix("_")
    bare = _SAME_AS.get(bare, bare)
    if bare in _NOTHING and (args or named):
        return args[0] if args else next(iter(named.values()))
    if bare in _DROPOUTS:
        kept = _not_dropped(builder, **_operands(builder, _DROPOUT, args, named))
        return (kept, None) if bare == "native_dropout" else kept
    if bare in _CONVERSIONS and (args or named):
        return _converted(builder, args, named)
    row = OPERATIONS.get(bare)
    if row is None:
        raise builder.error("the operation is not supported")
    values = _operands(builder, row, args, named)
    first = next(iter(values.values()), None)
    if bare != name and name.endswith("_") and isinstance(first, Weight):
        raise builder.error(f"the model changes its own {first.names[0][:80]!r}; call model.eval() before it is saved")
    _note_options(builder, row, values)
    made = row.function(builder, **values)
    if row.function.__module__ in (shapes.__name__, parts.__name__):
        builder.is_view(values.values(), made)
    elif bare != name and name.endswith("_"):
        builder.change(first)
    return made


def _operands(builder: Builder, row: Row, args: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """The operands by the function's own names, those of PyTorch's that say where and how a tensor is kept left out."""
    operands = dict(zip(row.parameters, args, strict=False))
    given = {key: value for key, value in named.items() if key not in _PLACEMENT or key in row.parameters}
    unknown = [key for key in given if key not in row.parameters or key in operands]
    if len(args) > len(row.parameters) or unknown:
        raise builder.error(f"it has operands that are not known; known are {', '.join(row.parameters)}")
    values = {row.parameters[key]: value for key, value in {**operands, **given}.items()}
    try:
        _signature(row.function).bind(builder, **values)
    except TypeError as error:
        if not raised_in(error, "fastgru", "inspect"):
            raise
        raise builder.error(f"it lacks one of its operands {', '.join(row.parameters)}") from None
    return values
