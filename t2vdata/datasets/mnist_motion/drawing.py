"""Draw moving digits onto frames, exactly: positions are multiples of 1/64 pixel, and all arithmetic is on integers.

Along its path a digit is drawn at the multiple of 1/``subpixel`` nearest to its position, halves up. Between two whole pixels
k and k+1, at a fraction f, each pixel is (1-f) times the digit at k plus f times the digit at k+1, rounded halves up. Across
its path it stands on whole pixels. Two overlapping digits are combined by their maximum.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.datasets.mnist_motion import digits
from t2vdata.datasets.mnist_motion.motion import Ints
from t2vdata.datasets.mnist_motion.options import MnistMotionOptions
from t2vdata.media import npy


def draw_frames(movers: Sequence[Mapping[str, Any]], options: MnistMotionOptions) -> NDArray[np.uint8]:
    """Draw the digits of a clip's ``meta``: (T, size, size, 1) uint8."""
    size, subpixel = options.size, options.subpixel
    # Between two pixels a digit is a column or row wider, which at the far edge is empty and outside the frame.
    canvas_size = size if subpixel == 1 else size + 1
    canvas = npy.canvas(options.frames, canvas_size, canvas_size, 1)
    for index, mover in enumerate(movers):
        image = digits.images(options.mnist, mover["mnist_split"])[mover["mnist_index"]]
        if options.digit_size != image.shape[0]:
            image = resized(image, options.digit_size)
        _draw_digit(canvas[..., 0], image, mover, subpixel, overlaps=index > 0)
    return canvas if canvas_size == size else np.ascontiguousarray(canvas[:, :size, :size])


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize a square image: the mean of the area under each pixel, or bilinear where it grows.

    Integer arithmetic throughout, halves rounded up, so the result is the same on every machine.
    """
    weights = _resize_weights(len(image), size)
    total = int(weights[0].sum()) ** 2
    return ((weights @ image.astype(np.int64) @ weights.T * 2 + total) // (2 * total)).astype(np.uint8)


def _draw_digit(
    canvas: NDArray[np.uint8], image: NDArray[np.uint8], mover: Mapping[str, Any], subpixel: int, *, overlaps: bool
) -> None:
    """Draw a digit at its position in each frame of ``canvas`` (T, y, x)."""
    # Exact: positions are multiples of 1/64; truncating x + 1/2 rounds halves up, as no position is negative.
    offsets = np.array([int(position * subpixel + 0.5) for position in mover["positions"]])
    is_vertical = mover["axis"] == "vertical"
    stamps = image
    if subpixel > 1:
        shifted = _subpixel_shifts(image.T, subpixel).transpose(0, 2, 1) if is_vertical else _subpixel_shifts(image, subpixel)
        offsets, phases = np.divmod(offsets, subpixel)
        stamps = shifted[phases]
    # All offsets that the digit can have in a frame, as overlapping windows on the canvas: one assignment draws all frames.
    num_frames, num_rows, num_columns = canvas.shape
    height, width = stamps.shape[-2:]
    frame_stride, row_stride, _ = canvas.strides
    if is_vertical:
        corner, num_offsets, step = mover["across"], num_rows - height + 1, row_stride
    else:
        corner, num_offsets, step = mover["across"] * row_stride, num_columns - width + 1, 1
    strides = (frame_stride, step, row_stride, 1)
    windows: NDArray[np.uint8] = np.ndarray((num_frames, num_offsets, height, width), np.uint8, canvas.data, corner, strides)
    frames = _frame_indices(num_frames)
    windows[frames, offsets] = np.maximum(windows[frames, offsets], stamps) if overlaps else stamps


@functools.cache
def _frame_indices(num_frames: int) -> Ints:
    return np.arange(num_frames)


def _subpixel_shifts(image: NDArray[np.uint8], subpixel: int) -> NDArray[np.uint8]:
    """Return ``image`` moved right by 0, 1/subpixel, 2/subpixel ... of a pixel: (subpixel, h, w + 1)."""
    padded = np.zeros((image.shape[0], image.shape[1] + 2), np.uint16)
    padded[:, 1:-1] = image
    here, left = padded[:, 1:], padded[:, :-1]
    steps = np.arange(subpixel, dtype=np.uint16)[:, None, None]
    shifted = (here * (subpixel - steps) + left * steps + subpixel // 2) // np.uint16(subpixel)
    return shifted.astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _resize_weights(old: int, new: int) -> NDArray[np.int64]:
    """Return integer weights (new, old) whose rows have the same sum."""
    if new < old:
        # Pixel j covers [j * old, (j + 1) * old) where each old pixel is `new` wide.
        starts, edges = np.arange(new)[:, None] * old, np.arange(old)[None] * new
        overlap: Ints = np.clip(np.minimum(starts + old, edges + new) - np.maximum(starts, edges), 0, None)
        return overlap
    # The centre of pixel j lies ((2j + 1) * old - new) / 2new old pixels after the centre of the first one.
    offsets = np.clip((2 * np.arange(new) + 1) * old - new, 0, 2 * new * (old - 1))
    weights = np.zeros((new, old), np.int64)
    lower, rest = offsets // (2 * new), offsets % (2 * new)
    weights[np.arange(new), lower] = 2 * new - rest
    weights[np.arange(new), np.minimum(lower + 1, old - 1)] += rest
    return weights
