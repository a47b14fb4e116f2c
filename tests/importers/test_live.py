"""Live objects become plain arrays by what they can do; no framework is needed to tell."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.errors import DTypeError
from fastgru.importers.live import tensors_of


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


def test_a_tensor_that_cannot_be_converted_is_named():
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
