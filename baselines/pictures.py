"""Pictures of what a model makes: real clips beside generated ones, their captions below; still and moving."""

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

# Grey between the two.
_GAP, _GREY = 2, 128


def write_pair(real: torch.Tensor, made: torch.Tensor, captions: Sequence[str], fps: float, path: Path) -> None:
    """Write ``path`` with .png and with .gif: for each caption, a real clip on the left and a generated one on the right.

    ``real`` and ``made`` are (N, C, T, H, W) uint8.
    """
    gap = torch.full((*made.shape[:4], _GAP), _GREY, dtype=torch.uint8)
    both = as_clips(torch.cat([real, gap, made], dim=4))
    write(both, captions, fps, path.with_suffix(".png"))
    if made.shape[2] > 1:
        write(both, captions, fps, path.with_suffix(".gif"))


def write(clips: Sequence[NDArray[np.uint8]], captions: Sequence[str], fps: float, path: Path) -> None:
    """Write clips (T, H, W, C) with their captions as .png, a clip a row, or .gif."""
    path.parent.mkdir(parents=True, exist_ok=True)
    items = [Item("", Frames(clip, fps), (caption,), {}) for clip, caption in zip(clips, captions, strict=True)]
    storage.write_whole(str(path), show.contact_sheet(items) if path.suffix == ".png" else show.animation(items))


def as_clips(video: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Return (N, C, T, H, W) as a list of (T, H, W, C)."""
    return list(video.permute(0, 2, 3, 4, 1).contiguous().cpu().numpy())
