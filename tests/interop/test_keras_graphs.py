"""Whole models of Keras 3: graphs with several inputs and outputs, shared layers, states, models in models."""

from __future__ import annotations

import numpy as np
import pytest
from keras_models import SUFFIXES, agree, keras, loaded, numbers, outputs, randomised, sequential

import fastgru
from fastgru.errors import UnsupportedModelError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

layers, ops = keras.layers, keras.ops


@pytest.fixture(params=SUFFIXES)
def check(request, tmp_path):
    """A function that saves a model, loads it here, and asserts equal outputs."""

    def run(model, *inputs):
        ours = loaded(randomised(model), tmp_path / f"model.{request.param}")
        for rows in (slice(None), slice(1, 2)):
            given = [each[rows] for each in inputs]
            agree(ours(given if len(given) > 1 else given[0]), outputs(model, *given))
        return ours

    return run


def test_several_inputs_and_outputs_keep_their_order(check):
    steps, side = keras.Input((None, 5), name="zebra"), keras.Input((3,), name="ape")
    ids = keras.Input((7,), dtype="int32")
    x = layers.GRU(4)(steps)
    y = layers.Concatenate()([x, side, layers.GlobalAveragePooling1D()(layers.Embedding(9, 2)(ids))])
    model = keras.Model([steps, side, ids], [layers.Dense(2)(y), x, layers.Dense(1, activation="sigmoid")(y)])
    words = np.random.default_rng(2).integers(0, 9, (3, 7))
    arrays = (numbers(), numbers()[:, 0, :3], words)
    ours = check(model, *arrays)
    names = [source.name for source in ours.spec.inputs]
    assert names[:2] == ["zebra", "ape"]
    agree(ours(dict(zip(names, arrays, strict=True))), outputs(model, *arrays))


def test_inputs_of_a_dict_are_given_by_name(tmp_path):
    given = {"b": keras.Input((5,), name="b"), "a": keras.Input((3,), name="a")}
    model = randomised(keras.Model(given, layers.Dense(2)(layers.Concatenate()([given["a"], given["b"]]))))
    arrays = {"a": numbers()[:, 0, :3], "b": numbers()[:, 1]}
    for suffix in SUFFIXES:
        agree(loaded(model, tmp_path / f"model.{suffix}")(arrays), outputs(model, arrays))


def test_a_layer_that_is_called_twice_shares_its_weights(check):
    one, other = keras.Input((None, 5)), keras.Input((None, 5))
    gru, dense = layers.GRU(4), layers.Dense(4, activation="tanh")
    x = layers.Subtract()([gru(one), gru(other)])
    model = keras.Model([one, other], dense(dense(x)))
    ours = check(model, numbers(), numbers(seed=4))
    names = [node.name for node in ours.spec.nodes]
    assert len(set(names)) == len(names) == 5
    assert ours.spec.nodes[3].layer is ours.spec.nodes[4].layer


def test_a_layer_that_is_its_own_input_twice(check):
    given = keras.Input((None, 5))
    gru = layers.GRU(5, return_sequences=True)
    check(keras.Model(given, [gru(gru(gru(given))), gru(given)]), numbers())


MERGING = ["Add", "Average", "Maximum", "Minimum", "Multiply"]


@pytest.mark.parametrize("kind", MERGING)
@pytest.mark.parametrize("count", [2, 3])
def test_inputs_element_by_element(check, kind, count):
    given = [keras.Input((None, 5)) for _ in range(count)]
    model = keras.Model(given, getattr(layers, kind)()(given))
    check(model, *(numbers(seed=seed) for seed in range(count)))


@pytest.mark.parametrize("kind", [*MERGING, "Subtract"])
def test_sizes_of_one_and_missing_axes_are_repeated(check, kind):
    steps, row, column = keras.Input((9, 5)), keras.Input((5,)), keras.Input((9, 1))
    join = getattr(layers, kind)
    model = keras.Model([steps, row, column], [join()([steps, row]), join()([column, steps])])
    check(model, numbers(), numbers()[:, 0], numbers()[..., :1])


@pytest.mark.parametrize("axis", [-1, 1, 2, -2])
def test_inputs_one_behind_the_other(check, axis):
    given = [keras.Input((9, 5)), keras.Input((9, 5))]
    check(keras.Model(given, layers.Concatenate(axis=axis)(given)), numbers(), numbers(seed=4))


