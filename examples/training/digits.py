"""Train the demo's reader of handwritten digits with PyTorch and write it beside its held-out images.

Owns how ``fastgru/demo/digits.pt`` and ``digits.npz`` come about; nothing in the package imports it.
The images are scikit-learn's copy of the UCI set (E. Alpaydin and C. Kaynak, CC BY 4.0): 1797 digits of 8 x 8
pixels, 0 to 16. The network reads an image as eight rows of eight pixels, top to bottom, and names the digit after
the last row.

Run it from the root of the repository, in an environment with ``torch==2.13.0`` and ``scikit-learn``::

    python examples/training/digits.py

It takes about half a minute on one core. The seed fixes the split and the training; another CPU or another version
of PyTorch may round differently and end within a few images of the figures printed here. Nothing is written unless
at least 96 % of the held-out images are read right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 1998
HIDDEN = 64
HELD_OUT = 540  # images, 30 %, in the proportions of the ten digits
EPOCHS = 240
BATCH = 64
BAR = 0.96  # of the held-out images, or nothing is written
PIXEL_MAX = 16.0
DEMO = Path(__file__).resolve().parents[2] / "fastgru" / "demo"


class DigitReader(torch.nn.Module):
    """A GRU over the rows of an image, and a linear layer on its last output."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(8, hidden, batch_first=True)
        self.fc = torch.nn.Linear(hidden, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (batch, 10) of images (batch, 8 rows, 8 pixels) between 0 and 1."""
        steps, _ = self.gru(images)
        return self.fc(steps[:, -1])


def redrawn(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image (count, 8, 8) turned, slanted, stretched and moved a little, with a little noise, anew every epoch."""

    def uniform(limit: float) -> torch.Tensor:
        return limit * (2 * torch.rand(len(images), generator=generator) - 1)

    angle = uniform(0.25)  # radians
    across, down, slant = 1 + uniform(0.15), 1 + uniform(0.15), uniform(0.15)
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([cos * across, slant - sin * down, uniform(0.2)], dim=1)  # 0.2 of half a width: 0.8 pixels
    second = torch.stack([sin * across, cos * down, uniform(0.2)], dim=1)
    size = (len(images), 1, 8, 8)
    grid = torch.nn.functional.affine_grid(torch.stack([first, second], dim=1), size, align_corners=False)
    drawn = torch.nn.functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
    return drawn + 0.03 * torch.randn(drawn.shape, generator=generator)


def train(images: torch.Tensor, labels: torch.Tensor) -> DigitReader:
    """Train on images (count, 8, 8) with labels (count,); the held-out images are not seen here at all."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = DigitReader()
    steps_per_epoch = -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=EPOCHS * steps_per_epoch)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for chosen in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = loss_of(model(redrawn(images[chosen], generator)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        if epoch % 40 == 0:
            print(f"epoch {epoch:3d}: training loss {total / len(images):.4f}")
    return model.eval()


def main() -> None:
    """Train, measure on the held-out images, and write both files if the bar is met."""
    parser = argparse.ArgumentParser(description="Train the demo's digit reader and write digits.pt and digits.npz.")
    parser.add_argument("--out", type=Path, default=DEMO, help="folder to write to (default: fastgru/demo)")
    out = parser.parse_args().out
    torch.set_num_threads(1)

    digits = load_digits()
    pixels = digits.images.astype(np.uint8)  # (1797, 8, 8)
    train_pixels, test_pixels, train_labels, test_labels = train_test_split(
        pixels, digits.target, test_size=HELD_OUT, random_state=SEED, stratify=digits.target
    )
    model = train(torch.from_numpy(train_pixels / np.float32(PIXEL_MAX)), torch.from_numpy(train_labels))
    with torch.no_grad():
        scores = model(torch.from_numpy(test_pixels / np.float32(PIXEL_MAX))).numpy()

    right = int((scores.argmax(axis=1) == test_labels).sum())
    accuracy = right / len(test_labels)
    print(f"held-out images read right: {right} of {len(test_labels)}, {accuracy:.1%} (at least {BAR:.0%} wanted)")
    if accuracy < BAR:
        raise SystemExit("the bar is not met; nothing was written")
    torch.save(model.state_dict(), out / "digits.pt")
    np.savez_compressed(
        out / "digits.npz", images=test_pixels, labels=test_labels.astype(np.uint8), outputs=scores.astype(np.float32)
    )
    for name in ("digits.pt", "digits.npz"):
        print(f"wrote {name}, {(out / name).stat().st_size / 1000:.1f} KB")


if __name__ == "__main__":
    main()
