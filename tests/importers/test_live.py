"""Live objects become plain data by what they have and can do; no framework is needed to tell."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.errors import DTypeError
from fastgru.importers.weights.live import contents_of


class Tensor:
    """Behaves as a torch tensor does as far as it is asked."""

    def __init__(self, array, dtype="torch.float32", attached=True):
        self._array, self.dtype, self._attached = array, dtype, attached

    def detach(self):
        return Tensor(self._array, self.dtype, attached=False)

    def cpu(self):
        return self

    def float(self):
        return Tensor(self._array.astype(np.float32), "torch.float32", self._attached)

    def numpy(self):
        if self._attached or self.dtype == "torch.bfloat16":
            raise TypeError(f"no NumPy array for {self.dtype}")
        return self._array


def tensors_of(value):
    tensors, modules, _ = contents_of(value)
    assert modules is None
    return tensors


class Module:
    def __init__(self, state):
        self._state = state

    def state_dict(self):
        return self._state


def test_a_module_gives_the_tensors_of_its_state_dict():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = tensors_of(Module({"b": Tensor(values), "a": values.astype(np.float64)}))
    assert list(tensors) == ["b", "a"]
    np.testing.assert_array_equal(tensors["b"], values)
    assert tensors["a"].dtype == np.float64


def test_the_arrays_are_copies():
    values = np.zeros(3, np.float32)
    tensors = tensors_of({"a": Tensor(values), "b": values})
    values[:] = 1
    assert not tensors["a"].any()
    assert not tensors["b"].any()


@pytest.mark.parametrize("dtype", ["torch.bfloat16", "torch.float16"])
def test_half_precision_tensors_are_widened(dtype):
    array = tensors_of({"a": Tensor(np.ones(2, np.float16), dtype)})["a"]
    assert array.dtype == np.float32


def test_half_precision_arrays_are_widened():
    assert tensors_of({"a": np.ones(2, np.float16)})["a"].dtype == np.float32


def test_anything_with_an_array_protocol_is_an_array():
    class Foreign:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3, dtype=np.float32)

    np.testing.assert_array_equal(tensors_of({"a": Foreign()})["a"], [0, 1, 2])


def test_what_a_module_keeps_beside_its_tensors_is_left_out():
    assert list(tensors_of({"a": np.zeros(1), "net._extra_state": {"anything": 1}})) == ["a"]


@pytest.mark.parametrize("value", [None, 3, "gru.pt", [1, 2], Module, np.zeros(3)])
def test_what_is_neither_module_nor_mapping_is_an_error(value):
    with pytest.raises(DTypeError, match=r"wanted a module that has state_dict\(\), or a dict"):
        tensors_of(value)


@pytest.mark.parametrize("value", [None, 3.5, "x", object()])
def test_a_value_that_is_not_a_tensor_is_named(value):
    with pytest.raises(DTypeError, match=r"'epoch' is .*, wanted a tensor"):
        tensors_of({"a": np.zeros(1), "epoch": value})


def test_a_tensor_that_cannot_be_converted_is_named(monkeypatch):
    monkeypatch.setitem(globals(), "__name__", "torch")  # whose errors are taken for the tensor's
    tensor = Tensor(np.zeros(1), "torch.qint8")
    tensor.detach = lambda: tensor
    with pytest.raises(DTypeError, match=r"'a' is Tensor.*no NumPy array for torch.qint8"):
        tensors_of({"a": tensor})


def test_a_nested_state_dict_says_where_to_look():
    with pytest.raises(DTypeError, match=r"'state_dict' is a dict.*under \['state_dict'\]"):
        tensors_of({"state_dict": {"a": np.zeros(1)}})


def test_keys_that_are_not_names_are_an_error():
    with pytest.raises(DTypeError, match="names as keys, got 3"):
        tensors_of({3: np.zeros(1)})


class Torch:
    """Keeps what it holds as torch's modules do."""

    def __init__(self, parameters=None, buffers=None, modules=None, **options):
        self._parameters, self._buffers, self._modules = parameters or {}, buffers or {}, modules or {}
        self._non_persistent_buffers_set = {"mask"}
        self._forward_hooks = self._forward_pre_hooks = {}
        vars(self).update(options)


