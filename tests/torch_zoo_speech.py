"""Modules over sound and images: CTC recognisers, synthesisers, denoisers, speaker encoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch_zoo_registry import gru, integers, numbers, register


@register(numbers(2, 1, 16, 12), lengths=None, fast=True)
class CRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.g, self.f = gru(32, 8, bidirectional=True), nn.Linear(16, 5)

    def forward(self, x):
        y = self.c(x)
        b, c, h, w = y.shape
        y = y.permute(0, 3, 1, 2).reshape(b, w, c * h)
        return F.log_softmax(self.f(self.g(y)[0]), -1)


@register(numbers(2, 1, 32, 24))
class TextRecogniser(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Sequential(
            nn.Conv2d(1, 4, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2, 2),
            nn.Conv2d(4, 6, 3, 1, 1), nn.BatchNorm2d(6), nn.ReLU(True), nn.MaxPool2d((2, 2), (2, 1), (0, 1)),
            nn.Conv2d(6, 8, (8, 2)), nn.ReLU(True),
        )  # fmt: skip
        self.g, self.e = nn.GRU(8, 8, bidirectional=True), nn.Linear(16, 7)

    def forward(self, x):
        y = self.c(x).squeeze(2).permute(2, 0, 1)
        y, _ = self.g(y)
        t, b, h = y.size()
        return self.e(y.view(t * b, h)).view(t, b, -1).log_softmax(2)


@register(numbers(2, 1, 20, 15))
class DeepSpeech(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Sequential(
            nn.Conv2d(1, 4, (5, 3), stride=(2, 2), padding=(2, 1)), nn.BatchNorm2d(4), nn.Hardtanh(0, 20, inplace=True),
            nn.Conv2d(4, 4, (3, 3), stride=(2, 1), padding=(1, 1)), nn.BatchNorm2d(4), nn.Hardtanh(0, 20, inplace=True),
        )  # fmt: skip
        self.g, self.n, self.h = nn.GRU(20, 8, bidirectional=True), nn.BatchNorm1d(8), nn.GRU(8, 8)
        self.f = nn.Linear(8, 6, bias=False)

    def forward(self, x):
        y = self.c(x)
        sizes = y.size()
        y = y.view(sizes[0], sizes[1] * sizes[2], sizes[3]).transpose(1, 2).transpose(0, 1).contiguous()
        y, _ = self.g(y)
        y = y.view(y.size(0), y.size(1), 2, -1).sum(2).view(y.size(0), y.size(1), -1)
        t, b = y.size(0), y.size(1)
        y = self.n(y.view(t * b, -1)).view(t, b, -1)
        y, _ = self.h(y)
        return F.softmax(self.f(y).transpose(0, 1), dim=-1)


@register(numbers(3, 6, 5))
class Lookahead(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.c = gru(5, 8), nn.Conv1d(8, 8, 3, groups=8, bias=False)

    def forward(self, x):
        y = self.g(x)[0].transpose(1, 2)
        return F.hardtanh(self.c(F.pad(y, (0, 2))), 0, 20).transpose(1, 2)


@register(numbers(3, 40, 16))
class KeywordSpotter(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.g, self.f = nn.Conv2d(1, 4, (5, 4), stride=(2, 2)), gru(28, 8, 2), nn.Linear(8, 6)

    def forward(self, x):
        y = F.relu(self.c(x.unsqueeze(1))).transpose(1, 2).flatten(2)
        return self.f(self.g(y)[0][:, -1])


@register(numbers(2, 3, 8, 9))
class DepthwiseRecogniser(nn.Module):
    def __init__(self):
        super().__init__()
        self.d, self.p = nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Conv2d(3, 6, 1)
        self.s, self.e = nn.Linear(6, 2), nn.Linear(2, 6)
        self.g = gru(6, 8)

    def forward(self, x):
        y = F.relu6(self.p(self.d(x)))
        s = torch.sigmoid(self.e(F.relu(self.s(F.adaptive_avg_pool2d(y, 1).flatten(1)))))
        y = y * s.view(s.size(0), -1, 1, 1)
        return self.g(F.adaptive_avg_pool2d(y, (1, None)).squeeze(2).transpose(1, 2))[0]


@register(numbers(2, 1, 12, 8))
class SoundEvents(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.n = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.g, self.s, self.a = gru(8, 6, bidirectional=True), nn.Linear(12, 3), nn.Linear(12, 3)

    def forward(self, x):
        y = self.n(self.c(x))
        y = F.avg_pool2d(torch.sigmoid(y) * y, (1, 4))
        y = y.permute(0, 2, 1, 3).flatten(-2)
        y, _ = self.g(y)
        strong = torch.sigmoid(self.s(y))
        w = torch.clamp(torch.softmax(self.a(y), dim=-1), min=1e-7, max=1)
        return strong.transpose(1, 2), (strong * w).sum(1) / w.sum(1)


@register(numbers(3, 6, 5), fast=True)
class CBHG(nn.Module):
    def __init__(self):
        super().__init__()
        self.k = nn.ModuleList(nn.Conv1d(5, 4, k, padding=k // 2) for k in (1, 2, 3))
        self.b, self.p, self.o = nn.BatchNorm1d(12), nn.MaxPool1d(2, 1, 1), nn.Conv1d(12, 5, 3, padding=1)
        self.h = nn.ModuleList(nn.Linear(5, 5) for _ in range(2))
        self.t = nn.ModuleList(nn.Linear(5, 5) for _ in range(2))
        self.g = gru(5, 8, bidirectional=True)

    def forward(self, x):
        z = x.transpose(1, 2)
        t = z.size(-1)
        y = torch.cat([F.relu(k(z))[:, :, :t] for k in self.k], 1)
        y = self.p(self.b(y))[:, :, :t]
        y = (self.o(y) + z).transpose(1, 2)
        for h, gate in zip(self.h, self.t, strict=True):
            s = torch.sigmoid(gate(y))
            y = s * F.relu(h(y)) + (1 - s) * y
        return self.g(y)[0]


@register(integers(20, 3, 6), numbers(3, 4, 5))
class TacotronTeacherForced(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.enc = nn.Embedding(20, 8), gru(8, 4, bidirectional=True)
        self.pre = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 6), nn.ReLU())
        self.a, self.d = nn.GRUCell(14, 8), nn.ModuleList(nn.GRUCell(16, 16) for _ in range(2))
        self.q, self.m, self.v, self.o = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 1), nn.Linear(16, 10)

    def forward(self, text, mel):
        m = self.enc(self.e(text))[0]
        keys, b = self.m(m), text.size(0)
        a, context = torch.zeros(b, 8), torch.zeros(b, 8)
        states = [torch.zeros(b, 16) for _ in self.d]
        outputs, alignments = [], []
        for t in range(mel.size(1)):
            a = self.a(torch.cat([self.pre(mel[:, t]), context], -1), a)
            w = F.softmax(self.v(torch.tanh(self.q(a).unsqueeze(1) + keys)).squeeze(-1), dim=-1)
            context = torch.bmm(w.unsqueeze(1), m).squeeze(1)
            y = torch.cat([a, context], -1)
            for i, cell in enumerate(self.d):
                states[i] = cell(y, states[i])
                y = y + states[i]
            outputs.append(self.o(y))
            alignments.append(w)
        return torch.stack(outputs, 1).view(b, -1, 5), torch.stack(alignments).transpose(0, 1)


@register(numbers(3, 5), numbers(3, 8), numbers(3, 8), numbers(3, 6, 8))
class TacotronStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.q, self.v, self.o = (
            nn.GRUCell(13, 8),
            nn.Linear(8, 8, False),
            nn.Linear(8, 1, False),
            nn.Linear(16, 5),
        )

    def forward(self, frame, a, context, memory):
        a = self.a(torch.cat((frame, context), -1), a)
        w = self.v(torch.tanh(self.q(a)[:, None, :] + memory)).softmax(dim=1)
        context = torch.sum(w * memory, dim=1)
        return self.o(torch.cat((a, context), dim=-1)), a, context, w.squeeze(-1)


@register(numbers(2, 5, 8), numbers(2, 3, 6), fast=True)
class LocationSensitive(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.k = nn.GRUCell(11, 8), nn.Conv1d(2, 4, 3, padding=1, bias=False)
        self.l, self.q, self.v = nn.Linear(4, 8, bias=False), nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, memory, frames):
        b, s, _ = memory.shape
        h, w, total = memory.new_zeros(b, 8), memory.new_zeros(b, s), memory.new_zeros(b, s)
        context, out = memory.mean(1), []
        for t in range(frames.size(2)):
            h = self.c(torch.cat((frames[:, :, t], context), 1), h)
            where = self.l(self.k(torch.stack((w, total), dim=1)).transpose(1, 2))
            w = F.softmax(self.v(torch.tanh(self.q(h).unsqueeze(1) + where + memory)).squeeze(2), dim=1)
            total = total + w
            context = torch.bmm(w.unsqueeze(1), memory).squeeze(1)
            out.append(context)
        return torch.stack(out, 2)


@register(numbers(2, 16), numbers(2, 4, 6))
class WaveRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.up = nn.Conv1d(4, 6, 3, bias=False), nn.Conv2d(1, 1, (1, 9), padding=(0, 4), bias=False)
        self.i, self.g, self.h = nn.Linear(7, 8), gru(8, 8), gru(8, 8)
        self.f, self.o = nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, x, mels):
        m = self.c(mels)
        m = m.unsqueeze(1).repeat_interleave(4, dim=3)
        m = self.up(m).squeeze(1).transpose(1, 2)
        y = self.i(torch.cat([x.unsqueeze(-1), m], dim=2))
        y = self.g(y)[0] + y
        y = self.h(y)[0] + y
        return self.o(F.relu(self.f(y)))


@register(numbers(3, 2), numbers(3, 4), numbers(3, 8))
class WaveRNNStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.r, self.i, self.o = nn.Linear(8, 24, bias=False), nn.Linear(6, 24), nn.Linear(4, 6)

    def forward(self, sample, mel, h):
        recurrent, given = self.r(h), self.i(torch.cat([sample, mel], 1))
        ru, rr, rn = torch.split(recurrent, 8, dim=1)
        iu, ir, i_n = torch.split(given, 8, dim=1)
        u, r = torch.sigmoid(ru + iu), torch.sigmoid(rr + ir)
        h = u * h + (1.0 - u) * torch.tanh(r * rn + i_n)
        coarse, fine = h.split(4, 1)
        return F.softmax(self.o(F.relu(coarse)), 1), F.log_softmax(self.o(F.relu(fine)), 1), h


@register(integers(16, 3, 8), numbers(3, 2, 5))
class LPCNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.c, self.d = nn.Embedding(16, 4), nn.Conv1d(5, 6, 3, padding=1), nn.Linear(6, 6)
        self.a, self.b, self.p, self.q = gru(10, 8), gru(14, 6), nn.Linear(6, 8), nn.Linear(6, 8)
        self.x, self.y = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))

    def forward(self, samples, features):
        f = torch.tanh(self.d(torch.tanh(self.c(features.permute(0, 2, 1))).permute(0, 2, 1)))
        f = torch.repeat_interleave(f, 4, 1)
        one, _ = self.a(torch.cat([self.e(samples), f], -1))
        two, _ = self.b(torch.cat([one, f], -1))
        return F.softmax(self.x * torch.tanh(self.p(two)) + self.y * torch.tanh(self.q(two)), -1)


@register(numbers(3, 6, 10), lengths=True)
class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.d, self.v, self.n, self.g = nn.Linear(10, 6), gru(6, 4), gru(20, 8), gru(22, 9)
        self.vo, self.go = nn.Linear(4, 1), nn.Linear(9, 5)

    def forward(self, x):
        d = torch.tanh(self.d(x))
        v, _ = self.v(d)
        n, _ = self.n(torch.cat([d, F.relu(v), x], -1))
        g, _ = self.g(torch.cat([F.relu(v), F.relu(n), x], -1))
        return torch.sigmoid(self.go(g)), torch.sigmoid(self.vo(v))


@register(numbers(3, 6, 9), lengths=True, fast=True)
class Masking(nn.Module):
    def __init__(self):
        super().__init__()
        self.n, self.g, self.f = nn.LayerNorm(9), gru(9, 8, 2), nn.Linear(8, 9)

    def forward(self, x):
        return torch.sigmoid(self.f(self.g(self.n(x.abs().clamp(min=1e-5).log()))[0])) * x


@register(numbers(2, 1, 7, 9))
class ConvolutionalRecurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 3, (2, 3), stride=(1, 2)), nn.Conv2d(3, 4, (2, 3), stride=(1, 1))
        self.n, self.g = nn.BatchNorm2d(3), gru(8, 8)
        self.u, self.v = (
            nn.ConvTranspose2d(8, 3, (2, 3), stride=(1, 1)),
            nn.ConvTranspose2d(6, 1, (2, 3), stride=(1, 2)),
        )

    def forward(self, x):
        one = F.elu(self.n(self.a(F.pad(x, (0, 0, 1, 0)))))
        two = F.elu(self.b(F.pad(one, (0, 0, 1, 0))))
        b, c, t, f = two.shape
        y, _ = self.g(two.transpose(1, 2).reshape(b, t, c * f))
        y = y.view(b, t, c, f).transpose(1, 2)
        y = F.elu(self.u(torch.cat([y, two], 1))[:, :, :-1])
        return self.v(torch.cat([y, one], 1))[:, :, :-1]


@register(numbers(3, 4, 7, 5), fast=True)
class DualPath(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.n = gru(5, 5), gru(5, 5), nn.LayerNorm(5)

    def forward(self, x):
        b, c, t, f = x.shape
        y, _ = self.a(x.reshape(b * c, t, f))
        y = y.reshape(b, c, t, f)
        z, _ = self.b(y.transpose(1, 2).reshape(b * t, c, f))
        return self.n(x + z.reshape(b, t, c, f).transpose(1, 2))


@register(numbers(2, 6, 5, 4))
class DualPathBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = gru(6, 4, bidirectional=True), gru(6, 6)
        self.p, self.n, self.m = nn.Linear(8, 6), nn.GroupNorm(1, 6, eps=1e-8), nn.GroupNorm(1, 6, eps=1e-8)

    def forward(self, x):
        b, n, k, s = x.size()
        y = x.permute(0, 3, 2, 1).contiguous().view(b * s, k, n)
        y = self.p(self.a(y)[0].contiguous().view(b * s * k, -1)).view(b, s, k, n)
        x = x + self.n(y.permute(0, 3, 2, 1).contiguous())
        z, _ = self.b(x.permute(0, 2, 3, 1).contiguous().view(b * k, s, n))
        return x + self.m(z.view(b, k, s, n).permute(0, 3, 1, 2))


@register(numbers(3, 6, 8), lengths=True, fast=True)
class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = nn.ModuleList(gru(4, 4) for _ in range(2))

    def forward(self, x):
        return torch.cat([g(c)[0] for g, c in zip(self.g, x.chunk(2, -1), strict=True)], -1)


@register(numbers(3, 6, 8), lengths=True)
class GroupedAndShuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.ModuleList(gru(2, 4) for _ in range(4)), nn.ModuleList(gru(4, 2) for _ in range(4)))

    def forward(self, x):
        b, t, _ = x.shape
        y = torch.cat([g(x[..., 2 * i : 2 * i + 2])[0] for i, g in enumerate(self.a)], dim=-1)
        y = y.view(b, t, 4, 4).transpose(2, 3).contiguous().view(b, t, -1)
        return torch.cat([g(part)[0] for g, part in zip(self.b, torch.split(y, 4, -1), strict=True)], dim=-1)


@register(numbers(2, 5, 9))
class FullSubBand(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.o, self.s, self.p = gru(5, 8), nn.Linear(8, 5), gru(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        b, f, t = x.shape
        full = self.o(self.f(x.permute(0, 2, 1))[0]).permute(0, 2, 1).relu()
        near = F.pad(x.unsqueeze(1), (0, 0, 1, 1), mode="reflect").squeeze(1).unfold(1, 3, 1).permute(0, 1, 3, 2)
        y = torch.cat([near, full.unsqueeze(2)], dim=2).reshape(b * f, 4, t)
        y = self.p(self.s(y.transpose(1, 2))[0]).reshape(b, f, t, 2)
        return y.permute(0, 3, 1, 2)


@register(numbers(2, 40))
class TimeDomainSeparator(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.d = nn.Conv1d(1, 8, 4, stride=2, bias=False), nn.ConvTranspose1d(8, 1, 4, stride=2, bias=False)
        self.n, self.g, self.m = nn.GroupNorm(1, 8), gru(8, 8, bidirectional=True), nn.Conv1d(16, 16, 1)

    def forward(self, x):
        w = F.relu(self.e(x.unsqueeze(1)))
        y = self.g(self.n(w).transpose(1, 2))[0].transpose(1, 2)
        masks = torch.sigmoid(self.m(y)).view(x.size(0), 2, 8, -1)
        parts = (masks * w.unsqueeze(1)).view(x.size(0) * 2, 8, -1)
        return self.d(parts).view(x.size(0), 2, -1)


@register(numbers(3, 1, 20))
class WaveUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.d, self.g, self.u = nn.Conv1d(1, 4, 4, 2), gru(4, 4), nn.ConvTranspose1d(4, 1, 4, 2)

    def forward(self, x):
        y = F.relu(self.d(x))
        return self.u(y + self.g(y.transpose(1, 2))[0].transpose(1, 2))


@register(numbers(3, 7, 5), lengths=True, fast=True)
class MeanVarianceNormalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = gru(5, 8, bidirectional=True)

    def forward(self, x):
        x = (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)
        return self.g(x)[0]


@register(numbers(3, 7, 5), lengths=True)
class SpeakerEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8, 3), nn.Linear(8, 6)

    def forward(self, x):
        e = F.relu(self.f(self.g(x)[1][-1]))
        return e / (torch.norm(e, dim=1, keepdim=True) + 1e-5)


@register(numbers(3, 7, 5), lengths=True)
class SpeakerEncoderOfFrames(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8), nn.Linear(8, 6)

    def forward(self, x):
        frames = F.normalize(self.f(self.g(x)[0]), p=2, dim=2)
        return F.normalize(frames.mean(dim=1))


@register(numbers(3, 7, 5), lengths=True)
class StatisticsPooling(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8), nn.Linear(16, 6)

    def forward(self, x):
        y, _ = self.g(x)
        return self.f(torch.cat((y.mean(dim=1), y.std(dim=1)), dim=1))


@register(numbers(3, 5, 7), lengths=True)
class AttentiveStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.a = gru(5, 8), nn.Sequential(nn.Conv1d(8, 4, 1), nn.Tanh(), nn.Conv1d(4, 8, 1), nn.Softmax(dim=2))

    def forward(self, x):
        y = self.g(x.transpose(1, 2))[0].transpose(1, 2)
        w = self.a(y)
        mu = torch.sum(y * w, dim=2)
        sigma = torch.sqrt((torch.sum((y**2) * w, dim=2) - mu**2).clamp(min=1e-4))
        return torch.cat((mu, sigma), 1)


@register(numbers(3, 7, 5))
class Enrolment(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = gru(5, 8)
        self.register_buffer("people", torch.randn(4, 8))
        self.w, self.b = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(-5.0))

    def forward(self, x):
        e = self.g(x)[0][:, -1]
        near = F.cosine_similarity(e.unsqueeze(1), self.people.unsqueeze(0), dim=-1) * self.w + self.b
        far = (e[:, None, :] - self.people[None]).pow(2).sum(-1).sqrt()
        return near, far, torch.cdist(e, self.people)


@register(numbers(3, 7, 5), lengths=True)
class VoiceActivity(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8), nn.Linear(8, 1)

    def forward(self, x):
        p = torch.sigmoid(self.f(self.g(x)[0])).squeeze(-1)
        return (p > 0.5).float(), p


@register(numbers(3, 7, 5), lengths=True)
class Pitch(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.f = gru(5, 8), nn.Linear(8, 12)
        self.register_buffer("bins", torch.linspace(0, 7180, 12) + 1997.38)

    def forward(self, x):
        p = torch.sigmoid(self.f(self.g(x)[0]))
        cents = (p * self.bins).sum(-1) / p.sum(-1)
        return 10 * 2 ** (cents / 1200), p.argmax(dim=-1)


@register(numbers(3, 7, 5))
class Upsampled(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.u, self.c = gru(5, 8), nn.Upsample(scale_factor=2), nn.Conv1d(8, 5, 3, padding=1)

    def forward(self, x):
        return self.c(self.u(self.g(x)[0].transpose(1, 2)))


@register(numbers(2, 6, 3, 8, 8))
class FrameEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.g, self.f = gru(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        b, t, c, h, w = x.size()
        y = self.c(x.view(b * t, c, h, w)).view(b, t, -1)
        return self.f(self.g(y)[0][:, -1])


@register(numbers(3, 6, 5), lengths=True)
class Chroma(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.h = gru(5, 8), nn.ModuleList(nn.Linear(8, n) for n in (3, 4, 2))

    def forward(self, x):
        y = self.g(x)[0]
        return [F.log_softmax(h(y), -1) for h in self.h]
