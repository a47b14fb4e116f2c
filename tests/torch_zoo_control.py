"""Modules that act: recurrent policies and values, with the states and resets of their loops."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch_zoo_registry import gru, integers, numbers, register

STARTS = numbers(3, 6) > 0.5


@register(numbers(3, 6, 5), numbers(1, 3, 8), lengths=True, fast=True)
class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.b, self.g = nn.Sequential(nn.Linear(5, 6), nn.Tanh()), gru(6, 8)
        self.p, self.v = nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, x, h):
        y, h = self.g(self.b(x), h)
        return {"logits": self.p(y), "value": self.v(y).squeeze(-1), "state": h}


@register(numbers(3, 6, 5), STARTS, fast=True)
class ResetMasks(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.GRUCell(5, 8)

    def forward(self, x, starts):
        h, out = torch.zeros(x.size(0), 8), []
        for t in range(x.size(1)):
            h = self.c(x[:, t], h * (~starts[:, t]).float().unsqueeze(1))
            out.append(h)
        return torch.stack(out, 1), h


@register(numbers(6, 3, 5), numbers(1, 3, 8), (numbers(6, 3) > 0).float())
class ResetsWithGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.p = nn.GRU(5, 8), nn.Linear(8, 4)

    def forward(self, x, h, masks):
        out = []
        for t in range(x.size(0)):
            y, h = self.g(x[t].unsqueeze(0), h * masks[t].view(1, -1, 1))
            out.append(y)
        return self.p(torch.cat(out, dim=0)), h


@register(numbers(3, 5), numbers(3, 8), (numbers(3) > 0).float())
class PolicyStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.p, self.v = nn.GRUCell(5, 8), nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, x, h, alive):
        h = self.c(x, h * alive[:, None])
        logits = self.p(h)
        return logits - logits.logsumexp(-1, keepdim=True), self.v(h)[:, 0], h


@register(numbers(3, 6, 5), lengths=True)
class Dueling(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.v, self.a = gru(5, 8), nn.Linear(8, 1), nn.Linear(8, 4)

    def forward(self, x):
        y, h = self.g(x)
        v, a = self.v(y), self.a(y)
        q = v + a - a.mean(dim=-1, keepdim=True)
        return q, q.max(-1)[1], h


@register(numbers(3, 6, 5), lengths=True)
class GaussianPolicy(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.m, self.s = gru(5, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.log_std = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        y = self.g(x)[0]
        mean, std = torch.tanh(self.m(y)) * 2.0, torch.clamp(self.s(y), -20, 2).exp()
        return mean, std, self.log_std.exp().expand_as(mean), F.softplus(self.s(y)) + 0.1


@register(numbers(3, 6, 5), integers(4, 3, 6), lengths=True)
class LogProbabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.p = gru(5, 8), nn.Linear(8, 4)

    def forward(self, x, actions):
        logits = F.log_softmax(self.p(self.g(x)[0]), -1)
        entropy = -(logits.exp() * logits).sum(-1)
        return logits.gather(-1, actions.unsqueeze(-1)).squeeze(-1), entropy


@register(numbers(3, 6, 5), integers(4, 3, 6), numbers(3, 6), lengths=True)
class PreviousAction(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.p = gru(10, 8), nn.Linear(8, 4)

    def forward(self, x, actions, rewards):
        past = F.one_hot(actions, num_classes=4).to(x.dtype)
        return self.p(self.g(torch.cat([x, past, rewards.unsqueeze(-1).clamp(-1, 1)], dim=-1))[0])


@register(numbers(2, 3, 5), numbers(2, 3, 8), numbers(2, 6))
class MixedAgents(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.q = nn.GRUCell(5, 8), nn.Linear(8, 4)
        self.w1, self.b1, self.w2, self.b2 = nn.Linear(6, 12), nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 1)

    def forward(self, x, h, state):
        b, n, _ = x.shape
        h = self.c(x.reshape(b * n, -1), h.reshape(b * n, -1))
        q = self.q(h).view(b, n, -1).max(dim=2)[0].view(-1, 1, n)
        w1 = torch.abs(self.w1(state)).view(-1, n, 4)
        hidden = F.elu(torch.bmm(q, w1) + self.b1(state).view(-1, 1, 4))
        total = torch.bmm(hidden, torch.abs(self.w2(state)).view(-1, 4, 1)) + self.b2(state).view(-1, 1, 1)
        return total.view(b, -1), h.view(b, n, -1)


@register(numbers(2, 6, 3, 12, 12))
class FramesPolicy(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.d, self.g = nn.Conv2d(3, 4, 4, stride=2), nn.Conv2d(4, 6, 3), gru(54, 8)
        self.p = nn.Linear(8, 4)

    def forward(self, x):
        b, t = x.shape[:2]
        y = F.relu(self.d(F.relu(self.c(x.flatten(0, 1)))))
        y, h = self.g(y.flatten(start_dim=1).unflatten(0, (b, t)))
        return self.p(y), h


@register(numbers(3, 6), numbers(3, 4), numbers(3, 8))
class WorldModelStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.i, self.c, self.n = nn.Linear(10, 8), nn.GRUCell(8, 8), nn.LayerNorm(8)
        self.prior = nn.Linear(8, 8)

    def forward(self, z, action, h):
        h = self.c(F.elu(self.n(self.i(torch.cat([z, action], -1)))), h)
        mean, std = torch.chunk(self.prior(h), 2, dim=-1)
        std = F.softplus(std) + 0.1
        return mean, std, torch.cat([h, mean], -1), h


@register(numbers(3, 5), numbers(3, 8))
class NormalisedCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.n = nn.Linear(13, 24, bias=False), nn.LayerNorm(24)

    def forward(self, x, h):
        parts = self.n(self.f(torch.cat([x, h], -1)))
        reset, new, update = torch.chunk(parts, 3, -1)
        new = torch.tanh(torch.sigmoid(reset) * new)
        update = torch.sigmoid(update - 1)
        return update * new + (1 - update) * h


@register(numbers(2, 6, 4, 5), (numbers(2, 6, 4) > -0.5))
class Entities(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.g = nn.Parameter(torch.randn(8)), nn.Linear(5, 8), gru(8, 8)

    def forward(self, x, seen):
        k = torch.relu(self.k(x))
        scores = (k * self.q).sum(-1) / 8**0.5
        w = torch.softmax(torch.where(seen, scores, torch.full_like(scores, -1e9)), dim=-1)
        return self.g(torch.einsum("bte,bteh->bth", w, k))[0]


@register(numbers(3, 6, 5))
class HandWritten(nn.Module):
    def __init__(self):
        super().__init__()
        self.x, self.h = nn.Linear(5, 24), nn.Linear(8, 24)

    def forward(self, x):
        given, h, out = self.x(x), x.new_zeros(x.shape[0], 8), []
        for each in given.unbind(1):
            r, z, n = each.chunk(3, -1)
            rh, zh, nh = self.h(h).chunk(3, -1)
            z = (z + zh).sigmoid()
            h = (1 - z) * (n + (r + rh).sigmoid() * nh).tanh() + z * h
            out.append(h)
        return torch.stack(out, dim=1)


@register(numbers(2, 5, 2, 6, 6))
class ConvolutionalCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.c = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x):
        h = torch.zeros(x.size(0), 4, x.size(3), x.size(4))
        for t in range(x.size(1)):
            r, z = torch.sigmoid(self.g(torch.cat([x[:, t], h], 1))).split(4, 1)
            h = (1 - z) * h + z * torch.tanh(self.c(torch.cat([x[:, t], r * h], 1)))
        return h


@register(numbers(3, 6, 5), numbers(3, 8), fast=True)
class FlatState(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.p = gru(5, 4, 2), nn.Linear(4, 3)

    def forward(self, x, state):
        y, h = self.g(x, state.view(-1, 2, 4).transpose(0, 1).contiguous())
        return self.p(y), h.transpose(0, 1).flatten(1)


@register(numbers(3, 1, 5), numbers(2, 3, 8))
class StreamStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.p = gru(5, 8, 2), nn.Linear(8, 3)

    def forward(self, x, h):
        y, h = self.g(x, h)
        return self.p(y[:, 0]).softmax(-1), h


@register(numbers(3, 6, 5), numbers(3, 1) > 0)
class ConditionalState(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.h = gru(5, 8), nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x, keep):
        h = self.h.repeat(1, x.size(0), 1) * keep.float()
        y, h = self.g(x, h)
        return torch.logical_and(y > 0, keep.unsqueeze(1)).any(-1), (y.abs() <= 1).all(), h


@register(numbers(3, 6, 5), lengths=True)
class DistributionalValue(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8), nn.Linear(8, 12)
        self.register_buffer("support", torch.linspace(-1, 1, 4))

    def forward(self, x):
        p = self.f(self.g(x)[0]).unflatten(-1, (3, 4)).softmax(-1)
        q = torch.sum(p * self.support, dim=3)
        return q, q.argmax(2)