def test_a_single_input_of_a_merge(check):
    given = keras.Input((None, 5))
    check(keras.Model(given, layers.GRU(3)(layers.Add()([given]))), numbers())


def test_an_encoder_hands_its_state_to_a_decoder(check):
    source, target = keras.Input((None, 5)), keras.Input((None, 5))
    _, state = layers.GRU(4, return_state=True)(source)
    y, end = layers.GRU(4, return_sequences=True, return_state=True)(target, initial_state=state)
    model = keras.Model([source, target], [layers.Dense(3, activation="softmax")(y), end])
    check(model, numbers(), numbers(seed=4, steps=4))


def test_states_of_two_directions_and_of_cells(check):
    source, target = keras.Input((None, 5)), keras.Input((None, 5))
    _, ahead, back = layers.Bidirectional(layers.GRU(4, return_state=True))(source)
    both = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="sum")(
        target, initial_state=[ahead, back]
    )
    cells = layers.RNN([layers.GRUCell(4), layers.GRUCell(4)])(target, initial_state=[back, ahead])
    check(keras.Model([source, target], [both, cells]), numbers(), numbers(seed=4))


def test_states_that_are_positional_or_of_different_directions(check):
    source, one, other = keras.Input((None, 5)), keras.Input((4,)), keras.Input((4,))
    gru = layers.GRU(4)(source, one)
    back = layers.GRU(4, return_sequences=True, go_backwards=True, use_bias=False)
    different = layers.Bidirectional(layers.GRU(4, return_sequences=True), backward_layer=back)(
        source, initial_state=[one, other]
    )
    check(keras.Model([source, one, other], [gru, different]), numbers(), numbers()[:, 0, :4], numbers()[:, 1, :4])


def inner_functional(name="inner"):
    given = keras.Input((None, 5), name=f"{name}_given")
    x = layers.BatchNormalization()(layers.Dense(4, activation="tanh")(given))
    return keras.Model(given, layers.GRU(5, return_sequences=True)(x), name=name)


def test_models_in_models(check):
    deep = keras.Sequential([keras.Input((None, 5)), layers.Dense(5), inner_functional("deep")], name="deeper")
    given = keras.Input((None, 5))
    x = keras.Sequential([layers.BatchNormalization(), deep, layers.GRU(5, return_sequences=True)], name="outer")(given)
    model = keras.Model(given, layers.Dense(2)(inner_functional()(x)))
    names = [node.name for node in check(model, numbers()).spec.nodes]
    assert [name for name in names if name.startswith("outer/deeper/deep/gru")]


def test_a_model_that_is_called_several_times(check):
    inner, chain = inner_functional(), keras.Sequential([layers.Dense(5), layers.GRU(5, return_sequences=True)])
    given = keras.Input((None, 5))
    x = inner(inner(given))
    y = chain(chain(x))
    check(keras.Model(given, [inner(y), x, y, chain(given)]), numbers())


def test_a_model_with_several_inputs_and_outputs_in_a_model(check):
    one, other = keras.Input((5,), name="one"), keras.Input((3,), name="other")
    x = layers.Concatenate()([one, other])
    inner = keras.Model([one, other], [layers.Dense(3)(x), layers.Dense(5)(x)], name="inner")
    a, b = keras.Input((5,)), keras.Input((3,))
    p, q = inner([a, b])
    r, s = inner([q, p])
    check(keras.Model([a, b], [layers.Add()([q, s]), r]), numbers()[:, 0], numbers()[:, 1, :3])


def test_a_model_that_is_called_with_a_dict(check):
    named = {"b": keras.Input((5,), name="b"), "a": keras.Input((3,), name="a")}
    inner = keras.Model(named, layers.Dense(2)(layers.Concatenate()([named["a"], named["b"]])), name="inner")
    p, q = keras.Input((3,)), keras.Input((5,))
    check(keras.Model([p, q], inner({"a": p, "b": q})), numbers()[:, 0, :3], numbers()[:, 1])


