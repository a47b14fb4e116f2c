"""Modules that pack their sequences, as most people do whose rows have lengths of their own."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch_zoo_registry import gru, integers, numbers, register

LENGTHS, SORTED = torch.tensor([4, 6, 3]), torch.tensor([6, 4, 3])


def longest(name, other, axis=1, ordered=False):
    """Lengths of which the longest has all steps."""

    def fit(inputs):
        steps = inputs[other].shape[axis]
        inputs[name] %= steps
        inputs[name] += 1
        inputs[name][:1] = steps
        if ordered:
            inputs[name][::-1].sort()

    return fit


@register(integers(20, 3, 6), LENGTHS, fit=longest("n", "x"), fast=True)
class PackedClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g, self.f = nn.Embedding(20, 6), gru(6, 8, 2, bidirectional=True), nn.Linear(16, 3)

    def forward(self, x, n):
        packed = pack_padded_sequence(self.e(x), n.cpu(), batch_first=True, enforce_sorted=False)
        _, h = self.g(packed)
        return self.f(torch.cat((h[-2, :, :], h[-1, :, :]), dim=1))


@register(integers(20, 3, 6), SORTED, fit=longest("n", "x", ordered=True), fast=True)
class PackedTagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.g, self.f = nn.Embedding(20, 6), gru(6, 8, bidirectional=True), nn.Linear(16, 3)

    def forward(self, x, n):
        y, h = self.g(pack_padded_sequence(self.e(x), n, batch_first=True))
        y, _ = pad_packed_sequence(y, batch_first=True)
        return self.f(y), h


@register(numbers(6, 3, 5), LENGTHS, fit=longest("n", "x", 0))
class PackedStepsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.h = nn.GRU(5, 8), nn.GRU(8, 4, bidirectional=True)

    def forward(self, x, n):
        packed = pack_padded_sequence(x, n, enforce_sorted=False)
        y, lengths = pad_packed_sequence(self.h(self.g(packed)[0])[0], padding_value=-1.0)
        return y, lengths


@register(numbers(3, 6, 5), LENGTHS)
class PackedWhole(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8), nn.Linear(8, 2)

    def forward(self, x, n):
        y, _ = self.g(pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False))
        y, n = pad_packed_sequence(y, batch_first=True, total_length=x.size(1))
        return self.f(y).sum(1) / n.unsqueeze(1)


@register(numbers(3, 6, 5), LENGTHS, numbers(2, 3, 8), fit=longest("n", "x"))
class PackedWithState(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8, 2), nn.Linear(8, 2)

    def forward(self, x, n, h):
        y, h = self.g(pack_padded_sequence(x, n.to("cpu"), batch_first=True, enforce_sorted=False), h)
        y = PackedSequence(self.f(y.data), y.batch_sizes, y.sorted_indices, y.unsorted_indices)
        return pad_packed_sequence(y, batch_first=True)[0], h


@register(integers(20, 3, 6), LENGTHS, integers(20, 3, 4), fit=longest("n", "x"))
class PackedSeq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc, self.dec = nn.Embedding(20, 6), gru(6, 4, bidirectional=True), gru(6, 8)
        self.b = nn.Linear(8, 8)

    def forward(self, x, n, target):
        y, h = self.enc(pack_padded_sequence(self.e(x), n, batch_first=True, enforce_sorted=False))
        m, _ = pad_packed_sequence(y, batch_first=True)
        h = torch.tanh(self.b(torch.cat([h[0], h[1]], -1))).unsqueeze(0)
        y, _ = self.dec(self.e(target), h)
        mask = (torch.arange(m.size(1))[None] < n[:, None]).unsqueeze(1)
        w = torch.bmm(y, m.transpose(1, 2)).masked_fill(~mask, -1e9).softmax(-1)
        return torch.cat([y, torch.bmm(w, m)], -1)


@register(numbers(3, 6, 5), LENGTHS, refused="has the shape")
class PackedSum(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = gru(5, 8)

    def forward(self, x, n):
        y, _ = self.g(pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False))
        return y.data.sum(0)
