"""``.keras`` files written by hand: a configuration, the metadata, and an HDF5 file laid out as Keras 3 does."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import numpy as np
from checkpoint_writers import ZipRecord, zip_bytes

METADATA = {"keras_version": "3.15.1", "date_saved": "2025-01-01@00:00:00"}
CONFIG: dict[str, Any] = {"module": "keras", "class_name": "Sequential", "config": {"layers": []}}


def hdf5_bytes(arrays: Mapping[str, np.ndarray], edit: Callable[[h5py.File], None] | None = None) -> bytes:
    """An HDF5 file of contiguous datasets, after ``edit`` has been let at it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, array in arrays.items():
            file.create_dataset(path, data=array)
        if edit is not None:
            edit(file)
    return buffer.getvalue()


def keras_records(weights: bytes, config: Any = CONFIG, metadata: Any = METADATA, method: int = 0) -> list[ZipRecord]:
    parts = {"metadata.json": metadata, "config.json": config, "model.weights.h5": weights}
    return [
        ZipRecord(name, part if isinstance(part, bytes) else json.dumps(part).encode(), method)
        for name, part in parts.items()
    ]


def keras_bytes(weights: bytes, **options: Any) -> bytes:
    return zip_bytes(keras_records(weights, **options))
