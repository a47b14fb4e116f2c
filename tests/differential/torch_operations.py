"""Statements of a random ``forward``, as text: one function for each kind of operation.

Each takes a ``Scope``, which picks values by their axes, and gives the statement, or None where no value fits. Sizes
tell what an axis is: ``BATCH`` rows, more than ``MOST`` steps, and else features.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["BATCH", "OPERATIONS", "STEPS", "Scope"]

BATCH, STEPS, MOST = 29, 31, 24
RARELY = 0.04

Operation = Callable[["Scope"], "str | None"]
OPERATIONS: list[tuple[float, Operation]] = []


class Scope:
    """The values that statements have made so far, and the modules that they use."""

    def __init__(self, rng: random.Random, scripted: bool) -> None:
        self.rng, self.scripted = rng, scripted
        self.values: dict[str, torch.Tensor] = {}
        self.numbers: list[str] = []
        self.modules: dict[str, str] = {}
        self._count = 0

    def new(self, kind: str = "v") -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def module(self, text: str) -> str:
        """``self.m3`` for a module; now and then one that was there before."""
        same = [name for name, other in self.modules.items() if other == text]
        if same and self.rng.random() < 0.3:
            return f"self.{self.rng.choice(same)}"
        name = f"m{len(self.modules)}"
        self.modules[name] = text
        return f"self.{name}"

    def pick(self, fits: Callable[[torch.Tensor], bool] | None = None) -> str | None:
        """A value of floats; the newest ones more often."""
        found = [name for name, each in self.values.items() if each.is_floating_point() and (fits is None or fits(each))]
        if not found:
            return None
        return found[-1 - min(int(self.rng.expovariate(0.7)), len(found) - 1)]

    def sequence(self) -> str | None:
        """(batch, steps, features)"""
        return self.pick(is_sequence)

    def like(self, name: str) -> str | None:
        """Another value, or the same, of that shape."""
        shape = self.values[name].shape
        return self.pick(lambda each: each.shape == shape)

    def choose(self, texts: list[str]) -> str:
        """One of the texts; those that begin with ~, which fastgru is known to refuse, are rare."""
        while (text := self.rng.choice(texts)).startswith("~") and self.rng.random() > RARELY:
            pass
        return text.removeprefix("~")

    def size(self, name: str, axis: int) -> int:
        return self.values[name].shape[axis]

    def axis(self, name: str, batch: float = 0.02) -> int:
        """An axis, counted from either end, that is rarely the batch."""
        shape = self.values[name].shape
        axes = [axis for axis, size in enumerate(shape) if size != BATCH or self.rng.random() < batch] or [0]
        axis = self.rng.choice(axes)
        return axis if self.rng.random() < 0.5 else axis - len(shape)

    def number(self) -> str:
        """A number for arithmetic: a literal, or one that the code works out."""
        if self.numbers and self.rng.random() < 0.7:
            return self.rng.choice(self.numbers)
        if self.rng.random() < 0.15:
            return self.rng.choice([text.removeprefix("~") for text in NUMBERS if "{" not in text])
        return self.rng.choice(["2", "0.5", "-1", "3.0", "1.5", "0.25", "1", "-2.0"])


def is_sequence(value: torch.Tensor) -> bool:
    return value.dim() == 3 and value.shape[0] == BATCH and value.shape[1] > MOST and value.shape[2] <= MOST


def is_channels(value: torch.Tensor) -> bool:
    return value.dim() == 3 and value.shape[0] == BATCH and value.shape[1] <= MOST < value.shape[2]


def is_vector(value: torch.Tensor) -> bool:
    return value.dim() == 2 and value.shape[0] == BATCH and value.shape[1] <= MOST


def has_features(value: torch.Tensor) -> bool:
    return value.dim() >= 2 and value.shape[-1] <= MOST


def is_states(value: torch.Tensor) -> bool:
    return value.dim() == 3 and value.shape[0] <= 8 and value.shape[1] == BATCH and value.shape[2] <= MOST


def operation(weight: float) -> Callable[[Operation], Operation]:
    def add(function: Operation) -> Operation:
        OPERATIONS.append((weight, function))
        return function

    return add


# With weights.


@operation(6)
def gru(s: Scope) -> str | None:
    x = s.pick(lambda v: is_sequence(v) or (v.dim() == 3 and v.shape[1] == BATCH and v.shape[0] > MOST))
    if x is None:
        return None
    first = s.size(x, 0) == BATCH
    features, hidden = s.size(x, 2), s.rng.randint(1, 6)
    layers, both = s.rng.choice([1, 1, 1, 2, 3]), s.rng.random() < 0.35
    given = s.values.get("h") is not None and s.rng.random() < 0.8
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
             f"{h}.transpose(0, 1).contiguous().view(-1, {count} * {s.size(h, 2)})", f"{h}[-1:]", f"{h}.unsqueeze(0)"]  # fmt: skip
    if count > 1:
        texts += [f"torch.cat([{h}[-2], {h}[-1]], 1)", f"{h}[-2] + {h}[-1]", f"torch.cat(({h}[-2,:,:], {h}[-1,:,:]), dim=1)",
                  f"{h}[{count - 1}]", f"{h}[1:]", f"{h}[-2:]", f"~{h}.flip(0)", f"{h}[:-1] - {h}[1:]"]  # fmt: skip
    return f"{v} = {s.choose(texts)}"


@operation(2)
def cell_steps(s: Scope) -> str | None:
    """A GRUCell over the steps, one by one."""
    x = s.sequence()
    if x is None:
        return None
    hidden = s.rng.randint(1, 4)
    cell, h, out, v = s.module(f"nn.GRUCell({s.size(x, 2)}, {hidden})"), s.new(), s.new("o"), s.new()
    begin = s.choose([f"~torch.zeros({x}.size(0), {hidden})", f"~{x}.new_zeros({x}.size(0), {hidden})",
                      f"torch.tanh({s.module(f'nn.Linear({s.size(x, 2)}, {hidden})')}({x}[:, 0]))"])  # fmt: skip
    count = s.rng.choice([f"{x}.size(1)", f"{x}.shape[1]", "3", "2", "min(4, {x}.size(1))".format(x=x)])
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
    kind = "nn.ConvTranspose1d" if s.rng.random() < 0.04 and "same" not in options and "mode" not in options else "nn.Conv1d"
    module, v = s.module(f"{kind}({channels}, {out}, {options})"), s.new()
    if not turned:
        return f"{v} = {module}({x})"
    return f"{v} = {module}({x}.transpose(1, 2))" + s.rng.choice(["", ".transpose(1, 2)", ".permute(0, 2, 1)", ".mT"])


@operation(1)
def dropout(s: Scope) -> str | None:
    x, v = s.pick(), s.new()
    text = s.choose([
        f"{s.module('nn.Dropout(0.3)')}({x})", f"F.dropout({x}, 0.3, self.training)", f"F.dropout({x}, p=0.5, training=False)",
        f"{s.module('nn.Identity()')}({x})", f"{s.module('nn.AlphaDropout(0.2)')}({x})", f"{x}.contiguous()",
        f"{x}.clone()", f"{x}.detach()", f"{s.module('nn.Dropout1d(0.2)')}({x})", f"{x}.float()", f"{x}.to({x}.dtype)",
        f"{x}.type_as({x})", f"~F.dropout({x}, 0.0)", f"~F.dropout({x})",
    ])  # fmt: skip
    return f"{v} = {text}"


# On every element.

ACTIVATIONS = """
torch.relu({x})|F.relu({x})|{x}.relu()|torch.tanh({x})|{x}.tanh()|torch.sigmoid({x})|F.silu({x})|F.mish({x})
F.selu({x})|F.softsign({x})|F.hardsigmoid({x})|F.hardswish({x})|F.logsigmoid({x})|torch.exp({x})|{x}.abs()|-{x}
torch.neg({x})|F.elu({x})|F.elu({x}, 0.5)|F.celu({x}, 0.7)|F.leaky_relu({x})|F.leaky_relu({x}, 0.2)|F.relu6({x})
F.hardtanh({x})|F.hardtanh({x}, -0.5, 0.25)|F.hardshrink({x}, 0.2)|F.softshrink({x}, 0.1)|F.softplus({x})
F.softplus({x}, 2.0)|F.softplus({x}, beta=3, threshold=1)|F.gelu({x})|F.gelu({x}, approximate='tanh')
F.threshold({x}, 0.1, -1.0)|{x}.clamp(-0.5, 0.5)|{x}.clamp(min=0)|torch.clamp({x}, 0, 1)|~{x}.clamp(max=0.3)
{x}.clamp_min(0)|~{x}.clamp_min(0.1)|~{x}.square()|~{x} ** 2|~torch.sqrt({x}.abs() + 0.1)|~torch.sin({x})|~torch.log1p({x}.abs())
{x}.absolute()|torch.negative({x})|~F.tanhshrink({x})|~torch.erf({x})|~{x}.sign()|~torch.reciprocal({x}.abs() + 1)|~{x}.pow(2)
F.hardtanh({x}, 0.0, 1.0)|F.threshold({x}, 0.0, 0.0)|~F.rrelu({x})|{x}.clamp(0.2, -0.2)|~torch.nan_to_num({x})
""".replace("\n", "|").strip("|").split("|")  # fmt: skip
MODULES = """
nn.ReLU()|nn.ReLU6()|nn.Tanh()|nn.Sigmoid()|nn.SiLU()|nn.Mish()|nn.SELU()|nn.Softsign()|nn.Hardsigmoid()|nn.Hardswish()
nn.LogSigmoid()|nn.ELU(0.3)|nn.CELU(1.5)|nn.LeakyReLU(0.3)|nn.Hardtanh(-2, 1)|nn.Hardshrink(0.1)|nn.Softshrink(0.3)
nn.Softplus(2)|nn.GELU()|nn.GELU('tanh')|nn.Threshold(0.1, 2)|~nn.Tanhshrink()|nn.ReLU(inplace=True)|nn.ELU(inplace=True)
nn.LeakyReLU(0.1, inplace=True)|~nn.Softmin(-1)|nn.Softmax(-1)|nn.Softmax(1)|nn.LogSoftmax(-1)|nn.LogSoftmax(2)
""".replace("\n", "|").strip("|").split("|")  # fmt: skip


@operation(6)
def activation(s: Scope) -> str | None:
    x, v = s.pick(), s.new()
    if s.rng.random() < 0.3:
        return f"{v} = {s.module(s.choose(MODULES))}({x})"
    return f"{v} = {s.choose(ACTIVATIONS).format(x=x)}"


@operation(2)
def softmax(s: Scope) -> str | None:
    x, v = s.pick(lambda v: v.dim() >= 2), s.new()
    if x is None:
        return None
    axis = s.axis(x)
    texts = [f"torch.softmax({x}, {axis})", f"F.softmax({x}, dim={axis})", f"F.log_softmax({x}, dim={axis})",
             f"{x}.softmax({axis})", f"F.softmin({x}, {axis})"]  # fmt: skip
    if s.size(x, axis) % 2 == 0:
        texts += [f"F.glu({x}, {axis})"] * 3
    return f"{v} = {s.choose(texts)}"


@operation(5)
def with_number(s: Scope) -> str | None:
    x, n, v = s.pick(), s.number(), s.new()
    text = s.choose([
        "{x} * {n}", "{x} + {n}", "{x} - {n}", "{n} - {x}", "1 - {x}", "{x} / {n}", "{n} * {x}", "torch.mul({x}, {n})",
        "torch.add({x}, {n})", "{x}.sub({n})", "torch.rsub({x}, {n})", "{x}.div({n})", "{n} + {x}", "1.0 - {x}",
        "{x} * -{n}", "~{n} / ({x}.abs() + 1)", "~{x} // {n}", "{x}.add({n}, alpha=2)", "torch.rsub({x}, {n}, alpha=3)",
        "torch.maximum({x}, {x} * {n})", "{x}.sub({n}, alpha=0.5)", "{x} * float({n})", "{x} + int({n})",
    ]).format(x=x, n=n)  # fmt: skip
    return f"{v} = {text}"


@operation(2)
def in_place(s: Scope) -> str | None:
    x = s.pick()
    if x is None:
        return None
    y, v = s.like(x), s.new()
    text = s.choose([
        "{x}.relu_()", "{x} += {y}", "{x} *= 2", "{x} -= 1", "{v} = {x}.tanh_()", "{v} = {x}.mul_({y})", "{x}.add_({y})",
        "{v} = F.relu({x}, inplace=True)", "~{x}[:, 0] = 0.0", "{v} = {x}.clone()\n{v} += {y}", "~{x}.zero_()", "{x} /= 2",
        "{v} = {x}[:, 1:]\n{v} *= 3", "{v} = {x}.transpose(0, 1)\n{v}.sigmoid_()", "{v} = {x}.clamp_(-0.2, 0.4)",
        "{v} = {x}.squeeze_()", "{v} = {x}.t_()", "{v} = {x}.unsqueeze_(1)", "{v} = {x}.transpose_(1, 2)",
        "~{v} = {x}.copy_({y})", "{v} = {x}.neg_()", "~{v} = {x}.fill_(0.5)", "{x}.sub_({y}, alpha=2)",
    ])  # fmt: skip
    return text.format(x=x, y=y, v=v)


@operation(6)
def merge(s: Scope) -> str | None:
    x = s.pick()
    if x is None:
        return None
    y, v = s.like(x), s.new()
    text = s.choose([
        "{x} + {y}", "{x} - {y}", "{x} * {y}", "torch.maximum({x}, {y})", "torch.minimum({x}, {y})", "{x}.add({y})",
        "torch.add({x}, {y}, alpha=2)", "torch.sub({x}, {y}, alpha=0.5)", "torch.rsub({x}, {y})", "{x}.mul({y})",
        "~torch.max({x}, {y})", "~{x} / ({y}.abs() + 1)", "torch.sigmoid({x}) * {y} + (1 - torch.sigmoid({x})) * {x}",
        "~torch.lerp({x}, {y}, 0.3)", "~torch.where({x} > 0, {x}, {y})", "({x} + {y}) / 2", "torch.rsub({x}, {y}, alpha=2)",
        "{x} * {x}.sigmoid()", "~torch.addcmul({x}, {x}, {y})", "torch.minimum({x}, {x} * 2)", "{x} + {x}",
    ]).format(x=x, y=y)  # fmt: skip
    return f"{v} = {text}"


@operation(3)
def broadcast(s: Scope) -> str | None:
    """Values of other sizes, and vectors of the file."""
    x = s.pick(lambda v: v.dim() >= 2)
    if x is None:
        return None
    v, shape, sign = s.new(), s.values[x].shape, s.rng.choice(["+", "*", "-", "*", "/"])
    if s.rng.random() < 0.5:
        n = shape[-1] if shape[-1] <= MOST else 1
        middle = shape[1] if len(shape) == 3 and shape[1] <= MOST else 1
        size = s.rng.choice([f"{n}", "1", f"1, {n}", f"1, 1, {n}", "()", f"{middle}, 1", f"1, {middle}, 1"])
        p = s.module(f"nn.Parameter(torch.empty({size}))")
        return f"{v} = " + (f"{x} {sign} {p}" if s.rng.random() < 0.7 or sign == "/" else f"{p} {sign} {x}")
    y = s.pick(lambda other: other.shape != shape)
    if y is None:
        return None
    sign = "*" if sign == "/" else sign
    texts = [f"{x} {sign} {y}", f"{x} {sign} {y}.unsqueeze(1)", f"{x} {sign} {y}.unsqueeze(-1)", f"{y} {sign} {x}",
             f"torch.maximum({x}, {y}.unsqueeze(1))", f"{x} {sign} {y}[:, None]", f"torch.maximum({x}, {y})"]  # fmt: skip
    return f"{v} = {s.choose(texts)}"


# Over the steps.


@operation(4)
def over_steps(s: Scope) -> str | None:
    x, v = s.pick(lambda v: v.dim() >= 2), s.new()
    if x is None:
        return None
    axis, keep = s.axis(x), s.rng.choice(["", "", ", keepdim=True"])
    text = s.choose([
        "{x}.sum({a}{k})", "{x}.mean({a}{k})", "{x}.amax({a}{k})", "{x}.max({a}{k})[0]", "{x}.max({a}{k}).values",
        "torch.mean({x}, dim={a}{k})", "torch.sum({x}, {a}{k})", "{x}.mean([{a}]{k})", "torch.max({x}, {a}{k})[0]",
        "{x}.sum({a}{k}) / {x}.size({a})", "~{x}.min({a}{k})[0]", "~{x}.cumsum({a})", "~{x}.std({a}{k})", "~{x}.logsumexp({a}{k})",
        "~{x}.mean((1, 2))", "~{x}.sum()", "~{x}.amin({a}{k})", "~{x}.norm(dim={a}{k})", "torch.sum({x} * {x}, {a}{k})",
        "~{x}.argmax({a}{k}).float()", "~{x}.prod({a}{k})", "~{x}.mean()",
    ]).format(x=x, a=axis, k=keep)  # fmt: skip
    return f"{v} = {text}"


@operation(2)
def attention(s: Scope) -> str | None:
    x, v, w = s.sequence(), s.new(), s.new()
    if x is None:
        return None
    score = s.module(f"nn.Linear({s.size(x, 2)}, 1)")
    text = s.choose([
        "{w} = torch.softmax({m}({x}), 1)\n{v} = ({w} * {x}).sum(1)",
        "{w} = torch.softmax({m}({x}).squeeze(-1), -1)\n{v} = ({w}.unsqueeze(-1) * {x}).sum(1)",
        "{w} = torch.softmax({m}({x}).squeeze(-1), 1)\n{v} = ({w}[:, :, None] * {x}).sum(dim=1)",
        "{w} = torch.softmax({m}({x})[:, :, 0], dim=1)\n{v} = torch.bmm({w}.unsqueeze(1), {x}).squeeze(1)",
        "{w} = {m}({x}).squeeze(2)\n{v} = {w}.softmax(-1)", "{w} = {m}({x})[..., 0]\n{v} = {w}.sigmoid()",
        "{w} = torch.tanh({m}({x}))\n{v} = (F.softmax({w}, dim=1) * {x}).mean(1)",
    ]).format(x=x, v=v, w=w, m=score)  # fmt: skip
    return text


@operation(2)
def pool(s: Scope) -> str | None:
    x, v = s.pick(is_channels), s.new()
    turned = x is None
    x = x or s.sequence()
    if x is None:
        return None
    given = f"{x}.transpose(1, 2)" if turned else x
    text = s.choose([
        "F.adaptive_avg_pool1d({x}, 1)", "F.adaptive_max_pool1d({x}, 1)", "{x}.mean(-1)", "F.max_pool1d({x}, 2)",
        "F.avg_pool1d({x}, 2)", "F.max_pool1d({x}, 3, 1)", "F.avg_pool1d({x}, 3, 2)", "~F.max_pool1d({x}, 3, 2, padding=1)",
        "~F.avg_pool1d({x}, 3, 1, 1)", "~F.avg_pool1d({x}, 3, 2, ceil_mode=True)", "F.pad({x}, (1, 1))", "F.pad({x}, (2, 0))",
        "F.pad({x}, (0, 1))", "~F.pad({x}, (1, 2), value=0.5)", "~F.pad({x}, (1, 1), mode='replicate')", "F.pad({x}, (0, 0, 1, 1))",
        "~F.pad({x}, (-1, 0))", "F.pad({x}, (1, 1), 'constant', 0.0)", "~F.adaptive_avg_pool1d({x}, 2)",
        "~F.interpolate({x}, scale_factor=2.0)", "~F.max_pool1d({x}, 2, dilation=2)", "F.adaptive_max_pool1d({x}, 1).squeeze(-1)",
        "F.max_pool1d({x}, {x}.size(2)).squeeze(2)", "F.avg_pool1d({x}, {x}.size(-1))[:, :, 0]",
        "F.pad({x}, (0, max(0, 40 - {x}.size(2))))", "~F.pad({x}, (3, -2))",
    ]).format(x=given)  # fmt: skip
    if s.rng.random() < 0.3 and turned:
        text = s.rng.choice(["F.pad({x}, (0, 0, 1, 0))", "F.pad({x}, (0, 0, 2, 1))", "F.pad({x}, (1, 1))",
                             "F.pad({x}, (0, 0, 0, 2))[:, 1:]", "F.pad({x}, [0, 0, 1, -1])"]).format(x=x)  # fmt: skip
    return f"{v} = {text}"


# Shapes.


@operation(8)
def shape(s: Scope) -> str | None:
    x, v = s.pick(lambda v: v.dim() >= 2), s.new()
    if x is None:
        return None
    one, two = s.axis(x, 0.3), s.axis(x, 0.3)
    last = s.size(x, -1)
    part = next((n for n in (2, 3, 5) if last <= MOST and last % n == 0), 1)
    text = s.choose([
        "{x}.transpose({a}, {b})", "{x}.swapaxes({a}, {b})", "{x}.transpose(1, 2)", "{x}.permute(0, 2, 1)", "{x}.mT",
        "{x}.movedim({a}, {b})", "{x}.squeeze({a})", "{x}.squeeze()", "{x}.unsqueeze({a})", "{x}.unsqueeze(1)", "{x}.unsqueeze(-1)",
        "{x}.reshape({x}.size(0), -1)", "{x}.flatten(1)", "torch.flatten({x}, 1)", "{x}.flatten(-2)", "~{x}.t()",
        "{x}.view({x}.size(0), {x}.size(1), {p}, -1)", "{x}.unflatten(-1, ({p}, -1))", "~{x}.reshape(-1, {l})", "~{x}[None]",
        "{x}.reshape(-1, {l}).view({x}.size(0), -1, {l})", "{x}.view({x}.shape[0], -1)", "{x}.view({x}.shape)",
        "{x}.view({x}.size(0), -1, {p})", "{x}.view(-1, {p}, {l})", "{x}.reshape({x}.size(0), {x}.size(-1), -1)",
        "~{x}.reshape({x}.size(1), -1)", "~{x}.view({x}.size(0) * {x}.size(1), -1)", "~{x}.flatten(0, 1)", "{x}.expand({x}.shape)",
        "{x}.permute(2, 0, 1)", "{x}.permute(1, 0, 2)", "{x}.transpose(0, 1)", "{x}.reshape({x}.size(0), 1, -1)",
        "~{x}.repeat(1, 2)", "~{x}.repeat(1, 1, 2)", "~{x}.flip({a})", "~{x}.roll(1, {a})", "~{x}.repeat_interleave(2, {a})",
        "{x}.permute(2, 1, 0)", "~{x}.T", "torch.transpose({x}, {a}, {b})", "{x}.view({x}.size(0), -1, {l})",
        "~torch.fliplr({x})", "{x}.permute(0, 2, 1).reshape({x}.size(0), -1)", "{x}.unsqueeze(2)", "~{x}.view(-1)",
    ]).format(x=x, a=one, b=two, l=last if last <= MOST else -1, p=part)  # fmt: skip
    return f"{v} = {text}"


@operation(6)
def part(s: Scope) -> str | None:
    x, v = s.pick(lambda v: v.dim() >= 2), s.new()
    if x is None:
        return None
    if s.numbers and s.rng.random() < 0.3:
        return f"{v} = {x}" + s.rng.choice(["[:, {n}]", "[:, {n}:]", "[:, :{n}]", "[..., :{n}]"]).format(n=s.number())
    axis, i, j = s.axis(x), s.rng.choice([0, 1, 2, -1, -2]), s.rng.choice([1, 2, 3, -1, -2])
    text = s.choose([
        "{x}[:, -1]", "{x}[:, {i}]", "{x}[..., {i}]", "{x}[:, {i}:]", "{x}[:, :{j}]", "{x}[:, {i}:{j}]", "{x}[..., :{j}]",
        "{x}[..., {i}:]", "{x}[:, -1:]", "{x}[:, -1, :]", "{x}[:, :, -1]", "~{x}[:, ::2]", "{x}.select({a}, {i})", "{x}[:, 1:-1]",
        "~{x}.narrow({a}, 0, 2)", "{x}[:, :, {i}:]", "{x}[:, :, :{j}]", "{x}[:, None]", "{x}[:, {x}.size(1) - 1]", "{x}[:, -3:]",
        "{x}[:, {x}.size(1) // 2:]", "{x}[:, :{x}.size(1) - 1]", "{x}[:, {x}.shape[1] // 2]", "{x}[:, 2:100]", "~{x}[-1]", "~{x}[0]",
        "~{x}[:, [0, 1]]", "~{x}.index_select({a}, torch.tensor([0, 1]))", "{x}[:, int({x}.size(1) * 0.5):]", "{x}[:, 1:] - {x}[:, :-1]",
        "{x}[..., 0:1]", "{x}[:, :-1] + {x}[:, 1:]", "{x}[:, -100:]", "{x}[:, 3:1]", "{x}[:, :, 1:][:, 1:]",
    ]).format(x=x, a=axis, i=i, j=j)  # fmt: skip
    return f"{v} = {text}"


@operation(3)
def parts(s: Scope) -> str | None:
    x = s.pick(lambda v: v.dim() >= 2 and any(1 < size <= MOST for size in v.shape))
    if x is None:
        return None
    axes = [axis for axis, size in enumerate(s.values[x].shape) if 1 < size <= MOST]
    axis = s.rng.choice(axes)
    size, v, w = s.size(x, axis), s.new(), s.new()
    if s.rng.random() < 0.5:
        axis -= s.values[x].dim()
    half = size // 2
    texts = [f"{v} = {x}.chunk(2, {axis})[0]", f"{v} = {x}.split({half}, {axis})[-1]", f"{v} = {x}.unbind({axis})[1]",
             f"{v}, {w} = torch.split({x}, [{half}, {size - half}], dim={axis})", f"{v}, {w} = {x}.chunk(2, dim={axis})",
             f"~{v} = torch.tensor_split({x}, 2, {axis})[1]"]  # fmt: skip
    if s.rng.random() < 0.15:
        texts = [f"{v} = {x}.split(2, 1)[0]", f"{v} = {x}.chunk(2, 1)[1]", f"{v} = {x}.unbind(1)[0]", f"{v} = {x}.unbind(1)[-1]"]
    return s.choose(texts)


@operation(4)
def join(s: Scope) -> str | None:
    x = s.pick(lambda v: v.dim() >= 2)
    if x is None:
        return None
    axis, v, shape = s.axis(x), s.new(), list(s.values[x].shape)
    place = axis % len(shape)
    y = s.pick(lambda o: o.dim() == len(shape) and [*o.shape[:place], *o.shape[place + 1 :]] == shape[:place] + shape[place + 1 :])
    z = s.like(x)
    text = s.choose([
        f"torch.cat([{x}, {y}], {axis})", f"torch.cat(({y}, {x}), dim={axis})", f"torch.concat([{x}, {y}, {x}], {axis})",
        f"torch.stack([{x}, {z}], 1)", f"torch.stack([{x}, {z}], -1)", f"torch.stack(({z}, {x}), dim=0)", f"torch.hstack([{x}, {y}])",
        f"torch.stack([{x}, {z}], 2)", f"torch.cat([{x}, {y}], {axis})", f"torch.cat([{x}, {y}, {y}], {axis})",
        f"torch.cat([{x}, torch.zeros_like({x})], {axis})", f"torch.cat([{x}[:, :1], {x}], 1)", f"torch.stack([{x}, {z}], {axis})",
        f"{x} + torch.zeros_like({x})", f"~torch.ones_like({x}) - {x}", f"~{x} * torch.ones(1)", f"~{x} - torch.zeros({shape[-1]})",
    ])  # fmt: skip
    return f"{v} = {text}"


# Numbers, branches, loops.

NUMBERS = """
int(2.7)|int(-2.7)|int(7 / 2)|float(3)|float(7 // 2)|7 // 2|-7 // 2|7 % 3|-7 % 3|7 / 2|2 ** 3|abs(-3)|min(2, 3)
max(1.5, 0.5)|math.sqrt(4.0)|math.floor(2.7)|math.ceil(2.1)|int(True)|float(int(1.9))|{x}.size(-1)|{x}.size(1)|{x}.shape[-1]
{x}.dim()|{x}.size(1) // 2|{x}.shape[1] / 2|math.sqrt({x}.size(-1))|1.0 / {x}.size(1)|int({x}.size(1) * 0.5)|len({x}.shape)
float({x}.size(-1)) ** 0.5|{x}.size(1) - 1|{x}.size(0)|1 if {x}.size(1) > 4 else 2|int({x}.size(1) > 4)|round(2.4)|{x}.size(1) % 3
1.0 / float({x}.size(-1))|-({x}.dim())|{x}.ndim|int(3.999)|int({x}.shape[-1] / 2)|float({x}.size(1) // 2)|5 - int(1.5)|int(0.3)
1 / 3|int(2 * 1.9)|float(True)|int(-0.5)|2.5 // 1|-2.5 // 1|2.5 % 1|int(1e9) % 7|3 * int(2.5)|int(float(2.5))|math.pow(2, 3)
""".replace("\n", "|").strip("|").split("|")  # fmt: skip


@operation(3)
def number(s: Scope) -> str | None:
    x, n = s.pick(lambda v: v.dim() >= 2), s.new("n")
    if x is None:
        return None
    return f"{n} = {s.choose(NUMBERS).format(x=x)}"


CONDITIONS = """
int(7 / 2) == 3|bool(2)|bool(0.0)|{x}.size(1) > 3|{x}.size(-1) == {f}|{x}.dim() == 3|self.training|not self.training|int(2.7) == 2
{x}.size(0) > 2|self.mode == 'mean'|self.mode != "me\\nan"|len(self.mode) > 3|{x}.shape[1] % 2 == 0|bool({x}.dim() - 2)|True
{x}.size(1) > 3 and {x}.dim() == 3|{x}.size(1) < 4 or bool(1)|float(3) > 2.5|int(0.5) != 0|{x}.is_floating_point()|{x} is not None
self.mode in ['mean', 'sum']|self.flag|not self.flag|self.count > 2|self.rate * 2 == 1.0|int(self.rate * 5) == 2|bool(self.count)
{x}.dtype == torch.float32|{x}.requires_grad|self.mode == 'a\\'b"c\\\\'|int(-1.5) == -1|bool(0)|not bool(0.1)|-7 // 2 == -4|-7 % 3 == 2
{x}.numel() > 20|{x}.size(1) // 2 > 2|torch.is_grad_enabled()|float('inf') > 1|bool('')|{x}.shape[-1] >= 2|{x}.ndim != 2
""".replace("\n", "|").strip("|").split("|")  # fmt: skip
ATTRIBUTES = {
    "mode": ["'mean'", "'sum'", '"a\'b\\"c\\\\"', "'me\\nan'", "'\\u00e9t\\u00e9'", "''"],
    "flag": ["True", "False"], "count": ["3", "0", "2"], "rate": ["0.5", "0.49", "1.0"],
}  # fmt: skip


@operation(3)
def branch(s: Scope) -> str | None:
    x = s.pick(lambda v: v.dim() >= 2)
    if x is None:
        return None
    v, y = s.new(), s.like(x)
    condition = s.choose(CONDITIONS).format(x=x, f=s.size(x, -1))
    for name, values in ATTRIBUTES.items():
        if f"self.{name}" in condition and name not in s.modules:
            s.modules[name] = s.rng.choice(values)
    one, other = s.rng.sample([f"{x} * 2", f"{x} + {y}", f"torch.tanh({x})", f"{x} - 1", f"{x}", f"{y} * 0.5"], 2)
    text = s.rng.choice(["if {c}:\n    {v} = {o}\nelse:\n    {v} = {p}", "{v} = {x}\nif {c}:\n    {v} = {o}",
                         "{v} = {o} if {c} else {p}", "{v} = {o}\nif not ({c}):\n    {v} = {p}"])  # fmt: skip
    return text.format(c=condition, v=v, x=x, o=one, p=other)


@operation(2)
def loop(s: Scope) -> str | None:
    x = s.sequence()
    if x is None:
        return None
    v, out, features = s.new(), s.new("o"), s.size(x, 2)
    text = s.choose([
        "{v} = {x}\nfor i in range(3):\n    {v} = torch.tanh({v} * 2)",
        "{v} = {x}\nfor i in range(2):\n    {v} = {v} + i",
        "{v} = {x}\nfor layer in {layers}:\n    {v} = torch.relu(layer({v}))",
        "{v} = {x}\nfor i, layer in enumerate({layers}):\n    {v} = layer({v}) * (i + 1)",
        "{v} = {x}[:, 0]\nfor t in range(1, {x}.size(1)):\n    {v} = {v} * 0.5 + {x}[:, t]",
        "{o}: List[Tensor] = []\nfor t in range({x}.size(1)):\n    {o}.append({x}[:, t] * 2)\n{v} = torch.stack({o}, 1)",
        "{o} = [{x}, {x} * 2]\n{o}.append({x} - 1)\n{v} = torch.cat({o}, -1)",
        "{o} = []\nfor i in range(4):\n    {o}.append({x} * i)\n{v} = torch.stack({o}, 0).sum(0)",
        "{v} = {x}\ni = 0\nwhile i < 3:\n    {v} = {v} * 0.5\n    i += 1",
        "{v} = {x}\nfor i in range(4):\n    if i == 2:\n        break\n    {v} = {v} + 1",
        "{v} = {x}.clone()\nfor i in range({x}.size(1)):\n    {v} = {v} + 0.1",
        "{v} = torch.zeros_like({x})\nfor k in [1, 2]:\n    {v} = {v} + {x} / k",
        "{o} = {{'a': {x}, 'b': {x} * 2}}\n{v} = {o}['b'] - {o}['a']",
        "{o} = ({x}, {x} + 1)\n{v} = {o}[0] * {o}[1]",
        "{v} = torch.stack([{x}[:, t] for t in range(2)], 1)",
    ])  # fmt: skip
    layers = ""
    if "{layers}" in text:
        layers = s.module(f"nn.ModuleList([nn.Linear({features}, {features}), nn.Linear({features}, {features})])")
    return text.format(v=v, x=x, o=out, layers=layers)


@operation(1)
def embedding(s: Scope) -> str | None:
    ids = [name for name, each in s.values.items() if not each.is_floating_point() and each.dtype == torch.int64]
    if not ids:
        return None
    padding = s.rng.choice(["", ", padding_idx=0"])
    return f"{s.new()} = {s.module(f'nn.Embedding(9, {s.rng.randint(1, 5)}{padding})')}({ids[0]})"
