"""Kinetics-400, -600 and -700-2020: hundreds of thousands of ten-second YouTube clips, each labelled with an action.

Files are found by their names, ``<youtube_id>_<start>_<end>``, anywhere below the root: flat by split (CVDF), in folders by
label (ActivityNet's crawler, mmaction2), in the folder of replacements for corrupted files, which take precedence; or in tar
archives, which are read without unpacking.
"""

from __future__ import annotations

import array
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from t2vdata import storage
from t2vdata.datasets import _rows, _text_files
from t2vdata.datasets._packed import PackedClips
from t2vdata.datasets.kinetics import archived, lists, rows
from t2vdata.datasets.media import MediaDataset, MediaOptions, check_media_options, decoder_identity, published
from t2vdata.datasets.root import Root
from t2vdata.errors import RawDataError, RequestError
from t2vdata.filters import ClipFilter
from t2vdata.storage import prefetch
from t2vdata.storage.archives import Archive, Contents
from t2vdata.types import Clip, MediaRef

# The ten classes of "Video Generation From Text" (arXiv:1710.00421) by the labels of Kinetics: its published list of ids
# (t2v_list.txt in minrq/CGAN_Text2Video), looked up in the annotations of Kinetics-400 and -600.
_T2V_CLASSES = {
    "biking through snow": "biking in snow",
    "kitesurfing": "kite surfing",
    "kicking field goal": "playing football",
    "golf putting": "playing golf",
    "golf chipping": "playing golf",
    "hockey stop": "playing hockey",
    "kicking soccer ball": "playing soccer ball",
    "swimming backstroke": "swimming",
    "swimming butterfly stroke": "swimming",
    "swimming breast stroke": "swimming",
    "jogging": "jogging",
    "sailing": "sailing",
    "water skiing": "water skiing",
}
# DeepMind's archives of annotations, often left where they were unpacked.
_ANNOTATION_ARCHIVE = re.compile(r"kinetics(400|600|700(_2020)?)(_delta)?\.(tar\.gz|tgz|tar)")
# The paper cuts videos where neighbouring frames no longer match, without stating a threshold; this one is our choice.
_T2V_MATCHES = 20
_ANNOTATIONS_HINT = (
    "get them from https://s3.amazonaws.com/kinetics/400/annotations/train.csv, val.csv and test.csv "
    "(400, 600 or 700_2020), or unpack kinetics700_2020.tar.gz from "
    "https://storage.googleapis.com/deepmind-media/Datasets/kinetics700_2020.tar.gz, into {folder}"
)


@dataclass(frozen=True)
class KineticsOptions(MediaOptions):
    annotations: Path | None = None
    """The annotations, if they are not in --root: a CSV, or a folder with train.csv, val.csv and test.csv."""
    preset: Literal["none", "t2v"] = "none"
    """`t2v`: the ten classes of "Video Generation From Text", --fps 25 --frames 32 --min-matches 20."""
    clip_list: Path | None = None
    """Only these clips: a file with one per line, as an id (viVrkZZO6xw) or with a span (viVrkZZO6xw_000010_000020)."""
    template: str = "{label}"
    """Caption made from the label, such as "a person is {label}"."""
    captions: Path | None = None
    """Captions instead of labels: a table (csv, jsonl, parquet ...) with youtube_id and, optionally, time_start."""


