"""Decode batches on a GPU with NVDEC: only encoded clips are copied to it.

Written from torchcodec's documentation and tested with a fake device; never run on a GPU yet.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from t2vdata.errors import DecodeError, RequestError
from t2vdata.loading.checks import read_pixels
from t2vdata.loading.decoding import Failure, decode_each
from t2vdata.loading.transforms import Decision
from t2vdata.media.color import LUMA_PER_65536
from t2vdata.media.decode import open_video

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from t2vdata.loading.reader import Reader

# Smaller clips (in pixels of all frames) are decoded on the CPU: starting an NVDEC session takes milliseconds, in which a core
# decodes about this many; published measurements find the CPU faster below 256x256 (docs/benchmarks.md). To be measured on a
# GPU.
MIN_PIXELS = 16 * 256 * 256

_log = logging.getLogger("t2vdata")


def why_not_on_device(device: str, extensions: Sequence[str], clip_pixels: int) -> str | None:
    """Return why clips are better decoded on the CPU and copied to ``device``, or None if they are not."""
    from t2vdata.media.decode import torchcodec

    if tuple(extensions) != ("mp4",):
        return f"{', '.join(extensions)} is not a video that a GPU decodes"
    if clip_pixels < MIN_PIXELS:
        return f"clips of {clip_pixels:,} pixels are decoded faster on the CPU, below {MIN_PIXELS:,}"
    return torchcodec.why_not(device)


def decodes_on_device(device: str, extensions: Sequence[str], clip_pixels: int, requested: bool | None) -> bool:
    """Return whether clips are decoded on ``device``, and log the decision.

    ``requested`` is ``Resources.decode_on_device``. Raises RequestError if it is True and that is impossible.
    """
    if torch.device(device).type == "cpu":
        return False
    reason = "as requested" if requested is False else why_not_on_device(device, extensions, clip_pixels)
    if requested is True and reason is not None:
        raise RequestError(f"cannot decode on {device}: {reason}; leave out Resources.decode_on_device, or set it to False")
    where = f"on {device}, by NVDEC" if reason is None else f"on the CPU and copied to {device} ({reason})"
    _log.info("clips are decoded %s", where)
    return reason is None


class DeviceBuffers:
    """Buffers on a GPU: a tensor for each batch; torch's allocator reuses the memory."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._numbers = itertools.count()
        self._tensors: dict[int, torch.Tensor] = {}

    @property
    def num_free(self) -> int:
        """Practically unlimited, so batches are never copied to free a slot."""
        return 1 << 30

    def take(self, shape: tuple[int, ...]) -> int:
        slot = next(self._numbers)
        self._tensors[slot] = torch.empty(shape, dtype=torch.uint8, device=self._device)
        return slot

    def give_back(self, slot: int) -> None:
        self._tensors.pop(slot, None)

    def view(self, slot: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Return the first ``shape[0]`` clips of a slot."""
        return self._tensors[slot][: shape[0]]

    def lend(self, slot: int, shape: tuple[int, ...]) -> torch.Tensor:
        return self._tensors.pop(slot)


class DeviceDecoder:
    """Decodes clips on a GPU, at most ``torchcodec.MAX_SESSIONS`` at once."""

    def __init__(self, reader: Reader, device: str) -> None:
        self.reader = reader
        self._device = device

    def decode(self, batch: torch.Tensor, job: NDArray[Any]) -> list[Failure]:
        """Write the clips of a job into ``batch``, (B, T, H, W, C) uint8; return those that failed."""
        return decode_each(batch, job, self._decode_one)

    def _decode_one(self, out: torch.Tensor, decision: Decision) -> None:
        data = bytes(read_pixels(self.reader, decision))
        with open_video(data, backend="torchcodec", device=self._device) as video:
            if decision.frames.max() >= video.num_frames:
                raise DecodeError(f"no frame {decision.frames.max()} in a video of {video.num_frames}")
            frames = video.frames_at(decision.frames.tolist())
        fit(_with_channels(frames, out.shape[3]), decision, out)


def fit(frames: torch.Tensor, decision: Decision, out: torch.Tensor) -> None:
    """Resize, crop and flip frames (T, H, W, C) as decided, into ``out``: like ``transforms.fit``, within a few grey levels."""
    size = (decision.height, decision.width)
    if frames.shape[1:3] != size:
        shrinks = size[0] * size[1] < frames.shape[1] * frames.shape[2]
        planar = frames.permute(0, 3, 1, 2).to(torch.float32)
        resized = torch.nn.functional.interpolate(planar, size, mode="bilinear", antialias=shrinks)
        frames = resized.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    top, left = decision.top, decision.left
    part = frames[:, top : top + out.shape[1], left : left + out.shape[2]]
    out.copy_(part.flip(2) if decision.flip else part)


def _with_channels(frames: torch.Tensor, channels: int) -> torch.Tensor:
    """Return RGB frames as RGB or grey (luma of BT.601)."""
    if channels == 3:
        return frames
    weights = torch.tensor(LUMA_PER_65536, dtype=torch.int32, device=frames.device)
    return ((frames.to(torch.int32) * weights).sum(dim=3, keepdim=True) + 32768 >> 16).to(torch.uint8)
