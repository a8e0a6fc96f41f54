"""Read COCO's captions, 2014 or 2017, by image."""

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
    """{image id: (captions file, file name of the image)}"""
    texts: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    """{image id: [(annotation id, caption)]}, captions cleaned, in the order of the files."""

    def of(self, image_id: int, max_captions: int) -> list[tuple[int, str]]:
        """Return (annotation id, caption) of an image, the first ``max_captions`` by annotation id."""
        return sorted(self.texts.get(image_id, ()))[:max_captions]


def read_captions(paths: list[Path]) -> Captions:
    """Read captions files named as in the release. Raises RawDataError for a file that is not one."""
    result = Captions()
    for path in paths:
        num_before = len(result.images)
        for name, item in _json_items.iter_items(path):
            try:
                if name == "images":
                    result.images[int(item["id"])] = (path, Path(item["file_name"]).name)
                elif name == "annotations" and (text := captions.clean(item["caption"])):
                    result.texts.setdefault(int(item["image_id"]), []).append((int(item["id"]), text))
            except (KeyError, TypeError, ValueError) as error:
                raise RawDataError(f"{path}: {error!r} in {str(item)[:80]}; expected COCO's captions, not instances") from None
        if len(result.images) == num_before:
            raise RawDataError(f"{path} has no images; expected COCO's captions, see {URLS[image_folder(path)[-4:]]}")
    return result


def image_folder(path: Path) -> str:
    """Return the name of the folder of images that a captions file describes: ``train2014``."""
    return path.stem.removeprefix("captions_")


def image_name(folder: str, image_id: int) -> str:
    """Return the file name of an image in the release: those of 2014 contain their folder, those of 2017 do not."""
    return f"COCO_{folder}_{image_id:012d}.jpg" if folder.endswith("2014") else f"{image_id:012d}.jpg"
