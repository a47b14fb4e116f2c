"""Statements of a random ``forward`` on every element, on two operands, and over the steps.

Each takes a ``Scope`` and gives the statement, or None where no value fits.
"""

from __future__ import annotations

from torch_scope import MOST, Scope, is_channels, operation

__all__ = ["MODULES"]


ACTIVATIONS = """
torch.relu({x})|F.relu({x})|{x}.relu()|torch.tanh({x})|{x}.tanh()|torch.sigmoid({x})|F.silu({x})|F.mish({x})
F.selu({x})|F.softsign({x})|F.hardsigmoid({x})|F.hardswish({x})|F.logsigmoid({x})|torch.exp({x})|{x}.abs()|-{x}
torch.neg({x})|F.elu({x})|F.elu({x}, 0.5)|F.celu({x}, 0.7)|F.leaky_relu({x})|F.leaky_relu({x}, 0.2)|F.relu6({x})
F.hardtanh({x})|F.hardtanh({x}, -0.5, 0.25)|F.hardshrink({x}, 0.2)|F.softshrink({x}, 0.1)|F.softplus({x})
F.softplus({x}, 2.0)|F.softplus({x}, beta=3, threshold=1)|F.gelu({x})|F.gelu({x}, approximate='tanh')
F.threshold({x}, 0.1, -1.0)|{x}.clamp(-0.5, 0.5)|{x}.clamp(min=0)|torch.clamp({x}, 0, 1)|~{x}.clamp(max=0.3)
{x}.clamp_min(0)|~{x}.clamp_min(0.1)|~{x}.square()|~{x} ** 2|~torch.sqrt({x}.abs() + 0.1)|~torch.sin({x})
~torch.log1p({x}.abs())|{x}.absolute()|torch.negative({x})|~F.tanhshrink({x})|~torch.erf({x})|~{x}.sign()
~torch.reciprocal({x}.abs() + 1)|~{x}.pow(2)|F.hardtanh({x}, 0.0, 1.0)|F.threshold({x}, 0.0, 0.0)|~F.rrelu({x})
{x}.clamp(0.2, -0.2)|~torch.nan_to_num({x})
""".replace("\n", "|").strip("|").split("|")  # fmt: skip
MODULES = """
nn.ReLU()|nn.ReLU6()|nn.Tanh()|nn.Sigmoid()|nn.SiLU()|nn.Mish()|nn.SELU()|nn.Softsign()|nn.Hardsigmoid()
nn.Hardswish()|nn.LogSigmoid()|nn.ELU(0.3)|nn.CELU(1.5)|nn.LeakyReLU(0.3)|nn.Hardtanh(-2, 1)|nn.Hardshrink(0.1)
nn.Softshrink(0.3)|nn.Softplus(2)|nn.GELU()|nn.GELU('tanh')|nn.Threshold(0.1, 2)|~nn.Tanhshrink()
nn.ReLU(inplace=True)|nn.ELU(inplace=True)|nn.LeakyReLU(0.1, inplace=True)|~nn.Softmin(-1)|nn.Softmax(-1)
nn.Softmax(1)|nn.LogSoftmax(-1)|nn.LogSoftmax(2)
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


@operation(7)
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
        "{x}.relu_()", "{x} += {y}", "{x} *= 2", "{x} -= 1", "{v} = {x}.tanh_()", "{v} = {x}.mul_({y})",
        "{x}.add_({y})",
        "{v} = F.relu({x}, inplace=True)", "~{x}[:, 0] = 0.0", "{v} = {x}.clone()\n{v} += {y}", "~{x}.zero_()",
        "{x} /= 2",
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
        "~torch.lerp({x}, {y}, 0.3)", "~torch.where({x} > 0, {x}, {y})", "({x} + {y}) / 2",
        "torch.rsub({x}, {y}, alpha=2)",
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
             f"torch.maximum({x}, {y}.unsqueeze(1))", f"{x} {sign} {y}[:, None]",
             f"torch.maximum({x}, {y})"]  # fmt: skip
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
        "{x}.sum({a}{k}) / {x}.size({a})", "~{x}.min({a}{k})[0]", "~{x}.cumsum({a})", "~{x}.std({a}{k})",
        "~{x}.logsumexp({a}{k})",
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
        "F.avg_pool1d({x}, 2)", "F.max_pool1d({x}, 3, 1)", "F.avg_pool1d({x}, 3, 2)",
        "~F.max_pool1d({x}, 3, 2, padding=1)",
        "~F.avg_pool1d({x}, 3, 1, 1)", "~F.avg_pool1d({x}, 3, 2, ceil_mode=True)", "F.pad({x}, (1, 1))",
        "F.pad({x}, (2, 0))",
        "F.pad({x}, (0, 1))", "~F.pad({x}, (1, 2), value=0.5)", "~F.pad({x}, (1, 1), mode='replicate')",
        "F.pad({x}, (0, 0, 1, 1))",
        "~F.pad({x}, (-1, 0))", "F.pad({x}, (1, 1), 'constant', 0.0)", "~F.adaptive_avg_pool1d({x}, 2)",
        "~F.interpolate({x}, scale_factor=2.0)", "~F.max_pool1d({x}, 2, dilation=2)",
        "F.adaptive_max_pool1d({x}, 1).squeeze(-1)",
        "F.max_pool1d({x}, {x}.size(2)).squeeze(2)", "F.avg_pool1d({x}, {x}.size(-1))[:, :, 0]",
        "F.pad({x}, (0, max(0, 40 - {x}.size(2))))", "~F.pad({x}, (3, -2))",
    ]).format(x=given)  # fmt: skip
    if s.rng.random() < 0.3 and turned:
        text = s.rng.choice(["F.pad({x}, (0, 0, 1, 0))", "F.pad({x}, (0, 0, 2, 1))", "F.pad({x}, (1, 1))",
                             "F.pad({x}, (0, 0, 0, 2))[:, 1:]", "F.pad({x}, [0, 0, 1, -1])"]).format(x=x)  # fmt: skip
    return f"{v} = {text}"
