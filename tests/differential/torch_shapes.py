"""Statements of a random ``forward`` on shapes, and what is no tensor: numbers, branches, loops.

Each takes a ``Scope`` and gives the statement, or None where no value fits.
"""

from __future__ import annotations

from torch_scope import MOST, NUMBERS, Scope, operation

__all__ = ["ATTRIBUTES", "CONDITIONS"]


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
        "{x}.movedim({a}, {b})", "{x}.squeeze({a})", "{x}.squeeze()", "{x}.unsqueeze({a})", "{x}.unsqueeze(1)",
        "{x}.unsqueeze(-1)",
        "{x}.reshape({x}.size(0), -1)", "{x}.flatten(1)", "torch.flatten({x}, 1)", "{x}.flatten(-2)", "~{x}.t()",
        "{x}.view({x}.size(0), {x}.size(1), {p}, -1)", "{x}.unflatten(-1, ({p}, -1))", "~{x}.reshape(-1, {l})",
        "~{x}[None]",
        "{x}.reshape(-1, {l}).view({x}.size(0), -1, {l})", "{x}.view({x}.shape[0], -1)", "{x}.view({x}.shape)",
        "{x}.view({x}.size(0), -1, {p})", "{x}.view(-1, {p}, {l})", "{x}.reshape({x}.size(0), {x}.size(-1), -1)",
        "~{x}.reshape({x}.size(1), -1)", "~{x}.view({x}.size(0) * {x}.size(1), -1)", "~{x}.flatten(0, 1)",
        "{x}.expand({x}.shape)",
        "{x}.permute(2, 0, 1)", "{x}.permute(1, 0, 2)", "{x}.transpose(0, 1)", "{x}.reshape({x}.size(0), 1, -1)",
        "~{x}.repeat(1, 2)", "~{x}.repeat(1, 1, 2)", "~{x}.flip({a})", "~{x}.roll(1, {a})",
        "~{x}.repeat_interleave(2, {a})",
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
        "{x}[:, -1]", "{x}[:, {i}]", "{x}[..., {i}]", "{x}[:, {i}:]", "{x}[:, :{j}]", "{x}[:, {i}:{j}]",
        "{x}[..., :{j}]",
        "{x}[..., {i}:]", "{x}[:, -1:]", "{x}[:, -1, :]", "{x}[:, :, -1]", "~{x}[:, ::2]", "{x}.select({a}, {i})",
        "{x}[:, 1:-1]",
        "~{x}.narrow({a}, 0, 2)", "{x}[:, :, {i}:]", "{x}[:, :, :{j}]", "{x}[:, None]", "{x}[:, {x}.size(1) - 1]",
        "{x}[:, -3:]",
        "{x}[:, {x}.size(1) // 2:]", "{x}[:, :{x}.size(1) - 1]", "{x}[:, {x}.shape[1] // 2]", "{x}[:, 2:100]",
        "~{x}[-1]", "~{x}[0]",
        "~{x}[:, [0, 1]]", "~{x}.index_select({a}, torch.tensor([0, 1]))", "{x}[:, int({x}.size(1) * 0.5):]",
        "{x}[:, 1:] - {x}[:, :-1]",
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
             f"{v}, {w} = torch.split({x}, [{half}, {size - half}], dim={axis})",
             f"{v}, {w} = {x}.chunk(2, dim={axis})",
             f"~{v} = torch.tensor_split({x}, 2, {axis})[1]"]  # fmt: skip
    if s.rng.random() < 0.15:
        texts = [f"{v} = {x}.split(2, 1)[0]", f"{v} = {x}.chunk(2, 1)[1]", f"{v} = {x}.unbind(1)[0]",
                 f"{v} = {x}.unbind(1)[-1]"]
    return s.choose(texts)


@operation(4)
def join(s: Scope) -> str | None:
    x = s.pick(lambda v: v.dim() >= 2)
    if x is None:
        return None
    axis, v, shape = s.axis(x), s.new(), list(s.values[x].shape)
    place = axis % len(shape)
    y = s.pick(lambda o: o.dim() == len(shape) and [*o.shape[:place],
                                                    *o.shape[place + 1 :]] == shape[:place] + shape[place + 1 :])
    z = s.like(x)
    text = s.choose([
        f"torch.cat([{x}, {y}], {axis})", f"torch.cat(({y}, {x}), dim={axis})",
        f"torch.concat([{x}, {y}, {x}], {axis})",
        f"torch.stack([{x}, {z}], 1)", f"torch.stack([{x}, {z}], -1)", f"torch.stack(({z}, {x}), dim=0)",
        f"torch.hstack([{x}, {y}])",
        f"torch.stack([{x}, {z}], 2)", f"torch.cat([{x}, {y}], {axis})", f"torch.cat([{x}, {y}, {y}], {axis})",
        f"torch.cat([{x}, torch.zeros_like({x})], {axis})", f"torch.cat([{x}[:, :1], {x}], 1)",
        f"torch.stack([{x}, {z}], {axis})",
        f"{x} + torch.zeros_like({x})", f"~torch.ones_like({x}) - {x}", f"~{x} * torch.ones(1)",
        f"~{x} - torch.zeros({shape[-1]})",
    ])  # fmt: skip
    return f"{v} = {text}"





@operation(4)
def number(s: Scope) -> str | None:
    x, n = s.pick(lambda v: v.dim() >= 2), s.new("n")
    if x is None:
        return None
    return f"{n} = {s.choose(NUMBERS).format(x=x)}"


CONDITIONS = """
int(7 / 2) == 3|bool(2)|bool(0.0)|{x}.size(1) > 3|{x}.size(-1) == {f}|{x}.dim() == 3|self.training|not self.training
int(2.7) == 2|{x}.size(0) > 2|self.mode == 'mean'|self.mode != "me\\nan"|len(self.mode) > 3|{x}.shape[1] % 2 == 0
bool({x}.dim() - 2)|True|{x}.size(1) > 3 and {x}.dim() == 3|{x}.size(1) < 4 or bool(1)|float(3) > 2.5|int(0.5) != 0
{x}.is_floating_point()|{x} is not None|self.mode in ['mean', 'sum']|self.flag|not self.flag|self.count > 2
self.rate * 2 == 1.0|int(self.rate * 5) == 2|bool(self.count)|{x}.dtype == torch.float32|{x}.requires_grad
self.mode == 'a\\'b"c\\\\'|int(-1.5) == -1|bool(0)|not bool(0.1)|-7 // 2 == -4|-7 % 3 == 2|{x}.numel() > 20
{x}.size(1) // 2 > 2|torch.is_grad_enabled()|float('inf') > 1|bool('')|{x}.shape[-1] >= 2|{x}.ndim != 2
""".replace("\n", "|").strip("|").split("|")  # fmt: skip
ATTRIBUTES = {
    "mode": ["'mean'", "'sum'", '"a\'b\\"c\\\\"', "'me\\nan'", "'\\u00e9t\\u00e9'", "''"],
    "flag": ["True", "False"], "count": ["3", "0", "2"], "rate": ["0.5", "0.49", "1.0"],
}  # fmt: skip


@operation(5)
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
        "{o}: List[Tensor] = []\nfor t in range({x}.size(1)):\n    {o}.append({x}[:, t])\n{v} = torch.stack({o}, 1)",
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
