"""Train the network that tells digits: ``python -m t2vdata.scoring.train``. Seeded; the weights depend on torch's version too.

Its frames are drawn as mnist-motion draws them, a digit of 14 to 28 pixels anywhere on a black frame of 64, some blurred,
dimmed or noisy as generated frames are. One in ten is no digit: nothing, noise, or two digits.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_bytes
from torch.nn import functional

from t2vdata.datasets import _mnist
from t2vdata.scoring.digits import NO_DIGIT, DigitNetwork, crops

SEED, EPOCHS, BATCH, RATE = 0, 12, 128, 2e-3
_NO_DIGIT_SHARE = 1 / 10


def frame(draws: np.random.Generator, digit: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
    """Return a frame of 64x64 with one digit, and whether it is one: else nothing, noise, or two digits."""
    canvas: NDArray[np.floating] = np.zeros((64, 64), np.float32)
    is_digit = bool(draws.random() >= _NO_DIGIT_SHARE)
    kind = draws.integers(3)
    if is_digit or kind >= 2:
        side = int(draws.integers(14, 29))
        _put(canvas, _resized(digit, side), draws)
        if not is_digit and kind == 2:
            _put(canvas, _resized(other, side), draws)
    if is_digit and draws.random() < 0.2:
        canvas = (canvas + np.roll(canvas, 1, 0) + np.roll(canvas, 1, 1) + np.roll(canvas, (1, 1), (0, 1))) / 4
    canvas *= draws.uniform(0.6, 1.0)
    if draws.random() < 0.25 or (not is_digit and kind == 1):
        canvas = canvas + draws.normal(0, draws.uniform(4, 60 if not is_digit and kind == 1 else 15), canvas.shape)
    return np.clip(canvas, 0, 255).astype(np.uint8), is_digit


def train() -> DigitNetwork:
    """Return the network, trained on all images of MNIST's training split."""
    torch.manual_seed(SEED)
    draws = np.random.default_rng(SEED)
    images, labels = _mnist.images(None, "train"), _mnist.labels(None, "train").astype(np.int64)
    model = DigitNetwork()
    steps = EPOCHS * (len(images) // BATCH)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in range(EPOCHS):
        order = draws.permutation(len(images))
        losses = []
        for first in range(0, len(images) - BATCH + 1, BATCH):
            chosen = order[first : first + BATCH]
            others = images[draws.integers(len(images), size=BATCH)]
            made = [frame(draws, images[one], other) for one, other in zip(chosen, others, strict=True)]
            target = np.where([is_digit for _, is_digit in made], labels[chosen], NO_DIGIT)
            scores = model(crops(np.stack([pixels for pixels, _ in made])))
            loss = functional.cross_entropy(scores, torch.from_numpy(target))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses[-50:]):.4f}", flush=True)  # noqa: T201
    return model.eval()


def save(model: DigitNetwork, path: Path) -> None:
    """Write the weights, in halves of the precision they were trained in."""
    halves = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    data = to_bytes(halves, {"made_by": f"t2vdata.scoring.train, seed {SEED}, torch {torch.__version__}"})
    path.write_bytes(data)
    print(f"wrote {path}, {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")  # noqa: T201


def _resized(digit: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    from PIL import Image

    return np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BOX), np.float32)


def _put(canvas: NDArray[np.floating], digit: NDArray[np.float32], draws: np.random.Generator) -> None:
    height, width = digit.shape
    top, left = (int(draws.integers(0, 64 - length + 1)) for length in (height, width))
    part = canvas[top : top + height, left : left + width]
    np.maximum(part, digit, out=part)


if __name__ == "__main__":
    save(train(), Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("digits.safetensors")))
