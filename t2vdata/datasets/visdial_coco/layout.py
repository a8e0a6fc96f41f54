"""Where the files of COCO and VisDial lie in their folder, and what to say of those that do not."""

from __future__ import annotations

from dataclasses import dataclass

from t2vdata.datasets._root import Root
from t2vdata.datasets.visdial_coco import coco as coco_files
from t2vdata.datasets.visdial_coco import visdial as visdial_files


@dataclass(frozen=True)
class Files:
    """The files of a download that count, by their names in the root, or why there are not enough of them."""

    dialogues: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    year: str = "2014"
    why_not: str | None = None


def find(root: Root, coco: str, visdial: str, require: str) -> Files:
    """Return what is there of a root: of one year, of one version, and no more captions than the dialogues are about."""

    def there(name: str) -> str | None:
        return next((place for place in (name, f"annotations/{name}", f"visdial/{name}") if root.has(place)), None)

    captions = {
        year: {split: path for split in ("train", "val") if (path := there(f"captions_{split}{year}.json"))}
        for year in ("2014", "2017")
    }
    dialogues = {
        version: {split: path for split in ("train", "val", "test") if (path := there(f"visdial_{version}_{split}.json"))}
        for version in ("0.9", "1.0")
    }
    for flag, told, found in (("coco", coco, captions), ("visdial", visdial, dialogues)):
        if told == "auto" and all(found.values()):
            return Files(why_not=f"files of {' and '.join(found)} are there; say which with --{flag} {next(iter(found))}")
    year = next((year for year, found in captions.items() if coco in (year, "auto") and found), None)
    version = next((name for name, found in dialogues.items() if visdial in (name, "auto") and found), None)
    if version is None and (require != "captions" or visdial != "auto"):
        wanted = "0.9" if visdial == "auto" else visdial
        return Files(why_not=f"no visdial_{wanted}_train.json; get {visdial_files.URLS[wanted]}")
    chosen = dialogues[version] if version else {}
    known = year or ("2014" if coco == "auto" else coco)
    # Of 0.9, each file is about one of 2014's; train of 1.0 is about both.
    needed = (
        [split for split in ("train", "val") if split in chosen] if version == "0.9" and known == "2014" else ["train", "val"]
    )
    absent = [f"captions_{split}{known}.json" for split in needed if split not in captions[known]]
    enough = bool(captions[known]) if version is None else not absent
    if not enough and (require != "dialogue" or coco != "auto"):
        return Files(why_not=f"no {absent[0]}; get {coco_files.URLS[known]}")
    used = tuple(captions[known][split] for split in needed if split in captions[known])
    if not any(map(root.has_folder, _folders(known))):
        return Files(why_not=f"no folder of images, such as train{known}; get {coco_files.URLS[known]}")
    return Files(tuple(chosen.values()), used, known)


def _folders(year: str) -> list[str]:
    names = [f"train{year}", f"val{year}", "VisualDialog_val2018", "VisualDialog_test2018"]
    return [*names, *(f"images/{name}" for name in names)]
