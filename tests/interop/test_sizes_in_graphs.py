"""A graph that was written for one size is right for another, or refused: exported, scripted and traced modules.

torch.export writes what the code computed from a size as a plain number, and an if, a loop or a cut not at all;
TorchScript keeps the computation. Each module runs at several batches, steps and lengths; what is compared with is the
module itself, of a trace the trace.
"""

from __future__ import annotations

import importlib.util
import sys
import textwrap

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastgru  # noqa: E402 - only where torch is installed
from fastgru.importers.description.file import describe  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")
nn = torch.nn
BATCH, STEPS = 3, 7
SIZES = [(3, 7), (3, 5), (3, 9), (3, 16), (1, 7), (6, 7), (2, 4)]

# What a forward does with x, (batch, steps, 6). Its last line gives what it returns.
OPEN = {  # no number in the graph can come from a size
    "all steps": "self.gru(x)[0]",
    "last step": "self.fc(self.gru(x)[0][:, -1])",
    "first step": "self.fc(self.gru(x)[0][:, 0])",
    "but the last": "self.gru(x)[0][:, :-1]",
    "final state": "self.fc(self.gru(x)[1][-1])",
    "states joined": "_, h = self.bi(x)\nself.fc8(torch.cat([h[-2], h[-1]], dim=1))",
    "states reshaped": "_, h = self.bi(x)\nself.fc8(h.transpose(0, 1).reshape(x.size(0), -1))",
    "mean": "self.fc(self.gru(x)[0].mean(1))",
    "sum": "self.gru(x)[0].sum(1)",
    "largest": "self.gru(x)[0].max(1)[0]",
    "highway": "t = torch.sigmoid(self.fc6(x))\nt * torch.relu(self.gru(x)[0]) + (1 - t) * self.own(x)",
    "negative": "-self.gru(x)[0]",
    "directions": "self.bi(x)[0].view(x.size(0), x.size(1), 2, 4)[:, :, 0]",
    "half the features": "self.bi(x)[0][:, -1, :4]",
    "two halves": "a, b = torch.chunk(self.bi(x)[0], 2, dim=-1)\na + b",
    "module options": "self.leaky(self.soft(self.gru(x)[0]))",
    "pooled by a module": "self.pool(self.gru(x)[0].transpose(1, 2)).transpose(1, 2)",
    "normalised": "self.norm(self.gru(x)[0])",
}
UNSEEN = {  # a size decides, and leaves no trace in an export
    "a fixed crop": "self.gru(x)[0][:, :7].sum(1)",
    "a branch by the steps": "y = self.gru(x)[0]\nif x.size(1) > 6:\n    y = torch.relu(y)\ny",
    "a branch by the batch": "y = self.gru(x)[0]\nif x.size(0) > 2:\n    y = torch.relu(y)\ny",
    "padded if odd": "y = x\nif x.size(1) % 2 == 0:\n    y = torch.cat([x, x[:, -1:]], 1)\nself.gru(y)[0].sum(1)",
    "activations by the steps": "y = self.gru(x)[0]\nfor i in range(x.size(1)):\n    y = torch.tanh(y)\ny",
}
NUMBERS = {  # an export holds a number that may come from a size
    "last by its place": "self.gru(x)[0][:, x.size(1) - 1]",
    "average by hand": "self.gru(x)[0].sum(1) / x.size(1)",
    "average by a float": "self.gru(x)[0].sum(1) * (1.0 / float(x.size(1)))",
    "second half": "self.gru(x)[0][:, x.size(1) // 2:]",
    "the middle": "self.gru(x)[0][:, x.size(1) // 2]",
    "last third": "self.gru(x)[0][:, -(x.size(1) // 3):].sum(1)",
    "loop over cells": """
        h = torch.zeros(x.size(0), 4)
        for i in range(x.size(1)):
            h = self.cell(x[:, i], h)
        h""",
    "loop over half": """
        h = torch.zeros(x.size(0), 4)
        for i in range(x.size(1) // 4):
            h = self.cell(x[:, i], h)
        h""",
    "collected": """
        h = torch.zeros(x.size(0), 4)
        ys = []
        for i in range(x.size(1)):
            h = self.cell(x[:, i], h)
            ys.append(h)
        torch.stack(ys, dim=1)""",
    "loop over cells from a state": """
        h = self.gru(x)[1][-1]
        for i in range(x.size(1)):
            h = self.cell(x[:, i], h)
        h""",
    "a layer for each step": """
        y = self.gru(x)[1][-1]
        for i in range(x.size(1)):
            y = torch.tanh(self.square(y))
        y""",
    "padded to 16": "torch.nn.functional.pad(self.gru(x)[0], [0, 0, 0, 16 - x.size(1)]).sum(1)",
    "padded before": "self.gru(torch.nn.functional.pad(x, [0, 0, 16 - x.size(1), 0]))[0].mean(1)",
    "root of the steps": "self.gru(x)[0].sum(1) / float(x.size(1)) ** 0.5",
    "by the batch": "self.gru(x)[0] / x.size(0)",
    "more than the batch": "self.gru(x)[0] * (x.size(0) + 0.5)",
    "the batch in a power": "self.gru(x)[0][:, -1] * (0.9 ** x.size(0))",
    "slope": "torch.nn.functional.leaky_relu(self.gru(x)[0], 1.0 / x.size(1))",
    "epsilon": "torch.nn.functional.layer_norm(self.gru(x)[0], [4], None, None, 0.1 * x.size(1))",
    "clamped": "torch.clamp(self.gru(x)[0], -0.01 * x.size(1), 0.01 * x.size(1))",
    "window": "torch.nn.functional.avg_pool1d(self.gru(x)[0].transpose(1, 2), x.size(1))[:, :, 0]",
    "max of a half": "torch.nn.functional.max_pool1d(self.gru(x)[0].transpose(1, 2), x.size(1) // 2).mean(2)",
    "repeated": "h = self.gru(x)[1][-1]\ntorch.cat([h.unsqueeze(1).expand(-1, x.size(1), -1), x], 2)",
    "flattened": "self.fc28(self.gru(x)[0].reshape(x.size(0), -1))",
    "one flat axis": "self.gru(x)[0].reshape(x.size(0), x.size(1) * 4)",
    "beside -1": "self.gru(x)[0].reshape(3, -1, 2)",
    "a fixed skip": "self.gru(x)[0][:, 2:].mean(1)",
    "axes of one place": "self.fc1(self.gru(x)[0]).squeeze()",
    "a scale": "0.5 * self.gru(x)[0] + 1.0",
    "alpha": "y = self.gru(x)[0]\ntorch.sub(y, y, alpha=x.size(1))",
    "a tensor of the steps": "self.gru(x)[0] * torch.tensor(float(x.size(1)))",
    "features of the steps": "self.gru(x)[0][:, -1, : x.size(1) - 4]",
    "whole numbers": "self.gru(x)[0] * int(2.7) + float(int(x.size(1) / 2))",
    "truths": "y = self.gru(x)[0]\nif bool(int(7 / 2) == 3):\n    y = y * 3.0\ny",
    "a dropout": "torch.nn.functional.dropout(self.gru(x)[0], 0.5)",
    "a long list": """
        ys = [x]
        for i in range(1):
            ys.append(x)
        self.gru(torch.cat(ys, 1))[0][:, -1]""",
    "weights of the steps": "self.gru(x)[0].sum(1) * self.table[x.size(1)]",
    "part of a vector": "self.gru(x)[0][:, -1] * self.table[0, x.size(1) - 6:][:1]",
}
CHILDREN = {
    "gru": lambda: nn.GRU(6, 4, batch_first=True), "bi": lambda: nn.GRU(6, 4, batch_first=True, bidirectional=True),
    "cell": lambda: nn.GRUCell(6, 4), "fc": lambda: nn.Linear(4, 3), "fc6": lambda: nn.Linear(6, 4),
    "own": lambda: nn.Linear(6, 4), "fc8": lambda: nn.Linear(8, 3), "fc28": lambda: nn.Linear(28, 3),
    "fc1": lambda: nn.Linear(4, 1),
    "square": lambda: nn.Linear(4, 4), "leaky": lambda: nn.LeakyReLU(0.2), "soft": lambda: nn.Softplus(2.0, 3.0),
    "pool": lambda: nn.MaxPool1d(2), "norm": lambda: nn.LayerNorm(4, eps=1e-3),
    "table": lambda: nn.Parameter(torch.randn(20, 4)),
}  # fmt: skip
FORWARDS = {**OPEN, **UNSEEN, **NUMBERS}


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The classes by name, in a file of their own, as torch.jit.script reads their text."""
    path = tmp_path_factory.mktemp("modules") / "forwards_of_sizes.py"
    text = "import torch\n\n"
    for index, body in enumerate(FORWARDS.values()):
        *lines, last = textwrap.dedent(body).strip("\n").split("\n")
        lines = ["", f"class Net{index}(torch.nn.Module):", "    def forward(self, x):",
                 *(f"        {line}" for line in lines), f"        return {last}", ""]  # fmt: skip
        text += "\n".join(lines)
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    spec.loader.exec_module(made)
    yield {name: getattr(made, f"Net{index}") for index, name in enumerate(FORWARDS)}
    del sys.modules[path.stem]


def net(modules, name):
    """The module, with the children that its code names."""
    torch.manual_seed(5)
    made = modules[name]()
    for child, make in CHILDREN.items():
        if f"self.{child}(" in FORWARDS[name] or f"self.{child}[" in FORWARDS[name]:
            setattr(made, child, make())
    return made.eval()


def written(module, way, path, x):
    """The model that fastgru makes of the file, or its error; and what the file computes."""
    if way.startswith("export"):
        auto = {"dynamic_shapes": {"x": {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}}}
        torch.export.save(torch.export.export(module, (x,), **(auto if way == "export auto" else {})), path)
        computes = module
    else:
        computes = torch.jit.script(module) if way == "script" else torch.jit.trace(module, (x,), check_trace=False)
        torch.jit.save(computes, path)
    try:
        return fastgru.load(path), computes
    except fastgru.FastGRUError as error:
        return error, computes


def outputs(value):
    return [each for part in value for each in outputs(part)] if isinstance(value, (tuple, list)) else [value]


def answer(function, *args, **named):
    """The outputs as arrays; None where it is refused or fails."""
    try:
        return [np.asarray(each) for each in outputs(function(*args, **named))]
    except (fastgru.FastGRUError, RuntimeError, IndexError, ValueError):
        return None


def rows_alone(computes, x, lengths):
    """Each row cut to its length, in a batch as large of the same rows."""
    return [answer(computes, x[[row] * len(x), :length]) for row, length in enumerate(lengths)]


def check(name, model, computes, random):
    """Every answer is right or refused; how many were right of those that PyTorch has."""
    right, asked = 0, 0
    for batch, steps in SIZES:
        x = torch.randn(batch, steps, 6)
        got, wanted = answer(model, x.numpy()), answer(computes, x)
        asked += wanted is not None
        if got is None or wanted is None:
            continue
        assert not random, f"{name}: an answer of what is random"
        for mine, theirs in zip(got, wanted, strict=True):
            assert mine.shape == theirs.shape, (name, batch, steps, mine.shape, theirs.shape)
            np.testing.assert_allclose(mine, theirs, atol=5e-6, rtol=1e-5, err_msg=f"{name} {batch} {steps}")
        right += 1
    x, lengths = torch.randn(BATCH, STEPS, 6), [7, 4, 2]
    got = answer(model, x.numpy(), lengths=lengths)
    for row, wanted in enumerate(rows_alone(computes, x, lengths) if got else []):
        for mine, theirs in zip(got, wanted or [], strict=False):
            if len(mine) == BATCH:  # and no states of a GRU, which have their layers first
                own = mine[row][tuple(map(slice, theirs.shape[1:]))]  # what lies beyond the length is zero
                where = f"{name} {lengths[row]} of 7"
                np.testing.assert_allclose(own, theirs[0], atol=5e-6, rtol=1e-5, err_msg=where)
    return right, asked


AUTO_TOO = ("last step", "states reshaped", "by the batch", "average by hand", "a fixed crop", "loop over cells")
CASES = [(name, way) for way in ("export", "script", "trace") for name in FORWARDS]


@pytest.mark.parametrize(("name", "way"), [*CASES, *((name, "export auto") for name in AUTO_TOO)])
def test_what_was_written_for_one_size_is_right_for_others_or_refused(modules, tmp_path, name, way):
    module, x = net(modules, name), torch.randn(BATCH, STEPS, 6)
    model, computes = written(module, way, tmp_path / "file", x)
    if isinstance(model, Exception):
        assert name not in OPEN, model
        return
    right, asked = check(name, model, computes, name == "a dropout")
    assert right > 0
    if way == "export":
        assert right == 1, "only the size that it was written with"
    if way.startswith("export") and name not in UNSEEN:
        try:
            model = model.with_any_size()
        except fastgru.FastGRUError:
            assert name not in OPEN
            return
        right, asked = check(name, model, computes, name == "a dropout")
    assert right == asked or name not in OPEN


def own_modules():
    return {
        "a GRU": (nn.GRU(6, 4, 2, batch_first=True, bidirectional=True), "any"),
        "a sequence of modules": (nn.Sequential(nn.Linear(6, 6), nn.LeakyReLU(0.2), nn.LayerNorm(6, eps=0.1)), "any"),
        "an encoder of PyTorch's": (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), "its own"),
    }


@pytest.mark.parametrize("name", own_modules())
def test_modules_of_pytorch_alone_have_open_sizes(tmp_path, name):
    module, kind = own_modules()[name]
    model, computes = written(module.eval(), "export", tmp_path / "file", torch.randn(BATCH, STEPS, 6))
    right, asked = check(name, model, computes, False)
    assert right == asked if kind == "any" else 1 <= right < asked


def exported_at(path, forward, dynamic, x=(BATCH, STEPS, 6), **children):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for child, made in children.items():
                setattr(self, child, made)

        def forward(self, x):
            return forward(self, x)

    net = Net().eval()
    shapes = None if dynamic is None else {"x": dynamic}
    torch.export.save(torch.export.export(net, (torch.randn(*x),), dynamic_shapes=shapes), path)
    return fastgru.load(path), net


AUTO = torch.export.Dim.AUTO


@pytest.mark.parametrize(
    ("forward", "dynamic", "right", "refused"),
    [
        (lambda self, x: torch.relu(x) if x.size(0) > 2 else x, {0: AUTO, 1: AUTO}, [(3, 9)], [(2, 7), (1, 7)]),
        (lambda self, x: torch.relu(x) if x.size(1) % 2 else x, {0: AUTO, 1: AUTO}, [(2, 7)], [(3, 8), (3, 4)]),
        (lambda self, x: torch.relu(x) if x.size(1) != x.size(0) else x, {0: AUTO, 1: AUTO}, [(3, 7)], [(8, 8)]),
        (lambda self, x: torch.relu(x)[:, :7], {0: AUTO, 1: AUTO}, [(5, 7)], [(3, 9)]),
        (lambda self, x: torch.relu(x), {0: torch.export.Dim("batch", max=8)}, [(8, 7), (1, 7)], [(9, 7), (3, 8)]),
        (lambda self, x: torch.relu(x), {0: AUTO, 1: torch.export.Dim("steps", min=4, max=9)}, [(5, 4)], [(5, 3)]),
    ],
)
def test_what_an_export_assumes_of_its_sizes_holds(tmp_path, forward, dynamic, right, refused):
    model, net = exported_at(tmp_path / "file", forward, dynamic)
    for batch, steps in right:
        x = torch.randn(batch, steps, 6)
        np.testing.assert_array_equal(model(x.numpy()), net(x).numpy())
    for batch, steps in refused:
        with pytest.raises(fastgru.ShapeError, match=r"torch\.export wrote the model for (this size|sizes)"):
            model(np.zeros((batch, steps, 6), np.float32))


def test_another_size_says_why_and_what_to_do_and_inspect_shows_it(tmp_path):
    model, _ = exported_at(tmp_path / "file", lambda self, x: self.gru(x)[0].sum(1) / x.size(1), None,
                             gru=nn.GRU(6, 4, batch_first=True))  # fmt: skip
    with pytest.raises(fastgru.ShapeError, match=r"9 steps, wanted 7: .*div.*Dim\.AUTO.*trace.*lengths="):
        model(np.zeros((3, 9, 6), np.float32))
    with pytest.raises(fastgru.ShapeError, match=r"batch of 2, wanted 3: .*div.*Dim\.AUTO"):
        model(np.zeros((2, 7, 6), np.float32))
    with pytest.raises(fastgru.ShapeError, match=r"lengths: got 4 steps, wanted 7"):
        model(np.zeros((3, 7, 6), np.float32), lengths=[7, 4, 7])
    with pytest.raises(fastgru.UnsupportedModelError, match=r"no size to open: .*div"):
        model.with_any_size()
    found = describe(fastgru.read(tmp_path / "file"))
    assert (found["inputs"][0]["batch"], found["inputs"][0]["shape"]) == ("3", [7, 6])
    model.save(tmp_path / "saved")
    with pytest.raises(fastgru.ShapeError, match="9 steps, wanted 7"):
        fastgru.load(tmp_path / "saved")(np.zeros((3, 9, 6), np.float32))


def test_streams_and_lengths_need_open_steps(tmp_path):
    model, net = exported_at(
        tmp_path / "file", lambda self, x: self.gru(x)[0], None, gru=nn.GRU(6, 4, batch_first=True)
    )
    with pytest.raises(fastgru.FastGRUError):
        model.stream()
    with pytest.raises(fastgru.ShapeError, match=r"lengths: got 5 steps, wanted 7: .*with_any_size"):
        model(np.zeros((3, 7, 6), np.float32), lengths=[7, 5, 7])
    x = torch.randn(2, 5, 6)
    opened = model.with_any_size()
    np.testing.assert_allclose(opened(x.numpy()), net(x).numpy(), atol=2e-6)
    assert opened(x.numpy(), lengths=[5, 2]).shape == (2, 5, 4)
    with pytest.raises(fastgru.UnsupportedModelError, match="open already"):
        opened.with_any_size()


class Casts(nn.Module):
    """Numbers that it holds, and not its code: of those, PyTorch makes constants before it writes the code."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 4, batch_first=True)
        self.way, self.factor, self.half, self.count = way, 2.7, 0.5, 7

    def forward(self, x):
        y = self.gru(x)[0]
        if self.way == "int":
            return y * int(self.factor)
        if self.way == "float":
            return y * float(int(self.factor)) / float(self.count)
        if self.way == "bool":
            return y * (5 * int(bool(self.half)))
        if int(self.count / 2) == 3:
            return y * 5.0
        return y


