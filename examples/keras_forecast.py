"""A Keras 3 model, opened without Keras, that forecasts every month from the months before it.

    python examples/keras_forecast.py

Needs the extra ``keras``. The file is the sunspot model of ``fastgru demo``: one month in, the next month out.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np

import fastgru

UNIT = 100  # the model counts in hundreds of spots


def main() -> None:
    with as_file(files("fastgru.demo") / "sunspots.keras") as path:
        model = fastgru.load(path)  # a .keras file describes its own layers
    with as_file(files("fastgru.demo") / "sunspots.npz") as path, np.load(path) as data:
        months = (data["tenths"][:, None] / (10 * UNIT)).astype(np.float32)  # (534, 1)
    print(f"{model}\n")

    stream = model.stream()
    forecasts = [stream.step(month)[0] for month in months[:-1]]  # of months[1:], one step each
    print("month  forecast  observed")
    for number, (forecast, observed) in enumerate(zip(forecasts[-12:], months[-12:, 0], strict=True), start=1):
        print(f"{number:5}{UNIT * forecast:10.1f}{UNIT * observed:10.1f}")


if __name__ == "__main__":
    main()
