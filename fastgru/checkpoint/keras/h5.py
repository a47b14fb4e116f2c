"""Keras's HDF5 files: whole models and weights of Keras 1, 2 and 3, told apart by what is in them.

Owns where Keras puts names, configuration and arrays in such a file. The configuration is parsed and handed on; no
class in it is looked up here, and no array is opened that Keras's own lists and groups do not name.

Format ``"keras-h5"``: Keras 1 and 2, tf.keras, and Keras 3's ``model.save("x.h5")``. Each layer has a group, and the
group's attribute ``weight_names`` lists its arrays.

* ``tensors``: every floating-point array that is listed, in the order of the lists, by its path below the group of the
  weights: ``<layer>/<weight name>``. The weight name is what the framework called the variable, so its place in the
  list is more reliable. For one GRU called ``gru_1`` in a Sequential model:

  - Keras 1: ``gru_1/gru_1_W_z``, ``_U_z``, ``_b_z``, then the same of ``r`` and of ``h``: nine arrays (with ``:0``
    behind each where TensorFlow ran it); under ``consume_less="gpu"`` three, ``gru_1_W``, ``_U``, ``_b``, of z, r, h;
  - Keras 2: ``gru_1/gru_1/kernel:0``, ``recurrent_kernel:0``, ``bias:0``; CuDNNGRU the same, with a bias of (6 units,);
  - tf.keras 2: ``gru_1/gru_1/gru_cell/kernel:0`` and so on (``gru_cell_3`` and the like in some versions);
  - Keras 3: ``gru_1/sequential/gru_1/gru_cell/kernel`` and so on; without ``sequential/`` in a functional model.

  A wrapper's arrays are in the wrapper's group: Bidirectional lists all of the forward layer and then all of the
  backward layer, TimeDistributed its layer, RNN cell after cell. A nested model is one group with one flat list too:
  first what is trained, in the order of its layers and of those nested in them, then in the same order what is not
  (the moving mean and variance of BatchNormalization, and all arrays of layers with ``trainable`` false).
* ``config``: the model's configuration as it stands (``class_name``, ``config``), or None in a file of weights. In it
  a Sequential of Keras before 2.2.3 has a list of layers where later ones have a dict.
* ``metadata``: ``keras_version`` (``""`` where the file has none: then it is Keras 1), ``backend`` (likewise),
  ``weight_names`` (layer name to the names of its tensors, keys of ``tensors``; layers in the order of the attribute
  ``layer_names``, those without weights with an empty list; variables of the model itself, if any, come last as
  ``"top_level_model_weights"``), and ``skipped``.

Format ``"keras-weights"``: the ``.weights.h5`` of Keras 3 and of late tf.keras, also in several files (``shards``
reads those). Groups repeat the nesting of Python objects, and each group ``vars`` holds arrays ``0``, ``1``, ``2``.

* ``tensors``: every floating-point array directly in a group ``vars``, by its path, in the order of the file. They are
  called as in a ``.keras`` file: ``layers/gru/cell/vars/0`` (kernel), ``1`` (recurrent kernel) and ``2`` (bias),
  ``layers/bidirectional/forward_layer/cell/vars/0``, ``layers/time_distributed/layer/vars/0``,
  ``layers/rnn/cell/cells/gru_cell_1/vars/0``, and in a nested model ``layers/sequential/layers/gru/cell/vars/0``.
  Groups below ``layers`` are named by class and numbered in the order of layers; the file has them by the alphabet. A
  layer that is used twice has one group, under the name it was first met by. A subclassed model has the names of its
  attributes instead, ``encoder/cell/vars/0``, or ``heads/dense_1/vars/0`` for those in a list. Variables of the model
  itself are ``vars/0``, and metrics ``metrics/mean/vars/0``. tf.keras 2.12 says ``_layer_checkpoint_dependencies`` for
  ``layers``.
* ``config``: None.
* ``metadata``: ``names`` (path of an object to what the model calls it, such as ``{"layers/gru_1": "decoder"}``, the
  model itself being ``""``; empty where the Keras that wrote the file did not say) and ``skipped``.

``skipped`` is what else is in the file, by path: the optimizer's group, groups and arrays that no list names, and
arrays of other types. Half and bfloat16 are widened to float32; all arrays are C-contiguous and read-only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import CheckpointError, UnsupportedModelError
from ..contents import Checkpoint
from ..hdf5.arrays import read_arrays
from ..hdf5.attributes import Attributes
from ..hdf5.structure import MAX_NAME, Node, Structure
from ..opened import OpenedFile
from ..signatures import find_hdf5
from ..span import Span
from ..text import MAX_JSON_BYTES, parse_json, shown
from .paths import with_slashes

__all__ = ["OPTIMIZER", "Variables", "find_variables", "open_structure", "read_keras_h5"]

OPTIMIZER = "optimizer"
WEIGHTS = "model_weights"
OWN_WEIGHTS = "top_level_model_weights"
VARIABLES = "vars"
MAX_WORD = 100  # bytes of a version or the like


def open_structure(opened: OpenedFile) -> Structure:
    """What an HDF5 file holds, of which no more than the root has been looked at."""
    base = find_hdf5(opened.head) or 0
    return Structure(Span(opened, base, opened.size - base), opened.path, base)


def read_keras_h5(opened: OpenedFile) -> Checkpoint:
    """Whatever Keras saved as HDF5, described in the text at the head of this module."""
    structure = open_structure(opened)
    attributes = Attributes(structure)
    text = attributes.text(structure.root, "model_config", MAX_JSON_BYTES)
    config = None if text is None else parse_json(text, f"{opened.path}: model_config")
    group = structure.root if config is None else structure.find(WEIGHTS)
    layers = None if group is None else attributes.names(group, "layer_names")
    if group is not None and layers is not None:
        return _read_lists(structure, attributes, group, layers, config)
    if config is not None:
        raise CheckpointError(
            f"{opened.path}: it has a configuration, and no group {WEIGHTS} with an attribute layer_names; "
            "it is not complete"
        )
    return _read_variables(structure, attributes)


def _read_lists(
    structure: Structure, attributes: Attributes, group: Node, layers: list[str], config: dict[str, Any] | None
) -> Checkpoint:
    """A file whose layers and arrays are listed in attributes, of ``group`` and of the layers in it."""
    if len(set(layers)) != len(layers):
        raise structure.blocks.error_at(group.path, "its attribute layer_names has a name twice")
    if OWN_WEIGHTS in structure.members(group) and OWN_WEIGHTS not in layers:
        layers.append(OWN_WEIGHTS)
    start = len(f"{group.path}/") if group.path else 0
    listed: dict[str, list[str]] = {}
    floats: dict[str, Node] = {}
    others: set[str] = set()
    for layer in layers:
        listed[layer] = []
        for node in _listed(structure, attributes, group, layer):
            path = node.path[start:]
            if path in floats or path in others:
                raise structure.blocks.error_at(node.path, "two layers list it, wanted every array once")
            if structure.holds_floats(node):
                listed[layer].append(path)
                floats[path] = node
            else:
                others.add(path)
    if not listed.get(OWN_WEIGHTS, True):
        del listed[OWN_WEIGHTS]
    beside = [path.removeprefix(f"{group.path}/") for path in structure.unentered()]
    metadata = {
        **{name: _word(structure, attributes, group, name) for name in ("keras_version", "backend")},
        "weight_names": listed,
        "skipped": beside + sorted(others),
    }
    arrays, stored = read_arrays(structure, floats.values())
    tensors = {path: arrays[node.path] for path, node in floats.items()}
    reduced = {path: stored[node.path] for path, node in floats.items() if node.path in stored}
    return Checkpoint(structure.blocks.where, "keras-h5", tensors, config, metadata, reduced)


def _listed(structure: Structure, attributes: Attributes, group: Node, layer: str) -> Iterator[Node]:
    """The arrays that a layer lists."""
    path = group.below(layer)
    node = structure.find(path)
    if node is None or not node.is_group:
        raise structure.blocks.error_at(group.path, f"it lists a layer {shown(layer)} and has no group of that name")
    names = attributes.names(node, "weight_names")
    if names is None or len(set(names)) != len(names):
        raise structure.blocks.error_at(path, "its attribute weight_names is missing or has a name twice")
    for name in names:
        array = structure.find(f"{path}/{name}")
        if array is None or array.is_group:
            raise structure.blocks.error_at(path, f"it lists an array {shown(name)} and has no array of that name")
        yield array


def _word(structure: Structure, attributes: Attributes, group: Node, name: str) -> str:
    """A short attribute of the file or else of its weights, or nothing."""
    for node in (structure.root, group):
        text = attributes.text(node, name, MAX_WORD)
        if text is not None:
            return text.decode("utf-8", "replace")
    return ""


@dataclass(frozen=True)
class Variables:
    """The arrays in groups of variables, what the model calls the owners of the groups, and what else there is."""

    arrays: list[Node]
    names: dict[str, str]
    skipped: list[str]


def find_variables(structure: Structure, attributes: Attributes) -> Variables:
    """All that repeats the nesting of objects; the optimizer is not entered."""
    found = Variables([], {}, [name for name in structure.members(structure.root) if name == OPTIMIZER])
    for node in structure.walk(skip=(OPTIMIZER,)):
        owner, _, last = node.path.rpartition("/")
        if node.is_group:
            text = attributes.text(node, "name", MAX_NAME) if last == VARIABLES else None
            if text is not None:
                found.names[owner] = text.decode("utf-8", "replace")
        elif owner.rpartition("/")[2] == VARIABLES and structure.holds_floats(node):
            found.arrays.append(node)
        else:
            found.skipped.append(node.path)
    return found


def _read_variables(structure: Structure, attributes: Attributes) -> Checkpoint:
    found = find_variables(structure, attributes)
    if not found.arrays:
        raise UnsupportedModelError(
            f"{structure.blocks.where}: it is an HDF5 file without weights of Keras, which is not read; wanted an "
            f"attribute model_config or layer_names, or floating-point arrays in groups called {VARIABLES}"
        )
    where = structure.blocks.where
    tensors, stored = read_arrays(structure, found.arrays)
    metadata = {"names": with_slashes(found.names, where), "skipped": found.skipped}
    tensors, stored = with_slashes(tensors, where), with_slashes(stored, where)
    return Checkpoint(where, "keras-weights", tensors, None, metadata, stored)
