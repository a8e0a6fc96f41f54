"""COCO's captions and VisDial's dialogues joined by image, with the split and key of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from t2vdata.datasets.visdial_coco import coco, visdial
from t2vdata.types import Clip

_SPLITS = ("train", "val", "test")


class ImageRow(NamedTuple):
    """An image in the annotations."""

    image_id: int
    file_index: int | None = None
    """Index of its file of dialogues; None for an image without a dialogue."""
    number: int = 0
    """Index of the dialogue in its file."""
    is_repeated: bool = False
    """Whether an earlier dialogue is about the same image."""
    unlisted: Clip | None = None
    """The rejected clip for a line of --clip-list that names no image."""


@dataclass
class Joined:
    """Captions, dialogues, and the images of each split."""

    dialogues: Sequence[visdial.Dialogues]
    captions: coco.Captions
    rows: dict[str, list[ImageRow]]
    year: str

    def dialogues_of(self, row: ImageRow) -> visdial.Dialogues | None:
        """Return the file of dialogues that has the row's dialogue, or None."""
        return None if row.file_index is None else self.dialogues[row.file_index]

    def key(self, row: ImageRow) -> str:
        """Return the key of an image; a second dialogue about it gets a key of its own."""
        return f"{self.name(row)}-{row.file_index}-{row.number}" if row.is_repeated else self.name(row)

    def name(self, row: ImageRow) -> str:
        dialogues = self.dialogues_of(row)
        is_coco = dialogues is None or dialogues.is_coco
        return f"{row.image_id:012d}" if is_coco or dialogues is None else f"{dialogues.split}2018-{row.image_id:012d}"

    def source(self, row: ImageRow) -> str:
        """Return where the annotations have the image."""
        dialogues = self.dialogues_of(row)
        if dialogues is not None:
            return f"{dialogues.path.name}, dialog {row.number + 1}"
        return f"{self.captions.images[row.image_id][0].name}, image {row.image_id}"

    def problem(self, row: ImageRow) -> tuple[str, str] | None:
        """Return why a caption of the image cannot be used, and which; None if all can."""
        dialogues = self.dialogues_of(row)
        if dialogues is not None and row.number in dialogues.problems:
            return "caption is not text", dialogues.problems[row.number]
        is_coco = dialogues is None or dialogues.is_coco
        return self.captions.problems.get(row.image_id) if is_coco else None

    def possible_paths(self, row: ImageRow) -> list[str]:
        """Return the names below the root, or below ``images/``, that the image may have, the likeliest first."""
        dialogues = self.dialogues_of(row)
        if dialogues is not None and not dialogues.is_coco:
            folder = f"VisualDialog_{dialogues.split}2018"
            return [f"{folder}/{folder}_{row.image_id:012d}.jpg"]
        if row.image_id in self.captions.images:
            file, name = self.captions.images[row.image_id]
            return [f"{coco.image_folder(file)}/{name}"]
        folders = [f"{split}{self.year}" for split in ("train", "val")]
        return [f"{folder}/{coco.image_name(folder, row.image_id)}" for folder in folders]


def join(captions: list[Path], dialogues: list[Path], year: str, *, prefer_coco_split: bool) -> Joined:
    """Return the images of files of captions and of dialogues. Raises RawDataError for files that cannot be understood."""
    coco_captions = coco.read_captions(captions)
    joined = Joined([visdial.read_dialogues(path) for path in dialogues], coco_captions, {split: [] for split in _SPLITS}, year)
    with_dialogue: set[tuple[str, int]] = set()
    for file_index, file in enumerate(joined.dialogues):
        for number, image_id in enumerate(file.image_ids):
            image = ("coco" if file.is_coco else file.split, image_id)
            split = file.split
            if file.is_coco and prefer_coco_split and image_id in coco_captions.images:
                split = _coco_split(coco_captions, image_id)
            joined.rows[split].append(ImageRow(image_id, file_index, number, image in with_dialogue))
            with_dialogue.add(image)
    for image_id in sorted(coco_captions.images):
        if ("coco", image_id) not in with_dialogue:
            joined.rows[_coco_split(coco_captions, image_id)].append(ImageRow(image_id))
    return joined


def _coco_split(captions: coco.Captions, image_id: int) -> str:
    return coco.image_folder(captions.images[image_id][0])[:-4]
