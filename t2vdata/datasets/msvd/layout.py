"""Find the files of MSVD below its root, and say how to get those that are missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from t2vdata.datasets._media_names import split_ending
from t2vdata.datasets.root import Root

# Kinds of annotations, best first: with annotators and languages; complete; lower-cased or incomplete.
_ANNOTATIONS = (
    ("MSR Video Description Corpus.csv",),
    ("video_corpus.csv",),
    ("AllVideoDescriptions.txt",),
    ("sents_train_lc_nopunc.txt", "sents_val_lc_nopunc.txt", "sents_test_lc_nopunc.txt"),
    ("training_label.json", "testing_label.json"),
)
_CLIP_FOLDERS = (("YouTubeClips",), ("youtubeclips",), ("training_data/video", "testing_data/video"))
_MAPPING = "youtube_mapping.txt"
_SITE = "http://www.cs.utexas.edu/users/ml/clamp/videoDescription"


@dataclass(frozen=True)
class Files:
    """The files of a root, by their names below it."""

    root: Root
    annotation_names: tuple[str, ...]
    clip_folders: tuple[str, ...]
    has_mapping: bool
    other_annotations: Path | None = None
    """Annotations to use instead of the root's own."""

    @property
    def annotations(self) -> tuple[Path, ...]:
        """Return the annotation files as local paths."""
        return (self.other_annotations,) if self.other_annotations else tuple(map(self.root.local, self.annotation_names))

    @property
    def mapping(self) -> Path | None:
        """Return youtube_mapping.txt as a local path, or None."""
        return self.root.local(_MAPPING) if self.has_mapping else None


def find(root: Root, annotations: Path | None) -> Files:
    """Return the files of a root; ``annotations`` takes the place of the root's own."""
    names, clip_folders = _first_existing(_ANNOTATIONS, root.has), _first_existing(_CLIP_FOLDERS, root.has_folder)
    return Files(root, names, clip_folders, root.has(_MAPPING), annotations)


def media_names(files: Files) -> dict[str, str]:
    """Return {name without extension: name below the root} of the clips."""
    names: dict[str, str] = {}
    for folder in files.clip_folders:
        for name in files.root.names(folder):
            stem, ending = split_ending(name)
            if ending:
                names.setdefault(stem, f"{folder}/{name}")
    return names


def missing(root: Root, annotations: Path | None, clip_list: Path | None, *, needs_mapping: bool) -> str | None:
    """Return the first missing file, with what was found and where to get it; None if nothing is missing."""
    if (why := root.missing()) is not None:
        return why
    folder = root.location
    for path, flag in ((annotations, "--annotations"), (clip_list, "--clip-list")):
        if path is not None and not path.is_file():
            return f"no file {path} ({flag})"
    files = find(root, annotations)
    # The extensions of the clips are known only where the folder can be listed.
    if not files.clip_folders or root.unlisted_reason:
        if os.path.basename(os.path.abspath(folder)) in ("YouTubeClips", "youtubeclips"):
            return f"{folder} is the folder of clips; give --root the folder that holds it"
        if root.has("YouTubeClips.tar"):
            return f"YouTubeClips.tar in {folder} has not been unpacked; run: tar -xf YouTubeClips.tar -C {folder}"
        return f"no folder YouTubeClips in {folder} ({root.summary()}); download and unpack {_SITE}/YouTubeClips.tar"
    if not files.annotation_names and annotations is None:
        return (
            f"no annotations in {folder} ({root.summary()}); expected 'MSR Video Description Corpus.csv' (from "
            "https://www.microsoft.com/en-us/download/details.aspx?id=52422), video_corpus.csv, "
            f"AllVideoDescriptions.txt ({_SITE}/AllVideoDescriptions.txt), sents_train_lc_nopunc.txt or training_label.json"
        )
    names = [annotations.name] if annotations else list(files.annotation_names)
    if not files.has_mapping and (needs_mapping or any(name.startswith("sents_") for name in names)):
        why = "--split official" if needs_mapping else f"{names[0]}, which names clips by number,"
        return f"{why} needs {_MAPPING} in {folder}; it is in https://github.com/yaoli/arctic-capgen-vid"
    return None


def _first_existing(kinds: tuple[tuple[str, ...], ...], exists: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the existing names of the first kind that has any."""
    existing = (tuple(name for name in kind if exists(name)) for kind in kinds)
    return next(filter(None, existing), ())