class Kinetics(MediaDataset):
    VERSION = 2
    SPLITS = ("train", "val", "test")
    LICENCE = "Annotations: CC BY 4.0 (Google). The videos are their uploaders': for research, not to be passed on."
    CITATION = (
        "Will Kay, Joao Carreira, Karen Simonyan et al.: The Kinetics Human Action Video Dataset. arXiv:1705.06950, 2017."
    )
    EXAMPLE = "--root k400 --fps 25 --frames 32"
    TREE = """
k400/
  annotations/train.csv, val.csv, test.csv      or annotations/deepmind/, kinetics400/train.csv ..., or .json of DeepMind's
  train/-3B32lodo2M_000059_000069.mp4 ...       flat, as CVDF has them; or in folders by label, as crawlers make them
  val/ ...  test/ ...                           or train/part_0.tar.gz ..., val/ ..., test/ ..., as they were downloaded
  replacement/replacement_for_corrupted_k400/   takes precedence over the file of the same name
"""
    RAW_FILES = "in --root, the folder of one release (k400, k600, k700-2020): annotations/{train,val,test}.csv, and the videos"

    Options = KineticsOptions
    options: KineticsOptions

    def __init__(self, root: str | None, options: KineticsOptions, seed: int) -> None:
        super().__init__(root, options, seed)
        self._contents: Sequence[Contents] = ()
        self._contents_are_complete = True

    @functools.cached_property
    def media_options(self) -> KineticsOptions:
        return _with_preset(self.options)

    @staticmethod
    def check(options: KineticsOptions) -> None:
        check_media_options(_with_preset(options))
        if "{label}" not in options.template:
            raise RequestError(f"--template {options.template!r}: expected {{label}} in it, as in 'a person is {{label}}'")
        if options.captions is not None:
            if options.template != "{label}":
                raise RequestError("--captions replaces the labels; leave out --template")
            if options.captions.suffix.lower() not in _rows.ENDINGS:
                raise RequestError(f"--captions {options.captions}: expected a file that ends in {', '.join(_rows.ENDINGS)}")

    def missing(self) -> str | None:
        """Return the first missing file, with what was found instead and where to get it; None if nothing is missing."""
        if self.root is None:
            return f"give it --root DIR; {self.RAW_FILES}"
        if (why := self.listing.missing()) is not None:
            return why
        options = self.options
        if options.captions is not None and not options.captions.is_file():
            return f"no file {options.captions} (--captions)"
        if (why := super().missing()) is not None:
            return why
        if options.annotations is not None and not rows.annotation_files(self.listing, options.annotations):
            problem = "holds no train.csv, val.csv or test.csv" if options.annotations.is_dir() else "does not exist"
            return f"{options.annotations} {problem} (--annotations)"
        if options.annotations is None and not rows.annotation_names(self.listing):
            return _no_annotations(self.listing)
        if next(_video_files(self.listing), None) is None and not self.archives():
            return (
                f"no videos below {self.root} ({self.listing.summary()}); expected train/<youtube_id>_000010_000020.mp4 or "
                "<label>/<youtube_id>_000010_000020.mp4; https://github.com/cvdfoundation/kinetics-dataset downloads them"
            )
        return None

    def source(self) -> dict[str, Any]:
        """Return the hashes of the annotations, the captions and the list of clips. Media files are not read."""
        paths = [path for _, path in rows.annotation_files(self.listing, self.options.annotations)]
        paths += filter(None, (self.options.clip_list, self.options.captions))
        return {
            # With names, because the JSON of a clip says "train.csv, line 7".
            "files": [[path.name, _text_files.sha256(path)] for path in paths],
            # From the options as given: the version of OpenCV that a preset's --min-matches uses has never been part of the
            # identity.
            "decoder": decoder_identity(self.options, self.lists),
            # Archives may still be added; but if they were unpacked meanwhile, clips would have another order.
            **({"order": "archives"} if self.archives() else {}),
        }

    def archives(self) -> Sequence[Archive]:
        """Return the archives below the root, such as CVDF's part_0.tar.gz."""
        archives = self.listing.archives
        return [archive for archive in archives if not _ANNOTATION_ARCHIVE.fullmatch(archive.name.rpartition("/")[2])]

    def learn(self, contents: Sequence[Contents], *, is_complete: bool = True) -> None:
        """Receive the contents of archives; from then on, clips are in the order of the archives."""
        self._contents, self._contents_are_complete = contents, is_complete
        # The clips are read again, in the new order.
        self.__dict__.pop("_clips_by_split", None)

    def clips(self, split: str) -> Sequence[Clip]:
        """Return the clips of an official split. Raises RawDataError for annotations that cannot be understood."""
        return self._clips_by_split[split]

    def clip_filters(self) -> list[ClipFilter]:
        # Without the clip list, which may name ids here: the clips were chosen by it already.
        lists = replace(self.lists, clip_list=None)
        return [*self._clip_filters(lists), _NotEmpty()]

    @functools.cached_property
    def _clips_by_split(self) -> dict[str, PackedClips]:
        """{split: clips}; read for all splits at once."""
        options = self.media_options
        captions = None if options.captions is None else lists.read_captions(options.captions, self._videos())
        requested = None if options.clip_list is None else lists.read_clip_list(options.clip_list)
        files = _files_by_name(self.listing)
        archives = archived.ArchiveIndex(self.listing, self._contents, is_complete=self._contents_are_complete)
        positions: dict[str, array.array[int]] = {split: array.array("q") for split in self.SPLITS}
        clips = {split: PackedClips(options.windows) for split in self.SPLITS}
        known, names = set[str](), set[str]()
        has_rows = False
        for row in rows.read_rows(self.listing, options.annotations):
            has_rows = True
            listed = (requested.get(row.video) or requested.get(row.name)) if requested is not None else ("", "")
            if requested is not None:
                known |= {row.video, row.name}
            if options.exclude_list is not None:
                names.add(row.name)
            if listed is not None:
                media = _media(row, files.get(row.name), archives, self.listing)
                clips[row.split].add(self._clip(row, media, captions, listed[0]))
                # A clip in no archive stays behind its neighbour in the annotations.
                position = archives.index(row.name)
                positions[row.split].append(position if position is not None else (positions[row.split] or [-1])[-1])
        if archives:
            for split, positions_of_split in positions.items():
                clips[split].sort(positions_of_split)
        if not has_rows:
            raise RawDataError(f"the annotations of {self.root} have no rows")
        self._check_lists(names, clips)
        clips["train"].add_last(
            [
                Clip(name, ("-",), group=name[:11], source=source, reject_reason="not in the annotations")
                for name, (_, source) in (requested or {}).items()
                if name not in known
            ]
        )
        return clips

    def _check_lists(self, names: set[str], clips: dict[str, PackedClips]) -> None:
        needs_labels = self.options.label_list is not None
        all_clips = (clip for packed in clips.values() for clip in packed.without_windows()) if needs_labels else ()
        self.lists.check_names(names, {str(clip.meta["label"]) for clip in all_clips if "label" in clip.meta})

    def _videos(self) -> set[str]:
        return {row.video for row in rows.read_rows(self.listing, self.options.annotations)}

    def _clip(self, row: rows.Row, media: MediaRef, table: lists.Captions | None, listed_class: str) -> Clip:
        options = self.options
        reason, label, kinetics_label = row.reject_reason, row.label, None
        if options.preset == "t2v":
            # A list of clips is a deliberate choice: it states the class itself, or the label decides.
            t2v_class = listed_class if listed_class in _T2V_CLASSES.values() else _T2V_CLASSES.get(row.label)
            reason = reason or (None if t2v_class or options.clip_list else "none of the ten classes")
            label, kinetics_label = t2v_class or row.label, row.label
        source = row.source
        if table is not None:
            captions = table.of(row.video, row.span[0])
            problem = table.problem(row.video, row.span[0])
            if problem is not None and reason is None:
                reason, source = problem[0], f"{source} ({problem[1]})"
            reason = reason or (None if captions else f"no caption in {table.file_name}")
        else:
            captions = (options.template.replace("{label}", row.label),) if row.label else ()
            reason = reason or (None if captions else "no label")
        meta = {
            "video": row.video or None,
            "segment": list(row.span),
            "label": label or None,
            "kinetics_label": kinetics_label,
            "is_cc": row.is_cc,
        }
        return Clip(
            # An unusable row is counted under the name of its line.
            row.name if row.reject_reason is None else re.sub(r"[^A-Za-z0-9_-]+", "-", f"row-{row.source}")[-60:],
            # Without captions, "no caption" would be its only reason.
            self.kept_captions(captions) or ("-",),
            media=media,
            group=row.video or row.source,
            meta=published(meta),
            source=source,
            reject_reason=reason,
        )


