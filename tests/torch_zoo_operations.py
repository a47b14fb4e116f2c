"""Every operation that the graph has a word for, behind a GRU or before one."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_zoo_registry import after, around, gru, integers, numbers, register

# On every element.

after(
    "Exponents",
    lambda y: (y.exp() + torch.expm1(y) + 2**y + 1).log1p() + (y.abs() + 0.1).log() + torch.log2(y**2 + 1),
    lengths=True,
)
after("Roots", lambda y: y.abs().sqrt() + torch.rsqrt(y.square() + 1) + y.pow(3) + (y + 2).reciprocal(), lengths=True)
after(
    "Trigonometry", lambda y: torch.sin(y) + torch.cos(2 * y) + torch.tan(y / 2) + torch.atan2(y, y + 2), lengths=True
)
after(
    "MoreTrigonometry", lambda y: torch.atan(y) + torch.sinh(y) + torch.cosh(y) + torch.asin(y / 2) + torch.acos(y / 2)
)
after("Errors", lambda y: torch.erf(y) + torch.special.expit(y) + torch.erfc(y), lengths=True)
after(
    "Rounding", lambda y: (y * 4).round() + (y * 3).floor() + torch.ceil(y) + y.trunc() + y.sign() + torch.frac(y * 5)
)
after(
    "Bounds", lambda y: y.clamp(min=-0.1) + y.clamp(max=0.1) + torch.clip(y, -0.2, 0.2) + y.clamp_min(0), lengths=True
)
after(
    "Chosen", lambda y: torch.where(y > 0, y.exp(), -y.abs().sqrt()).masked_fill(y.eq(0) | (y < -0.5), 3.0), fast=True
)
after(
    "Comparisons",
    lambda y: ((y >= 0.1) & ~(y <= -0.1) ^ (y != 0)).sum(-1) + torch.logical_or(y > 1, y < 0).float().mean(-1),
)
after("Division", lambda y: (y / 3) // 0.05 + y % 0.3 + torch.fmod(y, 0.2) + torch.div(y, 0.1, rounding_mode="trunc"))
after("Extremes", lambda y: torch.maximum(y, y.flip(-1)) + torch.minimum(y, -y) + torch.max(y, y * 2), lengths=True)
after(
    "Blended",
    lambda y: torch.lerp(y, y * 2, 0.3) + torch.addcmul(y, y, y, value=0.5) + torch.addcdiv(y, y, y + 3),
    lengths=True,
)
after("NotNumbers", lambda y: torch.nan_to_num(y / 0 * 0) + torch.isnan(y).float() + torch.isfinite(y / 0).float())
after(
    "Types", lambda y: y.int().float() + (y > 0).long() + y.double().float() + y.to(torch.int32) + y.bool(), wide=False
)
after("InPlace", lambda y: y.clone().mul_(2).add_(1).relu_().sub_(0.5, alpha=2).clamp_(-1, 1), lengths=True)
after("Activations", lambda y: sum(f(y) for f in (
    torch.relu, torch.tanh, torch.sigmoid, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.softplus, F.softsign,
    F.leaky_relu, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.logsigmoid, F.tanhshrink, F.softshrink,
    F.hardshrink,
)), lengths=True, fast=True)  # fmt: skip
around("ActivationModules", lambda: nn.Sequential(
    nn.PReLU(), nn.PReLU(6), nn.GELU(approximate="tanh"), nn.Threshold(0.1, 0.2), nn.LeakyReLU(0.3), nn.Softplus(2, 10),
    nn.ELU(0.5), nn.RReLU(), nn.Softmin(-1), nn.GLU(-1),
), lengths=None)  # fmt: skip

# Along axes.

after(
    "Sums",
    lambda y: torch.cat([y.sum(1), y.mean(dim=1), y.sum((1, 2), keepdim=True)[:, 0], y.prod(1)], -1),
    lengths=True,
)
after("Spreads", lambda y: torch.cat([y.std(1), y.var(1, unbiased=False), torch.var(y, 2), y.std((1, 2))[:, None]], -1))
after("Means", lambda y: torch.std_mean(y, dim=-1)[0] + torch.var_mean(y, dim=-1)[1], lengths=True)
after(
    "Norms",
    lambda y: torch.cat([y.norm(dim=1), y.norm(p=1, dim=1), torch.linalg.norm(y, dim=1), y.norm(float("inf"), 1)], -1),
    lengths=True,
)
after("Largest", lambda y: (y.max(1), y.min(-1), y.amax((1, 2)), y.amin(1, keepdim=True)), lengths=True, fast=True)
after("Places", lambda y: (y.argmax(1), y.argmin(-1), y.max(dim=-1).indices, y.argmax(-1, keepdim=True)), lengths=True)
after("Top", lambda y: (y.topk(2, 1), y.topk(3, -1, largest=False), y.sort(-1)[0], y.argsort(-1, descending=True)))
after("Cumulative", lambda y: torch.cat([y.cumsum(1), y.cumsum(-1), y.cumprod(-1), y.flip(1).cumsum(1)], -1))
after(
    "Softmaxes", lambda y: (y.softmax(1), y.softmax(-1), F.log_softmax(y, 1), F.softmin(y, -1)), lengths=True, fast=True
)
after(
    "LogSums",
    lambda y: (torch.logsumexp(y, 1), y.logsumexp(-1, keepdim=True), torch.logsumexp(y, (1, 2))),
    lengths=True,
)
after("Truths", lambda y: ((y > 0).any(-1), (y > -1).all(), (y > 0).all(1), (y > 0).sum(), y.count_nonzero(-1)))
after("WholeSums", lambda y: (y.sum(), y.mean(), y.max(), y.std(), y.norm(), y.argmax()))
after("Medians", lambda y: (y.median(-1).values, torch.quantile(y, 0.5, dim=-1), y.kthvalue(2, -1).values))

# Shapes.

after(
    "Views",
    lambda y: y.contiguous().view(-1, 8).view(y.size(0), y.size(1), 2, 4).flatten(2).reshape(y.shape[0], -1, 4),
    fast=True,
)
after("Transposed", lambda y: y.permute(2, 0, 1).transpose(0, 1).movedim(1, 2).mT.swapaxes(0, 1), lengths=True)
after(
    "Expanded", lambda y: y[:, None].expand(-1, 3, -1, -1) + y.new_ones(1, 3, 1, 1).expand(y.size(0), 3, y.size(1), 8)
)
after("Repeated", lambda y: torch.cat([y.repeat(1, 1, 2), y.repeat(1, 2, 1)[:, : y.size(1)].tile(2)], -1))
after("RepeatedRows", lambda y: torch.cat([y.repeat_interleave(2, 0), y.repeat(2, 1, 1)], -1))
after("Joined", lambda y: torch.hstack([torch.stack([y, y * 2], 2).flatten(1, 2), torch.cat([y, y], 1)]))
after(
    "Split",
    lambda y: [*y.split([3, 5], -1), *y.chunk(3, -1), *torch.tensor_split(y, 3, -1), *y.unbind(-1)[:2]],
    lengths=True,
)
after(
    "Squeezed",
    lambda y: y.unsqueeze(0).unsqueeze(-1).squeeze(-1).squeeze(0).mean(-1, keepdim=True).squeeze(-1),
    lengths=True,
)
after("Unflattened", lambda y: y.unflatten(-1, (2, -1)).sum(-1).flatten(1), lengths=None)
after("HalvedSteps", lambda y: y[:, : y.size(1) // 2 * 2].reshape(y.size(0), -1, 16))
after("Flipped", lambda y: torch.cat([y.flip(1), y.flip(-1), y.flip([1, 2])], -1), lengths=True)
after("Rolled", lambda y: torch.cat([y.roll(1, 1), torch.roll(y, -2, -1), torch.roll(y, (1, 2), (1, 2))], -1))

# Parts.

after(
    "Slices",
    lambda y: torch.cat([y[:, 1:-1, ::2], y[:, 2:, 1::2], y[:, :-2, 4:], y[:, 1:-1, [0, 3]]], -1),
    lengths=True,
)
after("EverySecond", lambda y: (y[:, ::2], y[:, 1::2, :3], y[:, -3:], y[..., None, 0]))
after("Indexed", lambda y: (y[:, [0, 2]], y[:, :, torch.tensor([1, 1, 7])], y[:, 0, 3], y[:, -2], y[0]), fast=True)
after(
    "Selected",
    lambda y: (
        y.index_select(-1, torch.tensor([3, 0])),
        y.select(1, 0),
        y.narrow(2, 1, 3),
        y.take_along_dim(y.argmax(-1, True), -1),
    ),
)
after("Gathered", lambda y: y.gather(1, y.argmax(1, keepdim=True)), lengths=True)
after("Windows", lambda y: (y.unfold(1, 3, 1).sum(-1), y.unfold(2, 2, 2)), lengths=True)
after("Triangles", lambda y: (y @ y.mT).tril() + (y @ y.mT).triu(1) * 2 + torch.eye(8)[0, 0])
after("Padded", lambda y: F.pad(y, (1, 2, 3, 0), value=0.5), lengths=True)
after("Reflected", lambda y: F.pad(y.transpose(1, 2), (2, 1), mode="reflect"))
after("Replicated", lambda y: F.pad(y.transpose(1, 2), (2, 3), mode="replicate"))
after("Wrapped", lambda y: F.pad(y.transpose(1, 2), (1, 2), mode="circular"))
after("Cropped", lambda y: F.pad(y, (0, -2, 0, -1)), lengths=True)
after("Diagonals", lambda y: torch.diagonal(y[:, :, None] * y[..., None], dim1=-2, dim2=-1))
around(
    "PadModules",
    lambda: nn.Sequential(nn.ConstantPad1d(1, 0.5), nn.ReflectionPad1d(1), nn.ReplicationPad1d((1, 0))),
    channels_first=True,
)

# Made of sizes and integers.

after("Counted", lambda y: y * torch.arange(y.size(1)).view(1, -1, 1) + torch.arange(8.0) / 8, lengths=True)
after(
    "Fulls",
    lambda y: y + torch.full((8,), 0.5) + torch.zeros_like(y) + y.new_full((y.size(0), 1, 8), 2.0) + torch.ones(8),
)
after("OneHots", lambda y: F.one_hot(y.argmax(-1), 8).float() @ torch.linspace(0, 1, 8), lengths=True)
after(
    "CausalScores",
    lambda y: (y @ y.mT).masked_fill(torch.triu(torch.ones(y.size(1), y.size(1)), 1).bool(), -1e9).softmax(-1) @ y,
    lengths=True,
)

# Products.

after("Products", lambda y: torch.bmm(y, y.transpose(1, 2)) @ y, lengths=True, fast=True)
after(
    "Sums2",
    lambda y: (
        torch.einsum("bth,bsh->bts", y, y) + torch.einsum("bth->bt", y)[..., None] + torch.baddbmm(y @ y.mT, y, y.mT)
    ),
)
after("Outer", lambda y: torch.einsum("bti,btj->btij", y, y).flatten(2), lengths=True)
after("Attention", lambda y: F.scaled_dot_product_attention(y, y, y), lengths=True, fast=True)
after("CausalAttention", lambda y: F.scaled_dot_product_attention(y, y * 2, y, is_causal=True), lengths=True)
after(
    "Heads",
    lambda y: (
        F.scaled_dot_product_attention(*[y.view(y.size(0), -1, 2, 4).transpose(1, 2)] * 3, scale=0.3)
        .transpose(1, 2)
        .flatten(2)
    ),
    lengths=True,
)


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.b = nn.Bilinear(8, 8, 3)

    def forward(self, y):
        return self.b(y, y.flip(-1))


around("BilinearForm", Bilinear, lengths=True)
around("Transformer", lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), lengths=True)

# Convolutions, pooling, normalisation.

around(
    "Convolution",
    lambda: nn.Conv1d(8, 6, 3, padding=2, dilation=2, groups=2),
    channels_first=True,
    lengths=True,
    fast=True,
)
around("SameConvolution", lambda: nn.Conv1d(8, 6, 4, padding="same"), channels_first=True, lengths=True)
around("CircularConvolution", lambda: nn.Conv1d(8, 6, 3, padding=1, padding_mode="circular"), channels_first=True)
around("ReplicatedConvolution", lambda: nn.Conv1d(8, 6, 3, padding=1, padding_mode="replicate"), channels_first=True)
around("StridedConvolution", lambda: nn.Conv1d(8, 6, 3, stride=2, bias=False), channels_first=True, lengths=True)
around("Transposed1d", lambda: nn.ConvTranspose1d(8, 6, 4, 2, padding=1), channels_first=True, lengths=None)
around("Transposed1dGroups", lambda: nn.ConvTranspose1d(8, 6, 3, 2, 1, output_padding=1, groups=2), channels_first=True)
around("MaximumPooling", lambda: nn.MaxPool1d(3, 2, 1), channels_first=True, lengths=True)
around("AveragePooling", lambda: nn.AvgPool1d(2, ceil_mode=True), channels_first=True)
around("AveragePadded", lambda: nn.AvgPool1d(3, 1, 1, count_include_pad=False), channels_first=True)
around(
    "AdaptivePooling",
    lambda: nn.Sequential(nn.AdaptiveAvgPool1d(3), nn.AdaptiveMaxPool1d(1), nn.Flatten()),
    channels_first=True,
)
around("PowerPooling", lambda: nn.LPPool1d(2, 2), channels_first=True)
around("BatchNormalised", lambda: nn.Sequential(nn.BatchNorm1d(8), nn.ReLU()), channels_first=True, lengths=True)
around(
    "LayerNormalised", lambda: nn.Sequential(nn.LayerNorm(8), nn.LayerNorm(8, elementwise_affine=False)), lengths=True
)
around("GroupNormalised", lambda: nn.GroupNorm(4, 8), channels_first=True, lengths=True)
around("InstanceNormalised", lambda: nn.InstanceNorm1d(8, affine=True), channels_first=True, lengths=True)
around("RootMeanSquare", lambda: nn.RMSNorm(8, eps=1e-6), lengths=True)
around("LocalResponse", lambda: nn.LocalResponseNorm(2), channels_first=True)
around("Interpolated", lambda: nn.Upsample(scale_factor=3, mode="nearest"), channels_first=True)
around("LinearlyInterpolated", lambda: nn.Upsample(scale_factor=2, mode="linear"), channels_first=True)
around(
    "Dropped",
    lambda: nn.Sequential(nn.Dropout(0.5), nn.Dropout1d(0.2), nn.AlphaDropout(0.1), nn.Identity()),
    lengths=True,
)


def _alike(made):
    """``seen`` has a truth for every integer of x."""
    made["seen"] = np.resize(made["seen"], made["x"].shape)


@register(numbers(2, 4, 8, 10))
class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(4, 8, 3, (1, 2), 1, dilation=(1, 1), groups=2)
        self.n, self.i, self.m = nn.BatchNorm2d(8), nn.InstanceNorm2d(8), nn.MaxPool2d((2, 1))
        self.u, self.p, self.g = nn.ConvTranspose2d(8, 4, 2, 2), nn.AvgPool2d(2), gru(16, 8)

    def forward(self, x):
        y = self.p(self.u(self.m(self.i(self.n(self.c(x))))))
        return self.g(y.permute(0, 3, 1, 2).flatten(2))[0]


@register(numbers(2, 4, 8, 6))
class Shuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.p, self.z, self.g = nn.PixelShuffle(2), nn.ZeroPad2d((0, 1, 1, 0)), gru(17, 8)

    def forward(self, x):
        y = F.softmax(self.z(self.p(x)), dim=2)
        return self.g(y.squeeze(1).transpose(1, 2))[0]


# Recurrent.


@register(numbers(3, 6, 5), lengths=True, fast=True)
class LearnedState(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.h = gru(5, 8, 2, bidirectional=True), nn.Parameter(torch.randn(4, 1, 8))

    def forward(self, x):
        return self.g(x, self.h.expand(-1, x.size(0), -1).contiguous())


@register(numbers(3, 6, 5), numbers(3, 4), lengths=True)
class ConditionedState(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.h = gru(5, 8, 2), nn.Linear(4, 16)

    def forward(self, x, condition):
        h = torch.tanh(self.h(condition)).view(-1, 2, 8).permute(1, 0, 2).contiguous()
        return self.g(x, h)


@register(numbers(3, 6, 5), fast=True)
class CellLoop(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.GRUCell(5, 8)

    def forward(self, x):
        h, out = x.new_zeros(x.size(0), 8), []
        for t in range(x.size(1)):
            h = self.c(x[:, t], h)
            out.append(h)
        return torch.stack(out, 1)


@register(numbers(6, 3, 5))
class StackedCells(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.ModuleList([nn.GRUCell(5, 8), nn.GRUCell(8, 8, bias=False)])

    def forward(self, x):
        states, out = [None, None], []
        for step in x:
            for i, c in enumerate(self.c):
                states[i] = step = c(step, states[i])
            out.append(step)
        return torch.stack(out), torch.stack(states)


@register(numbers(3, 5), numbers(3, 8), fast=True)
class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.f = nn.GRUCell(5, 8), nn.Linear(8, 2)

    def forward(self, x, h):
        h = self.c(x, h)
        return self.f(h), h


@register(integers(9, 3, 6), numbers(3, 6) > 0, fit=_alike)
class Scattered(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g = nn.Embedding(9, 5, padding_idx=0), gru(5, 8)

    def forward(self, x, seen):
        y = self.g(self.e(x))[0]
        counts = torch.zeros(x.size(0), 9).scatter_add(1, x, seen.float())
        marks = torch.zeros(x.size(0), 9).scatter(1, x[:, :1], 1.0)
        changed = y.clone()
        changed[:, 0] = 0
        changed[:, 1:, 2:4] = changed[:, 1:, 2:4] * 2
        changed[..., -1] += 1
        return counts, marks, changed
