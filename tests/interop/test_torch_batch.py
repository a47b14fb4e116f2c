"""An operation over any axis of a trace or an exported program is right, or refused by its name.

What an operation mixes decides, not what it is called: over the first axis it mixes steps where that is the axis of the
steps, and a GRU is what says so.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastgru  # noqa: E402
from fastgru.errors import UnsupportedModelError  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")
nn, F = torch.nn, torch.nn.functional


# Each over the axis d, and what the message names.
OVER = {
    "softmax": lambda y, d: torch.softmax(y, d),
    "log_softmax": lambda y, d: torch.log_softmax(y, d),
    "glu": lambda y, d: F.glu(y, d),
    "mean": lambda y, d: y.mean(d),
    "mean ": lambda y, d: y - y.mean(d, keepdim=True),
    "sum": lambda y, d: y.sum(d),
    "amax": lambda y, d: y.amax(d),
    "max": lambda y, d: y.max(d).values,
    "cat": lambda y, d: torch.cat((y, torch.tanh(y)), d),
    "select": lambda y, d: y.select(d, -1),
    "slice": lambda y, d: y[(slice(None),) * d + (slice(1, None),)],
    "chunk": lambda y, d: torch.chunk(y, 2, d)[1],
    "split": lambda y, d: torch.split(y, 2, d)[1],
    "unbind": lambda y, d: torch.unbind(y, d)[1],
    "unflatten": lambda y, d: y.unflatten(d, (2, -1)),
    "flatten": lambda y, d: y.flatten(0, 1),
    "reshape": lambda y, d: y.reshape(-1, y.shape[-1]),
    "avg_pool1d": lambda y, d: F.avg_pool1d(y.movedim(d, -1), 2),
    "max_pool1d": lambda y, d: F.max_pool1d(y.movedim(d, -1), 2),
    "adaptive_avg_pool1d": lambda y, d: F.adaptive_avg_pool1d(y.movedim(d, -1), 1),
    "pad": lambda y, d: F.pad(y, [0, 0] * (y.dim() - 1 - d) + [1, 1]),
    "layer_norm": lambda y, d: F.layer_norm(y.movedim(d, -1), [y.shape[d]]),
    "flip": lambda y, d: y.flip(d),
    "cumsum": lambda y, d: y.cumsum(d),
    "cummax": lambda y, d: y.cummax(d)[0],
}
ROWS, STEPS, FEATURES = 4, 6, 8


class Over(nn.Module):
    """A layer, and an operation over an axis of what it gives."""

    def __init__(self, layer, name, dim):
        super().__init__()
        self.layer, self.function, self.dim = layer, OVER[name], dim

    def forward(self, x):
        y = self.layer(x)
        return self.function(y[0] if isinstance(y, tuple) else y, self.dim)


def loaded(path, module, way, x):
    file = path / "model.pt2"
    if way == "export":
        torch.export.save(torch.export.export(module.eval(), (x,)), file)
    else:
        torch.jit.save(torch.jit.trace(module.eval(), (x,), check_trace=False), file)
    return fastgru.load(file)


LAYERS = {  # the layer, an input, and PyTorch's axis of the batch
    "gru": (lambda: nn.GRU(FEATURES, FEATURES, batch_first=True), (ROWS, STEPS, FEATURES), 0),
    "steps first": (lambda: nn.GRU(FEATURES, FEATURES), (STEPS, ROWS, FEATURES), 1),
    "no gru": (lambda: nn.Linear(FEATURES, FEATURES), (ROWS, STEPS, FEATURES), 0),
    "no gru, no steps": (lambda: nn.Linear(FEATURES, FEATURES), (ROWS, FEATURES), 0),
}


# A trace has these numbers of places of its example, and is refused at others, or has no kernel of open sizes for them.
BAKED = {"unbind", "flatten", "split", "chunk", "layer_norm", "unflatten"}
OPEN = {"glu", "split", "unbind"}  # they take an axis apart, of which the code does not say how many places it has


@pytest.mark.parametrize("kind", LAYERS)
def test_a_trace_is_right_over_every_axis_and_at_other_sizes(tmp_path, kind):
    make, shape, _ = LAYERS[kind]
    for name in OVER:
        for dim in range(len(shape) - 1):
            module, x = Over(make(), name, dim).eval(), torch.randn(shape)
            traced = torch.jit.trace(module, (x,), check_trace=False)
            torch.jit.save(traced, tmp_path / "model.pt")
            try:
                model = fastgru.load(tmp_path / "model.pt")
            except UnsupportedModelError:
                assert name in OPEN
                continue
            for given in (x, torch.randn(*(size + 2 for size in shape[:-1]), FEATURES)):
                if len(model.graph.tensors[model.graph.inputs[0].value].shape) != len(shape):
                    assert kind.startswith("no gru")  # no file says how many axes it has
                    break
                try:
                    wanted = traced(given).numpy()
                except RuntimeError:
                    continue
                try:
                    got = model(given.numpy())
                except fastgru.FastGRUError:
                    assert given is not x and name in BAKED, (name, dim)
                    continue
                np.testing.assert_allclose(got, wanted, atol=2e-5, err_msg=f"{name} {dim}")


def test_a_trace_over_the_batch_of_an_embedding_is_right(tmp_path):
    ids = torch.randint(0, 9, (ROWS, STEPS))
    for name in OVER.keys() - OPEN:
        module = Over(nn.Embedding(9, FEATURES), name, 0).eval()
        np.testing.assert_allclose(loaded(tmp_path, module, "trace", ids)(ids.numpy()), module(ids), atol=2e-5)


def test_a_model_takes_the_number_of_axes_that_its_code_was_followed_with(tmp_path):
    plain = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Softmax(-1))
    x = torch.randn(ROWS, STEPS, FEATURES)
    model = loaded(tmp_path, plain, "trace", x)
    np.testing.assert_allclose(model(x.numpy()), plain(x), atol=2e-6)
    with pytest.raises(fastgru.ShapeError, match=r"got shape \(4, 8\), wanted \(batch, steps, 8\)"):
        model(x[:, 0].numpy())


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("gru", "steps first")]


@pytest.mark.parametrize("kind", [*SLOW, "no gru", "no gru, no steps", "embedding"])
def test_an_exported_program_is_right_over_any_axis(tmp_path, kind):
    """With the axes of the module; with open sizes it is right at others too, or refused."""
    ids = torch.randint(0, 9, (ROWS, STEPS))
    make, shape, _ = LAYERS.get(kind, (lambda: nn.Embedding(9, FEATURES), (ROWS, STEPS), 0))
    x = ids if kind == "embedding" else torch.randn(shape)
    for name in OVER:
        for dim in range(len(shape)):
            module = Over(make(), name, dim)
            try:
                wanted = module(x)
            except (RuntimeError, IndexError):
                continue
            model = loaded(tmp_path, module, "export", x)
            np.testing.assert_allclose(model(x.numpy()), wanted.detach(), atol=2e-5, err_msg=name)
            try:
                model = model.with_any_size()
            except UnsupportedModelError:
                continue
            for rows, steps in ((2, STEPS), (ROWS, 9), (1, 1)):
                sizes = (rows, steps, FEATURES)[: len(shape)] if len(shape) == 3 or kind == "embedding" else (rows, 8)
                other = torch.randint(0, 9, sizes) if kind == "embedding" else torch.randn(sizes)
                try:
                    got = model(other.numpy())
                except fastgru.FastGRUError:
                    continue
                np.testing.assert_allclose(got, module(other).detach(), atol=2e-5, err_msg=f"{name} {dim} {sizes}")
