"""Train the network that tells digits: ``python -m t2vdata.scoring.train``. Seeded; the weights depend on torch's version too.

Its frames are drawn as mnist-motion draws them, a digit of 12 to 28 pixels, MNIST's own size, anywhere on a black frame of 48.
Seven in ten are turned, slanted and stretched a little as other people write; some are blurred, dimmed or noisy as
generated frames are. One in ten is no digit: nothing, noise, or two digits.
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

from t2vdata.datasets.mnist_motion import digits
from t2vdata.scoring.digits import NO_DIGIT, DigitNetwork, crops

SEED, EPOCHS, BATCH, RATE, SMOOTHING = 0, 16, 64, 2e-3, 0.05
# Of MNIST's images.
_NATIVE = 28
_CANVAS = 48
_NO_DIGIT_SHARE = 1 / 10
# Of the larger digit's side: two that are nearer have grown into one blob, of which none can say what it is.
_APART = 0.4


def frames(
    draws: np.random.Generator, chosen: NDArray[np.uint8], others: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return frames (N, 48, 48), one for each chosen digit, and which show it: the rest nothing, noise, or another too."""
    count = len(chosen)
    made: NDArray[np.floating] = np.zeros((count, _CANVAS, _CANVAS), np.float32)
    kinds = draws.random(count)
    is_digit = kinds >= _NO_DIGIT_SHARE
    is_noise = kinds < 0.2 * _NO_DIGIT_SHARE
    is_two = (kinds >= 0.4 * _NO_DIGIT_SHARE) & ~is_digit
    for place in range(count):
        if is_digit[place]:
            _put(made[place], *_drawn(draws, chosen[place]))
        elif is_two[place]:
            _put_two(made[place], draws, chosen[place], others[place])
    blurred = draws.random(count) < 0.2
    some = made[blurred]
    made[blurred] = (some + np.roll(some, 1, 1) + np.roll(some, 1, 2) + np.roll(some, (1, 1), (1, 2))) / 4
    made *= draws.uniform(0.6, 1.0, (count, 1, 1)).astype(np.float32)
    noisy = is_noise | (draws.random(count) < 0.15)
    strength = draws.uniform(4, np.where(is_noise, 60, 15))[noisy, None, None]
    made[noisy] += draws.standard_normal(made[noisy].shape, np.float32) * strength
    return np.clip(made, 0, 255).astype(np.uint8), is_digit


def train() -> DigitNetwork:
    """Return the network, trained on all images of MNIST's training split."""
    # One thread: the sums of several depend on how many there are.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    draws = np.random.default_rng(SEED)
    images, labels = digits.images(None, "train"), digits.labels(None, "train").astype(np.int64)
    model = DigitNetwork().train()
    # Channels last: a third faster here.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    per_epoch = len(images) // BATCH
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * per_epoch, pct_start=0.15)
    for epoch in range(EPOCHS):
        order = draws.permutation(len(images))
        losses = []
        for chosen in order[: per_epoch * BATCH].reshape(-1, BATCH):
            others = images[draws.integers(len(images), size=BATCH)]
            made, is_digit = frames(draws, images[chosen], others)
            target = np.where(is_digit, labels[chosen], NO_DIGIT)
            scores = model(crops(made))
            loss = functional.cross_entropy(scores, torch.from_numpy(target), label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)  # noqa: T201
    return model.eval()


def save(model: nn.Module, path: Path, made_by: str) -> None:
    """Write the weights of a network, in halves of the precision they were trained in."""
    halves = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    data = to_bytes(halves, {"made_by": f"{made_by}, seed {SEED}, torch {torch.__version__}"})
    path.write_bytes(data)
    print(f"wrote {path}, {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")  # noqa: T201


def _drawn(
    draws: np.random.Generator, digit: NDArray[np.uint8], side: int | None = None
) -> tuple[NDArray[np.float32], int, int]:
    """Return a digit as some hand could have written it, at some size, and a place for it on the canvas: row and column."""
    from PIL import Image

    picture = Image.fromarray(digit)
    if draws.random() < 0.7:
        picture = picture.transform(picture.size, Image.Transform.AFFINE, _otherwise(draws), Image.Resampling.BILINEAR)
    side = side or _side(draws)
    # The mean of the area under each pixel, as mnist-motion makes digits smaller.
    pixels = picture if side == _NATIVE else picture.resize((side, side), Image.Resampling.BOX)
    row, column = draws.integers(0, _CANVAS - side + 1, size=2).tolist()
    return np.asarray(pixels, np.float32), row, column


def _side(draws: np.random.Generator) -> int:
    """Return the side of a digit: often the largest, or one of the smallest, which are the hardest."""
    kind = draws.random()
    if kind < 0.35:
        return _NATIVE
    if kind < 0.7:
        return 12 if draws.random() < 0.6 else 14
    return int(draws.integers(12, _NATIVE))


def _otherwise(draws: np.random.Generator) -> tuple[float, ...]:
    """Return the six numbers of an affine map that turns, slants and stretches about the middle of a digit."""
    angle, slant = draws.normal(0, 0.12, size=2).tolist()
    wide, high = np.exp(draws.normal(0, 0.06, size=2)).tolist()
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[wide, slant], [0, high]])
    middle = np.full(2, _NATIVE / 2)
    shift = middle - matrix @ middle
    return (*matrix[0].tolist(), float(shift[0]), *matrix[1].tolist(), float(shift[1]))


def _put_two(
    canvas: NDArray[np.floating],
    draws: np.random.Generator,
    digit: NDArray[np.uint8],
    other: NDArray[np.uint8],
) -> None:
    """Draw two digits of one size, apart."""
    first, row, column = _drawn(draws, digit)
    while True:
        second, other_row, other_column = _drawn(draws, other, len(first))
        if math.hypot(row - other_row, column - other_column) >= _APART * len(first):
            break
    _put(canvas, first, row, column)
    _put(canvas, second, other_row, other_column)


def _put(canvas: NDArray[np.floating], digit: NDArray[np.float32], row: int, column: int) -> None:
    height, width = digit.shape
    part = canvas[row : row + height, column : column + width]
    np.maximum(part, digit, out=part)


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("digits.safetensors"))
    save(train(), out, "t2vdata.scoring.train")
