"""Every activation of Keras and PyTorch, over its options and at odd values, gives what the framework gives.

In float64 they agree to rounding. In float32 the frameworks themselves are the less exact side, so the bound there is
theirs: 2e-6 of the result, or of 1. GRUs of each activation are compared with Keras's own layer.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

from fastgru import GRU, GRUSpec, GRUWeights  # noqa: E402
from fastgru.activations import KNOWN, activation, resolved  # noqa: E402
from fastgru.importers.activation_names import (  # noqa: E402
    keras_activation,
    keras_activation_layer,
    torch_activation,
)

# Keras's own variables, on their way to NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e-30, -1e-30, 3e38, -3e38]
BOUND = {np.float32: 2e-6, np.float64: 2e-14}

# What Keras names, by the names it takes in activation="...".
NAMES = sorted(
    name
    for name in dir(keras.activations)
    if callable(getattr(keras.activations, name)) and name not in ("get", "serialize", "deserialize")
)
OPTIONS = {
    "celu": [{"alpha": 0.4}, {"alpha": 3}],
    "elu": [{"alpha": 0.4}, {"alpha": 0.0}],
    "gelu": [{"approximate": True}],
    "glu": [{"axis": 1}, {"axis": -1}],
    "hard_shrink": [{"threshold": 1.3}, {"threshold": 0.0}],
    "leaky_relu": [{"negative_slope": 0.01}, {"negative_slope": 0.3}, {"negative_slope": 1.5}],
    "log_softmax": [{"axis": 1}],
    "relu": [
        {"negative_slope": 0.1},
        {"max_value": 2.5},
        {"threshold": 0.75},
        {"negative_slope": 0.1, "max_value": 2.5},
        {"negative_slope": 0.1, "threshold": 0.75},
        {"max_value": 6, "threshold": 0.75},
        {"negative_slope": 0.1, "max_value": 2.5, "threshold": 0.75},
    ],
    "soft_shrink": [{"threshold": 1.3}],
    "softmax": [{"axis": 1}],
    "sparsemax": [{"axis": 1}],
    "squareplus": [{"b": 1.5}, {"b": 0}],
    "threshold": [{"threshold": 0.3, "default_value": -2.0}],
}
CASES = [(name, options) for name in NAMES for options in ([] if name == "threshold" else [{}]) + OPTIONS.get(name, [])]


def inputs(dtype) -> np.ndarray:
    """(batch, steps, features): common numbers, small ones, and the corners of the piecewise functions."""
    rng = np.random.default_rng(11)
    corners = np.arange(-32, 32, 0.25)
    x = np.concatenate([rng.normal(0, 3, 1000), rng.normal(0, 0.01, 344), corners])
    return x.reshape(40, 4, 10).astype(dtype)


def agree(got, wanted, bound):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    assert (np.abs(got - wanted) <= bound * np.maximum(1, np.abs(wanted))).all()


def of_keras(name, options, x):
    return keras.ops.convert_to_numpy(getattr(keras.activations, name)(torch.tensor(x), **options))


def ours(name, version="3.15.1"):
    return keras_activation(name, version, "here")


def test_no_activation_of_keras_is_missing():
    from keras.src.activations import ALL_OBJECTS_DICT

    assert set(ALL_OBJECTS_DICT) == set(NAMES) <= set(KNOWN)


@pytest.mark.parametrize("dtype", BOUND, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_function_of_keras(name, options, dtype):
    x = inputs(dtype)
    bound = 2e-9 if dtype is np.float64 and name == "softplus" else BOUND[dtype]  # torch's is x above 20
    agree(activation(ours(name), options, dtype)(x), of_keras(name, options, x), bound)


# Where ours has digits that Keras loses: gelu(inf) is NaN in its float32, and squareplus(-large) is NaN or inf.
LOST = {"gelu": (np.inf, 3e38), "squareplus": (-np.inf, 3e38, -3e38), "hard_silu": (3e38,), "hard_swish": (3e38,)}


@pytest.mark.parametrize("dtype", BOUND, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", [name for name in NAMES if resolved(name)[0] not in ("threshold", "glu")])
def test_odd_values_as_in_keras(name, dtype):
    x = np.array([value for value in ODD if value not in LOST.get(name, ())], dtype)
    if name in ("softmax", "log_softmax", "sparsemax"):
        x = x[None, ~np.isinf(x) & (np.abs(x) < 1)]
    got, wanted = activation(ours(name), {}, dtype)(x), of_keras(name, {}, x)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("dtype", BOUND, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize(
    "make",
    [
        lambda layers, **common: layers.ELU(0.7, **common),
        lambda layers, **common: layers.LeakyReLU(**common),
        lambda layers, **common: layers.LeakyReLU(0.07, **common),
        lambda layers, **common: layers.ReLU(**common),
        lambda layers, **common: layers.ReLU(max_value=2, negative_slope=0.2, threshold=0.4, **common),
        lambda layers, **common: layers.Softmax(**common),
        lambda layers, **common: layers.Softmax(axis=1, **common),
        lambda layers, **common: layers.Softmax(axis=(1, 2), **common),
    ],
)
def test_a_layer_of_keras(make, dtype):
    layer, x = make(keras.layers, dtype=np.dtype(dtype).name), inputs(dtype)
    record = keras_activation_layer(type(layer).__name__, layer.get_config(), "here")
    agree(activation(record.name, dict(record.options), dtype)(x), keras.ops.convert_to_numpy(layer(x)), BOUND[dtype])
    whole = keras.saving.serialize_keras_object(layer)
    assert keras_activation(whole, keras.__version__, "here") == record


MODULES = [
    torch.nn.CELU(),
    torch.nn.CELU(0.3),
    torch.nn.ELU(),
    torch.nn.ELU(0.3),
    torch.nn.GELU(),
    torch.nn.GELU(approximate="tanh"),
    torch.nn.GLU(),
    torch.nn.GLU(dim=1),
    torch.nn.Hardshrink(),
    torch.nn.Hardshrink(1.1),
    torch.nn.Hardsigmoid(),
    torch.nn.Hardswish(),
    torch.nn.Hardtanh(),
    torch.nn.Hardtanh(-0.2, 3),
    torch.nn.Identity(),
    torch.nn.LeakyReLU(),
    torch.nn.LeakyReLU(0.4),
    torch.nn.LogSigmoid(),
    torch.nn.LogSoftmax(dim=-1),
    torch.nn.LogSoftmax(dim=1),
    torch.nn.Mish(),
    torch.nn.RReLU(),
    torch.nn.RReLU(0.2, 0.3),
    torch.nn.ReLU(),
    torch.nn.ReLU6(),
    torch.nn.SELU(),
    torch.nn.SiLU(),
    torch.nn.Sigmoid(),
    torch.nn.Softmax(dim=-1),
    torch.nn.Softmax(dim=1),
    torch.nn.Softmin(dim=-1),
    torch.nn.Softplus(),
    torch.nn.Softplus(beta=0.5, threshold=4),
    torch.nn.Softplus(beta=2, threshold=1),
    torch.nn.Softshrink(),
    torch.nn.Softshrink(1.1),
    torch.nn.Softsign(),
    torch.nn.Tanh(),
    torch.nn.Tanhshrink(),
    torch.nn.Threshold(0.3, -2),
]


@pytest.mark.parametrize("dtype", BOUND, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_of_pytorch(module, dtype):
    record = torch_activation(type(module).__name__, vars(module), "here")
    x = inputs(dtype)
    agree(activation(record.name, dict(record.options), dtype)(x), module.eval()(torch.tensor(x)).numpy(), BOUND[dtype])


def test_no_activation_module_of_pytorch_is_missing():
    others = {"MultiheadAttention", "PReLU", "Softmax2d"}  # with weights, and of images
    assert set(torch.nn.modules.activation.__all__) - others <= {type(module).__name__ for module in MODULES}


def test_gelu_is_as_exact_as_double_precision():
    x = np.linspace(-12, 12, 200_001).astype(np.float32)
    exact = torch.nn.functional.gelu(torch.tensor(x.astype(np.float64))).numpy()
    got, torchs = activation("gelu")(x), torch.nn.functional.gelu(torch.tensor(x)).numpy()
    scale = np.maximum(1, np.abs(exact))
    assert (np.abs(got - exact) / scale).max() <= 6.1e-8 <= (np.abs(torchs - exact) / scale).max() <= 2e-6


def spec_of(layer: keras.layers.GRU) -> GRUSpec:
    """Keras's gates z, r, h as r, z, n."""

    def turned(array):
        z, r, h = np.split(array.T, 3)
        return np.ascontiguousarray(np.concatenate([r, z, h]))

    kernel, recurrent, bias = (keras.ops.convert_to_numpy(each) for each in layer.weights)
    both = bias if layer.reset_after else np.stack([bias, np.zeros_like(bias)])
    weights = GRUWeights(turned(kernel), turned(recurrent), turned(both[0]), turned(both[1]))
    names = [ours(keras.activations.serialize(each)) for each in (layer.activation, layer.recurrent_activation)]
    return GRUSpec(((weights,),), layer.reset_after, *names)


