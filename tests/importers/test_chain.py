"""``layers=[...]``: what a list of names and layers means, and the one that is suggested."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
from fastgru.errors import CheckpointError, DTypeError, ShapeError, UnsupportedModelError
from fastgru.importers.weights.chain import model_spec
from fastgru.importers.weights.modules import modules_of
from fastgru.importers.weights.named import Named
from fastgru.importers.weights.suggestion import embeddings, no_line, suggest, unsupported
from fastgru.layers import Activation, Dense, Dropout, Embedding, FinalState, GRULayer, Last, Max, Mean, validate


def array(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def gru(prefix, inputs, hidden, end="_l0"):
    return {
        f"{prefix}.weight_ih{end}": array(3 * hidden, inputs),
        f"{prefix}.weight_hh{end}": array(3 * hidden, hidden),
        f"{prefix}.bias_ih{end}": array(3 * hidden),
        f"{prefix}.bias_hh{end}": array(3 * hidden),
    }


def linear(prefix, inputs, outputs):
    return {f"{prefix}.weight": array(outputs, inputs), f"{prefix}.bias": array(outputs)}


TAGGER = {"words.weight": array(20, 4), **gru("rnn", 4, 3), **linear("fc", 3, 2)}


def suggestion(tensors):
    return suggest(tensors, modules_of(tensors))


def taken_for_embeddings(tensors):
    return embeddings(tensors, modules_of(tensors))


def kinds(spec):
    return [(node.name, type(node.layer)) for node in spec.nodes]


def test_names_and_layers_become_a_chain():
    layers = ["words", Dropout(), "rnn", Last(), Dropout(), "fc", Activation("softmax")]
    spec = model_spec(TAGGER, layers, "file")
    validate(spec)
    assert kinds(spec) == [
        ("words", Embedding),
        ("dropout", Dropout),
        ("rnn", GRULayer),
        ("last", Last),
        ("dropout_1", Dropout),
        ("fc", Dense),
        ("activation", Activation),
    ]
    assert [node.inputs for node in spec.nodes][:2] == [("input",), ("words",)]
    assert spec.outputs == ("activation",)


@pytest.mark.parametrize(("layer", "name"), [(FinalState(), "final_state"), (Mean(), "mean"), (Max(), "max")])
def test_layers_without_weights_are_named_by_their_class(layer, name):
    assert kinds(model_spec(TAGGER, ["words", "rnn", layer, "fc"], "file"))[2] == (name, type(layer))


def test_a_module_of_any_name_never_clashes_with_another_layer():
    tensors = {**gru("input", 4, 3), **linear("last", 3, 3)}
    spec = model_spec(tensors, ["input", Last(), "last", "last"], "file")
    validate(spec)
    assert spec.inputs[0].name == "input_1"
    assert [node.name for node in spec.nodes] == ["input", "last", "last_1", "last_2"]


def test_a_module_named_twice_shares_its_weights():
    spec = model_spec({**gru("rnn", 3, 3)}, ["rnn", "rnn"], "file")
    validate(spec)
    first, second = (node.layer.gru.layers[0][0].w_ih for node in spec.nodes)
    assert np.shares_memory(first, second)


def test_a_cell_runs_over_the_steps_like_a_layer():
    spec = model_spec(gru("cells.0", 4, 3, end="") | gru("cells.1", 3, 3, end=""), ["cells.0", "cells.1"], "file")
    validate(spec)
    assert [type(node.layer) for node in spec.nodes] == [GRULayer, GRULayer]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((20, 4), Embedding), ((4, 20), Dense), ((4, 4), Embedding)],
)
def test_a_first_matrix_is_an_embedding_unless_only_a_linear_layer_fits(shape, kind):
    spec = model_spec({"first.weight": array(*shape), **gru("rnn", 4, 3)}, ["first", "rnn"], "file")
    validate(spec)
    assert type(spec.nodes[0].layer) is kind


def test_a_later_matrix_is_a_linear_layer_without_bias():
    tensors = gru("rnn", 4, 3) | {"out.weight": array(3, 3)}
    assert kinds(model_spec(tensors, ["rnn", "out"], "file"))[1] == ("out", Dense)


def test_a_layer_with_weights_may_be_given_as_an_object():
    spec = model_spec(gru("rnn", 4, 3), [Dense(array(4, 2)), "rnn"], "file")
    validate(spec)
    assert spec.inputs[0].shape == (None, 2)


def test_an_unknown_name_lists_the_modules_of_the_file():
    with pytest.raises(CheckpointError, match=r"layers= names 'gru', which is not a module .* 'words', 'rnn', 'fc'"):
        model_spec(TAGGER, ["words", "gru", "fc"], "file")


def test_a_module_that_is_not_supported_is_named_with_what_it_looks_like():
    tensors = TAGGER | {"conv.weight": array(3, 4, 5, 5)}
    with pytest.raises(UnsupportedModelError, match=r"'conv', which looks like Conv2d \(tensors 'conv.weight'\)"):
        model_spec(tensors, ["words", "conv", "rnn"], "file")


@pytest.mark.parametrize("layers", ["rnn", Last(), 3])
def test_layers_must_be_a_list(layers):
    with pytest.raises(DTypeError, match="wanted a list of module names and layers"):
        model_spec(TAGGER, layers, "file")


@pytest.mark.parametrize("item", [3, None, b"rnn", ("rnn",), lambda x: x])
def test_an_element_that_is_neither_name_nor_layer_is_an_error(item):
    with pytest.raises(DTypeError, match="wanted module names and layers"):
        model_spec(TAGGER, ["words", item], "file")


def test_a_layer_class_instead_of_a_layer_says_what_to_write():
    with pytest.raises(DTypeError, match=r"write Last\(\)"):
        model_spec(TAGGER, ["words", "rnn", Last, "fc"], "file")


def test_an_empty_list_is_an_error():
    with pytest.raises(ShapeError, match="at least one layer"):
        model_spec(TAGGER, [], "file")


def test_the_suggestion_keeps_the_files_order_and_has_a_blank_wherever_the_file_says_nothing():
    tensors = {"words.weight": array(20, 4), **gru("a", 4, 3), **gru("b", 3, 3), **linear("fc", 3, 2)}
    assert suggestion(tensors) == 'layers=["words", ..., "a", ..., "b", ..., "fc", ...]'
    assert suggestion(gru("a", 4, 3) | gru("b", 3, 3)) == 'layers=["a", ..., "b", ...]'


def test_a_blank_is_an_error_that_asks_what_belongs_there():
    said = r"layers= has \.\.\. behind 'rnn' and before 'fc', .* does not say"
    with pytest.raises(CheckpointError, match=said) as caught:
        model_spec(TAGGER, ["words", "rnn", ..., "fc"], "file")
    for name in ("fastgru.Last()", "fastgru.FinalState()", "fastgru.Activation('relu')", "take ... out"):
        assert name in str(caught.value)
    with pytest.raises(CheckpointError, match=r"has \.\.\. behind 'fc', because"):
        model_spec(TAGGER, ["words", "rnn", Last(), "fc", ...], "file")


def test_the_suggestion_for_a_sorted_file_puts_its_layers_in_an_order_that_runs():
    tensors = {name: TAGGER[name] for name in sorted(TAGGER)}
    assert next(iter(tensors)) == "fc.bias"
    assert suggestion(tensors) == 'layers=["words", ..., "rnn", ..., "fc", ...]'


def test_the_suggestion_quotes_names():
    assert suggestion(gru('a"b', 4, 3) | gru("c", 3, 3)) == 'layers=["a\\"b", ..., "c", ...]'


def test_nothing_is_suggested_that_could_not_be_loaded():
    image = TAGGER | {"image.weight": array(3, 4, 5, 5)}
    assert suggestion(image) == ""
    assert [module.prefix for module in unsupported(modules_of(image))] == ["image"]
    heads = TAGGER | linear("other", 3, 5)
    assert suggestion(heads) == ""
    assert "'other'" in no_line(heads, modules_of(heads))


def test_nothing_is_suggested_across_grus_of_different_modules():
    tensors = gru("encoder.rnn", 4, 3) | gru("decoder.rnn", 3, 3) | linear("decoder.out", 3, 2)
    assert suggestion(tensors) == ""
    assert "'encoder.rnn', 'decoder.rnn' belong to different modules" in no_line(tensors, modules_of(tensors))


def test_the_suggestion_asks_of_what_class_a_module_is_that_tensors_leave_open():
    tensors = TAGGER | {"norm.weight": array(3), "norm.bias": array(3), "act.weight": array(3)}
    named = 'fastgru.Named("norm", kind=...), ..., fastgru.Named("act", kind=...)'
    sizes = {name: tensors[name] for name in (*gru("rnn", 4, 3), "norm.weight", "norm.bias", "act.weight")}
    assert suggestion(sizes) == f'layers=["rnn", ..., {named}, ...]'
    conv = {"conv.weight": array(4, 5, 3), "conv.bias": array(4)} | gru("rnn", 4, 3)
    assert suggestion(conv) == 'layers=[fastgru.Named("conv", padding=...), ..., "rnn", ...]'
    either = {"conv.weight": array(4, 2, 3), "conv.bias": array(4)} | gru("rnn", 4, 3)
    assert suggestion(either) == 'layers=[fastgru.Named("conv", kind=..., padding=...), ..., "rnn", ...]'
    with pytest.raises(CheckpointError, match=r"'conv', which may be Conv1d or ConvTranspose1d, .* kind='Conv1d'"):
        model_spec(either, [Named("conv", kind=..., padding=1), "rnn"], "file")
    with pytest.raises(CheckpointError, match=r"padding=\.\.\.\): the file does not say the padding of 'conv'"):
        model_spec(conv, [Named("conv", padding=...), "rnn"], "file")


@pytest.mark.parametrize("name", ["Last", "Last()", "fastgru.Last()", "Activation('tanh')"])
def test_a_layer_written_as_a_name_says_how_to_write_it(name):
    layer = name.removeprefix("fastgru.").partition("(")[0]
    with pytest.raises(CheckpointError, match=rf"is written fastgru.{layer}\(.* in Python, .* after --layers"):
        model_spec(TAGGER, ["words", "rnn", name, "fc"], "file")


def test_a_matrix_is_an_embedding_where_the_suggestion_takes_it_for_one():
    assert taken_for_embeddings(TAGGER | {"out.weight": array(2, 2)}) == {"words"}
    assert taken_for_embeddings({"first.weight": array(4, 20), **gru("rnn", 4, 3)}) == set()


def test_the_suggestion_can_be_pasted_and_asks_until_its_blanks_are_filled():
    pasted = eval(suggestion(TAGGER).removeprefix("layers="), {"fastgru": fastgru})
    while ... in pasted:
        with pytest.raises(CheckpointError, match="the file does not say"):
            model_spec(TAGGER, pasted, "file")
        pasted.remove(...)
    validate(model_spec(TAGGER, pasted, "file"))


def test_a_chain_for_the_command_line_is_no_list_of_layers():
    weights = {"gru.weight_ih_l0": np.ones((6, 3)), "gru.weight_hh_l0": np.ones((6, 2))}
    with pytest.raises(CheckpointError, match=r"a chain in one text is for --layers .*, and in Python a list"):
        fastgru.from_torch(weights, layers="gru,Last()")