def test_frozen_layers_and_models(check):
    """In an HDF5 file the weights of a frozen layer come behind all others of the model that it is in."""
    frozen = layers.GRU(4, return_sequences=True)
    frozen.trainable = False
    inner = keras.Sequential(
        [keras.Input((None, 5)), layers.BatchNormalization(), frozen, layers.Dense(4), layers.BatchNormalization()]
    )
    still = inner_functional("still")
    still.trainable = False
    bidirectional = layers.Bidirectional(layers.GRU(3, return_sequences=True), trainable=False)
    given = keras.Input((None, 5))
    check(keras.Model(given, layers.Dense(2)(bidirectional(inner(still(given))))), numbers())


def test_a_model_for_every_step(check):
    """Sentences of words: a GRU over the words of each sentence, and one over the sentences."""
    words = keras.Sequential([keras.Input((6,), dtype="int32"), layers.Embedding(9, 4), layers.GRU(5)], name="words")
    given = keras.Input((None, 6), dtype="int32")
    x = layers.TimeDistributed(words)(given)
    model = keras.Model(given, layers.GRU(3)(x))
    check(model, np.random.default_rng(2).integers(0, 9, (3, 4, 6)))


def test_an_embedding_for_every_step(check):
    given = keras.Input((None, 6), dtype="int32")
    x = layers.TimeDistributed(layers.Embedding(9, 4))(given)
    y = layers.TimeDistributed(keras.Sequential([layers.Dropout(0.1), layers.Embedding(9, 3), layers.GRU(2)]))(given)
    check(keras.Model(given, [layers.TimeDistributed(layers.GRU(3))(x), y]), np.arange(72).reshape(3, 4, 6) % 9)


def test_a_chain_with_an_embedding_in_a_model(check):
    given = keras.Input((6,))  # of floats, which Keras rounds
    x = keras.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.GRU(3)])(given)
    check(keras.Model(given, layers.Dense(2)(x)), np.arange(18).reshape(3, 6) % 9)


def test_a_model_for_every_step_and_again(check):
    step = keras.Sequential([keras.Input((6, 5)), layers.Conv1D(4, 3, activation="relu"), layers.GlobalMaxPooling1D()])
    inner = keras.Sequential([keras.Input((4, 6, 5)), layers.TimeDistributed(step), layers.GRU(3)])
    given = keras.Input((2, 4, 6, 5))
    model = keras.Model(given, layers.TimeDistributed(inner)(given))
    check(model, np.random.default_rng(2).standard_normal((3, 2, 4, 6, 5)).astype(np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.GRU(3), lambda: layers.Bidirectional(layers.GRU(3)), lambda: layers.Flatten(),
        lambda: layers.Reshape((5, 6)), lambda: layers.Permute((2, 1)), lambda: layers.BatchNormalization(axis=1),
        lambda: layers.LayerNormalization(), lambda: layers.GlobalAveragePooling1D(), lambda: layers.Conv1D(3, 2),
        lambda: layers.Activation("softmax"), lambda: layers.Dropout(0.2),
    ],
)  # fmt: skip
def test_any_layer_for_every_step(check, make):
    given = keras.Input((4, 6, 5))
    x = np.random.default_rng(2).standard_normal((3, 4, 6, 5)).astype(np.float32)
    check(keras.Model(given, layers.TimeDistributed(make())(given)), x)


def test_a_model_in_a_wrapper_and_by_itself(check):
    """One model that stands in two places has its weights in one of them."""
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.BatchNormalization()], name="inner")
    given = keras.Input((6, 5))
    single = inner(given[:, 0])
    check(keras.Model(given, [single, layers.TimeDistributed(inner)(given)]), numbers(steps=6))


