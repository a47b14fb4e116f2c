"""Statements of a random ``forward`` with weights: GRUs, cells, linear layers, convolutions, normalisations.

Each takes a ``Scope`` and gives the statement, or None where no value fits.
"""

from __future__ import annotations

import torch
from torch_scope import (
    BATCH,
    MOST,
    RARELY,
    Scope,
    has_features,
    is_channels,
    is_sequence,
    is_states,
    is_vector,
    operation,
)

__all__ = ["conv", "embedding", "gru", "linear", "turned_gru"]



@operation(6)
def gru(s: Scope) -> str | None:
    x = s.pick(lambda v: is_sequence(v) or (v.dim() == 3 and v.shape[1] == BATCH and v.shape[0] > MOST))
    if x is None:
        return None
    first = s.size(x, 0) == BATCH
    features, hidden = s.size(x, 2), s.rng.randint(1, 6)
    layers, both = s.rng.choice([1, 1, 1, 2, 3]), s.rng.random() < 0.35
    given = s.values.get("h") is not None and s.values["h"].dim() == 3 and s.rng.random() < 0.8
    if given:  # the model's own input of states
        both = s.size("h", 0) % 2 == 0 and both
        layers, hidden = s.size("h", 0) // (1 + both), s.size("h", 2)
    bias = "" if s.rng.random() < 0.8 else ", bias=False"
    text = f"nn.GRU({features}, {hidden}, {layers}, batch_first={first}, bidirectional={both}{bias})"
    count = layers * (1 + both)
    choices = ["", "", "", f", torch.zeros({count}, {x}.size({0 if first else 1}), {hidden})"]
    states = s.pick(lambda v: v.shape == (count, BATCH, hidden))
    choices += [f", {states}"] * 3 if states else []
    vector = s.pick(lambda v: v.shape == (BATCH, hidden))
    if vector:
        choices += [f", {vector}.unsqueeze(0)" + (f".expand({count}, -1, -1)" if count > 1 else "")] * 2
        choices += [f", torch.stack([{', '.join([vector] * count)}])"]
    y, h = s.new(), s.new()
    return f"{y}, {h} = {s.module(text)}({x}{', h' if given else s.rng.choice(choices)})"


@operation(3)
def turned_gru(s: Scope) -> str | None:
    x = s.sequence()
    if x is None:
        return None
    module = s.module(f"nn.GRU({s.size(x, 2)}, {s.rng.randint(1, 5)}, bidirectional={s.rng.random() < 0.3})")
    y, h, back = s.new(), s.new(), s.new()
    turn = s.rng.choice(["transpose(0, 1)", "permute(1, 0, 2)", "swapaxes(0, 1)"])
    return f"{y}, {h} = {module}({x}.{turn})\n{back} = {y}.transpose(1, 0)"


@operation(2)
def final_states(s: Scope) -> str | None:
    h = s.pick(is_states)
    if h is None:
        return None
    v, count = s.new(), s.size(h, 0)
    texts = [f"{h}[-1]", f"{h}[0]", f"{h}.transpose(0, 1).reshape({h}.size(1), -1)", f"{h}.permute(1, 0, 2).flatten(1)",
             f"{h}.squeeze(0)", f"{h}.mean(0)", f"{h}.sum(0)", f"{h}.transpose(0, 1)", f"torch.tanh({h})", f"{h} * 2",
             f"{h}.max(0)[0]", f"torch.cat({h}.unbind(0), -1)", f"{h}.view(-1, {h}.size(2))",
             f"{h}.transpose(0, 1).contiguous().view(-1, {count} * {s.size(h, 2)})", f"{h}[-1:]",
             f"{h}.unsqueeze(0)"]  # fmt: skip
    if count > 1:
        texts += [f"torch.cat([{h}[-2], {h}[-1]], 1)", f"{h}[-2] + {h}[-1]",
                  f"torch.cat(({h}[-2,:,:], {h}[-1,:,:]), dim=1)",
                  f"{h}[{count - 1}]", f"{h}[1:]", f"{h}[-2:]", f"~{h}.flip(0)", f"{h}[:-1] - {h}[1:]"]  # fmt: skip
    return f"{v} = {s.choose(texts)}"


@operation(2)
def cell_steps(s: Scope) -> str | None:
    """A GRUCell over the steps, one by one."""
    x = s.sequence()
    if x is None or (s.scripted and s.rng.random() > 3 * RARELY):
        return None
    hidden = s.rng.randint(1, 4)
    cell, h, out, v = s.module(f"nn.GRUCell({s.size(x, 2)}, {hidden})"), s.new(), s.new("o"), s.new()
    begin = s.choose([f"~torch.zeros({x}.size(0), {hidden})", f"~{x}.new_zeros({x}.size(0), {hidden})",
                      f"torch.tanh({s.module(f'nn.Linear({s.size(x, 2)}, {hidden})')}({x}[:, 0]))"])  # fmt: skip
    count = s.rng.choice([f"{x}.size(1)", f"{x}.shape[1]", "3", "2", f"min(4, {x}.size(1))"])
    end = s.rng.choice([f"torch.stack({out}, 1)", f"torch.stack({out}, dim=1)", f"torch.cat({out}, 1)", f"{out}[-1]",
                        f"torch.stack({out}, 0).transpose(0, 1)", f"torch.stack({out}, 0)"])  # fmt: skip
    kind = s.rng.choice(["", ": List[Tensor]"])
    step = f"    {h} = {cell}({x}[:, t], {h})\n    {out}.append({h})"
    return f"{h} = {begin}\n{out}{kind} = []\nfor t in range({count}):\n{step}\n{v} = {end}"


