"""Pictures of real clips beside generated ones, with captions: PNG contact sheets and GIF animations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from t2vdata import storage
from t2vdata.format.dataset import Item
from t2vdata.inspect import show
from t2vdata.types import Frames

# A grey bar between the two, in pixels.
_GAP, _GREY = 2, 128


def write_pairs(real: torch.Tensor, generated: torch.Tensor, captions: Sequence[str], fps: float, path: Path) -> None:
    """Write ``path``.png and, for clips of several frames, ``path``.gif: each real clip left of the generated one.

    ``real`` and ``generated`` are (N, C, T, H, W) uint8.
    """
    gap = torch.full((*generated.shape[:4], _GAP), _GREY, dtype=torch.uint8)
    pairs = as_clips(torch.cat([real, gap, generated], dim=4))
    write(pairs, captions, fps, path.with_suffix(".png"))
    if generated.shape[2] > 1:
        write(pairs, captions, fps, path.with_suffix(".gif"))


def write(clips: Sequence[NDArray[np.uint8]], captions: Sequence[str], fps: float, path: Path) -> None:
    """Write clips (T, H, W, C) with their captions: a .png with one clip per row, or a .gif."""
    path.parent.mkdir(parents=True, exist_ok=True)
    items = [Item("", Frames(clip, fps), (caption,), {}) for clip, caption in zip(clips, captions, strict=True)]
    storage.write_whole(str(path), show.contact_sheet(items) if path.suffix == ".png" else show.animation(items))


def as_clips(video: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Return (N, C, T, H, W) as a list of (T, H, W, C)."""
    return list(video.permute(0, 2, 3, 4, 1).contiguous().cpu().numpy())
