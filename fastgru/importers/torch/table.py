"""Which of PyTorch's operations are known: one row each, with the names of its operands in their order.

The rows are the only place where the name of an operation means anything: files of torch.export, TorchScript, traces
and live modules all come here. To read another, add its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..calls import Context, Row, apply, row
from . import attention, elementwise, layers, parts, recurrent, reductions, resizing, shapes
from .elementwise import activation, binary, compared, logical, unary
from .layers import adaptive, native, pool
from .parts import filled, filled_like, new_filled
from .reductions import along, arg, extreme, reduced, truth, variance

__all__ = ["IGNORED", "TABLE", "call"]

_ONE = "self"
_TWO = "self other"
_ALPHA = "self other alpha"
_DIMS = "self dim keepdim dtype"
_AXIS = "self dim keepdim"
_MAX_POOL = "self kernel_size stride padding dilation ceil_mode"
_AVG_POOL = "self kernel_size stride padding ceil_mode count_include_pad"
_RESIZED = "self output_size scale_factors input:self scales:scale_factors scales_h scales_w"
_CONV = "input weight bias stride padding dilation groups"
_CONV_TRANSPOSE = "input weight bias stride padding output_padding groups dilation"
_CONVOLUTION = "input weight bias stride padding dilation transposed output_padding groups"
_BATCH_NORM = "input weight bias running_mean running_var"

_UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor",
    "isfinite", "isinf", "isnan", "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sign", "sin",
    "sinh", "sqrt", "square", "tan", "trunc",
)  # fmt: skip
_ACTIVATIONS = {
    "relu": "relu", "relu6": "relu6", "tanh": "tanh", "sigmoid": "sigmoid", "silu": "silu", "mish": "mish",
    "selu": "selu", "softsign": "softsign", "hardsigmoid": "hard_sigmoid", "hardswish": "hard_silu",
    "log_sigmoid": "log_sigmoid", "tanhshrink": "tanh_shrink",
}  # fmt: skip

TABLE: dict[str, Row] = {
    # with weights
    "gru": row(recurrent.gru, "input hx params has_biases num_layers dropout train bidirectional batch_first"),
    "gru_packed": row(recurrent.gru_packed, "input lengths hx params has_biases num_layers bidirectional"),
    "longest": row(recurrent.longest, "lengths steps reached"),
    "gru_cell": row(recurrent.gru_cell, "input hx w_ih w_hh b_ih b_hh"),
    "embedding": row(layers.embedding, "weight indices padding_idx scale_grad_by_freq sparse"),
    "linear": row(layers.linear, "input weight bias"),
    "matmul": row(layers.matmul, _TWO),
    "mm": row(layers.matmul, "self mat2:other"),
    "bmm": row(layers.matmul, "self mat2:other"),
    "bilinear": row(layers.bilinear, "input1 input2 weight bias"),
    "outer": row(layers.outer, "self vec2:other"),
    "mv": row(layers.matmul, "self vec:other"),
    "dot": row(layers.matmul, "self tensor:other"),
    "addmm": row(layers.addmm, "self mat1 mat2 beta alpha"),
    "baddbmm": row(layers.addmm, "self batch1:mat1 batch2:mat2 beta alpha"),
    "einsum": row(layers.einsum, "equation tensors:operands path"),
    "conv1d": row(layers.conv, _CONV),
    "conv2d": row(layers.conv, _CONV),
    "convolution": row(layers.conv, _CONVOLUTION),
    "_convolution": row(
        lambda c, benchmark=0, deterministic=0, cudnn_enabled=0, allow_tf32=0, **operands: layers.conv(c, **operands),
        f"{_CONVOLUTION} benchmark deterministic cudnn_enabled allow_tf32",
    ),
    "_convolution_mode": row(layers.conv, _CONV),
    "conv_transpose1d": row(layers.conv_transpose, _CONV_TRANSPOSE),
    "conv_transpose2d": row(layers.conv_transpose, _CONV_TRANSPOSE),
    "layer_norm": row(layers.layer_norm, "input normalized_shape weight bias eps cudnn_enable"),
    "native_layer_norm": row(native(layers.layer_norm, 3), "input normalized_shape weight bias eps"),
    "rms_norm": row(layers.rms_norm, "input normalized_shape weight eps"),
    "group_norm": row(layers.group_norm, "input num_groups weight bias eps cudnn_enabled"),
    "instance_norm": row(layers.instance_norm, f"{_BATCH_NORM} use_input_stats momentum eps cudnn_enabled"),
    "batch_norm": row(layers.batch_norm, f"{_BATCH_NORM} training momentum eps cudnn_enabled"),
    "_native_batch_norm_legit_no_training": row(native(layers.batch_norm, 3), f"{_BATCH_NORM} momentum eps"),
    "prelu": row(elementwise.prelu, "self weight"),
    "_prelu_kernel": row(elementwise.prelu, "self weight"),
    "_weight_norm_interface": row(native(layers.weight_norm, 2), "v g dim"),
    "_weight_norm": row(layers.weight_norm, "v g dim"),
    "scaled_dot_product_attention": row(
        attention.attention, "query key value attn_mask dropout_p is_causal scale enable_gqa"
    ),
    "_native_multi_head_attention": row(
        attention.multihead,
        "query key value embed_dim num_head qkv_weight qkv_bias proj_weight proj_bias mask need_weights "
        "average_attn_weights mask_type",
    ),
    "_transformer_encoder_layer_fwd": row(
        attention.encoder_layer,
        "src embed_dim num_heads qkv_weight qkv_bias proj_weight proj_bias use_gelu norm_first eps norm_weight_1 "
        "norm_bias_1 norm_weight_2 norm_bias_2 ffn_weight_1 ffn_bias_1 ffn_weight_2 ffn_bias_2 mask mask_type",
    ),
    # on every element
    **{name: row(unary(name), _ONE) for name in _UNARY},
    **{name: row(activation(ours), _ONE) for name, ours in _ACTIVATIONS.items()},
    "elu": row(activation("elu", alpha=("alpha", 1.0)), "self alpha"),
    "celu": row(activation("celu", alpha=("alpha", 1.0)), "self alpha"),
    "leaky_relu": row(activation("leaky_relu", negative_slope=("negative_slope", 0.01)), "self negative_slope"),
    "hardtanh": row(
        activation("hard_tanh", min_val=("min_value", -1.0), max_val=("max_value", 1.0)), "self min_val max_val"
    ),
    "hardshrink": row(activation("hard_shrink", lambd=("threshold", 0.5)), "self lambd"),
    "softshrink": row(activation("soft_shrink", lambd=("threshold", 0.5)), "self lambd"),
    "softplus": row(activation("softplus", beta=("beta", 1.0), threshold=("threshold", 20.0)), "self beta threshold"),
    "threshold": row(
        activation("threshold", threshold=("threshold", 0.0), value=("default_value", 0.0)), "self threshold value"
    ),
    "rrelu": row(elementwise.rrelu, "self lower upper training"),
    "frac": row(elementwise.frac, _ONE),
    "erfc": row(elementwise.erfc, _ONE),
    "gelu": row(elementwise.gelu, "self approximate"),
    "clamp": row(elementwise.clamp, "self min max"),
    "clamp_min": row(elementwise.clamp, "self min"),
    "clamp_max": row(elementwise.clamp, "self max"),
    "nan_to_num": row(elementwise.nan_to_num, "self nan posinf neginf"),
    "logical_not": row(elementwise.logical_not, _ONE),
    "bitwise_not": row(elementwise.logical_not, _ONE),
    # two operands and three
    "add": row(binary("add"), _ALPHA),
    "sub": row(binary("sub"), _ALPHA),
    "rsub": row(binary("sub", reverse=True), _ALPHA),
    "mul": row(binary("mul"), _TWO),
    "div": row(elementwise.divided, "self other rounding_mode"),
    "floor_divide": row(elementwise.floor_divided, _TWO),
    "floordiv": row(elementwise.floor_divided, _TWO),
    "remainder": row(binary("remainder"), _TWO),
    "fmod": row(binary("fmod"), _TWO),
    "pow": row(elementwise.powered, "self exponent"),
    "maximum": row(binary("maximum"), _TWO),
    "minimum": row(binary("minimum"), _TWO),
    "atan2": row(binary("atan2"), _TWO),
    **{name: row(compared(name), _TWO) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{
        f"{prefix}_{word}": row(logical(f"logical_{word}"), _TWO)
        for prefix in ("logical", "bitwise")
        for word in ("and", "or", "xor")
    },
    "where": row(elementwise.where, "condition self other"),
    "masked_fill": row(elementwise.masked_fill, "self mask value"),
    "index_put": row(elementwise.index_put, "self indices values accumulate"),
    "lerp": row(elementwise.lerp, "self end weight"),
    "addcmul": row(elementwise.addcmul, "self tensor1 tensor2 value"),
    "addcdiv": row(elementwise.addcdiv, "self tensor1 tensor2 value"),
    "to": row(elementwise.converted, "self dtype"),
    "_to_copy": row(elementwise.converted, "self dtype"),
    "type_as": row(elementwise.converted_as, _TWO),
    # along axes
    "sum": row(reduced("sum"), _DIMS),
    "mean": row(reduced("mean"), _DIMS),
    "prod": row(reduced("prod"), _DIMS),
    "amax": row(reduced("max"), _AXIS),
    "amin": row(reduced("min"), _AXIS),
    "max": row(extreme("max"), "self dim keepdim other"),
    "min": row(extreme("min"), "self dim keepdim other"),
    "argmax": row(arg("max"), _AXIS),
    "argmin": row(arg("min"), _AXIS),
    "any": row(truth("any"), _AXIS),
    "all": row(truth("all"), _AXIS),
    "var": row(variance("var"), "self dim correction keepdim unbiased"),
    "std": row(variance("std"), "self dim correction keepdim unbiased"),
    "norm": row(reductions.norm, "self p dim keepdim dtype"),
    "std_mean": row(reductions.with_mean("std"), "self dim correction keepdim unbiased"),
    "var_mean": row(reductions.with_mean("var"), "self dim correction keepdim unbiased"),
    "linalg_norm": row(reductions.linalg_norm, "self ord dim keepdim dtype"),
    "linalg_vector_norm": row(reductions.vector_norm, "self ord dim keepdim dtype"),
    "softmax": row(along("softmax"), "self dim dtype"),
    "log_softmax": row(along("log_softmax"), "self dim dtype"),
    "_softmax": row(along("softmax"), "self dim half_to_float:dtype"),
    "_log_softmax": row(along("log_softmax"), "self dim half_to_float:dtype"),
    "logsumexp": row(reductions.logsumexp, _AXIS),
    "glu": row(reductions.glu, "self dim"),
    "cumprod": row(reductions.cumprod, "self dim dtype"),
    "cumsum": row(reductions.cumsum, "self dim dtype"),
    "cummax": row(reductions.cumulative_extreme("max"), "self dim"),
    "cummin": row(reductions.cumulative_extreme("min"), "self dim"),
    "topk": row(reductions.topk, "self k dim largest sorted"),
    "sort": row(reductions.sort, "self dim descending stable"),
    "argsort": row(reductions.argsort, "self dim descending stable"),
    "kthvalue": row(reductions.kth, "self k dim keepdim"),
    "median": row(reductions.median, _AXIS),
    "quantile": row(reductions.quantile, "self q dim keepdim interpolation"),
    "count_nonzero": row(reductions.count_nonzero, "self dim"),
    "cdist": row(reductions.cdist, "x1 x2 p compute_mode"),
    "cosine_similarity": row(reductions.cosine_similarity, "x1 x2 dim eps"),
    "max_pool1d": row(pool("max", 1), _MAX_POOL),
    "max_pool2d": row(pool("max", 2), _MAX_POOL),
    "max_pool1d_with_indices": row(pool("max", 1, indices=True), _MAX_POOL),
    "max_pool2d_with_indices": row(pool("max", 2, indices=True), _MAX_POOL),
    "avg_pool1d": row(pool("mean", 1), _AVG_POOL),
    "avg_pool2d": row(pool("mean", 2), f"{_AVG_POOL} divisor_override"),
    "adaptive_avg_pool1d": row(adaptive("mean", 1), "self output_size"),
    "adaptive_avg_pool2d": row(adaptive("mean", 2), "self output_size"),
    "_adaptive_avg_pool2d": row(adaptive("mean", 2), "self output_size"),
    "adaptive_max_pool1d": row(adaptive("max", 1, indices=True), "self output_size"),
    "adaptive_max_pool2d": row(adaptive("max", 2, indices=True), "self output_size"),
    "upsample_nearest1d": row(resizing.nearest(1), _RESIZED),
    "upsample_nearest2d": row(resizing.nearest(2), _RESIZED),
    "upsample_linear1d": row(resizing.linear(1), f"{_RESIZED} align_corners"),
    "upsample_bilinear2d": row(resizing.linear(2), f"{_RESIZED} align_corners"),
    "pixel_shuffle": row(resizing.pixel_shuffle, "self upscale_factor"),
    # shapes
    "view": row(shapes.view, "self size"),
    "reshape": row(shapes.view, "self shape:size"),
    "view_as": row(shapes.view_as, _TWO),
    "flatten": row(shapes.flatten, "self start_dim end_dim"),
    "unflatten": row(shapes.unflatten, "self dim sizes"),
    "permute": row(shapes.permute, "self dims"),
    "transpose": row(shapes.transpose, "self dim0 dim1"),
    "swapaxes": row(shapes.transpose, "self axis0:dim0 axis1:dim1"),
    "t": row(shapes.t, _ONE),
    "numpy_T": row(shapes.reversed_axes, _ONE),
    "mT": row(shapes.matrix_transpose, _ONE),
    "movedim": row(shapes.movedim, "self source destination"),
    "squeeze": row(shapes.squeeze, "self dim"),
    "unsqueeze": row(shapes.unsqueeze, "self dim"),
    "expand": row(shapes.expand, "self size implicit"),
    "expand_as": row(shapes.expand_as, _TWO),
    "broadcast_to": row(shapes.expand, "self size"),
    "repeat": row(shapes.repeat, "self repeats"),
    "tile": row(shapes.tile, "self dims"),
    "repeat_interleave": row(shapes.repeat_interleave, "self repeats dim output_size"),
    "broadcast_tensors": row(shapes.broadcast_tensors, "tensors"),
    "cat": row(shapes.cat, "tensors dim"),
    "hstack": row(shapes.beside(1), "tensors"),
    "vstack": row(shapes.beside(0), "tensors"),
    "dstack": row(shapes.beside(2), "tensors"),
    "stack": row(shapes.stack, "tensors dim"),
    "split": row(shapes.split, "self split_size dim"),
    "split_with_sizes": row(shapes.split, "self split_sizes:split_size dim"),
    "chunk": row(shapes.chunk, "self chunks dim"),
    "tensor_split": row(
        shapes.tensor_split, "self indices_or_sections dim sections:indices_or_sections indices:indices_or_sections"
    ),
    "unbind": row(shapes.unbind, "self dim"),
    "size": row(shapes.size, "self dim"),
    "sym_size": row(shapes.size, "self dim"),
    "numel": row(shapes.numel, _ONE),
    # parts
    "select": row(parts.select, "self dim index"),
    "slice": row(parts.slice_, "self dim start end step"),
    "narrow": row(parts.narrow, "self dim start length"),
    "select_scatter": row(parts.select_scatter, "self src dim index"),
    "slice_scatter": row(parts.slice_scatter, "self src dim start end step"),
    "flip": row(parts.flip, "self dims"),
    "roll": row(parts.roll, "self shifts dims"),
    "pad": row(parts.pad, "self pad mode value"),
    "constant_pad_nd": row(parts.constant_pad, "self pad value"),
    **{
        f"{mode}_pad{axes}d": row(parts.padded(theirs), "self padding")
        for mode, theirs in (("reflection", "reflect"), ("replication", "replicate"))
        for axes in (1, 2)
    },
    "unfold": row(parts.unfold, "self dimension size step"),
    "index_select": row(parts.index_select, "self dim index"),
    "gather": row(parts.gather, "self dim index sparse_grad"),
    "take_along_dim": row(parts.take_along, "self indices dim"),
    "index": row(parts.index, "self indices"),
    "scatter": row(parts.scatter(adds=False), "self dim index src value:src"),
    "scatter_add": row(parts.scatter(adds=True), "self dim index src"),
    "diagonal": row(shapes.diagonal, "self offset dim1 dim2"),
    "one_hot": row(parts.one_hot, "self num_classes"),
    "tril": row(parts.triangle(False), "self diagonal"),
    "triu": row(parts.triangle(True), "self diagonal"),
    # values made of sizes
    "arange": row(parts.arange, "start end step dtype"),
    "linspace": row(parts.linspace, "start end steps dtype"),
    "full": row(parts.full, "size fill_value dtype"),
    "zeros": row(filled(0.0), "size dtype"),
    "ones": row(filled(1.0), "size dtype"),
    "empty": row(filled(0.0), "size dtype"),
    "full_like": row(parts.full_like, "self fill_value dtype"),
    "zeros_like": row(filled_like(0.0), "self dtype"),
    "ones_like": row(filled_like(1.0), "self dtype"),
    "new_full": row(parts.new_full, "self size fill_value dtype"),
    "new_zeros": row(new_filled(0.0), "self size dtype"),
    "new_ones": row(new_filled(1.0), "self size dtype"),
    "scalar_tensor": row(parts.scalar, "s dtype"),
    "eye": row(parts.eye, "n m dtype"),
    "fill": row(parts.fill, "self value"),
    "zero": row(lambda c, self: parts.fill(c, self, 0.0), _ONE),
    "copy": row(parts.copied, "self src non_blocking"),
}
_SAME_AS = {
    "_unsafe_view": "view", "absolute": "abs", "adjoint": "mT", "clip": "clamp", "concat": "cat", "concatenate": "cat",
    "detach_copy": "detach", "divide": "div", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
    "logsigmoid": "log_sigmoid", "moveaxis": "movedim", "multiply": "mul", "negative": "neg", "not_equal": "ne",
    "__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor", "special_expit": "sigmoid",
    "arctan": "atan", "arcsin": "asin", "arccos": "acos", "__rsub__": "rsub", "special_erfc": "erfc",
    "special_expm1": "expm1", "special_log_softmax": "log_softmax", "special_softmax": "softmax", "subtract": "sub",
    "swapdims": "transpose", "true_divide": "div", "truediv": "div", "unsafe_chunk": "chunk", "unsafe_split": "split",
    "view_copy": "view", "matrix_H": "mT", "special_erf": "erf", "_reshape_alias": "view", "new_empty": "new_zeros",
    "empty_like": "zeros_like",
}  # fmt: skip
# They give what they were given, whatever else they take.
_NOTHING = frozenset(
    ("alias", "clone", "contiguous", "cpu", "detach", "lift_fresh", "lift_fresh_copy", "requires_grad")
)  # fmt: skip
_DROPOUT = dict.fromkeys(
    ("alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout", "native_dropout"), "input p train"
)
# Checks of the exporting program, without an output.
IGNORED = frozenset(
    (
        "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range",
        "sym_constrain_range_for_size", "_set_grad_enabled",
    )
)  # fmt: skip
_PLACEMENT = frozenset(("device", "dtype", "layout", "pin_memory", "memory_format", "non_blocking", "copy", "names"))


def bare(name: str) -> str:
    """The row's name of an operation: in place or not, under whichever of its names."""
    found = name if name in TABLE or name in _NOTHING or name in _SAME_AS else name.removesuffix("_")
    return _SAME_AS.get(found, found)


def call(c: Context, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What an operation gives.

    Parameters
    ----------
    name : str
        Such as ``"gru"``; what works in place, ``"relu_"``, is taken as ``"relu"``: that its operand changes is for
        the caller, who knows its other names.

    Raises
    ------
    UnsupportedModelError
        The operation is not known, or does something that has no word here.
    """
    c.name = name
    own = bare(name)
    if own in _NOTHING and (args or named):
        return args[0] if args else named.get("self", named.get("input"))
    if own in _DROPOUT and (args or named):
        operands = {**dict(zip(("input", "p", "train"), args, strict=False)), **named}
        if operands.get("train", operands.get("training")) and operands.get("p") != 0:
            raise c.error(
                "drops out at random also when it is used, as in training; call model.eval() before, and in its code "
                "write F.dropout(x, training=self.training)"
            )
        value = operands.get("input", operands.get("self"))
        return (value, None) if own == "native_dropout" else value
    return apply(c, TABLE, own, args, named, _PLACEMENT)
