"""PyTorch's attention, as a product of three values and as a layer of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.graph import BOOLEAN
from ...graph.operations.along import AlongAxis
from ...graph.operations.elementwise import Activation, Binary, Cast, Where
from ...graph.operations.matmul import MatMul
from ...graph.operations.product import Linear
from ...graph.operations.reduce import Reduce
from ...graph.operations.shape import Expand, Permute, View
from ...graph.size import Expression
from ..calls import Context
from .layers import layer_norm, linear
from .parts import triangle

__all__ = ["attention", "encoder_layer", "multihead"]


def attention(c: Context, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: Any = 0.0,
              is_causal: Any = False, scale: Any = None, enable_gqa: Any = False) -> Any:  # fmt: skip
    """``softmax(q k^T scale + mask) v``."""
    q, k, v = c.value(query), c.value(key), c.value(value)
    if c.number(dropout_p, "dropout_p") or enable_gqa:
        raise c.error("drops out at random, or shares keys among groups of queries")
    features = q.shape[-1]
    if scale is not None:
        factor = float(c.number(scale, "scale"))
    elif isinstance(features, int):
        factor = 1 / float(np.sqrt(features))
    else:
        raise c.error("scales by a size that is open")
    turned = c.add(Permute((*range(k.rank - 2), k.rank - 1, k.rank - 2)), k)
    scores = c.add(Binary("mul"), c.add(MatMul(), q, turned), factor)
    if is_causal:
        if isinstance(scores.shape[-1], Expression) or isinstance(scores.shape[-2], Expression):
            ones = c.value(1.0)
            ones = c.add(Expand(scores.shape[-2:]), ones)
        else:
            ones = c.builder.constant(np.ones(scores.shape[-2:], np.float32))
        attn_mask = c.add(Cast(BOOLEAN), triangle(False)(c, ones))
    if attn_mask is not None:
        mask = c.value(attn_mask)
        if mask.dtype == BOOLEAN:
            scores = c.add(Where(), mask, scores, float("-inf"))
        else:
            scores = c.add(Binary("add"), scores, mask)
    return c.add(MatMul(), c.add(AlongAxis("softmax", -1), scores), v)


def multihead(
    c: Context, query: Any, key: Any, value: Any, embed_dim: Any, num_head: Any, qkv_weight: Any, qkv_bias: Any,
    proj_weight: Any, proj_bias: Any, mask: Any = None, need_weights: Any = True, average_attn_weights: Any = True,
    mask_type: Any = None,
) -> Any:  # fmt: skip
    """What an ``nn.MultiheadAttention`` computes, batch first, in one operation."""
    q, k, v = c.value(query), c.value(key), c.value(value)
    width, heads = c.integer(embed_dim, "embed_dim"), c.integer(num_head, "num_head")
    weight, bias = c.weight(qkv_weight, 3 * width, width), c.weight(qkv_bias, 3 * width)
    if q.rank != 3 or width % heads:
        raise c.error(f"takes {q.rank} axes and {heads} heads of {width} features together")
    parts = []
    for at, each in enumerate((q, k, v)):
        part = Linear(weight[at * width : (at + 1) * width], bias[at * width : (at + 1) * width])
        made = c.add(View((*each.shape[:2], heads, width // heads)), c.add(part, each))
        parts.append(c.add(Permute((0, 2, 1, 3)), made))
    scores = c.add(MatMul(), parts[0], c.add(Permute((0, 1, 3, 2)), parts[1]))
    scores = c.add(Binary("mul"), scores, 1 / float(np.sqrt(width // heads)))
    if mask is not None:
        given = c.value(mask)
        if given.dtype != BOOLEAN:
            raise c.error("takes a mask of numbers")
        if mask_type == 1:  # of keys, (batch, keys)
            given = c.add(View((given.shape[0], 1, 1, given.shape[1])), given)
        scores = c.add(Where(), given, float("-inf"), scores)
    chances = c.add(AlongAxis("softmax", -1), scores)
    joined = c.add(Permute((0, 2, 1, 3)), c.add(MatMul(), chances, parts[2]))
    made = linear(c, c.add(View(q.shape), joined), proj_weight, proj_bias)
    if not need_weights:
        return made, None
    return made, c.add(Reduce("mean", (1,)), chances) if average_attn_weights else chances


def encoder_layer(
    c: Context, src: Any, embed_dim: Any, num_heads: Any, qkv_weight: Any, qkv_bias: Any, proj_weight: Any,
    proj_bias: Any, use_gelu: Any, norm_first: Any, eps: Any, norm_weight_1: Any, norm_bias_1: Any,
    norm_weight_2: Any, norm_bias_2: Any, ffn_weight_1: Any, ffn_bias_1: Any, ffn_weight_2: Any, ffn_bias_2: Any,
    mask: Any = None, mask_type: Any = None,
) -> Any:  # fmt: skip
    """What an ``nn.TransformerEncoderLayer`` computes at inference, batch first, in one operation."""
    if mask is not None:
        raise c.error("takes a mask, whose rows it leaves out by a way of its own")

    def attended(x: Any) -> Any:
        return multihead(
            c, x, x, x, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, None, need_weights=False
        )[0]

    def fed(x: Any) -> Any:
        hidden = c.add(Activation("gelu" if use_gelu else "relu"), linear(c, x, ffn_weight_1, ffn_bias_1))
        return linear(c, hidden, ffn_weight_2, ffn_bias_2)

    def norm(x: Any, weight: Any, bias: Any) -> Any:
        return layer_norm(c, x, [c.integer(embed_dim, "embed_dim")], weight, bias, eps)

    x = c.value(src)
    if norm_first:
        x = c.add(Binary("add"), x, attended(norm(x, norm_weight_1, norm_bias_1)))
        return c.add(Binary("add"), x, fed(norm(x, norm_weight_2, norm_bias_2)))
    x = norm(c.add(Binary("add"), x, attended(x)), norm_weight_1, norm_bias_1)
    return norm(c.add(Binary("add"), x, fed(x)), norm_weight_2, norm_bias_2)
