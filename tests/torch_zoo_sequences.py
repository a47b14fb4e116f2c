"""Modules over series: forecasters, decompositions, graphs of sensors, mixtures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch_zoo_registry import gru, integers, numbers, register


@register(numbers(3, 5), fast=True)
class Feedback(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.f = nn.GRUCell(5, 8), nn.Linear(8, 5)

    def forward(self, x):
        h, out = torch.zeros(x.size(0), 8), []
        for _ in range(4):
            h = self.c(x, h)
            x = self.f(h)
            out.append(x)
        return torch.stack(out, 1)


@register(numbers(3, 7, 2))
class FeedbackWithGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.dec, self.f = gru(2, 8), gru(2, 8), nn.Linear(8, 2)

    def forward(self, x):
        _, h = self.enc(x)
        y, out = x[:, -1:], []
        for _ in range(4):
            z, h = self.dec(y, h)
            y = y + self.f(z)
            out.append(y)
        return torch.cat(out, dim=1)


@register(numbers(3, 12, 4))
class LSTNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.g, self.s = nn.Conv2d(1, 6, (3, 4)), nn.GRU(6, 5), nn.GRU(6, 3)
        self.f, self.h = nn.Linear(5 + 2 * 3, 4), nn.Linear(3, 1)

    def forward(self, x):
        b = x.size(0)
        c = F.relu(self.c(x.view(-1, 1, 12, 4))).squeeze(3)
        _, r = self.g(c.permute(2, 0, 1).contiguous())
        s = c[:, :, -4 * 2 :].contiguous().view(b, 6, 4, 2).permute(2, 0, 3, 1).contiguous().view(4, b * 2, 6)
        _, s = self.s(s)
        y = self.f(torch.cat((r.squeeze(0), s.view(b, -1)), 1))
        z = self.h(x[:, -3:, :].permute(0, 2, 1).contiguous().view(-1, 3)).view(-1, 4)
        return torch.sigmoid(y + z)


@register(numbers(3, 7, 1), numbers(3, 7, 2), lengths=True, fast=True)
class DeepAR(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.m, self.s = gru(3, 8, 2), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x, covariates):
        scale = x.abs().mean(dim=1, keepdim=True) + 1
        y, _ = self.g(torch.cat([x / scale, covariates], dim=2))
        return self.m(y) * scale, torch.log(1 + torch.exp(self.s(y))) * scale


@register(numbers(3, 7, 5), lengths=True)
class Quantiles(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8), nn.Linear(8, 12)

    def forward(self, x):
        y = self.f(self.g(x)[0][:, -1]).view(-1, 4, 3)
        first, rest = y[:, :, :1], F.softplus(y[:, :, 1:])
        return torch.cat([first, first + torch.cumsum(rest, dim=-1)], -1)


@register(numbers(3, 7, 5), lengths=True, fast=True)
class ReversibleNormalisation(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.b, self.g, self.f = (
            nn.Parameter(torch.ones(5)),
            nn.Parameter(torch.zeros(5)),
            gru(5, 8),
            nn.Linear(8, 15),
        )

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        std = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + 1e-5)
        y = self.f(self.g((x - mean) / std * self.w + self.b)[1][-1]).view(-1, 3, 5)
        return (y - self.b) / (self.w + 1e-10) * std + mean


@register(numbers(3, 12, 2))
class Decomposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.t, self.g, self.f = nn.AvgPool1d(5, stride=1), gru(2, 8), gru(2, 8), nn.Linear(8, 2)

    def forward(self, x):
        front, end = x[:, 0:1].repeat(1, 2, 1), x[:, -1:].repeat(1, 2, 1)
        trend = self.a(torch.cat([front, x, end], dim=1).permute(0, 2, 1)).permute(0, 2, 1)
        return self.f(self.g(x - trend)[0] + self.t(trend)[0])


@register(numbers(3, 7, 8), lengths=True)
class GatedResiduals(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.u, self.n, self.g = (
            nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 16), nn.LayerNorm(8), gru(8, 8),
        )  # fmt: skip

    def forward(self, x):
        y = self.n(x + F.glu(self.u(self.b(F.elu(self.a(x)))), dim=-1))
        w = F.softmax(y, -1)
        return self.n(self.g(w * y)[0] + y)


@register(integers(7, 3, 6, 3), numbers(3, 6), lengths=True, wide=False)
class Calendar(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Embedding(7, 3), nn.Embedding(7, 2)
        self.g, self.f = gru(7, 8), nn.Linear(8, 1)

    def forward(self, days, x):
        parts = [self.a(days[..., 0]), self.b(days[..., 1]), days[..., 2:].float() / 7, x[..., None]]
        return self.f(self.g(torch.cat(parts, -1))[0])[..., 0]


@register(numbers(3, 6, 4), numbers(3, 6, 4) > 0, numbers(3, 6, 4).abs())
class DecayingGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.x, self.h = nn.GRUCell(8, 8), nn.Linear(4, 4), nn.Linear(4, 8)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x, seen, delta):
        h, last = torch.zeros(x.size(0), 8), self.mean.expand(x.size(0), -1)
        for t in range(x.size(1)):
            m, d = seen[:, t].float(), delta[:, t]
            gamma = torch.exp(-F.relu(self.x(d)))
            last = m * x[:, t] + (1 - m) * last
            value = m * x[:, t] + (1 - m) * (gamma * last + (1 - gamma) * self.mean)
            h = self.c(torch.cat([value, m], -1), torch.exp(-F.relu(self.h(d))) * h)
        return h


@register(numbers(3, 6, 4), numbers(3, 6).abs())
class ContinuousTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.f = nn.GRUCell(4, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh())

    def forward(self, x, dt):
        h = torch.zeros(x.shape[0], 8, dtype=x.dtype)
        for t in range(x.shape[1]):
            step = dt[:, t].unsqueeze(-1) / 2
            for _ in range(2):
                h = h + step * self.f(h)
            h = self.c(x[:, t], h)
        return h


@register(numbers(3, 8, 4), lengths=True, fast=True)
class CausalConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.ModuleList(nn.Conv1d(4, 4, 2, dilation=d) for d in (1, 2, 4))
        self.g = gru(4, 8)

    def forward(self, x):
        y = x.transpose(1, 2)
        for c in self.c:
            y = y + F.relu(c(F.pad(y, (c.dilation[0], 0))))
        return self.g(y.transpose(1, 2))[0]


@register(numbers(2, 6, 5, 2))
class TrafficGraph(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("adjacency", torch.rand(5, 5))
        self.w, self.g, self.f = nn.Linear(2, 4), gru(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        b, t, n, _ = x.shape
        y = torch.relu(self.w(torch.einsum("nm,btmf->btnf", self.adjacency, x)))
        _, h = self.g(y.transpose(1, 2).reshape(b * n, t, 4))
        return self.f(h[-1].view(b, n, 8)).transpose(1, 2)


@register(numbers(2, 6, 5, 2))
class AdaptiveGraphCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Parameter(torch.randn(5, 3))
        self.w, self.b = nn.Parameter(torch.randn(3, 2, 6, 8)), nn.Parameter(torch.randn(3, 8))
        self.u, self.c = nn.Parameter(torch.randn(3, 2, 6, 4)), nn.Parameter(torch.randn(3, 4))

    def mix(self, x, w, b):
        graph = F.softmax(F.relu(torch.mm(self.e, self.e.transpose(0, 1))), dim=1)
        supports = torch.stack([torch.eye(5), graph], dim=0)
        weights = torch.einsum("nd,dkio->nkio", self.e, w)
        x = torch.einsum("knm,bmc->bknc", supports, x).permute(0, 2, 1, 3)
        return torch.einsum("bnki,nkio->bno", x, weights) + torch.matmul(self.e, b)

    def forward(self, x):
        h = torch.zeros(x.shape[0], 5, 4)
        for t in range(x.shape[1]):
            z, r = torch.split(torch.sigmoid(self.mix(torch.cat((x[:, t], h), -1), self.w, self.b)), 4, dim=-1)
            new = torch.tanh(self.mix(torch.cat((x[:, t], z * h), dim=-1), self.u, self.c))
            h = r * h + (1 - r) * new
        return h


@register(numbers(3, 7, 5), lengths=True)
class Ensemble(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = nn.ModuleList(gru(5, 8) for _ in range(3)), nn.Linear(8, 2)

    def forward(self, x):
        y = torch.stack([self.f(g(x)[0]) for g in self.g])
        return y.mean(0), y.std(0), y.median(0).values


@register(numbers(3, 7, 5), lengths=True)
class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.r = gru(5, 8), nn.Linear(8, 3)
        self.w, self.b = nn.Parameter(torch.randn(3, 8, 4)), nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        y = self.g(x)[0]
        gates = F.softmax(self.r(y), dim=-1)
        experts = torch.einsum("bth,ehd->bted", y, self.w) + self.b
        return (gates.unsqueeze(-1) * experts).sum(dim=-2)


@register(numbers(3, 12, 2))
class Resolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.f = gru(2, 4), gru(2, 4), gru(2, 4), nn.Linear(12, 2)

    def forward(self, x):
        slow = F.avg_pool1d(x.transpose(1, 2), 4).transpose(1, 2)
        return self.f(torch.cat([g(y)[1][-1] for g, y in ((self.a, x), (self.b, x[:, ::2]), (self.c, slow))], -1))


@register(numbers(3, 7, 2), lengths=True)
class Differences(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = gru(6, 8)

    def forward(self, x):
        moves = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        return self.g(torch.cat([x, moves, x.cumsum(1)], -1))[0]


@register(numbers(3, 7, 2), wide=False)
class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.p = gru(8, 8), nn.Embedding(32, 3)

    def forward(self, x):
        places = torch.arange(x.size(1), device=x.device)
        phase = (places.float() / x.size(1)).view(1, -1, 1).expand(x.size(0), -1, -1)
        waves = torch.cat([torch.sin(2 * torch.pi * phase), torch.cos(2 * torch.pi * phase)], -1)
        return self.g(torch.cat([x, self.p(places).unsqueeze(0).expand(x.size(0), -1, -1), waves, phase], -1))[0]


@register(numbers(3, 7, 8), lengths=True, fast=True)
class SinusoidalPositions(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.a, self.n = gru(8, 8), nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        place = torch.arange(50).unsqueeze(1)
        rate = torch.exp(torch.arange(0, 8, 2) * (-9.2 / 8))
        table = torch.zeros(1, 50, 8)
        table[0, :, 0::2], table[0, :, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
        self.register_buffer("table", table)

    def forward(self, x):
        x = x + self.table[:, : x.size(1)]
        return self.n(x + self.a(x, x, x, need_weights=False)[0] + self.g(x)[0])


@register(numbers(3, 7, 8), lengths=True)
class TransformerAndGRU(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.t, self.g = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), gru(8, 8)

    def forward(self, x):
        return self.g(self.t(x))[0]


@register(numbers(3, 7, 5), lengths=True)
class ResidualStack(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.n = nn.ModuleList(gru(5, 5) for _ in range(3)), nn.ModuleList(nn.LayerNorm(5) for _ in range(3))

    def forward(self, x):
        for g, n in zip(self.g, self.n, strict=True):
            x = x + g(n(x))[0]
        return x


@register(numbers(3, 5, 9), fast=True)
class StridedConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.n, self.g = nn.Conv1d(5, 6, 3, stride=2), nn.GroupNorm(2, 6), gru(6, 8)

    def forward(self, x):
        return self.g(F.gelu(self.n(self.c(x))).transpose(1, 2))[0]


@register(numbers(6, 5))
class Unbatched(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        y, h = self.g(x)
        return self.f(y), h


@register(numbers(3, 7, 5), lengths=True)
class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8, bias=False), nn.Linear(8, 3)

    def forward(self, x):
        with torch.no_grad():
            y, h = self.g(x)
        return {"all": [y, (self.f(y), h)], "none": None}


@register(numbers(3, 7, 5), lengths=True)
class ReversedTwin(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = gru(5, 8), gru(5, 8)

    def forward(self, x):
        return torch.cat([self.a(x)[0], self.b(x.flip(1))[0].flip(1)], -1)


@register(numbers(3, 7, 5), lengths=True)
class SharedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(8, 8), nn.Linear(5, 8)

    def forward(self, x):
        y, h = self.g(self.f(x))
        return self.g(y, h)[0]


@register(numbers(3, 7, 5), lengths=True)
class WeightNormalised(nn.Module):
    def __init__(self):
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.c, self.g, self.f = norm(nn.Conv1d(5, 6, 3, padding=1)), gru(6, 8), norm(nn.Linear(8, 2))

    def forward(self, x):
        return self.f(self.g(self.c(x.transpose(1, 2)).transpose(1, 2))[0])
