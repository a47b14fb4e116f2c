"""949 files that Keras 2.12, 3.0.5, 3.3.3, 3.4.1 and 3.6.0 wrote themselves are right or refused, and none is wrong.

Each has beside it the inputs and what the Keras that wrote it computed. Those that are refused, and why:

* 74 have a layer that is not supported: LSTM, UnitNormalization, Conv1DTranspose, EinsumDense, SpectralNormalization,
  Dot, Conv2D, Attention, MultiHeadAttention, a sum in ``keras.ops``;
* 8 call a Dropout or a GRU as in training, which is random;
* 2 begin a GRU with a state that is written out, 2 have a mask that is;
* 6 are weights alone, which do not say in which order their layers run.
"""

from __future__ import annotations

import io
import tarfile
from functools import cache

import numpy as np
import pytest
from beside import FOLDER

import fastgru

ARCHIVE = FOLDER / "conformance" / "keras-versions.tar.xz"
RIGHT = {  # 857 in all
    ("k212", "h5"): 104, ("k212", "keras"): 122, ("k305", "h5"): 51, ("k305", "keras"): 80, ("k333", "h5"): 103,
    ("k333", "keras"): 121, ("k341", "h5"): 66, ("k341", "keras"): 72, ("k360", "h5"): 66, ("k360", "keras"): 72,
}  # fmt: skip
REASONS = ("not supported", "as in training", "not the order of its layers")

pytestmark = [
    pytest.mark.skipif(not ARCHIVE.exists(), reason="the archive lies beside the repository"),
    pytest.mark.filterwarnings("ignore:.*stateful:UserWarning"),
]


@cache
def files():
    """The archive by names."""
    pytest.importorskip("h5py")
    with tarfile.open(ARCHIVE) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}


def arrays(content):
    """Inputs and outputs."""
    with np.load(io.BytesIO(content)) as found:
        inputs = [found[f"arr_{place}"] for place in range(sum(name.startswith("arr_") for name in found))]
        return inputs, [found[f"w{place}"] for place in range(len(found.files) - len(inputs))]


def agrees(got, wanted):
    tolerance = 2e-5 * max(1.0, float(np.abs(wanted).max(initial=0)))
    return got.shape == wanted.shape and np.allclose(got, wanted, rtol=2e-5, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize(("version", "suffix"), RIGHT)
def test_no_file_of_any_version_is_computed_wrongly(tmp_path, version, suffix):
    right, refused, wrong = 0, [], []
    path = tmp_path / "model"
    for name, content in files().items():
        if not (f".{version}." in name and name.endswith(f".{suffix}")):
            continue
        path.write_bytes(content)
        inputs, wanted = arrays(files()[f"{name}.npz"])
        try:
            made = fastgru.load(path)(inputs if len(inputs) > 1 else inputs[0])
        except fastgru.FastGRUError as error:
            refused.append((name, str(error)))
            continue
        got = list(made.values()) if isinstance(made, dict) else list(made) if isinstance(made, tuple) else [made]
        if len(got) == len(wanted) and all(map(agrees, got, wanted)):
            right += 1
        else:
            wrong.append(name)
    assert not wrong
    assert not [error for error in refused if not any(reason in error[1] for reason in REASONS)]
    assert right >= RIGHT[version, suffix]
