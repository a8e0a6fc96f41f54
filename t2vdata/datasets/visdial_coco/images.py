"""The images of a split as a lazy sequence of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from t2vdata.datasets.visdial_coco.joined import ImageRow
from t2vdata.types import Clip


class ClipMaker(Protocol):
    """Makes the clip of a row."""

    def clip(self, row: ImageRow) -> Clip: ...


@dataclass(frozen=True)
class ImageClips(Sequence[Clip]):
    """The clips of some rows."""

    dataset: ClipMaker
    rows: tuple[ImageRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> ImageClips: ...
    def __getitem__(self, index: int | slice) -> Clip | ImageClips:
        if isinstance(index, slice):
            return ImageClips(self.dataset, self.rows[index])
        return self.dataset.clip(self.rows[index])

    def __iter__(self) -> Iterator[Clip]:
        return map(self.dataset.clip, self.rows)
