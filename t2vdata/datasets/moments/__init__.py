"""Moments in Time, versions 1 and 2 and Mini: three-second clips, each labelled with the category of its action.

Read by the README of the release: ``trainingSet.csv`` and ``validationSet.csv`` without header (``filename,label,positive
responses,negative responses``), files below ``training/`` and ``validation/``, ids in ``moments_categories.txt``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from t2vdata.datasets import _text_files
from t2vdata.datasets._packed import PackedClips
from t2vdata.datasets.media import MediaDataset, MediaOptions, check_media_options, published
from t2vdata.datasets.moments import rows
from t2vdata.datasets.moments.rows import CATEGORIES, Row
from t2vdata.datasets.splits import split_of
from t2vdata.errors import RawDataError, RequestError
from t2vdata.text import captions
from t2vdata.types import Clip

# {split: (table, folder)}
_TABLES = {"train": ("trainingSet.csv", "training"), "val": ("validationSet.csv", "validation")}
_SITE = "ask for the release at http://moments.csail.mit.edu/"
# The paper of --preset cglow (arXiv:1910.11106) uses Mini; its code counted the folder of all categories as the 201st.
_NUM_CGLOW_CATEGORIES = 200


@dataclass(frozen=True)
class MomentsOptions(MediaOptions):
    preset: Literal["none", "cglow"] = "none"
    """`cglow`: the training set of Mini, its first 30 frames (--frames 30), assigned to train and val 99:1 by --seed."""
    template: str = "{label}"
    """Caption made from the category, with spaces for its plus signs, such as "a video of {label}"."""


class Moments(MediaDataset):
    VERSION = 2
    SPLITS = ("train", "val")
    LICENCE = "Moments in Time's own (license.txt of the download, which must go with the data): for research without commerce."
    CITATION = (
        "Mathew Monfort, Alex Andonian, Bolei Zhou et al.: Moments in Time Dataset: One Million Videos for Event "
        "Understanding. IEEE Transactions on Pattern Analysis and Machine Intelligence, 2019."
    )
    EXAMPLE = "--root Moments_in_Time_Mini --frames 30"
    TREE = """
Moments_in_Time_Mini/                           or Moments_in_Time_Raw, Moments_in_Time_256x256_30fps
  moments_categories.txt                        adult+female+singing,7
  trainingSet.csv, validationSet.csv            no header: category/file.mp4, category, positive and negative responses
  training/adult+female+singing/yt-jX-hTAlTcqY_15.mp4 ...
  validation/ ...
"""
    RAW_FILES = (
        "in --root (Moments_in_Time_Raw, Moments_in_Time_Mini or Moments_in_Time_256x256_30fps): moments_categories.txt, "
        "trainingSet.csv, validationSet.csv, training/CATEGORY/NAME.mp4, validation/CATEGORY/NAME.mp4"
    )

    Options = MomentsOptions
    options: MomentsOptions

    @functools.cached_property
    def media_options(self) -> MomentsOptions:
        return _with_preset(self.options)

    @staticmethod
    def check(options: MomentsOptions) -> None:
        check_media_options(_with_preset(options))
        if "{label}" not in options.template:
            raise RequestError(f"--template {options.template!r}: expected {{label}} in it, as in 'a video of {{label}}'")

    def missing(self) -> str | None:
        """Return the first missing file, with what was found instead and where to get it; None if nothing is missing."""
        if self.root is None:
            return f"give it --root DIR; {self.RAW_FILES}"
        root = self.listing
        if (why := root.missing()) is not None:
            return why
        if not root.has(CATEGORIES):
            inner = next((name for name in root.names() if root.has(f"{name}/{CATEGORIES}")), None)
            if inner is not None:
                return f"{self.root} holds {inner}; give --root {root.path(inner)}"
            parents = () if root.is_url else Path(self.root).resolve().parents
            outer = next((parent for parent in parents if (parent / CATEGORIES).is_file()), None)
            if outer is not None:
                return f"{self.root} is within the release; give --root {outer}"
        tables = [_TABLES[split] for split in self._official_splits()]
        absent = [name for name in (CATEGORIES, *(table for table, _ in tables)) if not root.has(name)]
        absent += [folder for _, folder in tables if not root.has_folder(folder)]
        return f"no {absent[0]} in {self.root} ({root.summary()}); {_SITE}" if absent else super().missing()

    def source(self) -> dict[str, Any]:
        """Return the hashes of the tables and the categories. Media files are not read."""
        names = [CATEGORIES, *(_TABLES[split][0] for split in self._official_splits())]
        return {
            "files": [[name, _text_files.sha256(self.listing.local(name))] for name in names],
            "decoder": self.decoder_identity(),
        }

    def clips(self, split: str) -> Sequence[Clip]:
        """Return the clips of a split. Raises RawDataError for tables that cannot be understood."""
        return self._clips_by_split[split]

    def _official_splits(self) -> tuple[str, ...]:
        """Return the official splits to read; arXiv:1910.11106 does not use the validation set."""
        return self.SPLITS if self.options.preset == "none" else ("train",)

    @functools.cached_property
    def _clips_by_split(self) -> dict[str, PackedClips]:
        """{split: clips}; read for all splits at once."""
        category_ids = rows.read_categories(self.listing.local(CATEGORIES))
        all_rows = self._rows()
        rows.mark_unusable(all_rows, category_ids)
        keys = rows.Keys()
        clips = {split: PackedClips(self.options.windows) for split in self.SPLITS}
        for row in all_rows:
            split = row.split if self.options.preset == "none" else split_of(row.video, self.seed, {"val": 0.01})
            clips[split].add(self._clip(row, keys.of(row), category_ids.get(row.label)))
        clips["train"].add_last(self.lists.unmatched(clip for packed in clips.values() for clip in packed))
        return clips

    def _rows(self) -> list[Row]:
        all_rows = [
            row for split in self._official_splits() for row in rows.read_rows(split, self.listing.local(_TABLES[split][0]))
        ]
        if not all_rows:
            raise RawDataError(f"the tables of {self.root} have no rows")
        if self.options.preset == "cglow":
            num_categories = len({row.label for row in all_rows if row.reject_reason is None})
            if num_categories != _NUM_CGLOW_CATEGORIES:
                raise RawDataError(
                    f"--preset cglow is for Moments in Time Mini, whose trainingSet.csv has {_NUM_CGLOW_CATEGORIES} "
                    f"categories; that of {self.root} has {num_categories}"
                )
            # The paper's code took the order of the file system, which differs between machines.
            all_rows.sort(key=lambda row: row.path)
        return all_rows

    def _clip(self, row: Row, key: str, category_id: int | None) -> Clip:
        caption = self.options.template.replace("{label}", captions.clean(row.label.replace("+", " ")))
        meta = {
            "label": row.label or None,
            "label_id": category_id,
            "positive_responses": row.responses[0] if row.responses else None,
            "negative_responses": row.responses[1] if row.responses else None,
        }
        return Clip(
            key,
            # A row without a category has its own reason; without a caption, "no caption" would come first.
            self.kept_captions((caption or "-",)),
            media=self.listing.media(f"{_TABLES[row.split][1]}/{row.path}"),
            group=row.video or row.source,
            meta=published(meta),
            source=row.source,
            reject_reason=row.reject_reason,
        )


DATASET = Moments


def _with_preset(options: MomentsOptions) -> MomentsOptions:
    return options if options.preset == "none" else replace(options, frames=options.frames or 30)
