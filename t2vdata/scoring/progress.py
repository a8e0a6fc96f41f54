"""Report the progress of scoring, which can take minutes: a function that is called with a stage and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) after each part of a stage."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def tracked(items: Iterable[Item], total: int, stage: str, progress: Progress) -> Iterator[Item]:
    """Yield items, and report each once it has been processed."""
    for done, item in enumerate(items, start=1):
        yield item
        progress(stage, done, total)
