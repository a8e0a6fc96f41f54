"""``Proportion``: how many clips pass a check, with a confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

# 95 % of a normal distribution lie within this many standard deviations.
_Z = 1.959964


@dataclass(frozen=True)
class Proportion:
    """The share of clips that are correct, with Wilson's 95 % interval."""

    num_correct: int
    num_clips: int

    @property
    def value(self) -> float:
        return self.num_correct / self.num_clips

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval of E. B. Wilson, Probable inference (1927)."""
        n, share = self.num_clips, self.value
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)

    def as_json(self) -> dict[str, Any]:
        return {"share": self.value, "interval": self.interval, "clips": self.num_clips}
