"""Handwritten digits that move back and forth, with captions such as ``the digit 9 is moving down and up``.

The toy set of a student's report on text-to-video GANs (section 4.1), made exact: 40 meanings in equal numbers, positions
known to the 64th of a pixel, and no handwriting shared between splits. The first direction named is the first leg.
"""

from __future__ import annotations

from typing import Any

from t2vdata.datasets.base import Dataset
from t2vdata.datasets.mnist_motion import digits, drawing
from t2vdata.datasets.mnist_motion.clip_sequence import MotionClips
from t2vdata.datasets.mnist_motion.options import SPLITS, MnistMotionOptions, check
from t2vdata.types import Clip, Frames

__all__ = ["DATASET", "MnistMotion", "MotionClips"]


class MnistMotion(Dataset):
    VERSION = 1
    SPLITS = SPLITS
    LICENCE = f"Clips: CC BY-SA 3.0, as the digits they are made of. {digits.LICENCE}."
    CITATION = (
        "Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits. "
        "After the moving-digit set in M. Martin: Text to video with generative adversarial networks (University of Adelaide)."
    )
    EXAMPLE = "--n 40000"
    PACKAGED = ("mnist",)
    Options = MnistMotionOptions
    options: MnistMotionOptions

    @staticmethod
    def check(options: Any) -> None:
        check(options)

    def frame_size(self) -> tuple[int, int]:
        return self.options.size, self.options.size

    def missing(self) -> str | None:
        """Return which file of ``--mnist`` is missing, or None; no other raw files are needed."""
        return digits.missing(self.options.mnist)

    def source(self) -> dict[str, Any]:
        """Return the hashes of the digits: the same for the packaged MNIST and for a folder with the official files."""
        return {"mnist": digits.sha256(self.options.mnist)}

    def clips(self, split: str) -> MotionClips:
        """Return the clips of a split, computed on demand: clip i depends on (seed, split, i) and the options alone."""
        return MotionClips(self.options, self.seed, split, range(self.options.num_clips(split)))

    def render(self, clip: Clip) -> Frames:
        """Draw the frames (T, size, size, 1) described by ``clip.meta``; the meta of a written sample gives the same frames."""
        return Frames(drawing.draw_frames(clip.meta["digits"], self.options), self.options.fps)


DATASET = MnistMotion