IN_GRU = [name for name in NAMES if name not in ("glu", "threshold")]


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(
    ("name", "recurrent"), [(name, "sigmoid") for name in IN_GRU] + [("tanh", name) for name in IN_GRU]
)
def test_a_gru_of_keras(name, recurrent, reset_after):
    rng = np.random.default_rng(2)
    # Keras multiplies in float32 where the reset comes before the product, even in a float64 layer.
    for dtype, bound in ((np.float32, 2e-6), (np.float64, 1e-12 if reset_after else 2e-7)):
        layer = keras.layers.GRU(
            6,
            activation=name,
            recurrent_activation=recurrent,
            reset_after=reset_after,
            return_sequences=True,
            dtype=np.dtype(dtype).name,
        )
        layer.build((None, None, 3))
        layer.set_weights([0.2 * rng.standard_normal(each.shape) for each in layer.get_weights()])
        x = 0.5 * rng.standard_normal((4, 3, 3)).astype(dtype)  # with some gates errors double at each step
        wanted = keras.ops.convert_to_numpy(layer(x))
        y, _ = GRU(spec_of(layer), precision=np.dtype(dtype).name)(x)
        if "softplus" in (name, recurrent):
            bound = max(bound, 1e-8)  # torch's is x above 20
        assert y.dtype == wanted.dtype and np.abs(y - wanted).max() <= bound * max(1, np.abs(wanted).max())
