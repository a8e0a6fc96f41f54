"""What a caption of one moving digit asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from t2vdata.errors import RequestError

DIRECTIONS = ("up", "down", "left", "right")
CHANCE = 1 / 40
"""Of a caption, for a clip that knows nothing of it: ten digits, four first directions."""
_BACK = {"up": "down", "down": "up", "left": "right", "right": "left"}
_CAPTION = re.compile(r"the digit ([0-9]) is moving (up|down|left|right) (?:and|to) (up|down|left|right)\.?")


@dataclass(frozen=True)
class Meaning:
    """A digit, and where it goes first."""

    digit: int
    direction: str
    """``up``, ``down``, ``left`` or ``right``."""

    @property
    def axis(self) -> str:
        return "vertical" if self.direction in ("up", "down") else "horizontal"


def meaning_of(caption: str) -> Meaning:
    """Return what a caption asks for. Raises RequestError for one that is not of this grammar."""
    told = _CAPTION.fullmatch(" ".join(caption.lower().split()))
    if told is None or _BACK[told[2]] != told[3]:
        raise RequestError(
            f"no caption of one moving digit: {caption[:80]!r}; expected such as 'the digit 9 is moving down and up', "
            "as `t2vdata build mnist-motion` writes them"
        )
    return Meaning(int(told[1]), told[2])
