"""Parse captions of one moving digit: its digit and its first direction."""

from __future__ import annotations

import re
from dataclasses import dataclass

from t2vdata.errors import RequestError

DIRECTIONS = ("up", "down", "left", "right")
CHANCE = 1 / 40
"""Chance that a clip matches a caption it does not depend on: ten digits, four first directions."""
_OPPOSITE = {"up": "down", "down": "up", "left": "right", "right": "left"}
_CAPTION = re.compile(r"the digit ([0-9]) is moving (up|down|left|right) (?:and|to) (up|down|left|right)\.?")


@dataclass(frozen=True)
class Meaning:
    """A digit and its first direction."""

    digit: int
    direction: str
    """``up``, ``down``, ``left`` or ``right``."""

    @property
    def axis(self) -> str:
        return "vertical" if self.direction in ("up", "down") else "horizontal"


def meaning_of(caption: str) -> Meaning:
    """Parse a caption. Raises RequestError for a caption outside this grammar."""
    match = _CAPTION.fullmatch(" ".join(caption.lower().split()))
    if match is None or _OPPOSITE[match[2]] != match[3]:
        raise RequestError(
            f"not a caption of one moving digit: {caption[:80]!r}; expected one such as 'the digit 9 is moving down and up', "
            "as `t2vdata build mnist-motion` writes them"
        )
    return Meaning(int(match[1]), match[2])