def kind(name, base=Torch):
    """A class of that full name."""
    package, _, short = name.rpartition(".")
    return type(short, (base,), {"__module__": package, "__qualname__": short})


def test_a_module_gives_its_tensors_by_dotted_name_and_the_tree_of_classes():
    weight, buffers = Tensor(np.ones((2, 3), np.float32)), {"mask": np.ones(2), "kept": np.ones(3)}
    linear = kind("torch.nn.modules.linear.Linear")(
        {"weight": weight, "bias": None}, buffers, in_features=3, pair=(1, 2)
    )
    root = kind("my.Net")({"scale": np.ones(1)}, None, {"fc": linear, "empty": None, "again": linear}, _private=1)
    tensors, tree, _ = contents_of(root)
    assert list(tensors) == ["scale", "fc.weight", "fc.kept", "again.weight", "again.kept"]
    node = {"class_name": "torch.nn.modules.linear.Linear", "options": {"in_features": 3, "pair": [1, 2]}, "hooks": [],
            "children": {}}  # fmt: skip
    assert tree == {"class_name": "my.Net", "options": {}, "hooks": [], "children": {"fc": node, "again": node}}


def test_hooks_are_told_by_class():
    hook = kind("torch.nn.utils.weight_norm.WeightNorm", object)()
    _, tree, _ = contents_of(Torch({"w": np.ones(1)}, _forward_pre_hooks={0: hook}, _forward_hooks={1: len}))
    assert tree["hooks"] == ["torch.nn.utils.weight_norm.WeightNorm", "builtins.builtin_function_or_method"]


def test_wrappers_are_gone_at_the_top_and_within():
    gru = Torch({"w": np.ones(1)})
    compiled = kind("torch._dynamo.eval_frame.OptimizedModule")(None, None, {"_orig_mod": gru})
    net = Torch(None, None, {"gru": compiled})
    parallel = kind("torch.nn.parallel.data_parallel.DataParallel")(None, None, {"module": net})
    averaged = kind("torch.optim.swa_utils.AveragedModel")(None, {"n_averaged": np.ones(())}, {"module": parallel})
    tensors, tree, _ = contents_of(averaged)
    assert list(tensors) == ["gru.w"] and list(tree["children"]) == ["gru"]


def test_a_parametrised_module_is_of_the_class_below():
    gru = kind("torch.nn.modules.rnn.GRU")
    parametrised = kind("torch.nn.utils.parametrize.ParametrizedGRU", gru)
    held = Torch(None, None, {"weight": Torch({"original0": np.ones(1)})})
    tensors, tree, _ = contents_of(parametrised({"bias": np.ones(1)}, None, {"parametrizations": held}))
    assert list(tensors) == ["bias", "parametrizations.weight.original0"]
    assert tree["class_name"] == "torch.nn.modules.rnn.GRU"


def test_modules_that_contain_themselves_are_an_error():
    root = Torch()
    root._modules["self"] = root
    with pytest.raises(DTypeError, match="nested deeper"):
        contents_of(root)


def test_the_weights_of_live_quantised_modules_are_unpacked():
    class ScriptObject:
        def __init__(self, content):
            self.content = content

        def __getstate__(self):
            return self.content, "__torch__.torch.classes.some.Class"

    weight, bias = np.ones((3, 2), np.float32), np.ones(3, np.float32)
    linear = ScriptObject((weight, None))
    cell = ScriptObject(("quantized_dynamic", [], [], [1], [ScriptObject((weight, bias)), linear]))
    tensors, _, _ = contents_of(Torch(None, None, {"0": Torch(param=cell), "fc": Torch(_packed_params=linear)}))
    assert list(tensors) == ["0.param.weight_ih", "0.param.bias_ih", "0.param.weight_hh", "fc._packed_params.weight"]
