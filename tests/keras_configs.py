"""Keras configurations and their tensors, written by hand as Keras writes them, and Keras's own GRU equations."""

from __future__ import annotations

import numpy as np
from altered import changed, paths

from fastgru import reference
from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import FastGRUError


def array(*shape, seed=0):
    return np.random.default_rng((*shape, seed)).uniform(-0.7, 0.7, shape).astype(np.float32)


def layer(class_name, name=None, **config):
    """A layer as Keras 3 writes it to a .keras file."""
    usual = {"name": name or class_name.lower(), "trainable": True, "dtype": {"class_name": "DTypePolicy"}}
    return {"module": "keras.layers", "class_name": class_name, "config": usual | config, "registered_name": None}


def gru(name="gru", units=3, **config):
    return layer("GRU", name, **{"units": units, "activation": "tanh", "recurrent_activation": "sigmoid"} | config)


def gru_tensors(group, inputs, units, bias="after"):
    tensors = {f"{group}/cell/vars/0": array(inputs, 3 * units), f"{group}/cell/vars/1": array(units, 3 * units)}
    if bias:
        shape = (2, 3 * units) if bias == "after" else (3 * units,)
        tensors[f"{group}/cell/vars/2"] = array(*shape)
    return tensors


def checkpoint(layers, tensors, shape=(None, None, 4), version="3.15.1"):
    """A .keras file of a Sequential model."""
    given = [layer("InputLayer", "given", batch_shape=list(shape))] if shape else []
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "model", "layers": given + layers}}
    return Checkpoint("model.keras", "keras", tensors, config, {"keras_version": version})


def one_gru(inputs=4, units=3, bias="after", version="3.15.1", **config):
    tensors = gru_tensors("layers/gru", inputs, units, bias)
    return checkpoint([gru(units=units, **config)], tensors, version=version)


def old_layer(class_name, name, *inputs, **config):
    """A layer of a functional model as Keras 1 and 2 write it; for each call a reference or a list of references."""
    calls = [[[*each, {}] for each in (call if isinstance(call[0], list) else [call])] for call in inputs]
    return {"class_name": class_name, "config": {"name": name, **config}, "name": name, "inbound_nodes": calls}


def h5(config, lists, version="2.2.4", class_name="Sequential"):
    """An HDF5 file: for each layer its arrays, which are called by their places."""
    tensors = {f"{name}/{place}": each for name, arrays in lists.items() for place, each in enumerate(arrays)}
    names = {name: [f"{name}/{place}" for place in range(len(arrays))] for name, arrays in lists.items()}
    whole = None if config is None else {"class_name": class_name, "config": config}
    return Checkpoint("model.h5", "keras-h5", tensors, whole, {"keras_version": version, "weight_names": names})


def functional(layers, inputs, outputs):
    return {"name": "model", "layers": layers, "input_layers": inputs, "output_layers": outputs}


def tensor(name, call=0, output=0, rank=3):
    """An output of a layer among the arguments of another, as Keras 3 writes it."""
    config = {"shape": [None] * rank, "dtype": "float32", "keras_history": [name, call, output]}
    return {"class_name": "__keras_tensor__", "config": config}


def called(made, *calls, name=None):
    """A layer of a functional model of Keras 3 with its calls, each a tuple of arguments, a dict of options last."""
    nodes = [
        {"args": list(call[:-1] if isinstance(call[-1], dict) and "class_name" not in call[-1] else call),
         "kwargs": call[-1] if isinstance(call[-1], dict) and "class_name" not in call[-1] else {}}
        for call in calls
    ]  # fmt: skip
    return {**made, "name": name or made["config"]["name"], "inbound_nodes": nodes}


def operation(class_name, name, **config):
    return {
        "module": "keras.src.ops.numpy",
        "class_name": class_name,
        "config": {"name": name, **config},
        "registered_name": class_name,
    }


def graph_checkpoint(layers, inputs, outputs, tensors, version="3.15.1"):
    """A .keras file of a functional model."""
    config = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": functional(layers, inputs, outputs),
        "registered_name": "Functional",
    }
    return Checkpoint("model.keras", "keras", tensors, config, {"keras_version": version})


def keras_states(x, kernel, recurrent, bias=None, reset_after=True, act=np.tanh, act_r=reference.sigmoid):
    """Keras's own GRU equations in Keras's own order, z r h, and orientation: states (steps, units)."""
    kernel, recurrent = kernel.astype(np.float64), recurrent.astype(np.float64)
    units = len(recurrent)
    both = np.zeros((2, 3 * units)) if bias is None else np.atleast_2d(bias.astype(np.float64))
    b_x, b_h = both if len(both) == 2 else (both[0], np.zeros(3 * units))
    h, states = np.zeros(units), []
    for step in x:
        x_z, x_r, x_h = np.split(step @ kernel + b_x, 3)
        h_z, h_r, h_h = np.split(h @ recurrent + b_h, 3)
        z, r = act_r(x_z + h_z), act_r(x_r + h_r)
        h_h = r * h_h if reset_after else (r * h) @ recurrent[:, 2 * units :]
        h = z * h + (1 - z) * act(x_h + h_h)
        states.append(h)
    return np.array(states)


# What stands in place of any value: of another type, size or meaning.
WRONG = [
    *(None, True, 3, -1, 2.5, 10**4000, "", "x", [], [[]], {}),
    *({"class_name": {}}, {"config": None}, ["GRU"] * 2, ["x", 0, 0]),
]


def endings_of_changes(config, made):
    """How many changes of a configuration, each of one value anywhere to a wrong one, are taken, and refused."""
    taken = refused = 0
    for place in paths(config):
        for value in WRONG if place else ():
            try:
                made(changed(config, place, value))
            except FastGRUError:  # and nothing else
                refused += 1
            else:
                taken += 1
    return taken, refused
