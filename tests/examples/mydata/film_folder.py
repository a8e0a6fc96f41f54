"""Films in a folder, with captions in a CSV.

The second example of docs/add-a-dataset.md: a dataset of media files. Its folder holds captions.csv, with the columns
file, film and caption, and the files. It may be local or behind a URL.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from t2vdata.datasets.media import MediaDataset, MediaOptions
from t2vdata.datasets.splits import split_of
from t2vdata.types import Clip


class FilmFolder(MediaDataset):
    VERSION = 1
    SPLITS = ("train", "val")
    LICENCE = "that of the films"
    CITATION = "none; an example"
    RAW_FILES = "in --root: captions.csv, and the files that it names"
    Options = MediaOptions

    def missing(self) -> str | None:
        if self.root is None:
            return f"give it --root DIR; {self.RAW_FILES}"
        if not self.listing.has("captions.csv"):
            return f"no captions.csv in {self.root} ({self.listing.summary()})"
        return super().missing()

    def source(self) -> dict[str, Any]:
        captions = self.listing.local("captions.csv").read_bytes()
        return {"captions": hashlib.sha256(captions).hexdigest(), "decoder": self.decoder_identity()}

    def clips(self, split: str) -> Sequence[Clip]:
        # A film is in one split, whichever of its files exist.
        clips = (clip for clip in self._read() if split_of(clip.group, self.seed, {"val": 0.1}) == split)
        return list(self.cut_windows(clips))

    def _read(self) -> Iterator[Clip]:
        with open(self.listing.local("captions.csv"), encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                yield Clip(
                    re.sub(r"[^A-Za-z0-9_-]", "_", row["file"]),
                    self.kept_captions([row["caption"]]),
                    media=self.listing.media(row["file"]),
                    group=row["film"],
                    source=f"captions.csv, line {number}",
                )


DATASET = FilmFolder
