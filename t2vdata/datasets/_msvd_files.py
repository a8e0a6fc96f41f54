"""Where the files of MSVD lie in its folder, and what to do about those that do not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Each kind of annotations, the best first: with annotators and languages, then whole, then in lower case or half.
_ANNOTATIONS = (
    ("MSR Video Description Corpus.csv",),
    ("video_corpus.csv",),
    ("AllVideoDescriptions.txt",),
    ("sents_train_lc_nopunc.txt", "sents_val_lc_nopunc.txt", "sents_test_lc_nopunc.txt"),
    ("training_label.json", "testing_label.json"),
)
_CLIPS = (("YouTubeClips",), ("youtubeclips",), ("training_data/video", "testing_data/video"))
_MAPPING = "youtube_mapping.txt"
_MEDIA = (".avi", ".mp4", ".mkv", ".webm")
_SITE = "http://www.cs.utexas.edu/users/ml/clamp/videoDescription"


@dataclass(frozen=True)
class Files:
    annotations: tuple[Path, ...]
    clips: tuple[Path, ...]
    """Folders."""
    mapping: Path | None


def find(root: str | None, annotations: Path | None) -> Files:
    """Return what is there of a root; ``annotations`` stands for the root's own."""
    folder = Path(root or ".")
    mapping = folder / _MAPPING
    own = _first(folder, _ANNOTATIONS)
    return Files((annotations,) if annotations else own, _first(folder, _CLIPS), mapping if mapping.is_file() else None)


def media(folders: tuple[Path, ...]) -> dict[str, str]:
    """Return {name without its ending: path} of the clips."""
    found: dict[str, str] = {}
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            stem, ending = os.path.splitext(name)
            if ending.lower() in _MEDIA:
                found.setdefault(stem, str(folder / name))
    return found


def missing(root: str | None, annotations: Path | None, clip_list: Path | None, *, needs_mapping: bool) -> str | None:
    """Return the first thing that is not there, with what is and where to get it, or None."""
    if root is None:
        return "give it --root DIR, the folder that holds YouTubeClips and the annotations (see docs/datasets.md)"
    if not os.path.isdir(root):
        return f"no folder {root} (--root)"
    for path, flag in ((annotations, "--annotations"), (clip_list, "--clip-list")):
        if path is not None and not path.is_file():
            return f"no file {path} ({flag})"
    files = find(root, annotations)
    if not files.clips:
        if os.path.basename(os.path.abspath(root)) in ("YouTubeClips", "youtubeclips"):
            return f"{root} is the folder of clips; give --root the folder that holds it"
        if os.path.isfile(os.path.join(root, "YouTubeClips.tar")):
            return f"YouTubeClips.tar in {root} is still packed; run: tar -xf YouTubeClips.tar -C {root}"
        return f"no folder YouTubeClips in {root} ({_shown(root)}); download and unpack {_SITE}/YouTubeClips.tar"
    if not files.annotations:
        return (
            f"no annotations in {root} ({_shown(root)}); expected 'MSR Video Description Corpus.csv' (from "
            "https://www.microsoft.com/en-us/download/details.aspx?id=52422), video_corpus.csv, "
            f"AllVideoDescriptions.txt ({_SITE}/AllVideoDescriptions.txt), sents_train_lc_nopunc.txt or training_label.json"
        )
    if files.mapping is None and (needs_mapping or any(path.name.startswith("sents_") for path in files.annotations)):
        why = "--split official" if needs_mapping else f"{files.annotations[0].name}, which names clips by number,"
        return f"{why} needs {_MAPPING} in {root}; it is in https://github.com/yaoli/arctic-capgen-vid"
    return None


def _first(folder: Path, kinds: tuple[tuple[str, ...], ...]) -> tuple[Path, ...]:
    """Return the paths of the first kind of which anything is there."""
    found = (tuple(folder / name for name in kind if (folder / name).exists()) for kind in kinds)
    return next(filter(None, found), ())


def _shown(root: str) -> str:
    names = sorted(os.listdir(root))
    return f"found {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}" if names else "which is empty"
