"""Train the demo's sunspot forecaster with Keras and write it beside the years it was not trained on.

Owns how ``fastgru/demo/sunspots.keras`` and ``sunspots.npz`` come about; nothing in the package imports it.
The numbers are the monthly mean sunspot numbers from January 1749 to June 2009 of the National Geophysical Data
Center, public domain. statsmodels ships them as ``sunspots_monthly.dat``, beside the yearly numbers that its
``load()`` returns. The network is given one month after another and says each time what the next month will be.

Run it from the root of the repository, in an environment with ``keras==3.15``, ``torch==2.13.0`` and
``statsmodels``::

    python examples/training/sunspots.py

It takes about a minute on one core. The seed fixes the training; another CPU or another version may round differently
and end near the figures printed here. The years to 1949 train the network, 1950 to 1975 choose the epoch, and 1976 to
2009 are used once, at the end. Nothing is written unless the forecast is better there than repeating the last month.
"""

from __future__ import annotations

import argparse
import os
from importlib import resources
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"  # read by keras when it is imported

import keras
import numpy as np
import torch

SEED = 1749
HIDDEN = 32
CYCLE = 132  # months: the Sun's activity comes and goes in eleven years
WINDOW = CYCLE  # months in a training sequence
WARM_UP = CYCLE  # months read before the first forecast that is scored
VALIDATION_YEAR = 1950
HELD_OUT_YEAR = 1976
EPOCHS = 60
WINDOWS_PER_EPOCH = 512
BATCH = 32
LEARNING_RATE = 1e-2
LOUDNESS = 0.3  # every window is scaled by exp(0.3 * normal): strong and weak cycles are rare in 200 years
SCALE = 100.0  # the network reads and forecasts hundreds of spots
DEMO = Path(__file__).resolve().parents[2] / "fastgru" / "demo"


def monthly_sunspots() -> tuple[np.ndarray, int]:
    """All monthly numbers in tenths, uint16, and the year of the first."""
    text = (resources.files("statsmodels.datasets.sunspots") / "src" / "sunspots_monthly.dat").read_text()
    rows = [line.split() for line in text.splitlines() if line[:4].isdigit()]
    years = [int(row[0]) for row in rows]
    if years != list(range(years[0], years[0] + len(rows))) or any(len(row) != 13 for row in rows[:-1]):
        raise SystemExit("the file of monthly sunspot numbers is not as expected: a month or a year is missing")
    tenths = [round(10 * float(number)) for row in rows for number in row[1:]]
    return np.array(tenths, dtype=np.uint16), years[0]


def build() -> keras.Sequential:
    """A forecast at every step: (batch, months, 1) -> (batch, months, 1)."""
    return keras.Sequential(
        [
            keras.Input((None, 1), name="month"),
            keras.layers.GRU(HIDDEN, return_sequences=True, name="gru"),
            keras.layers.Dense(1, name="forecast"),
        ],
        name="sunspots",
    )


def pairs(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A series in hundreds of spots as one sequence of inputs and, one month later, of targets."""
    return series[None, :-1, None], series[None, 1:, None]


def root_mean_square(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))


def train(learn: np.ndarray, choose: np.ndarray) -> keras.Sequential:
    """Train on windows of ``learn``; keep the weights of the epoch that forecasts ``choose`` best."""
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    model = build()
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0), loss="mse")
    inputs, targets = pairs(learn)
    check_inputs, check_targets = pairs(choose)
    best, kept = np.inf, model.get_weights()
    for epoch in range(1, EPOCHS + 1):
        model.optimizer.learning_rate = LEARNING_RATE * (1 + np.cos(np.pi * (epoch - 1) / EPOCHS)) / 2
        for _ in range(WINDOWS_PER_EPOCH // BATCH):
            starts = random.integers(0, inputs.shape[1] - WINDOW + 1, BATCH)
            index = starts[:, None] + np.arange(WINDOW)
            louder = np.exp(LOUDNESS * random.standard_normal((BATCH, 1, 1))).astype(np.float32)
            loss = model.train_on_batch(louder * inputs[0, index], louder * targets[0, index])
        forecast = np.asarray(model.predict_on_batch(check_inputs))
        error = root_mean_square((forecast - check_targets)[:, WARM_UP:])
        if error < best:
            best, kept = error, model.get_weights()
        if epoch % 10 == 0:
            print(f"epoch {epoch:3d}: training loss {loss:.4f}, error 1950 to 1975 {SCALE * error:.2f} spots")
    trained = build()  # without the optimiser, which would be saved with it
    trained.set_weights(kept)
    return trained


def main() -> None:
    """Train, measure on the years held out, and write both files if the bar is met."""
    parser = argparse.ArgumentParser(description="Train the demo's forecaster; write sunspots.keras and sunspots.npz.")
    parser.add_argument("--out", type=Path, default=DEMO, help="folder to write to (default: fastgru/demo)")
    out = parser.parse_args().out
    torch.set_num_threads(1)

    tenths, first_year = monthly_sunspots()
    series = tenths / np.float32(10 * SCALE)
    validation = 12 * (VALIDATION_YEAR - first_year)
    held_out = 12 * (HELD_OUT_YEAR - first_year)
    model = train(series[:validation], series[validation - WARM_UP : held_out])

    test = tenths[held_out - WARM_UP :]
    inputs, targets = pairs(test / np.float32(10 * SCALE))
    outputs = np.asarray(model.predict_on_batch(inputs), dtype=np.float32)
    scored = slice(WARM_UP - 1, None)  # the forecast made in December 1975 is that of January 1976
    error = SCALE * root_mean_square((outputs - targets)[:, scored])
    repeating = SCALE * root_mean_square((inputs - targets)[:, scored])
    print(f"forecasts of {targets[:, scored].shape[1]} months from January {HELD_OUT_YEAR}, root mean square error:")
    print(f"  network {error:.2f}, repeating the last month {repeating:.2f}, {1 - error / repeating:.1%} lower")
    if error >= repeating:
        raise SystemExit("the bar is not met; nothing was written")
    model.save(out / "sunspots.keras")
    np.savez_compressed(
        out / "sunspots.npz",
        tenths=test,
        first_scored=np.int32(WARM_UP),
        first_scored_year=np.int32(HELD_OUT_YEAR),
        outputs=outputs[0, :, 0],
    )
    for name in ("sunspots.keras", "sunspots.npz"):
        print(f"wrote {name}, {(out / name).stat().st_size / 1000:.1f} KB")


if __name__ == "__main__":
    main()