FUNCTIONS = {
    "last": lambda x: x[:, -1, :],
    "last_short": lambda x: x[:, -1],
    "first": lambda x: x[:, 0],
    "feature": lambda x: x[..., 2],
    "rest": lambda x: x[:, 1:],
    "but_last": lambda x: x[:, :-2, :],
    "last_steps": lambda x: x[:, -3:],
    "features": lambda x: x[:, :, 1:3],
    "add": lambda x: ops.add(x, layers.Dense(5)(x)),
    "plus": lambda x: x + layers.Dense(5)(x),
    "minus": lambda x: layers.Dense(5)(x) - x,
    "times": lambda x: x * layers.Dense(5, activation="sigmoid")(x),
    "maximum": lambda x: ops.maximum(x, layers.Dense(5)(x)),
    "minimum": lambda x: ops.minimum(x, layers.Dense(5)(x)),
    "concatenate": lambda x: ops.concatenate([x, layers.Dense(2)(x)], axis=-1),
    "concatenate_steps": lambda x: ops.concatenate([x, layers.Dense(5)(x)], axis=1),
    "relu": lambda x: ops.relu(x),
    "sigmoid": lambda x: ops.sigmoid(x),
    "tanh": lambda x: ops.tanh(x),
    "silu": lambda x: ops.silu(x),
    "softplus": lambda x: ops.softplus(x),
    "softmax": lambda x: ops.softmax(x, axis=-1),
    "softmax_steps": lambda x: ops.softmax(x, axis=1),
    "mean": lambda x: ops.mean(x, axis=1),
    "max": lambda x: ops.max(x, axis=1, keepdims=True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_tensors(check, name):
    given = keras.Input((6, 5))
    check(keras.Model(given, FUNCTIONS[name](given)), numbers(steps=6))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.einsum("bij,bkj->bik", x, x), lambda x: x[:, ::2], lambda x: x * 2.0, lambda x: ops.add(x, 1.0),
        lambda x: ops.matmul(x, x), lambda x: x[:, 0] + layers.Dense(5)(x), lambda x: ops.mean(x, axis=2),
        lambda x: ops.cast(ops.greater(x, 0), "float32"), lambda x: ops.expand_dims(x, 1),
        lambda x: ops.where(x > 0, x, x),
    ],
)  # fmt: skip
def test_other_functions_are_refused_by_name(tmp_path, function):
    given = keras.Input((5, 5))
    model = keras.Model(given, function(given))
    for suffix in SUFFIXES:
        model.save(tmp_path / f"model.{suffix}")
        with pytest.raises(UnsupportedModelError, match=r"layer '\w+' \(\w+, layers\[\d\]\)"):
            fastgru.load(tmp_path / f"model.{suffix}")


def test_a_layer_that_is_called_as_in_training_is_refused(tmp_path):
    given = keras.Input((5, 5))
    keras.Model(given, layers.Dropout(0.5)(given, training=True)).save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedModelError, match="called with training=True"):
        fastgru.load(tmp_path / "model.keras")


def test_a_model_of_a_class_of_its_own_is_refused(tmp_path):
    class Mine(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.gru = layers.GRU(3)

        def call(self, x):
            return self.gru(x)

    model = Mine()
    model(numbers())
    model.save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedModelError, match=r"of a class of its own, 'Mine'.*name its layers .*layers="):
        fastgru.load(tmp_path / "model.keras")
    agree(fastgru.load(tmp_path / "model.keras", layers=["gru", fastgru.Last()])(numbers()), outputs(model, numbers()))


def test_a_sequential_model_runs_sequences_of_any_length(tmp_path):
    model = sequential(layers.GRU(4, return_sequences=True), layers.Dense(2), shape=(9, 5))
    ours = loaded(model, tmp_path / "model.keras")
    agree(ours(numbers(steps=4)), outputs(model, numbers(steps=4)))
    built = randomised_by_a_call()
    agree(loaded(built, tmp_path / "built.keras")(numbers(steps=4)), outputs(built, numbers(steps=4)))


def randomised_by_a_call():
    model = keras.Sequential([layers.GRU(4, return_sequences=True), layers.Dense(2)])
    model(numbers())
    return randomised(model)


