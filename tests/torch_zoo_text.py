"""Modules over words: classifiers, taggers, sequence to sequence, recommenders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch_zoo_registry import gru, integers, numbers, register

LENGTHS = torch.tensor([6, 3, 4])
WORDS = integers(20, 3, 6)
TARGETS = integers(20, 3, 4)


def within(**steps):
    """Integers that are lengths: between 1 and the steps of another input."""

    def fit(inputs):
        for name, (other, axis) in steps.items():
            inputs[name] %= inputs[other].shape[axis]
            inputs[name] += 1

    return fit


FITS = within(n=("x", 1))


@register(numbers(3, 6, 5), lengths=True, fast=True)
class LastStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8, 2), nn.Linear(8, 3)

    def forward(self, x):
        return self.f(self.g(x)[0][:, -1])


@register(numbers(3, 6, 5), lengths=True, fast=True)
class BothEnds(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8, 2, bidirectional=True), nn.Linear(16, 3)

    def forward(self, x):
        _, h = self.g(x)
        return self.f(torch.cat([h[-2], h[-1]], 1))


@register(numbers(6, 3, 5), lengths=True)
class StepsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = nn.GRU(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        y, h = self.g(x)
        return self.f(y), h


@register(WORDS, lengths=True, fast=True)
class AttentionClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g = nn.Embedding(20, 6), gru(6, 8, bidirectional=True)
        self.a, self.f = nn.Linear(16, 1), nn.Linear(16, 2)

    def forward(self, x):
        y, _ = self.g(self.e(x))
        w = torch.softmax(self.a(y).squeeze(-1), 1)
        return self.f((w.unsqueeze(-1) * y).sum(1))


@register(numbers(3, 6, 5), lengths=True)
class PooledClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8, bidirectional=True), nn.Linear(48, 3)

    def forward(self, x):
        y, h = self.g(x)
        return self.f(torch.cat([y.mean(1), y.max(1)[0], h.transpose(0, 1).reshape(x.size(0), -1)], 1))


@register(WORDS, lengths=True, fast=True)
class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.d = nn.Embedding(20, 6, padding_idx=0), nn.Dropout(0.3)
        self.g, self.f = gru(6, 8, 2, bidirectional=True, dropout=0.2), nn.Linear(16, 5)

    def forward(self, x):
        return F.log_softmax(self.f(self.d(self.g(self.d(self.e(x)))[0])), dim=2)


@register(WORDS, integers(15, 3, 6, 4), lengths=True, fast=True)
class CharacterTagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.c = nn.Embedding(20, 6), nn.Embedding(15, 3)
        self.cg, self.g, self.f = gru(3, 4, bidirectional=True), gru(14, 8, bidirectional=True), nn.Linear(16, 5)

    def forward(self, x, chars):
        b, t, n = chars.shape
        _, h = self.cg(self.c(chars.view(b * t, n)))
        words = torch.cat([h[0], h[1]], -1).view(b, t, -1)
        return self.f(self.g(torch.cat([self.w(x), words], -1))[0])


@register(integers(15, 3, 6, 7), lengths=True)
class CharacterConvolutionTagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.k, self.g = nn.Embedding(15, 3), nn.Conv1d(3, 6, 3, padding=1), gru(6, 8)

    def forward(self, chars):
        b, t, n = chars.size()
        y = self.k(self.c(chars.reshape(-1, n)).permute(0, 2, 1))
        return self.g(F.relu(y).max(dim=-1)[0].reshape(b, t, -1))[0]


@register(WORDS, LENGTHS, fit=FITS, fast=True)
class MaskedMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g, self.f = nn.Embedding(20, 6), gru(6, 8), nn.Linear(8, 2)

    def forward(self, x, n):
        y, _ = self.g(self.e(x))
        mask = (torch.arange(x.size(1), device=x.device)[None] < n[:, None]).unsqueeze(-1).float()
        return self.f((y * mask).sum(1) / mask.sum(1).clamp(min=1))


@register(numbers(3, 6, 5), LENGTHS, fit=FITS, fast=True)
class LastOfLengths(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = gru(5, 8)

    def forward(self, x, n):
        y, _ = self.g(x)
        return y[torch.arange(x.size(0)), n - 1]


@register(numbers(3, 6, 5), LENGTHS, fit=FITS)
class GatheredLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = gru(5, 8)

    def forward(self, x, n):
        y, _ = self.g(x)
        return y.gather(1, (n - 1).view(-1, 1, 1).expand(-1, 1, y.size(2))).squeeze(1)


@register(integers(20, 2, 4, 6))
class HierarchicalAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.w, self.s = nn.Embedding(20, 6), gru(6, 4, bidirectional=True), gru(8, 4, bidirectional=True)
        self.p, self.u, self.f = nn.Linear(8, 8), nn.Linear(8, 1, bias=False), nn.Linear(8, 3)

    def attend(self, y):
        return (F.softmax(self.u(torch.tanh(self.p(y))), dim=1) * y).sum(dim=1)

    def forward(self, x):
        b, s, w = x.shape
        words, _ = self.w(self.e(x.view(b * s, w)))
        y, _ = self.s(self.attend(words).view(b, s, -1))
        return self.f(self.attend(y))


@register(numbers(3, 6, 5), lengths=True)
class StructuredSelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.a, self.b = (
            gru(5, 8, bidirectional=True),
            nn.Linear(16, 7, bias=False),
            nn.Linear(7, 3, bias=False),
        )
        self.f = nn.Linear(48, 2)

    def forward(self, x):
        y, _ = self.g(x)
        w = F.softmax(self.b(torch.tanh(self.a(y))).transpose(1, 2), dim=-1)
        m = torch.bmm(w, y)
        return self.f(m.view(m.size(0), -1)), w


@register(WORDS, integers(20, 3, 5), fast=True)
class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g = nn.Embedding(20, 6), gru(6, 8)

    def encode(self, x):
        return self.g(self.e(x))[1].squeeze(0)

    def forward(self, a, b):
        return F.cosine_similarity(self.encode(a), self.encode(b))


@register(WORDS, integers(20, 3, 5))
class Manhattan(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g = nn.Embedding(20, 6), gru(6, 8)

    def forward(self, a, b):
        one, two = (self.g(self.e(each))[1][-1] for each in (a, b))
        return torch.exp(-torch.sum(torch.abs(one - two), dim=1))


@register(WORDS, integers(20, 3, 5), lengths=True)
class Inference(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g, self.h = nn.Embedding(20, 6), gru(6, 4, bidirectional=True), gru(8, 4, bidirectional=True)
        self.p, self.f = nn.Linear(32, 8), nn.Linear(32, 3)

    def forward(self, a, b):
        one, two = self.g(self.e(a))[0], self.g(self.e(b))[0]
        scores = torch.matmul(one, two.transpose(1, 2))
        left = torch.matmul(F.softmax(scores, -1), two)
        right = torch.matmul(F.softmax(scores.transpose(1, 2), -1), one)
        pooled = []
        for own, other in ((one, left), (two, right)):
            y, _ = self.h(F.relu(self.p(torch.cat([own, other, own - other, own * other], -1))))
            pooled += [y.mean(dim=1), y.max(dim=1).values]
        return self.f(torch.cat(pooled, -1))


@register(WORDS, lengths=True)
class IntentAndSlots(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g, self.i, self.s = nn.Embedding(20, 6), gru(6, 8), nn.Linear(8, 3), nn.Linear(16, 5)

    def forward(self, x):
        y, h = self.g(self.e(x))
        h = h[-1]
        slots = self.s(torch.cat([y, h.unsqueeze(1).expand(-1, y.size(1), -1)], -1))
        return {"intent": self.i(h).softmax(-1), "slots": slots, "tags": slots.argmax(-1)}


@register(WORDS, TARGETS, lengths=True, fast=True)
class LuongDot(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec, self.c, self.f = (
            nn.Embedding(20, 6), gru(6, 8), gru(6, 8), nn.Linear(16, 8), nn.Linear(8, 20),
        )  # fmt: skip

    def forward(self, a, b):
        m, h = self.enc(self.e(a))
        y, _ = self.dec(self.e(b), h)
        w = torch.bmm(y, m.transpose(1, 2)).softmax(-1)
        return self.f(torch.tanh(self.c(torch.cat([torch.bmm(w, m), y], -1)))), w


@register(WORDS, TARGETS, lengths=True)
class LuongGeneral(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), gru(6, 8, 2), gru(6, 8, 2)
        self.w, self.f = nn.Linear(8, 8, bias=False), nn.Linear(16, 20)

    def forward(self, a, b):
        m, h = self.enc(self.e(a))
        y, h = self.dec(self.e(b), h)
        scores = y @ self.w(m).permute(0, 2, 1)
        return self.f(torch.cat((y, F.softmax(scores, dim=2) @ m), dim=2)), h


@register(WORDS, TARGETS, lengths=True)
class LuongConcat(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), gru(6, 8), gru(6, 8)
        self.w, self.v = nn.Linear(16, 8), nn.Parameter(torch.rand(8))

    def forward(self, a, b):
        m, h = self.enc(self.e(a))
        y, _ = self.dec(self.e(b), h)
        t, s = y.size(1), m.size(1)
        pairs = torch.cat([y.unsqueeze(2).expand(-1, -1, s, -1), m.unsqueeze(1).expand(-1, t, -1, -1)], -1)
        w = F.softmax((self.w(pairs).tanh() * self.v).sum(-1), -1)
        return torch.einsum("bts,bsh->bth", w, m)


@register(WORDS, TARGETS, LENGTHS, fit=within(n=("a", 1)), fast=True)
class LuongMasked(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), gru(6, 8), gru(6, 8)

    def forward(self, a, b, n):
        m, h = self.enc(self.e(a))
        y, _ = self.dec(self.e(b), h)
        scores = torch.bmm(y, m.transpose(1, 2))
        mask = torch.arange(a.size(1)).unsqueeze(0) >= n.unsqueeze(1)
        w = scores.masked_fill(mask.unsqueeze(1), float("-inf")).softmax(-1)
        return torch.bmm(w, m)


@register(WORDS, TARGETS, fast=True)
class Bahdanau(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.c = nn.Embedding(20, 6), gru(6, 8, bidirectional=True), nn.GRUCell(22, 8)
        self.wa, self.ua, self.v, self.f = nn.Linear(8, 8), nn.Linear(16, 8), nn.Linear(8, 1), nn.Linear(8, 20)

    def forward(self, a, b):
        m, h = self.enc(self.e(a))
        h, out = h[0], []
        for t in range(b.size(1)):
            scores = self.v(torch.tanh(self.wa(h).unsqueeze(1) + self.ua(m)))
            context = (scores.softmax(1) * m).sum(1)
            h = self.c(torch.cat([self.e(b[:, t]), context], 1), h)
            out.append(self.f(h))
        return torch.stack(out, 1)


@register(WORDS, TARGETS)
class BahdanauWithGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), nn.GRU(6, 4, bidirectional=True), nn.GRU(14, 8)
        self.s, self.a, self.v, self.f = (
            nn.Linear(8, 8),
            nn.Linear(16, 8),
            nn.Linear(8, 1, bias=False),
            nn.Linear(8, 20),
        )

    def forward(self, a, b):
        m, h = self.enc(self.e(a.t()))
        h = torch.tanh(self.s(torch.cat((h[-2], h[-1]), dim=1)))
        m = m.permute(1, 0, 2)
        outputs = torch.zeros(b.size(1), b.size(0), 20)
        for t in range(b.size(1)):
            repeated = h.unsqueeze(1).repeat(1, m.size(1), 1)
            w = F.softmax(self.v(torch.tanh(self.a(torch.cat((repeated, m), dim=2)))).squeeze(2), dim=1).unsqueeze(1)
            y, hidden = self.dec(
                torch.cat((self.e(b[:, t].unsqueeze(0)), torch.bmm(w, m).permute(1, 0, 2)), 2), h[None]
            )
            h = hidden.squeeze(0)
            outputs[t] = self.f(y.squeeze(0))
        return outputs


@register(WORDS, fast=True)
class GreedyDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.c, self.f = nn.Embedding(20, 6), gru(6, 8), nn.GRUCell(6, 8), nn.Linear(8, 20)

    def forward(self, a):
        h = self.enc(self.e(a))[1][0]
        word = torch.zeros(a.size(0), dtype=torch.long)
        words, logits = [], []
        for _ in range(5):
            h = self.c(self.e(word), h)
            scores = self.f(h)
            word = scores.argmax(-1)
            words.append(word)
            logits.append(scores)
        return torch.stack(words, 1), torch.stack(logits, 1)


@register(WORDS, TARGETS)
class Coverage(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.c = nn.Embedding(20, 6), gru(6, 8), nn.GRUCell(14, 8)
        self.w, self.k, self.v = nn.Linear(16, 8), nn.Linear(1, 8, bias=False), nn.Linear(8, 1)

    def forward(self, a, b):
        m, h = self.enc(self.e(a))
        h = h.squeeze(0)
        covered = torch.zeros_like(m[:, :, 0])
        losses, out = [], []
        for t in range(b.size(1)):
            both = torch.cat([m, h.unsqueeze(1).expand_as(m)], -1)
            w = self.v(torch.tanh(self.w(both) + self.k(covered.unsqueeze(-1)))).squeeze(-1).softmax(-1)
            losses.append(torch.min(w, covered).sum(-1))
            covered = covered + w
            h = self.c(torch.cat([self.e(b[:, t]), torch.einsum("bs,bsh->bh", w, m)], -1), h)
            out.append(h)
        return torch.stack(out, 1), torch.stack(losses, 1)


@register(WORDS, TARGETS)
class PointerGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), gru(6, 8), gru(6, 8)
        self.f, self.p = nn.Linear(16, 20), nn.Linear(16, 1)

    def forward(self, a, b):
        m, h = self.enc(self.e(a))
        y, _ = self.dec(self.e(b), h)
        w = torch.bmm(y, m.transpose(1, 2)).softmax(-1)
        both = torch.cat([y, torch.bmm(w, m)], -1)
        p = torch.sigmoid(self.p(both))
        words = p * F.softmax(self.f(both), -1)
        return words.scatter_add(2, a.unsqueeze(1).expand(-1, b.size(1), -1), (1 - p) * w)


@register(numbers(3, 6, 2), lengths=True)
class PointerNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.dec, self.w, self.q, self.v = (
            gru(2, 8),
            gru(2, 8),
            nn.Linear(8, 8),
            nn.Linear(8, 8),
            nn.Linear(8, 1),
        )

    def forward(self, x):
        m, h = self.enc(x)
        y, _ = self.dec(x, h)
        scores = self.v(torch.tanh(self.w(m)[:, None] + self.q(y)[:, :, None])).squeeze(-1)
        return F.log_softmax(scores, dim=-1)


@register(WORDS, TARGETS, lengths=True)
class Bridge(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), gru(6, 8, 2, bidirectional=True), gru(6, 8, 2)
        self.b, self.f = nn.Linear(16, 8), nn.Linear(8, 20)

    def forward(self, a, b):
        y, h = self.enc(self.e(a))
        h = h.view(2, 2, a.size(0), 8)
        h = torch.tanh(self.b(torch.cat([h[:, 0], h[:, 1]], -1)))
        return self.f(self.dec(self.e(b), h)[0]), y[:, :, :8] + y[:, :, 8:]


@register(WORDS, TARGETS)
class InputFeeding(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.c, self.o = nn.Embedding(20, 6), gru(6, 8), nn.GRUCell(14, 8), nn.Linear(16, 8)

    def forward(self, a, b):
        m, h = self.enc(self.e(a))
        h, fed, out = h[-1], m.new_zeros(a.size(0), 8), []
        for word in b.unbind(1):
            h = self.c(torch.cat([self.e(word), fed], 1), h)
            w = torch.softmax(torch.matmul(m, h.unsqueeze(2)), 1)
            fed = torch.tanh(self.o(torch.cat([h, torch.matmul(w.transpose(1, 2), m).squeeze(1)], 1)))
            out.append(fed)
        return torch.stack(out).transpose(0, 1)


@register(WORDS, TARGETS, LENGTHS, fit=within(n=("a", 1)))
class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), gru(6, 8), gru(6, 8)
        self.m, self.n = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)

    def forward(self, a, b, n):
        m, h = self.enc(self.e(a))
        y, _ = self.dec(self.e(b), h)
        padding = torch.arange(a.shape[1])[None, :] >= n[:, None]
        z, w = self.m(y, m, m, key_padding_mask=padding)
        return self.n(y + z), w


@register(WORDS, lengths=True)
class SentenceVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), gru(6, 8), gru(6, 8)
        self.mu, self.logvar, self.z, self.f = nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(4, 8), nn.Linear(8, 20)

    def forward(self, x):
        e = self.e(x)
        h = self.enc(e)[1][-1]
        mu, logvar = self.mu(h), self.logvar(h)
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=-1)
        return self.f(self.dec(e, self.z(mu).unsqueeze(0))[0]), mu, torch.exp(0.5 * logvar), kl


@register(numbers(3, 6, 5))
class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.dec, self.f = gru(5, 4), gru(4, 8), nn.Linear(8, 5)

    def forward(self, x):
        _, h = self.enc(x)
        z = h[-1].unsqueeze(1).repeat(1, x.size(1), 1)
        back = self.f(self.dec(z)[0].flip(1))
        return back, ((x - back) ** 2).mean(dim=(1, 2))


# Recommenders.


@register(WORDS, LENGTHS, fit=FITS, fast=True)
class GRU4Rec(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g, self.d = nn.Embedding(20, 8), gru(8, 8), nn.Dropout(0.5)

    def forward(self, x, n):
        y, _ = self.g(self.d(self.e(x)))
        last = y[torch.arange(y.shape[0]), n - 1]
        return torch.matmul(last, self.e.weight.transpose(0, 1))


@register(integers(20, 3), numbers(2, 3, 8))
class SessionStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = nn.GRU(20, 8, 2), nn.Linear(8, 20)

    def forward(self, x, h):
        y, h = self.g(F.one_hot(x, 20).float().unsqueeze(0), h)
        return torch.tanh(self.f(y.view(-1, y.size(-1)))), h


@register(WORDS)
class NARM(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g = nn.Embedding(20, 6, padding_idx=0), gru(6, 8)
        self.a, self.b, self.v, self.o = (nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False),
                                          nn.Linear(8, 1, bias=False), nn.Linear(6, 16, bias=False))  # fmt: skip

    def forward(self, x):
        y, h = self.g(self.e(x))
        h = h.permute(1, 0, 2)[:, -1]
        mask = torch.where(x > 0, torch.tensor([1.0]), torch.tensor([0.0]))
        q = self.b(h).unsqueeze(1).expand_as(y)
        alpha = self.v(torch.sigmoid(self.a(y) + mask.unsqueeze(2).expand_as(q) * q).view(-1, 8)).view(mask.size())
        local = torch.sum(alpha.unsqueeze(2).expand_as(y) * y, 1)
        return torch.matmul(torch.cat([local, h], 1), self.o(self.e.weight).permute(1, 0))


@register(integers(20, 3, 6), integers(20, 3))
class InterestEvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g = nn.Embedding(20, 8), gru(8, 8)
        self.u, self.r, self.h = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(16, 8)

    def forward(self, x, target):
        q = self.e(target)
        y, _ = self.g(self.e(x))
        w = F.softmax((y * q.unsqueeze(1)).sum(-1), dim=1)
        h = torch.zeros_like(q)
        for t in range(x.shape[1]):
            both = torch.cat([y[:, t], h], -1)
            u = torch.sigmoid(self.u(both)) * w[:, t : t + 1]
            new = torch.tanh(self.h(torch.cat([y[:, t], torch.sigmoid(self.r(both)) * h], -1)))
            h = (1.0 - u) * h + u * new
        return torch.sigmoid((h * q).sum(-1))


@register(WORDS, integers(20, 3), integers(7, 3), lengths=True)
class TargetAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.u, self.g = nn.Embedding(20, 8), nn.Embedding(7, 4), gru(8, 8)
        self.a = nn.Sequential(nn.Linear(32, 6), nn.PReLU(), nn.Linear(6, 1))
        self.f = nn.Sequential(nn.Linear(20, 6), nn.Dropout(0.1), nn.PReLU(6), nn.Linear(6, 1), nn.Sigmoid())

    def forward(self, x, item, user):
        y, _ = self.g(self.e(x))
        q = self.e(item)
        k = q.unsqueeze(1).expand(-1, y.size(1), -1)
        w = self.a(torch.cat([k, y, k - y, k * y], dim=-1))
        return self.f(torch.cat([(w * y).sum(dim=1), q, self.u(user)], dim=1)).squeeze(1)


@register(WORDS, integers(20, 3, 4), lengths=True)
class CandidateScores(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g = nn.Embedding(20, 8), gru(8, 8)

    def forward(self, x, candidates):
        h = self.g(self.e(x))[1][-1]
        scores = torch.bmm(self.e(candidates), h.unsqueeze(-1)).squeeze(-1)
        values, places = torch.topk(scores, 2, dim=-1)
        return scores, values, candidates.gather(1, places)


@register(WORDS, integers(6, 3, 6), integers(7, 3), lengths=True)
class SideFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.d, self.u = nn.Embedding(20, 6), nn.Embedding(6, 2), nn.Embedding(7, 3)
        self.g, self.f = gru(11, 8), nn.Linear(8, 20)

    def forward(self, x, days, user):
        u = self.u(user).unsqueeze(1).expand(-1, x.size(1), -1)
        return F.log_softmax(self.f(self.g(torch.cat([self.e(x), self.d(days), u], -1))[0][:, -1, :]), dim=-1)
