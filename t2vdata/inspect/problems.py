"""`Problem`: something in a dataset folder that verification found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something in a dataset that does not match its manifest or index."""

    file: str
    text: str
    key: str | None = None
    """The sample with the problem; None for a problem of the whole file."""

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"
