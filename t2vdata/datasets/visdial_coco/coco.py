"""COCO's captions, 2014 or 2017, by image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from t2vdata.datasets import _json_items
from t2vdata.errors import RawDataError
from t2vdata.text import captions

URLS = {
    year: f"http://images.cocodataset.org/annotations/annotations_trainval{year}.zip (captions) and "
    f"http://images.cocodataset.org/zips/{{train,val}}{year}.zip (images)"
    for year in ("2014", "2017")
}


@dataclass
class Captions:
    """The images and captions of one or two files."""

    images: dict[int, tuple[Path, str]] = field(default_factory=dict)
    """{image id: (captions file, name of the image)}"""
    texts: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    """{image id: [(annotation id, caption)]}, captions cleaned, in the order of the files."""

    def of(self, image_id: int, most: int) -> list[tuple[int, str]]:
        """Return (annotation id, caption) of an image, the first ``most`` by annotation id."""
        return sorted(self.texts.get(image_id, ()))[:most]


def read(paths: list[Path]) -> Captions:
    """Return the captions of files named as in the release. Raises RawDataError for what is none."""
    found = Captions()
    for path in paths:
        before = len(found.images)
        for name, item in _json_items.items(path):
            try:
                if name == "images":
                    found.images[int(item["id"])] = (path, Path(item["file_name"]).name)
                elif name == "annotations" and (text := captions.clean(item["caption"])):
                    found.texts.setdefault(int(item["image_id"]), []).append((int(item["id"]), text))
            except (KeyError, TypeError, ValueError) as error:
                raise RawDataError(f"{path}: {error!r} in {str(item)[:80]}; expected COCO's captions, not instances") from None
        if len(found.images) == before:
            raise RawDataError(f"{path} has no images; expected COCO's captions, see {URLS[folder(path)[-4:]]}")
    return found


def folder(path: Path) -> str:
    """Return the name of the folder of images that a captions file is about: ``train2014``."""
    return path.stem.removeprefix("captions_")


def image_name(folder: str, image_id: int) -> str:
    """Return the name of an image in the release: 2014's say where they are, 2017's do not."""
    return f"COCO_{folder}_{image_id:012d}.jpg" if folder.endswith("2014") else f"{image_id:012d}.jpg"
