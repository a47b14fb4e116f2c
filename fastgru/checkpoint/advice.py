"""What to do with files and folders that are not read: one way on for each, with the paths that it needs.

Owns these words, so that a file and the folder it lies in are given the same. Nothing is opened here.
"""

from __future__ import annotations

import os

from ..origin import is_there

__all__ = [
    "NAME_SOURCE",
    "ONE_ARRAY",
    "SAVE_ARRAYS",
    "SAVE_KERAS",
    "SAVE_PICKLE",
    "SAVE_PICKLED_KERAS",
    "SAVE_STATE_DICT",
    "architecture",
    "distributed",
    "guitarml",
    "joined",
    "packed",
    "saved_model",
    "tensorflow_checkpoint",
    "tensorflow_js",
]

SAVE_STATE_DICT = 'load it where it was made and save the weights: torch.save(model.state_dict(), "model.pt")'
SAVE_KERAS = 'save the Keras model that it was made from: model.save("model.keras")'
NAME_SOURCE = "name the PyTorch or Keras file that it was made from"
SAVE_PICKLED_KERAS = 'load it where it was pickled and save the model: model.save("model.keras")'
SAVE_ARRAYS = 'load it where it was pickled and save the arrays by name: np.savez("model.npz", **arrays)'
SAVE_PICKLE = (
    "load it where it was pickled and save the weights that are in it, of a PyTorch model by "
    'torch.save(model.state_dict(), "model.pt"), arrays by np.savez("model.npz", **arrays)'
)
ONE_ARRAY = "one array has no name; save all of them by name: np.savez(path, **arrays)"


def saved_model(folder: str) -> str:
    """For a folder of TensorFlow's; its layers are there where Keras wrote their metadata."""
    if not is_there(os.path.join(folder, "keras_metadata.pb")):
        return f"it has operations and no layers; {SAVE_KERAS}"
    return (
        "open its folder with tf_keras (pip install tensorflow tf_keras) and save it as one file: "
        f'tf_keras.models.load_model({folder!r}).save("model.h5")'
    )


def tensorflow_checkpoint(prefix: str) -> str:
    """For a checkpoint of which all files begin with ``prefix``: it has no layers, and its names are of attributes."""
    return (
        "load it with tf_keras into the model that it is of, and save that whole: "
        f'model.load_weights({prefix!r}), then model.save("model.h5")'
    )


def distributed(folder: str) -> str:
    """For a folder of ``torch.distributed.checkpoint``."""
    return f"write it as one file: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder!r} model.pt"


def joined(index: str) -> str:
    """For weights in several files, by the JSON that lists them, such as ``model.safetensors.index.json``."""
    stem, suffix = os.path.splitext(index.removesuffix(".index.json"))
    parts = f"for part in glob.glob({f'{stem}-*-of-*{suffix}'!r})"
    if suffix == ".safetensors":
        load, save = "safetensors.torch.load_file(part)", 'safetensors.torch.save_file(tensors, "model.safetensors")'
    else:
        load, save = "torch.load(part)", 'torch.save(tensors, "model.pt")'
    return f"join its parts: tensors = {{name: each {parts} for name, each in {load}.items()}}; {save}"


def packed(folder: str) -> str:
    """For a file of PyTorch that was unpacked into a folder."""
    parent, name = os.path.split(os.path.abspath(folder))
    return f"pack the folder again without compression: cd {parent!r} && zip -0 -r model.pt {name!r}"


def guitarml(path: str) -> str:
    """For the JSON of GuitarML's trainers, whose model is a GRU and a Linear, and where it skips the input beside."""
    return (
        'write its weights as .npz: np.savez("model.npz", **{name: np.float32(rows) for name, rows in '
        f'json.loads(pathlib.Path({path!r}).read_text())["state_dict"].items()}}), and load that with '
        'layers=["rec", "lin"]; if its "skip" is 1, the model adds its input to what this gives'
    )


def architecture(path: str) -> str:
    """For the JSON of ``model.to_json()``."""
    return (
        f"save it with its weights: model = keras.models.model_from_json(pathlib.Path({path!r}).read_text()), then "
        'model.load_weights(...) and model.save("model.keras")'
    )


def tensorflow_js(path: str) -> str:
    """For the JSON that lies beside the weights of TensorFlow.js."""
    return (
        "convert it (pip install tensorflowjs): tensorflowjs_converter --input_format=tfjs_layers_model "
        f"--output_format=keras {path!r} model.h5"
    )
