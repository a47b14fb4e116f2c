"""Many live sequences on one GRU: each has a stream of its own, and a stream can be put away and taken up again.

    python examples/live_streams.py
"""

from __future__ import annotations

import numpy as np

import fastgru

FEATURES, HIDDEN, STEPS = 16, 64, 200


def main() -> None:
    random = np.random.default_rng(0)
    weights = {"weight_ih_l0": (3 * HIDDEN, FEATURES), "weight_hh_l0": (3 * HIDDEN, HIDDEN)}
    gru = fastgru.from_torch({name: random.uniform(-0.1, 0.1, shape) for name, shape in weights.items()})
    sensors = {name: random.standard_normal((STEPS, FEATURES)).astype(np.float32) for name in ("north", "south")}

    # The GRU is shared and never changes; what changes is in the streams.
    streams = {name: gru.stream() for name in sensors}
    out = np.empty(HIDDEN, np.float32)  # with it, a step allocates nothing
    for t in range(STEPS // 2):
        for name, stream in streams.items():
            stream.step(sensors[name][t], out)

    # The state is a plain array: save it, send it, and go on with it elsewhere.
    states = {name: stream.state for name, stream in streams.items()}  # (1, 1, 64) each
    for name, state in states.items():
        resumed = gru.stream()
        resumed.state = state
        for t in range(STEPS // 2, STEPS):
            last = resumed.step(sensors[name][t])
        at_once = gru(sensors[name])[0][-1]
        print(f"{name}: put away after {STEPS // 2} steps, same bits as at once: {np.array_equal(last, at_once)}")


if __name__ == "__main__":
    main()