@operation(2)
def cell(s: Scope) -> str | None:
    x = s.pick(is_vector)
    if x is None:
        return None
    hidden = s.rng.randint(1, 5)
    h = s.pick(lambda v: v.shape == (BATCH, hidden))
    v = s.new()
    return f"{v} = {s.module(f'nn.GRUCell({s.size(x, 1)}, {hidden})')}({x}{f', {h}' if h else ''})"


@operation(5)
def linear(s: Scope) -> str | None:
    x = s.pick(has_features)
    if x is None:
        return None
    features, out, v = s.size(x, -1), s.rng.randint(1, 6), s.new()
    kinds = [f"nn.Linear({features}, {out})"] * 4 + [
        f"nn.Linear({features}, {out}, bias=False)",
        f"nn.utils.parametrizations.weight_norm(nn.Linear({features}, {out}))",
        f"nn.Sequential(nn.Linear({features}, {out}), nn.ReLU())",
        f"nn.Sequential(nn.Linear({features}, {out}), nn.Dropout(0.2), nn.Tanh(), nn.Linear({out}, 2))",
    ]
    if s.scripted:
        kinds.pop(5)
    if s.rng.random() < 0.15:
        p = s.module(f"nn.Parameter(torch.empty({features}, {out}))")
        return f"{v} = " + s.rng.choice([f"{x} @ {p}", f"torch.matmul({x}, {p})", f"F.linear({x}, {p}.t())"])
    return f"{v} = {s.module(s.choose(kinds))}({x})"


@operation(3)
def norm(s: Scope) -> str | None:
    x = s.pick(lambda v: v.dim() >= 2)
    if x is None:
        return None
    v, shape = s.new(), s.values[x].shape
    texts = []
    if shape[-1] <= MOST:
        n, affine = shape[-1], s.rng.choice(["", ", elementwise_affine=False", ", eps=1e-3"])
        texts += [f"nn.LayerNorm({n}{affine})"] * 3 + [f"nn.RMSNorm({n})", f"nn.RMSNorm({n}, eps=1e-3)"]
        texts += [f"nn.LayerNorm([{shape[1]}, {n}])"] if len(shape) == 3 and shape[1] <= MOST else []
    if shape[1] <= MOST and len(shape) in (2, 3):
        n = shape[1]
        texts += [f"nn.BatchNorm1d({n})"] * 4 + [f"nn.BatchNorm1d({n}, affine=False)", f"nn.BatchNorm1d({n}, eps=1e-2)"]
        texts += [f"~nn.GroupNorm(1, {n})", f"nn.PReLU({n})", f"~nn.InstanceNorm1d({n}, affine=True)"]
        texts += [f"~nn.BatchNorm1d({n}, track_running_stats=False)"]
    texts += ["nn.PReLU()"]
    return f"{v} = {s.module(s.choose(texts))}({x})"


@operation(3)
def conv(s: Scope) -> str | None:
    x = s.pick(is_channels)
    turned = x is None
    x = x or s.sequence()
    if x is None:
        return None
    channels, out = s.size(x, 2 if turned else 1), s.rng.randint(1, 5)
    options = s.choose([
        "1", "2", "3", "3, padding=1", "3, padding='same'", "4, padding='same'", "2, dilation=2", "3, stride=2",
        "3, padding=2, dilation=2", "5, padding=2, stride=2", "3, bias=False", "~3, padding=1, padding_mode='circular'",
        "~3, padding=1, padding_mode='replicate'", "3, padding='same', dilation=2",
    ])  # fmt: skip
    if s.rng.random() < 0.2:
        out, options = channels, f"{options}, groups={channels}"
    transposed = s.rng.random() < 0.04 and "same" not in options and "mode" not in options
    kind = "nn.ConvTranspose1d" if transposed else "nn.Conv1d"
    module, v = s.module(f"{kind}({channels}, {out}, {options})"), s.new()
    if not turned:
        return f"{v} = {module}({x})"
    return f"{v} = {module}({x}.transpose(1, 2))" + s.rng.choice(["", ".transpose(1, 2)", ".permute(0, 2, 1)", ".mT"])


@operation(1)
def dropout(s: Scope) -> str | None:
    x, v = s.pick(), s.new()
    text = s.choose([
        f"{s.module('nn.Dropout(0.3)')}({x})", f"F.dropout({x}, 0.3, self.training)",
        f"F.dropout({x}, p=0.5, training=False)",
        f"{s.module('nn.Identity()')}({x})", f"{s.module('nn.AlphaDropout(0.2)')}({x})", f"{x}.contiguous()",
        f"{x}.clone()", f"{x}.detach()", f"{s.module('nn.Dropout1d(0.2)')}({x})", f"{x}.float()", f"{x}.to({x}.dtype)",
        f"{x}.type_as({x})", f"~F.dropout({x}, 0.0)", f"~F.dropout({x})",
    ])  # fmt: skip
    return f"{v} = {text}"


@operation(1)
def embedding(s: Scope) -> str | None:
    ids = [name for name, each in s.values.items() if not each.is_floating_point() and each.dtype == torch.int64]
    if not ids:
        return None
    padding = s.rng.choice(["", ", padding_idx=0"])
    return f"{s.new()} = {s.module(f'nn.Embedding(9, {s.rng.randint(1, 5)}{padding})')}({ids[0]})"
