"""Modules that write in place, in the ways in which people do: a forward each, of a GRU's outputs (batch, steps, 4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["FORWARDS", "case", "made"]

FORWARDS: dict[str, Callable[..., object]] = {}


def case(forward):
    FORWARDS[forward.__name__] = forward
    return forward


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 4, batch_first=True)
        self.fc = nn.Linear(4, 4)
        self.cell = nn.GRUCell(6, 4)
        self.drop = nn.Dropout(0.3)
        self.register_buffer("total", torch.zeros(4))
        self.register_buffer("place", torch.tensor([0, 2]))


def made(name: str) -> nn.Module:
    """The module of a forward, with weights from a fixed seed."""
    torch.manual_seed(5)
    return type(name, (Base,), {"forward": FORWARDS[name]})().eval()


# Parts of one tensor.


@case
def a_slice(self, x):
    y = self.gru(x)[0]
    y[:, :, 1:3] = 0.5
    return y


@case
def a_single_step(self, x):
    y, h = self.gru(x)
    y[:, 0] = h[0]
    y[:, -1] = 1.0
    return y


@case
def a_step_that_may_not_be_there(self, x):
    y = self.gru(x)[0]
    y[:, -6] = 1.0
    return y


@case
def a_step_of_every_other(self, x):
    y = self.gru(x)[0]
    y[:, ::2] = 0.0
    y[:, :, 1::2] *= 3.0
    return y


@case
def a_slice_added_to(self, x):
    y = self.gru(x)[0]
    y[:, :, :2] += y[:, :, 2:]
    y[:, 0] += 1
    return y


@case
def a_mask(self, x):
    y = self.gru(x)[0]
    y[y > 0] = 0.0
    return y


@case
def a_mask_of_a_view(self, x):
    y = self.gru(x)[0]
    part = y[:, :, 1:]
    part[part < 0] = -1.0
    return y, part


@case
def a_mask_of_rows(self, x):
    y = self.gru(x)[0]
    y[y.sum((1, 2)) > 0] = 2.0
    return y


@case
def a_mask_of_steps(self, x):
    y = self.gru(x)[0]
    y[y[:, :, 0] > 0] = self.total + 1.0
    return y


@case
def masked_fill(self, x):
    y = self.gru(x)[0]
    y.masked_fill_(y < 0, 0.25)
    y[:, :, 0].masked_fill_(y[:, :, 1] > 0.2, 5.0)
    return y


@case
def index_put(self, x):
    y = self.gru(x)[0]
    y[:, :, self.place] = 1.5
    return y


@case
def index_put_of_a_function(self, x):
    y = self.gru(x)[0]
    torch.index_put_(y, [y > 0.1], torch.tensor(0.0))
    return y


@case
def scattered(self, x):
    y = self.gru(x)[0]
    y.scatter_(2, y.argmax(2, keepdim=True), 9.0)
    return y


# Views of views.


@case
def views_of_views(self, x):
    y = self.gru(x)[0]
    z = y[:, 1:]
    w = z[:, :, 2:]
    w.mul_(2.0)
    z[:, 0].add_(1.0)
    return y, z, w


@case
def transposed(self, x):
    y = self.gru(x)[0]
    t = y.transpose(1, 2)
    t[:, 1] = 0.0
    y[:, 0] = 2.0
    return t, y


@case
def permuted(self, x):
    y = self.gru(x)[0]
    p = y.permute(2, 0, 1)
    p[1:3].tanh_()
    q = p.movedim(0, 2)
    q[:, 0, 0] = 3.0
    return y, p, q


@case
def chunks(self, x):
    y = self.gru(x)[0]
    a, b = y.chunk(2, 2)
    a.sigmoid_()
    b += a
    return y, torch.cat([a, b], 2)


@case
def splits(self, x):
    y = self.gru(x)[0]
    a, b, c = torch.split(y, [1, 2, 1], dim=-1)
    b.zero_()
    a.add_(c)
    return y, a, b


@case
def parts_that_overlap(self, x):
    y = self.gru(x)[0]
    a, b, c = y.tensor_split([3, 1], dim=2)
    y[:, :, 2] = 4.0
    return a, b, c


@case
def writes_to_parts_that_overlap(self, x):
    y = self.gru(x)[0]
    a, _, c = y.tensor_split([3, 1], dim=2)
    c.mul_(2.0)
    return a, c


@case
def unbound(self, x):
    y = self.gru(x)[0]
    a, b, c, d = y.unbind(2)
    a.copy_(b)
    d.mul_(c)
    return y, d


@case
def squeezed_and_unsqueezed(self, x):
    y = self.gru(x)[0]
    y.unsqueeze(1)[:, 0, :, 2] = 1.0
    y.narrow(2, 0, 1).squeeze(2).add_(1.0)
    return y


@case
def viewed(self, x):
    y = self.fc(x[:, :, :4])
    y.view(-1, 2, 2)[:, 1] = 0.0
    return y


@case
def unflattened(self, x):
    y = self.fc(x[:, :, :4])
    y.unflatten(2, [2, 2])[:, :, 0].neg_()
    return y


@case
def matrix_transposed(self, x):
    y = self.gru(x)[0]
    y.mT[:, 0] = 1.0
    return y


@case
def base_after_view(self, x):
    y = self.gru(x)[0]
    first = y[:, 0]
    y.add_(1.0)
    before = first.clone()
    y.mul_(2.0)
    return y, first, before