DATASET = Kinetics


@dataclass(frozen=True)
class _NotEmpty:
    """Reject the files of 0 bytes that a broken download leaves."""

    def why_not(self, clip: Clip, /) -> str | None:
        media = clip.media
        if media is None:
            return None
        is_known = media.size_bytes is not None or prefetch.needs_download(clip)
        size_bytes = media.size_bytes if is_known else storage.size(media.path)
        return "an empty file" if size_bytes == 0 else None


def _with_preset(options: KineticsOptions) -> KineticsOptions:
    if options.preset == "none":
        return options
    return replace(
        options, fps=options.fps or 25.0, frames=options.frames or 32, min_matches=options.min_matches or _T2V_MATCHES
    )


def _media(row: rows.Row, path: str | None, archives: archived.ArchiveIndex, root: Root) -> MediaRef:
    """Return where the file of a row is: in a folder, unless an archive has a replacement for it, or in an archive."""
    if path is not None and (_is_replacement(path) or not archives.is_replacement(row.name)):
        return root.media(path)
    return archives.find(row.name, row.split) or root.media(f"{row.name}.mp4")


def _video_files(root: Root) -> Iterator[tuple[str, str]]:
    """Yield (name without extension, path below the root) of every video below the root, in order."""
    for folder, name in root.files():
        if (clip := lists.clip_name(name)) is not None:
            yield clip, f"{folder}/{name}" if folder else name


def _files_by_name(root: Root) -> dict[str, str]:
    """Return {name without extension: path below the root}; a replacement takes precedence over the file that it replaces."""
    paths: dict[str, str] = {}
    for stem, path in _video_files(root):
        if stem not in paths or (_is_replacement(path) and not _is_replacement(paths[stem])):
            paths[stem] = path
    return paths


def _is_replacement(path: str) -> bool:
    return "replacement" in path.split("/")[0]


def _no_annotations(root: Root) -> str:
    inner = next((name for name in root.names() if root.has_folder(name) and rows.annotation_names(root, name)), None)
    if inner is not None:
        return f"{root.location} holds {inner}; give --root {root.path(inner)}"
    if not root.is_url and rows.annotation_names(Root(str(Path(root.location).resolve().parent))):
        return f"{root.location} is one part of the release ({root.summary()}); give --root the folder that holds it"
    return f"no annotations in {root.location} ({root.summary()}); {_ANNOTATIONS_HINT.format(folder=root.path('annotations'))}"
