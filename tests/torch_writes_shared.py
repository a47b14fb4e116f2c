"""Modules that write to memory that several tensors may share, in loops, lists, inputs and results."""

from __future__ import annotations

from typing import List  # noqa: UP035 - as TorchScript reads it

import torch
from torch_writes import FORWARDS, case

__all__ = ["FORWARDS"]


# Memory that may be shared, or is not.


@case
def detached(self, x):
    y = self.gru(x)[0]
    y.detach().add_(1.0)
    return y


@case
def cloned(self, x):
    y = self.gru(x)[0]
    z = y.clone()
    z[:, 0] = 0.0
    return y, z


@case
def cloned_input(self, x):
    z = x.clone()
    z[:, 0] = 0.0
    w = x * 1.0
    w.add_(1.0)
    return x, z, w


@case
def a_name_of_its_own(self, x):
    y: torch.Tensor | None = self.gru(x)[0]
    z = y
    if y is not None:
        y.add_(1.0)
    if z is not None:
        z = z * 2.0
    return y, z


@case
def contiguous(self, x):
    y = self.gru(x)[0]
    z = y.contiguous()
    z[:, 0] = 0.0
    return z


@case
def contiguous_and_base(self, x):
    y = self.fc(x[:, :, :4])
    z = y.contiguous()
    z[:, 0] = 0.0
    return z, y


@case
def reshaped(self, x):
    y = self.fc(x[:, :, :4])
    z = y.reshape(-1, 4)
    z[:, 0] = 0.0
    return z


@case
def reshaped_and_base(self, x):
    y = self.gru(x)[0].transpose(1, 2)
    z = y.reshape(-1, 4)
    z[:, 0] = 0.0
    return y


@case
def base_of_a_reshape(self, x):
    y = self.gru(x)[0]
    z = y.flatten(1)
    y[:, 0] = 1.0
    return z


@case
def converted(self, x):
    y = self.gru(x)[0]
    z = (y > 0).float()
    z.mul_(2.0)
    return z, y > 0


@case
def dropped_out_and_added(self, x):
    y = self.fc(x[:, :, :4])
    z = self.drop(y)
    z += y
    return z


@case
def expanded(self, x):
    y = self.gru(x)[0]
    s = torch.zeros(1, 1, 4).expand(x.size(0), x.size(1), 4)
    z = s.clone()
    z[:, 0] = y[:, 0]
    return z, s


@case
def base_of_an_expanded(self, x):
    h = self.gru(x)[1][0].unsqueeze(1)
    s = h.expand(x.size(0), x.size(1), 4)
    h.add_(1.0)
    return s + 0.0


@case
def written_into_an_expanded(self, x):
    y = self.gru(x)[0]
    s = y[:, :1].expand(-1, 3, -1)
    s.add_(1.0)
    return s


@case
def shifted(self, x):
    y = self.gru(x)[0]
    y[:, 1:] = y[:, :-1].clone()
    return y


@case
def shifted_within_itself(self, x):
    y = self.fc(x[:, :, :4])
    y[:, 1:] = y[:, :-1]
    return y


@case
def added_within_itself(self, x):
    y = self.gru(x)[0]
    y[:, :, 1:] += y[:, :, :-1]
    return y


@case
def added_to_its_own_part(self, x):
    y = self.fc(x[:, :, :4])
    y.add_(y[:, :1])
    return y


# Loops, branches and lists.


@case
def in_a_loop(self, x):
    y = torch.zeros(x.size(0), 3, 4)
    h = torch.zeros(x.size(0), 4)
    for t in range(3):
        h = self.cell(x[:, t], h)
        y[:, t] = h
    return y


@case
def in_a_loop_from_the_last(self, x):
    y = self.gru(x)[0]
    for t in range(1, 4):
        y[:, t] += y[:, t - 1]
    return y


@case
def in_a_branch(self, x):
    y = self.gru(x)[0]
    if self.training:
        y[:, 0] = 5.0
    else:
        y[:, 0] = -5.0
    return y


@case
def one_tensor_in_a_list(self, x):
    y = self.gru(x)[0]
    s = torch.zeros(x.size(0), 4)
    found: List[torch.Tensor] = []  # noqa: UP006 - as TorchScript reads it
    for t in range(3):
        s.add_(y[:, t])
        found.append(s)
    return torch.stack(found, 1)


@case
def copies_in_a_list(self, x):
    y = self.gru(x)[0]
    s = torch.zeros(x.size(0), 4)
    found: List[torch.Tensor] = []  # noqa: UP006 - as TorchScript reads it
    for t in range(3):
        s += y[:, t]
        found.append(s.clone())
    return torch.stack(found, 1)


@case
def a_list_of_views(self, x):
    y = self.gru(x)[0]
    parts = [y[:, 0], y[:, 1], y]
    parts[0].add_(1.0)
    parts[2][:, 1] = 0.0
    return parts[0] + parts[1], y


# Results written into a tensor, inputs, weights, and axes that change in place.


@case
def into_a_result(self, x):
    y = self.gru(x)[0]
    z = torch.zeros_like(y)
    torch.add(y, 1.0, out=z)
    return z, y


@case
def into_its_own_input(self, x):
    x[:, 0] = 0.0
    return self.gru(x)[0], x


@case
def into_a_view_of_its_input(self, x):
    part = x[:, :, :4]
    part.clamp_(min=0.0)
    return self.fc(part), x


@case
def into_a_buffer(self, x):
    y = self.gru(x)[0]
    self.total.add_(1.0)
    return y + self.total


@case
def axes_in_place(self, x):
    y = self.gru(x)[0]
    first = y[:, 0]
    y.transpose_(1, 2)
    y[:, 1] = 7.0
    y.unsqueeze_(1)
    y.mul_(2.0)
    return y, first


@case
def a_mask_in_place(self, x):
    y = self.gru(x)[0]
    late = torch.zeros_like(y, dtype=torch.bool)
    late[:, 1:] = True
    return y.masked_fill(late, 0.0)


@case
def activations_in_place(self, x):
    y = self.fc(torch.relu_(self.gru(x)[0]))
    return torch.nn.functional.leaky_relu(y, 0.1, inplace=True).clamp_(-0.3, 0.3).exp_()
