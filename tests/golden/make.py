"""Make the golden files anew: small models written by the real frameworks, with inputs and their own outputs.

    python tests/golden/make.py torch      # with torch 2.13, safetensors, numpy
    python tests/golden/make.py keras      # with keras 3.15, KERAS_BACKEND=torch, h5py
    python tests/golden/make.py tf_keras   # with tf_keras and tensorflow

Every model is seeded. A file goes with ``NAME.npz``, which holds ``x0, x1, ...`` and ``y0, y1, ...``, and an entry in
``cases.json``: how it is loaded, and by which version of what it was written.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
CASES = HERE / "cases.json"


def record(name: str, file: str, inputs: list, outputs: list, written_by: str, **load) -> None:
    """Keep the inputs and outputs of a case, and how its file is loaded."""
    arrays = {f"x{i}": np.asarray(x) for i, x in enumerate(inputs)}
    arrays |= {f"y{i}": np.asarray(y, np.float32) for i, y in enumerate(outputs)}
    np.savez_compressed(HERE / f"{name}.npz", **arrays)
    cases = json.loads(CASES.read_text()) if CASES.exists() else {}
    cases[name] = {"file": file, "written_by": written_by, "load": load}
    CASES.write_text(json.dumps(dict(sorted(cases.items())), indent=1) + "\n")
    print(f"{file}: {(HERE / file).stat().st_size:,} bytes")


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def with_torch() -> None:
    import torch
    from safetensors.torch import save_file
    from torch import nn
    from torch.nn.utils import parametrizations, prune

    version = f"torch {torch.__version__.split('+')[0]}"
    x = numbers(2, 5, 3)

    def run(module, *inputs):
        with torch.no_grad():
            made = module.eval()(*(torch.from_numpy(each) for each in inputs))
        return [each.numpy() for each in (made if isinstance(made, tuple) else (made,))]

    def gru(**options):
        torch.manual_seed(len(options))
        return nn.GRU(3, 4, batch_first=True, **options)

    for name, options in {"gru": {}, "gru_two_layers_both_ways": {"num_layers": 2, "bidirectional": True},
                          "gru_without_bias": {"bias": False}}.items():  # fmt: skip
        module = gru(**options)
        torch.save(module.state_dict(), HERE / f"torch_{name}.pt")
        record(f"torch_{name}", f"torch_{name}.pt", [x], run(module, x), version)
    module = gru()
    outputs = run(module, x)
    state = module.state_dict()
    torch.save(state, HERE / "torch_protocol_4.bin", pickle_protocol=4)
    record("torch_protocol_4", "torch_protocol_4.bin", [x], outputs, version)
    torch.save(state, HERE / "torch_legacy.pth", _use_new_zipfile_serialization=False)
    record("torch_legacy", "torch_legacy.pth", [x], outputs, version)
    save_file(state, HERE / "torch_state.safetensors")
    record("torch_state_safetensors", "torch_state.safetensors", [x], outputs, version)
    np.savez(HERE / "torch_arrays_file.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    record("torch_arrays", "torch_arrays_file.npz", [x], outputs, version)
    torch.save(module, HERE / "torch_whole_module.pt")
    record("torch_whole_module", "torch_whole_module.pt", [x], outputs, version)
    optimizer = torch.optim.Adam(module.parameters())
    training = {"epoch": 3, "args": argparse.Namespace(lr=0.1), "optimizer": optimizer.state_dict(),
                "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}  # fmt: skip
    torch.save(training, HERE / "torch_training.ckpt")
    record("torch_training", "torch_training.ckpt", [x], outputs, version)
    half = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
    torch.save(half, HERE / "torch_bfloat16.pt")
    rounded = gru()
    rounded.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    record("torch_bfloat16", "torch_bfloat16.pt", [x], run(rounded, x), version)

    normed = parametrizations.weight_norm(gru(), "weight_hh_l0")
    torch.save(normed.state_dict(), HERE / "torch_weight_norm.pt")
    record("torch_weight_norm", "torch_weight_norm.pt", [x], run(normed, x), version)
    pruned = gru()
    prune.random_unstructured(pruned, "weight_hh_l0", 0.5)
    torch.save(pruned.state_dict(), HERE / "torch_pruned.pt")
    record("torch_pruned", "torch_pruned.pt", [x], run(pruned, x), version)

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(9, 3)
            self.gru = nn.GRU(3, 4, batch_first=True)
            self.fc = nn.Linear(4, 2)

        def forward(self, ids):
            y, _ = self.gru(self.embedding(ids))
            return torch.relu(self.fc(y[:, -1]))

    torch.manual_seed(5)
    tagger = Tagger().eval()
    ids = np.arange(10).reshape(2, 5) % 9
    scores = run(tagger, ids)
    layers = ["embedding", "gru", "Last()", "fc", "Activation('relu')"]
    torch.save(tagger.state_dict(), HERE / "torch_tagger.pt")
    record("torch_tagger", "torch_tagger.pt", [ids], scores, version, layers=layers)
    program = torch.export.export(tagger, (torch.from_numpy(ids),))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of the machine it was made on
    torch.export.save(program, HERE / "torch_export.pt2")
    record("torch_export", "torch_export.pt2", [ids], scores, version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), HERE / "torch_scripted.pt")
        torch.jit.save(torch.jit.trace(module, torch.from_numpy(x)), HERE / "torch_traced.pt")
        torch.jit.save(torch.jit.freeze(torch.jit.script(module.eval())), HERE / "torch_frozen.pt")
        small = torch.ao.quantization.quantize_dynamic(nn.Sequential(gru()), {nn.GRU}, dtype=torch.qint8)[0]
    for kind in ("scripted", "traced", "frozen"):
        record(f"torch_{kind}", f"torch_{kind}.pt", [x], outputs, version)
    torch.save(small.state_dict(), HERE / "torch_dynamic_int8.pt")
    exact = gru()
    (packed, _) = small._all_weight_values[0].param.__getstate__()
    with torch.no_grad():
        for part, matrix in zip(("ih", "hh"), packed[4], strict=True):
            weight, bias = torch.ops.quantized.linear_unpack(matrix)
            getattr(exact, f"weight_{part}_l0").copy_(weight.dequantize())
            getattr(exact, f"bias_{part}_l0").copy_(bias)
    # the float GRU of the dequantised weights: torch's int8 GRU rounds its activations as well
    record("torch_dynamic_int8", "torch_dynamic_int8.pt", [x], run(exact, x), version)


def with_keras() -> None:
    import keras

    version = f"keras {keras.__version__}"
    layers = keras.layers
    x = numbers(2, 6, 3)

    def save(name: str, model, inputs: list, *, weights_only: bool = False, **load) -> None:
        made = model(inputs if len(inputs) > 1 else inputs[0])
        made = list(made) if isinstance(made, (list, tuple)) else [made]
        outputs = [keras.ops.convert_to_numpy(each) for each in made]
        for suffix in (".weights.h5",) if weights_only else (".keras", ".h5"):
            file = f"{name}{suffix}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (model.save_weights if weights_only else model.save)(HERE / file)
            record(file.replace(".", "_"), file, inputs, outputs, version, **load)

    def randomised(model):
        keras.utils.set_random_seed(3)
        rng = np.random.default_rng(3)
        model.set_weights([rng.uniform(0.1, 0.6, w.shape).astype("float32") * rng.choice([-1, 1], w.shape)
                           if "variance" not in v.path else rng.uniform(0.5, 1, w.shape)
                           for v, w in zip(model.weights, model.get_weights(), strict=True)])  # fmt: skip
        return model

    hard = layers.GRU(4, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid")
    around = [layers.Bidirectional(layers.GRU(3)), layers.Dense(2, "softmax")]
    model = randomised(keras.Sequential([layers.Input((None, 3)), hard, *around]))
    save("keras_sequential", model, [x])
    layers_of_weights = ["Named('gru', recurrent_activation='hard_sigmoid')", "bidirectional", "FinalState()",
                         "Named('dense', activation='softmax')"]  # fmt: skip
    save("keras_weights", model, [x], weights_only=True, layers=layers_of_weights)
    ids = layers.Input((None,), dtype="int32")
    side = layers.Input((2,))
    masked = layers.Embedding(7, 3, mask_zero=True)(ids)
    y, state = layers.GRU(4, return_sequences=True, return_state=True)(masked)
    pooled = layers.Concatenate()([layers.GlobalAveragePooling1D()(y), state, side])
    score = layers.Dense(2)(layers.BatchNormalization()(pooled))
    graph = randomised(keras.Model([ids, side], [score, y]))
    save("keras_graph", graph, [np.array([[1, 0, 5, 2, 0, 0], [3, 4, 0, 6, 1, 2]], "int32"), numbers(2, 2)])


def with_tf_keras() -> None:
    import tf_keras as keras

    version = f"tf_keras {keras.__version__}"
    layers = keras.layers
    x = numbers(2, 6, 3)
    hard = layers.GRU(4, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid")
    around = [layers.Bidirectional(layers.GRU(3), merge_mode="sum"), layers.Dense(2, "tanh")]
    model = keras.Sequential([layers.Input((None, 3)), hard, *around])
    rng = np.random.default_rng(4)
    model.set_weights([rng.uniform(-0.6, 0.6, w.shape) for w in model.get_weights()])
    outputs = [model(x).numpy()]
    model.save(HERE / "keras2_sequential.h5")
    record("keras2_sequential", "keras2_sequential.h5", [x], outputs, version)
    model.save_weights(HERE / "keras2_weights.h5")
    named = [
        "Named('gru', recurrent_activation='hard_sigmoid_keras2')",
        "Named('bidirectional', merge_mode='sum', return_sequences=False)",
        "Named('dense', activation='tanh')",
    ]
    record("keras2_weights", "keras2_weights.h5", [x], outputs, version, layers=named)


if __name__ == "__main__":
    makers = {"torch": with_torch, "keras": with_keras, "tf_keras": with_tf_keras}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=makers)
    os.environ.setdefault("KERAS_BACKEND", "torch")
    makers[parser.parse_args().framework]()
