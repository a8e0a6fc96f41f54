"""``ClipRequest``: which frames of a media file make a clip, and in which size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CLIP_READER_VERSION = 2
"""Increase it whenever the same file and request give other frames: it is part of the spec of datasets of media files."""

Resize = Literal["shorter", "squash", "pad"]


@dataclass(frozen=True)
class ClipRequest:
    """Which frames of a file to take, and how large."""

    start_seconds: float | None = None
    """Time 0 is the file's first frame."""
    end_seconds: float | None = None
    fps: float | None = None
    """Frames per second, each the frame shown at its time; None takes the file's own frames."""
    num_frames: int | None = None
    """Frames at most; None takes the whole span."""
    window: int = 0
    num_windows: int = 1
    """Windows of ``num_frames``, spread evenly over the span from its start to its end; a single window is at its start."""
    size: int | None = None
    """Height and width; None keeps those of the file."""
    resize: Resize = "shorter"
    """``shorter`` scales the shorter side to the size and crops the middle, ``squash`` ignores the proportions, ``pad`` scales
    the longer side to the size and adds black bars."""
    deinterlaces: bool = False
    """Whether frames marked as interlaced become whole pictures."""
    shot: Literal["all", "longest"] = "all"
    """Whether to cut the span to its longest shot first."""
    counts_matches: bool = False
    """Whether ``Frames.about`` gets ``matches``: the number of matching features of the worst pair of neighbouring frames."""
    skips_damage: bool = False
    """Whether the frames after damage count too, from the next key frame on."""
    measures_seconds: bool = False
    """Whether ``Frames.about`` gets ``seconds``: the length of the span, or of its longest shot, before frames are chosen."""

    @property
    def needs_whole_span(self) -> bool:
        """Whether all frames of the span are read before some are chosen."""
        return self.num_frames is None or self.num_windows > 1 or self.shot == "longest"
