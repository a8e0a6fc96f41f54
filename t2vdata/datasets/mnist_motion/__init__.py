"""Handwritten digits that move back and forth, each with its sentence: ``the digit 9 is moving down and up``.

The toy set of a student's report on text-to-video GANs (section 4.1), made exact: 40 meanings in equal numbers, positions
known to the 64th of a pixel, and no handwriting shared between splits. The first direction named is the first leg.
"""

from __future__ import annotations

from typing import Any

from t2vdata.datasets.mnist_motion import digits, drawing
from t2vdata.datasets.mnist_motion.clip_sequence import MotionClips
from t2vdata.datasets.mnist_motion.options import SPLITS, Options, check
from t2vdata.types import Clip, Frames

__all__ = ["CITATION", "EXAMPLE", "LICENCE", "PACKAGED", "SPLITS", "VERSION", "MotionClips", "Options", "check", "clips",
           "frame_size", "missing", "render", "source"]  # fmt: skip

VERSION = 1
LICENCE = f"Clips: CC BY-SA 3.0, as the digits they are made of. {digits.LICENCE}."
CITATION = (
    "Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits. "
    "After the moving-digit set in M. Martin: Text to video with generative adversarial networks (University of Adelaide)."
)
EXAMPLE = "--n 40000"
PACKAGED = ("mnist",)


def frame_size(options: Options) -> tuple[int, int]:
    """Return (height, width) of every frame."""
    return options.size, options.size


def missing(root: str | None, options: Options) -> str | None:
    """Return which file of ``--mnist`` is missing, or None; no other raw files are needed."""
    return digits.missing(options.mnist)


def source(root: str | None, options: Options) -> dict[str, Any]:
    """Return the hashes of the digits: the same for the packaged MNIST and for a folder with the official files."""
    return {"mnist": digits.sha256(options.mnist)}


def clips(root: str | None, split: str, options: Options, seed: int) -> MotionClips:
    """Return the clips of a split, computed on demand: clip i depends on (seed, split, i) and the options alone."""
    return MotionClips(options, seed, split, range(options.num_clips(split)))


def render(clip: Clip, options: Options) -> Frames:
    """Draw the frames (T, size, size, 1) described by ``clip.meta``; the meta of a written sample gives the same frames."""
    return Frames(drawing.draw_frames(clip.meta["digits"], options), options.fps)