@pytest.mark.parametrize("way", ["int", "float", "bool", "branch"])
def test_casts_of_numbers_that_a_scripted_module_holds(tmp_path, way):
    torch.manual_seed(5)
    module, x = Casts(way).eval(), torch.randn(BATCH, STEPS, 6)
    torch.jit.save(torch.jit.script(module), tmp_path / "file")
    got, wanted = fastgru.load(tmp_path / "file")(x.numpy()), module(x).detach().numpy()
    np.testing.assert_allclose(got, wanted, atol=5e-6, rtol=1e-5)


def test_steps_that_an_export_made_a_number_take_no_lengths():
    """Dim.AUTO keeps no symbol where the code makes a number of the size; the graph is for that size alone."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(2, 4, 4, padding="same")

        def forward(self, x):
            y = self.conv(x.transpose(1, 2)).permute(0, 2, 1)
            return y.sub(int(y.size(1) * 0.5), alpha=0.5)

    module, x = Half().eval(), torch.randn(2, 5, 2)
    model = fastgru.from_torch(module, example=x)
    np.testing.assert_allclose(model(x.numpy()), module(x).detach().numpy(), atol=1e-6)
    if "steps" not in str(model.inputs["x"]):
        with pytest.raises(fastgru.ShapeError, match="lengths: got 2 steps, wanted 5"):
            model(x.numpy(), lengths=[2, 5])
        np.testing.assert_allclose(model(x.numpy(), lengths=[5, 5]), module(x).detach().numpy(), atol=1e-6)
