"""Odd values and odd tensors in torch modules: what PyTorch makes of them, or a refusal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fastgru
from fastgru.errors import DTypeError, ShapeError, UnsupportedModelError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

NAN, INF = float("nan"), float("inf")
ROWS = [[1.0, NAN, 3.0, 2.0, 3.0], [NAN, 1.0, NAN, -INF, INF], [0.5, -0.0, 2.0, -3.0, 0.0], [INF, 1.0, 2.0, 3.0, INF]]


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> object:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.topk(2)[0],
        lambda x: x.sort(descending=True)[0],
        lambda x: x.sort()[0],
        lambda x: x.median(-1)[0],
        lambda x: x.median(-1, keepdim=True)[1],
        lambda x: x.median(),
        lambda x: x.quantile(0.3, dim=1),
        lambda x: x.quantile(0.5, dim=0, keepdim=True),
        lambda x: x.logsumexp(-1),
        lambda x: x.cummax(-1)[0],
        lambda x: x.cummax(-1)[1],
        lambda x: x.cummin(0)[0],
        lambda x: x.round().cummin(-1)[1],
        lambda x: x.acosh() + x.asinh() * x.atanh(),
        lambda x: x.sign(),
        lambda x: x.amax(-1),
        lambda x: x.clamp(-1, 1),
        lambda x: x.relu(),
    ],
)
def test_nan_and_infinities_are_taken_as_pytorch_takes_them(function: Callable[..., object]) -> None:
    x = torch.tensor(ROWS)
    model = fastgru.from_torch(Of(function).eval(), example=torch.randn(4, 5))
    with np.errstate(all="ignore"):
        got = model(x.numpy())
    np.testing.assert_array_equal(np.isnan(got), np.isnan(function(x).numpy()))
    np.testing.assert_allclose(got, function(x).numpy(), rtol=1e-6)


def test_integers_of_few_bits_are_refused() -> None:
    """They would wrap around: 200 + 100 is 44 in uint8."""
    with pytest.raises(UnsupportedModelError, match="8 or 16 bits"):
        fastgru.from_torch(Of(lambda x: (x.to(torch.uint8) + 100).float()).eval(), example=torch.ones(2, 3))


def test_examples_that_are_no_dense_tensors_are_refused() -> None:
    for example in (torch.ones(2, 3).to_sparse(), np.ones((2, 3), np.float32)):
        with pytest.raises(DTypeError, match="example"):
            fastgru.from_torch(Of(torch.relu).eval(), example=example)


def test_lengths_of_nothing_are_an_error() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 3, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gru(x)[0]

    model = fastgru.from_torch(Tagger().eval(), example=torch.randn(2, 5, 4))
    with pytest.raises(ShapeError, match="wanted those of x"):
        model(np.zeros((2, 5, 4), np.float32), lengths={})


@pytest.mark.parametrize(
    "function", [lambda x: nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), 3), lambda x: x - x.mean(0)]
)
def test_lengths_are_never_taken_along_the_features_or_the_batch(function: Callable[..., object]) -> None:
    model = fastgru.from_torch(Of(function).eval(), example=torch.randn(3, 7, 4))
    x = torch.randn(4, 9, 4)
    np.testing.assert_allclose(model(x.numpy()), function(x).numpy(), atol=2e-6)
    with pytest.raises((ShapeError, UnsupportedModelError), match="lengths"):
        model(x.numpy(), lengths=[4, 3, 1, 2])


def grus() -> tuple[nn.GRU, nn.GRU, torch.Tensor]:
    """A GRU as it is, the same one computed here, and numbers for both."""
    torch.manual_seed(3)
    plain, other = nn.GRU(5, 16).eval(), nn.GRU(5, 16).eval()
    other.load_state_dict(plain.state_dict())
    fastgru.accelerate(other)
    return plain, other, torch.randn(7, 3, 5)


def test_weights_given_for_one_call_are_the_ones_used() -> None:
    plain, other, x = grus()
    given = {name: 0.2 * torch.randn_like(value) for name, value in plain.named_parameters()}
    for weights in (given, dict(plain.named_parameters())):
        with torch.no_grad():
            expected = torch.func.functional_call(plain, weights, (x,))[0]
            torch.testing.assert_close(torch.func.functional_call(other, weights, (x,))[0], expected, atol=2e-6, rtol=0)


def test_weights_that_a_parametrization_makes_follow_their_originals() -> None:
    plain, other, x = grus()
    for gru in (plain, other):
        nn.utils.parametrizations.weight_norm(gru, "weight_hh_l0")
    with torch.no_grad():
        for gru in (plain, other):
            gru.parametrizations.weight_hh_l0.original0.mul_(1.5)
        torch.testing.assert_close(other(x)[0], plain(x)[0], atol=2e-6, rtol=0)


def test_weights_changed_between_calls_are_seen_in_views_negatives_and_inference() -> None:
    plain, other, x = grus()
    with torch.inference_mode():
        torch.testing.assert_close(other(x)[0], plain(x)[0], atol=2e-6, rtol=0)
    negative = torch.complex(x, x).conj().imag
    assert negative.is_neg()
    with torch.no_grad():
        torch.testing.assert_close(other(negative)[0], plain(negative)[0], atol=2e-6, rtol=0)
        for gru in (plain, other):
            gru.weight_ih_l0.data.numpy()[::2] *= 0.5  # NumPy's writes raise no version
        torch.testing.assert_close(other(x)[0], plain(x)[0], atol=2e-6, rtol=0)


class LengthOfNothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(5, 2, 2, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x.transpose(1, 2)).size(2)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_windows_that_do_not_fit_are_refused_where_only_their_number_is_read() -> None:
    module, x = LengthOfNothing().eval(), torch.randn(2, 6, 5)
    for model in (fastgru.from_torch(torch.jit.script(module)), fastgru.from_torch(module, example=x)):
        np.testing.assert_allclose(model(x.numpy()), module(x).detach().numpy(), rtol=1e-6)
        with pytest.raises(fastgru.ShapeError):
            model(np.zeros((2, 2, 5), np.float32))


class Squeezed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x)[0].squeeze(1)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_row_of_one_step_is_refused_where_pytorch_would_leave_its_axis_out() -> None:
    x = np.random.default_rng(4).standard_normal((2, 5, 3)).astype(np.float32)
    model = fastgru.from_torch(torch.jit.script(Squeezed().eval()))
    assert model(x, lengths=[5, 2]).shape == (2, 5, 4)
    with pytest.raises(fastgru.ShapeError, match="a row of 1 steps"):
        model(x, lengths=[5, 1])
