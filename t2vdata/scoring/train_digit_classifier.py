"""Train the digit classifier: ``python -m t2vdata.scoring.train_digit_classifier``. Seeded; weights vary with torch's version.

Training frames look like those of mnist-motion: a digit of 12 to 28 pixels (MNIST's own size) anywhere on a black 48x48 frame.
Seven in ten are slightly rotated, slanted and stretched, as handwriting varies; some are blurred, dimmed or noisy, as generated
frames are. One in ten has no digit: blank, noise, or two digits.
"""

from __future__ import annotations

import hashlib
import math
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_bytes
from torch import nn
from torch.nn import functional

from t2vdata.datasets.mnist_motion import digits as mnist
from t2vdata.scoring.digit_classifier import NO_DIGIT, DigitNetwork, crops

SEED, EPOCHS, BATCH, RATE, SMOOTHING = 0, 16, 64, 2e-3, 0.05
# Side of MNIST's images, in pixels.
_NATIVE = 28
_CANVAS = 48
_NO_DIGIT_SHARE = 1 / 10
# Share of the digits' side; two digits that are nearer merge into a blob that cannot be labelled.
_MIN_DISTANCE = 0.4


def frames(
    rng: np.random.Generator, digits: NDArray[np.uint8], others: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return frames (N, 48, 48), one for each digit, and which show it alone; the others are blank, noise or two digits."""
    count = len(digits)
    canvas: NDArray[np.floating] = np.zeros((count, _CANVAS, _CANVAS), np.float32)
    kinds = rng.random(count)
    is_digit = kinds >= _NO_DIGIT_SHARE
    is_noise = kinds < 0.2 * _NO_DIGIT_SHARE
    is_two = (kinds >= 0.4 * _NO_DIGIT_SHARE) & ~is_digit
    for index in range(count):
        if is_digit[index]:
            _draw(canvas[index], *_varied_digit(rng, digits[index]))
        elif is_two[index]:
            _draw_two(canvas[index], rng, digits[index], others[index])
    blurred = rng.random(count) < 0.2
    sharp = canvas[blurred]
    canvas[blurred] = (sharp + np.roll(sharp, 1, 1) + np.roll(sharp, 1, 2) + np.roll(sharp, (1, 1), (1, 2))) / 4
    canvas *= rng.uniform(0.6, 1.0, (count, 1, 1)).astype(np.float32)
    noisy = is_noise | (rng.random(count) < 0.15)
    strength = rng.uniform(4, np.where(is_noise, 60, 15))[noisy, None, None]
    canvas[noisy] += rng.standard_normal(canvas[noisy].shape, np.float32) * strength
    return np.clip(canvas, 0, 255).astype(np.uint8), is_digit


def train() -> DigitNetwork:
    """Train the network on all images of MNIST's training split."""
    # One thread: sums over several threads depend on their number.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    images, labels = mnist.images(None, "train"), mnist.labels(None, "train").astype(np.int64)
    model = DigitNetwork().train()
    # Channels last: a third faster here.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    per_epoch = len(images) // BATCH
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * per_epoch, pct_start=0.15)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        losses = []
        for chosen in order[: per_epoch * BATCH].reshape(-1, BATCH):
            others = images[rng.integers(len(images), size=BATCH)]
            pictures, is_digit = frames(rng, images[chosen], others)
            target = np.where(is_digit, labels[chosen], NO_DIGIT)
            logits = model(crops(pictures))
            loss = functional.cross_entropy(logits, torch.from_numpy(target), label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)  # noqa: T201
    return model.eval()


def save(model: nn.Module, path: Path, made_by: str) -> None:
    """Write the weights of a network in half precision."""
    halves = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    data = to_bytes(halves, {"made_by": f"{made_by}, seed {SEED}, torch {torch.__version__}"})
    path.write_bytes(data)
    print(f"wrote {path}, {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")  # noqa: T201


def _varied_digit(
    rng: np.random.Generator, digit: NDArray[np.uint8], side: int | None = None
) -> tuple[NDArray[np.float32], int, int]:
    """Return a digit with random handwriting variations and size, and a random row and column for it on the canvas."""
    from PIL import Image

    picture = Image.fromarray(digit)
    if rng.random() < 0.7:
        picture = picture.transform(picture.size, Image.Transform.AFFINE, _random_affine(rng), Image.Resampling.BILINEAR)
    side = side or _side(rng)
    # The mean of the area under each pixel, as in mnist-motion.
    pixels = picture if side == _NATIVE else picture.resize((side, side), Image.Resampling.BOX)
    row, column = rng.integers(0, _CANVAS - side + 1, size=2).tolist()
    return np.asarray(pixels, np.float32), row, column


def _side(rng: np.random.Generator) -> int:
    """Return a random side of a digit: often the largest, or one of the smallest, which are the hardest."""
    kind = rng.random()
    if kind < 0.35:
        return _NATIVE
    if kind < 0.7:
        return 12 if rng.random() < 0.6 else 14
    return int(rng.integers(12, _NATIVE))


def _random_affine(rng: np.random.Generator) -> tuple[float, ...]:
    """Return the coefficients of a random affine map that rotates, slants and stretches a digit about its centre."""
    angle, slant = rng.normal(0, 0.12, size=2).tolist()
    wide, high = np.exp(rng.normal(0, 0.06, size=2)).tolist()
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[wide, slant], [0, high]])
    middle = np.full(2, _NATIVE / 2)
    shift = middle - matrix @ middle
    return (*matrix[0].tolist(), float(shift[0]), *matrix[1].tolist(), float(shift[1]))


def _draw_two(
    canvas: NDArray[np.floating],
    rng: np.random.Generator,
    digit: NDArray[np.uint8],
    other: NDArray[np.uint8],
) -> None:
    """Draw two digits of the same size, apart from each other."""
    first, row, column = _varied_digit(rng, digit)
    while True:
        second, other_row, other_column = _varied_digit(rng, other, len(first))
        if math.hypot(row - other_row, column - other_column) >= _MIN_DISTANCE * len(first):
            break
    _draw(canvas, first, row, column)
    _draw(canvas, second, other_row, other_column)


def _draw(canvas: NDArray[np.floating], digit: NDArray[np.float32], row: int, column: int) -> None:
    height, width = digit.shape
    part = canvas[row : row + height, column : column + width]
    np.maximum(part, digit, out=part)


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("digit_classifier.safetensors"))
    save(train(), out, "t2vdata.scoring.train_digit_classifier")