def test_a_whole_text_model(check):
    ids = keras.Input((12,), dtype="int32")
    x = layers.SpatialDropout1D(0.2)(layers.Embedding(40, 6, mask_zero=True)(ids))
    x = layers.Bidirectional(layers.GRU(5, return_sequences=True))(x)
    x = layers.LayerNormalization()(layers.GaussianNoise(0.1)(x))
    ahead = layers.GRU(8, return_sequences=True, reset_after=False, name="zebra")(x)
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(ahead), layers.GRU(3)(ahead), layers.GRU(2)(x)])
    x = layers.BatchNormalization()(layers.Dense(9, activation="relu")(x))
    model = keras.Model(ids, layers.Dense(3, activation="softmax", use_bias=False)(x))
    words = np.random.default_rng(1).integers(0, 3, (4, 12)) * np.array([1, 2, 3, 0] * 3)
    check(model, words + np.eye(4, 12, dtype=int))


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict:UserWarning")
@pytest.mark.parametrize("suffix", ["keras", "h5", "live"])
def test_outputs_that_are_named_come_back_as_a_dict_in_kerass_order(tmp_path, suffix):
    inputs = {"z": keras.Input((5, 4), name="z"), "a": keras.Input((5, 4), name="a")}
    inner = keras.Model(inputs, {name: layers.GRU(3, return_sequences=True)(x) for name, x in inputs.items()})
    outer = {"kz": keras.Input((5, 4)), "ka": keras.Input((5, 4))}
    made = inner({"z": outer["kz"], "a": outer["ka"]})
    model = randomised(keras.Model(outer, {"y": made["z"], "b": layers.GRU(2)(made["a"])}))
    given = {"kz": numbers(3, 5, 4), "ka": numbers(3, 5, 4, seed=2)}
    for each, x in ((model, given), (inner, {"z": given["kz"], "a": given["ka"]})):
        ours = fastgru.from_keras(each) if suffix == "live" else loaded(each, tmp_path / f"model.{suffix}")
        got, wanted = ours(x), each(x, training=False)
        assert list(got) == list(wanted)
        agree(tuple(got.values()), [keras.ops.convert_to_numpy(value) for value in wanted.values()])
        ours.save(tmp_path / "model.safetensors")
        again = fastgru.load(tmp_path / "model.safetensors")(x)
        assert list(again) == list(got) and all(np.array_equal(again[name], got[name]) for name in got)


FROZEN = {
    "forward": lambda both: both.forward_layer,
    "backward": lambda both: both.backward_layer,
    "cell": lambda both: both.forward_layer.cell,
    "variable": lambda both: both.forward_layer.cell.kernel,
}


@pytest.mark.parametrize("suffix", ["keras", "h5", "live"])
@pytest.mark.parametrize("around", ["alone", "time_distributed", "model"])
@pytest.mark.parametrize("part", FROZEN)
def test_a_partly_frozen_bidirectional(tmp_path, part, around, suffix):
    both = layers.Bidirectional(layers.GRU(4, return_sequences=True))
    shape = (3, 5, 4) if around == "time_distributed" else (5, 4)
    chain = {
        "alone": [both], "time_distributed": [layers.TimeDistributed(both)],
        "model": [keras.Sequential([layers.Dense(4), both, layers.BatchNormalization()])],
    }[around]  # fmt: skip
    model = randomised(keras.Sequential([keras.Input(shape), *chain]))
    FROZEN[part](both).trainable = False
    x = np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32)
    ours = fastgru.from_keras(model) if suffix == "live" else loaded(model, tmp_path / f"model.{suffix}")
    agree(ours(x), outputs(model, x))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_model_with_an_unsupported_layer_runs_by_the_names_of_the_others(tmp_path, suffix):
    chain = [layers.LSTM(4, return_sequences=True), layers.GRU(3, name="mine"), layers.Dense(2, "relu", name="out")]
    model = randomised(keras.Sequential([keras.Input((5, 4)), *chain]))
    path = tmp_path / f"model.{suffix}"
    with pytest.raises(UnsupportedModelError, match=r"LSTM layers are not supported.*layers=\['mine'\], strict=False"):
        loaded(model, path)
    with pytest.warns(UserWarning, match="no layer uses the tensors"):
        ours = fastgru.load(path, layers=["mine", "out"], strict=False)
    x = numbers(2, 5, 4)
    agree(ours(x), [keras.ops.convert_to_numpy(chain[2](chain[1](x)))])


@pytest.mark.parametrize("kind", ["Minimum", "Maximum", "Multiply"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_masked_sequence_and_one_value_for_every_step(tmp_path, kind, order):
    ids = keras.Input((None,), dtype="int32")
    steps = keras.layers.Embedding(9, 3, mask_zero=True)(ids)
    whole = keras.layers.GlobalAveragePooling1D()(steps)
    made = getattr(keras.layers, kind)()([steps, whole][::order])
    model = randomised(keras.Model(ids, made))
    x = np.array([[3, 0, 7, 0], [1, 2, 0, 0]])
    for suffix in SUFFIXES:
        agree(loaded(model, tmp_path / f"model.{suffix}")(x), outputs(model, x))
