"""Find the files of COCO and VisDial below their root, and say how to get those that are missing."""

from __future__ import annotations

from dataclasses import dataclass

from t2vdata.datasets.root import Root
from t2vdata.datasets.visdial_coco import coco as coco_files
from t2vdata.datasets.visdial_coco import visdial as visdial_files


@dataclass(frozen=True)
class Files:
    """The files to use, by their names below the root, or why they do not suffice."""

    dialogues: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    year: str = "2014"
    why_not: str | None = None


def find(root: Root, coco: str, visdial: str, require: str) -> Files:
    """Find the files to use: of one year and one version, and no more captions than the dialogues need.

    ``coco`` is a year, ``visdial`` a version, or ``auto``; ``require`` is ``dialogue``, ``captions`` or ``both``.
    """
    captions = {year: _split_files(root, f"captions_{{split}}{year}.json") for year in ("2014", "2017")}
    dialogues = {version: _split_files(root, f"visdial_{version}_{{split}}.json") for version in ("0.9", "1.0")}
    for flag, requested, files in (("coco", coco, captions), ("visdial", visdial, dialogues)):
        if requested == "auto" and all(files.values()):
            return Files(why_not=f"found files of {' and '.join(files)}; choose with --{flag} {next(iter(files))}")
    version = next((name for name, files in dialogues.items() if visdial in (name, "auto") and files), None)
    if version is None and (require != "captions" or visdial != "auto"):
        expected = "0.9" if visdial == "auto" else visdial
        return Files(why_not=f"no visdial_{expected}_train.json; get {visdial_files.URLS[expected]}")
    year = next((name for name, files in captions.items() if coco in (name, "auto") and files), None)
    year = year or ("2014" if coco == "auto" else coco)
    return _checked_files(root, captions[year], dialogues[version] if version else {}, year, version, coco, require)


def _split_files(root: Root, pattern: str) -> dict[str, str]:
    """Return {split: name below the root} of the files of a pattern; COCO's have no test."""
    files = {}
    for split in ("train", "val", "test") if pattern.startswith("visdial") else ("train", "val"):
        name = pattern.format(split=split)
        path = next((path for path in (name, f"annotations/{name}", f"visdial/{name}") if root.has(path)), None)
        if path is not None:
            files[split] = path
    return files


def _checked_files(
    root: Root, captions: dict[str, str], dialogues: dict[str, str], year: str, version: str | None, coco: str, require: str
) -> Files:
    # Each file of 0.9 describes one folder of 2014; train of 1.0 describes both.
    follows_dialogues = version == "0.9" and year == "2014"
    needed = [split for split in ("train", "val") if split in dialogues] if follows_dialogues else ["train", "val"]
    absent = [f"captions_{split}{year}.json" for split in needed if split not in captions]
    is_enough = bool(captions) if version is None else not absent
    if not is_enough and (require != "dialogue" or coco != "auto"):
        return Files(why_not=f"no {absent[0]}; get {coco_files.URLS[year]}")
    if not any(map(root.has_folder, _image_folders(year))):
        return Files(why_not=f"no folder of images, such as train{year}; get {coco_files.URLS[year]}")
    used = tuple(captions[split] for split in needed if split in captions)
    return Files(tuple(dialogues.values()), used, year)


def _image_folders(year: str) -> list[str]:
    names = [f"train{year}", f"val{year}", "VisualDialog_val2018", "VisualDialog_test2018"]
    return [*names, *(f"images/{name}" for name in names)]
