"""The way in: one GRU stack gives a GRU, a named chain a model, and anything else an error that shows what to name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, DTypeError, UnsupportedModelError
from fastgru.importers import spec_of
from fastgru.importers.weights.modules import modules_of
from fastgru.importers.weights.suggestion import contents
from fastgru.layers import Activation, GRUSpec, Last, ModelSpec


def array(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def gru(prefix="", gates=3):
    dot = f"{prefix}." if prefix else ""
    return {
        f"{dot}weight_ih_l0": array(gates * 3, 4),
        f"{dot}weight_hh_l0": array(gates * 3, 3),
        f"{dot}bias_ih_l0": array(gates * 3),
        f"{dot}bias_hh_l0": array(gates * 3),
    }


WORDS = {"words.weight": array(20, 4)}
HEAD = {"fc.weight": array(2, 3), "fc.bias": array(2)}


def checkpoint(tensors, **more):
    return Checkpoint("some.pt", "pytorch-zip", tensors, **more)


@pytest.mark.parametrize("prefix", ["", "model.encoder"])
def test_one_gru_stack_and_nothing_else_is_a_gru(prefix):
    assert isinstance(spec_of(checkpoint(gru(prefix))), GRUSpec)


def test_more_than_a_gru_is_an_error_with_its_contents_and_a_line_to_paste():
    with pytest.raises(CheckpointError) as caught:
        spec_of(checkpoint(WORDS | gru("rnn") | HEAD))
    for part in (
        "some.pt: holds weights and not the order of its layers, and more than a GRU: 'words', 'fc'\n",
        '"words": Embedding or Linear without bias (weight (20, 4))',
        '"rnn": GRU (weight_ih_l0 (9, 4), weight_hh_l0 (9, 3), bias_ih_l0 (9,), bias_hh_l0 (9,))',
        'layers=["words", ..., "rnn", ..., "fc", ...]',
        "Replace each ... by what the code of the model runs there",
        "fastgru.Last() takes each row's last step",
        "fastgru.FinalState() the final states of both directions",
        "fastgru.Activation('relu') is an activation",
        "check=(x, y)",
    ):
        assert part in str(caught.value)


def test_a_module_in_the_way_is_named_instead_of_a_line_that_cannot_work():
    given = checkpoint(gru("rnn") | {"image.weight": array(3, 3, 2, 2), "image.bias": array(3)} | HEAD)
    with pytest.raises(UnsupportedModelError, match=r"not supported: 'image' \(Conv2d\)\n") as caught:
        spec_of(given)
    assert "layers=[" not in str(caught.value)
    assert "fastgru.FinalState()" in str(caught.value) and "fastgru.Activation('relu')" in str(caught.value)


def test_networks_side_by_side_can_be_loaded_one_at_a_time():
    network = gru("rnn") | HEAD
    given = checkpoint({f"{name}.{key}": value for name in ("gen", "dis") for key, value in network.items()})
    with pytest.raises(CheckpointError, match=r"(?s)belong to different modules.*part='gen' loads it alone") as caught:
        spec_of(given)
    assert "layers=[" not in str(caught.value)


def test_the_counter_of_an_averaged_model_is_bookkeeping():
    assert isinstance(spec_of(checkpoint({"n_averaged": np.array(3), **gru("module.rnn")})), GRUSpec)
    spec = spec_of(checkpoint({"n_averaged": np.array(3), **gru("rnn"), **HEAD}), layers=["rnn", "fc"])
    assert isinstance(spec, ModelSpec)


def test_two_grus_are_never_chosen_between():
    said = r"more than one GRU: 'encoder', 'decoder'; .* no chain \(layer 'decoder': got 3 features, wanted 4\)"
    with pytest.raises(CheckpointError, match=said):
        spec_of(checkpoint(gru("encoder") | gru("decoder")), strict=False)


def test_named_layers_give_a_model():
    spec = spec_of(checkpoint(WORDS | gru("rnn") | HEAD), layers=["words", "rnn", Last(), "fc"])
    assert isinstance(spec, ModelSpec)
    assert len(spec.nodes) == 4


def test_tensors_that_no_named_layer_uses_are_an_error_or_with_strict_off_a_warning():
    given = checkpoint(WORDS | gru("rnn") | HEAD)
    with pytest.raises(CheckpointError, match=r"no layer uses the tensors 'fc.weight', 'fc.bias'; .*strict=False"):
        spec_of(given, layers=["words", "rnn"])
    with pytest.warns(UserWarning, match="some.pt: no layer uses the tensors 'fc.weight', 'fc.bias'$"):
        assert isinstance(spec_of(given, layers=["words", "rnn"], strict=False), ModelSpec)


def test_with_strict_off_the_only_gru_of_a_file_is_taken_and_the_rest_is_named():
    with pytest.warns(UserWarning, match="no layer uses the tensors 'words.weight', 'fc.weight', 'fc.bias'"):
        assert isinstance(spec_of(checkpoint(WORDS | gru("rnn") | HEAD), strict=False), GRUSpec)


def test_nothing_is_said_where_everything_is_used():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec_of(checkpoint(WORDS | gru("rnn")), layers=["words", "rnn"], strict=False)


def test_an_odd_tensor_within_the_gru_is_unused_and_named():
    with pytest.raises(CheckpointError, match=r"no layer uses the tensors 'rnn.h0'"):
        spec_of(checkpoint(gru("rnn") | {"rnn.h0": array(3)}))


def test_the_parts_of_an_unused_normalised_weight_are_named_as_in_the_file():
    head = {"fc.weight_g": array(2, 1), "fc.weight_v": array(2, 3)}
    with pytest.raises(CheckpointError, match=r"'fc.weight_g', 'fc.weight_v'"):
        spec_of(checkpoint(gru("rnn") | head), layers=["rnn"])


def test_a_normalised_gru_is_folded():
    tensors = gru()
    direction = tensors.pop("weight_hh_l0")
    tensors |= {"weight_hh_l0_g": array(9, 1), "weight_hh_l0_v": direction}
    w_hh = spec_of(checkpoint(tensors)).layers[0][0].w_hh
    np.testing.assert_allclose(np.linalg.norm(w_hh, axis=1), np.abs(array(9, 1))[:, 0], rtol=1e-6)


@pytest.mark.parametrize(("gates", "family"), [(4, "LSTM"), (1, "RNN")])
def test_a_file_of_another_recurrent_network_says_so(gates, family):
    with pytest.raises(UnsupportedModelError, match=f"some.pt: holds an {family} and no GRU"):
        spec_of(checkpoint(gru("rnn", gates=gates) | HEAD))


def test_a_file_without_any_gru_lists_what_it_holds():
    with pytest.raises(CheckpointError, match=r'holds no GRU.*\nIt holds:\n  "fc": Linear'):
        spec_of(checkpoint(HEAD))


def test_a_file_without_tensors_is_an_error():
    with pytest.raises(CheckpointError, match="holds no tensors"):
        spec_of(checkpoint({}))


def test_sizes_that_do_not_fit_are_a_checkpoint_error_with_the_path():
    head = {"fc.weight": array(2, 5), "fc.bias": array(2)}
    said = r"^some.pt: layer 'fc': weight: got shape \(2, 5\), wanted \(at least 1, 3\)"
    with pytest.raises(CheckpointError, match=said):
        spec_of(checkpoint(gru("rnn") | head), layers=["rnn", "fc"])


def test_an_unsupported_activation_is_named_with_the_path():
    with pytest.raises(UnsupportedModelError, match=r"^some.pt: layer 'activation': 'swoosh' is not supported"):
        spec_of(checkpoint(gru("rnn")), layers=["rnn", Activation("swoosh")])


def test_a_wrong_layers_argument_stays_a_type_error():
    with pytest.raises(DTypeError):
        spec_of(checkpoint(gru("rnn")), layers=[3])


def test_keras_weights_without_a_gru_say_what_they_hold():
    with pytest.raises(CheckpointError, match=r'(?s)holds no GRU that can be told.*"gru": Embedding or Dense'):
        spec_of(Checkpoint("some.weights.h5", "keras-weights", {"layers/gru/cell/vars/0": array(4, 9)}))


def test_messages_have_an_end():
    error = CheckpointError("x" * 1_000_000)
    assert len(str(error)) < 9000


def test_what_is_held_is_listed_without_control_characters():
    tensors = {"layer.x\n\x1b[31mRED": np.zeros(1, np.float32)}
    text = contents(tensors, modules_of(tensors))
    assert "\x1b" not in text and len(text.splitlines()) == 1
