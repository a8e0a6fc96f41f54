"""Where the files of MSVD lie in its folder, and what to do about those that do not."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from t2vdata.datasets import _root
from t2vdata.datasets._root import Root

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
    """Those of the root by their names in it."""

    root: Root
    own: tuple[str, ...]
    """Annotations of the root's own."""
    clips: tuple[str, ...]
    """Folders."""
    has_mapping: bool
    told: Path | None = None
    """Annotations that stand for the root's own."""

    @property
    def annotations(self) -> tuple[Path, ...]:
        return (self.told,) if self.told else tuple(map(self.root.local, self.own))

    @property
    def mapping(self) -> Path | None:
        return self.root.local(_MAPPING) if self.has_mapping else None


def find(root: str | None, annotations: Path | None) -> Files:
    """Return what is there of a root; ``annotations`` stands for the root's own."""
    there = _root.of(root)
    own = _first(_ANNOTATIONS, there.has)
    return Files(there, own, _first(_CLIPS, there.has_folder), there.has(_MAPPING), annotations)


def media(files: Files) -> dict[str, str]:
    """Return {name without its ending: name in the root} of the clips."""
    found: dict[str, str] = {}
    for folder in files.clips:
        for name in files.root.names(folder):
            stem, ending = os.path.splitext(name)
            if ending.lower() in _MEDIA:
                found.setdefault(stem, f"{folder}/{name}")
    return found


def missing(root: str | None, annotations: Path | None, clip_list: Path | None, *, needs_mapping: bool) -> str | None:
    """Return the first thing that is not there, with what is and where to get it, or None."""
    if root is None:
        return "give it --root DIR, the folder that holds YouTubeClips and the annotations (see docs/datasets.md)"
    there = _root.of(root, anew=True)
    if (why := there.why_not()) is not None:
        return why
    for path, flag in ((annotations, "--annotations"), (clip_list, "--clip-list")):
        if path is not None and not path.is_file():
            return f"no file {path} ({flag})"
    files = find(root, annotations)
    # Their endings are known by a listing alone.
    if not files.clips or there.why_unlisted:
        if os.path.basename(os.path.abspath(root)) in ("YouTubeClips", "youtubeclips"):
            return f"{root} is the folder of clips; give --root the folder that holds it"
        if there.has("YouTubeClips.tar"):
            return f"YouTubeClips.tar in {root} is still packed; run: tar -xf YouTubeClips.tar -C {root}"
        return f"no folder YouTubeClips in {root} ({there.shown()}); download and unpack {_SITE}/YouTubeClips.tar"
    if not files.own and annotations is None:
        return (
            f"no annotations in {root} ({there.shown()}); expected 'MSR Video Description Corpus.csv' (from "
            "https://www.microsoft.com/en-us/download/details.aspx?id=52422), video_corpus.csv, "
            f"AllVideoDescriptions.txt ({_SITE}/AllVideoDescriptions.txt), sents_train_lc_nopunc.txt or training_label.json"
        )
    names = [annotations.name] if annotations else list(files.own)
    if not files.has_mapping and (needs_mapping or any(name.startswith("sents_") for name in names)):
        why = "--split official" if needs_mapping else f"{names[0]}, which names clips by number,"
        return f"{why} needs {_MAPPING} in {root}; it is in https://github.com/yaoli/arctic-capgen-vid"
    return None


def _first(kinds: tuple[tuple[str, ...], ...], is_there: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the names of the first kind of which anything is there."""
    found = (tuple(name for name in kind if is_there(name)) for kind in kinds)
    return next(filter(None, found), ())
