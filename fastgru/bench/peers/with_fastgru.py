"""fastgru itself, as a user calls it: a stream for one step, the GRU for sequences, arrays in and arrays out."""

from __future__ import annotations

from functools import partial
from typing import cast

import numpy as np

from ...gru import GRU
from ...model import Model, as_tuple
from ...options import Precision
from ...threads import available
from ..cases import ModelWork, Work
from .interface import Array, Prepared, PreparedModel

__all__ = ["prepare", "prepare_model", "refusal"]


def refusal(work: Work) -> str | None:
    return "no single steps backwards" if work.h0 is not None and work.spec.directions == 2 else None


def prepare(work: Work) -> Prepared:
    """Its own rule chooses the threads, which this process's affinity limits; without affinity they are asked for."""
    gru = GRU(work.spec, precision=cast(Precision, work.precision), n_threads=_limit(work.threads))
    if work.h0 is None:
        return Prepared(partial(gru, work.x, lengths=work.lengths), lambda: gru(work.x, lengths=work.lengths)[0])
    step, stream = np.ascontiguousarray(work.x[:, 0]), gru.stream(len(work.x))
    stream.state = work.h0
    start = stream.copy()

    def outputs() -> Array:
        return start.copy().step(step)[:, None]

    return Prepared(partial(stream.step, step), outputs)


def prepare_model(work: ModelWork) -> PreparedModel:
    model = Model(work.model, precision=cast(Precision, work.precision), n_threads=_limit(work.threads))
    arrays = list(work.inputs.values())
    call = partial(model, arrays[0] if len(arrays) == 1 else arrays)
    return PreparedModel(call, lambda: list(as_tuple(call())))


def _limit(threads: int) -> int | None:
    return None if available() == threads else threads
