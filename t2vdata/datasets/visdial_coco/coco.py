"""Read COCO's captions, 2014 or 2017, by image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2vdata.datasets import _cells, _json_items
from t2vdata.datasets._cells import CellError
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
    problems: dict[int, tuple[str, str]] = field(default_factory=dict)
    """{image id: (why one of its annotations cannot be used, which)}"""

    def of(self, image_id: int, max_captions: int) -> list[tuple[int, str]]:
        """Return (annotation id, caption) of an image, the first ``max_captions`` by annotation id."""
        return sorted(self.texts.get(image_id, ()))[:max_captions]


def read_captions(paths: list[Path]) -> Captions:
    """Read captions files named as in the release. Raises RawDataError for a file that is not one."""
    result = Captions()
    for path in paths:
        num_before = len(result.images)
        for number, (name, item) in enumerate(_json_items.iter_items(path), start=1):
            try:
                if name == "images":
                    image_id = _id(item, "id")
                    result.images[image_id] = (path, _file_name(item))
                elif name == "annotations":
                    _add_caption(result, item)
            except CellError as error:
                raise RawDataError(
                    f"{path}, item {number}: {error} in {error.value}; expected COCO's captions, not instances"
                ) from None
        if len(result.images) == num_before:
            raise RawDataError(f"{path} has no images; expected COCO's captions, see {URLS[image_folder(path)[-4:]]}")
    return result


def _add_caption(result: Captions, item: Any) -> None:
    """Add an annotation. One that cannot be used costs its image; raises CellError where even that is unknown."""
    image_id = _id(item, "image_id")
    if "caption" not in item:
        raise CellError("no 'caption'", item)
    annotation_id = text = None
    try:
        annotation_id = _id(item, "id")
        text = captions.clean(_cells.text(item["caption"]))
    except CellError as error:
        problem = str(error) if annotation_id is None else f"caption {error}"
        result.problems.setdefault(image_id, (problem, f"annotation {_cells.shown(item.get('id'))}: {error.value}"))
        return
    if text:
        result.texts.setdefault(image_id, []).append((annotation_id, text))


def _id(item: Any, name: str) -> int:
    """Return an id of an item. Raises CellError, because a sample's JSON holds integers of 64 bits."""
    if not isinstance(item, dict) or name not in item:
        raise CellError(f"no {name!r}", item)
    value = item[name]
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise CellError(f"{name!r} is no integer of 64 bits", item)
    return value


def _file_name(item: Any) -> str:
    name = item.get("file_name")
    if not isinstance(name, str) or not captions.is_unicode(name):
        raise CellError("no 'file_name'", item)
    return Path(name).name


def image_folder(path: Path) -> str:
    """Return the name of the folder of images that a captions file describes: ``train2014``."""
    return path.stem.removeprefix("captions_")


def image_name(folder: str, image_id: int) -> str:
    """Return the file name of an image in the release: those of 2014 contain their folder, those of 2017 do not."""
    return f"COCO_{folder}_{image_id:012d}.jpg" if folder.endswith("2014") else f"{image_id:012d}.jpg"
