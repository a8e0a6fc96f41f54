"""Kinetics-400, -600 and -700-2020: ten seconds of YouTube for each of hundreds of thousands of rows, with an action's label.

Files are found by their names, ``<youtube_id>_<start>_<end>``, wherever below the root they lie: flat by split (CVDF), in
folders by label (ActivityNet's crawler, mmaction2), in the folder of replacements for corrupted files, which go first; or in
tar archives, which are read as they are.
"""

from __future__ import annotations

import array
import functools
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from t2vdata.datasets import _root, _rows
from t2vdata.datasets import media as media_base
from t2vdata.datasets._packed import PackedClips
from t2vdata.datasets._root import Root
from t2vdata.datasets.kinetics import archived, lists, rows
from t2vdata.errors import RawDataError, RequestError
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.storage import prefetch
from t2vdata.storage.archives import Archive, Contents
from t2vdata.types import Clip, Frames, MediaRef

VERSION = 2
SPLITS = ("train", "val", "test")
LICENCE = "Annotations: CC BY 4.0 (Google). The videos are their uploaders': for research, not to be passed on."
CITATION = "Will Kay, Joao Carreira, Karen Simonyan et al.: The Kinetics Human Action Video Dataset. arXiv:1705.06950, 2017."
EXAMPLE = "--root k400 --fps 25 --frames 32"
TREE = """
k400/
  annotations/train.csv, val.csv, test.csv      or annotations/deepmind/, kinetics400/train.csv ..., or .json of DeepMind's
  train/-3B32lodo2M_000059_000069.mp4 ...       flat, as CVDF has them; or in folders by label, as crawlers make them
  val/ ...  test/ ...                           or train/part_0.tar.gz ..., val/ ..., test/ ..., as they were downloaded
  replacement/replacement_for_corrupted_k400/   goes before the file of the same name
"""
RAW_FILES = "in --root, the folder of one release (k400, k600, k700-2020): annotations/{train,val,test}.csv, and the videos"

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
# DeepMind's archives of annotations, which many leave where they have unpacked them.
_OF_ANNOTATIONS = re.compile(r"kinetics(400|600|700(_2020)?)(_delta)?\.(tar\.gz|tgz|tar)")
# The paper cuts videos where neighbouring frames no longer match, and gives no number: this one is ours.
_T2V_MATCHES = 20
_HOW = (
    "get them from https://s3.amazonaws.com/kinetics/400/annotations/train.csv, val.csv and test.csv "
    "(400, 600 or 700_2020), or unpack kinetics700_2020.tar.gz from "
    "https://storage.googleapis.com/deepmind-media/Datasets/kinetics700_2020.tar.gz, into {place}"
)


@dataclass(frozen=True)
class Options(media_base.MediaOptions):
    annotations: Path | None = None
    """The annotations, where they are not in --root: a CSV, or a folder of train.csv, val.csv and test.csv."""
    preset: Literal["none", "t2v"] = "none"
    """`t2v` is the ten classes of "Video Generation From Text", --fps 25 --frames 32 --min-matches 20."""
    clip_list: Path | None = None
    """Only these clips: a file with an id (viVrkZZO6xw) or one with its span (viVrkZZO6xw_000010_000020) a line."""
    template: str = "{label}"
    """Caption made of the label, such as "a person is {label}"."""
    captions: Path | None = None
    """Captions in place of the labels: a csv, tsv, jsonl or parquet file by youtube_id and, where it has one, time_start."""


def check(options: Options) -> None:
    """Raise RequestError for options that cannot be, or do not go together."""
    media_base.check(_with_preset(options))
    if "{label}" not in options.template:
        raise RequestError(f"--template {options.template!r}: expected {{label}} in it, as in 'a person is {{label}}'")
    if options.captions is not None:
        if options.template != "{label}":
            raise RequestError("--captions takes the place of the labels; leave out --template")
        if options.captions.suffix.lower() not in _rows.ENDINGS:
            raise RequestError(f"--captions {options.captions}: expected a file that ends in {', '.join(_rows.ENDINGS)}")


def missing(root: str | None, options: Options) -> str | None:
    """Return the first thing that is not there, with what is and where to get it, or None."""
    if root is None:
        return f"give it --root DIR; {RAW_FILES}"
    there = _root.of(root, anew=True)
    if (why := there.why_not()) is not None:
        return why
    if options.captions is not None and not options.captions.is_file():
        return f"no file {options.captions} (--captions)"
    if (why := media_base.missing(options)) is not None:
        return why
    if options.annotations is not None and not rows.annotation_files(root, options.annotations):
        what = "holds no train.csv, val.csv or test.csv" if options.annotations.is_dir() else "is not there"
        return f"{options.annotations} {what} (--annotations)"
    if options.annotations is None and not rows.annotation_names(there):
        return _no_annotations(there)
    if next(_files(there), None) is None and not archives(root, options):
        return (
            f"no videos below {root} ({there.shown()}); expected train/<youtube_id>_000010_000020.mp4 or "
            "<label>/<youtube_id>_000010_000020.mp4; https://github.com/cvdfoundation/kinetics-dataset downloads them"
        )
    return None


def source(root: str | None, options: Options) -> dict[str, Any]:
    """Return the hashes of the annotations, the captions and the list of clips. Media files are not read for it."""
    told = [path for _, path in rows.annotation_files(root, options.annotations)]
    told += filter(None, (options.clip_list, options.captions))
    return {
        # Their names, for the JSON of a clip says "train.csv, line 7".
        "files": [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in told],
        "decoder": media_base.identity(options),
        # Parts may still come; but a folder that is unpacked meanwhile would have its clips in another order.
        **({"order": "archives"} if archives(root, options) else {}),
    }


def archives(root: str | None, options: Options) -> Sequence[Archive]:
    """Return the archives below the root, such as CVDF's part_0.tar.gz."""
    return [one for one in _root.of(root).archives if not _OF_ANNOTATIONS.fullmatch(one.name.rpartition("/")[2])]


def learn(root: str | None, contents: Sequence[Contents], is_all: bool) -> None:
    """Take in what is in the archives. Clips come in its order from then on."""
    _root.of(root).learn(contents, is_all=is_all)


def clips(root: str | None, split: str, options: Options, seed: int) -> Sequence[Clip]:
    """Return the clips of an official split. Raises RawDataError for annotations that cannot be understood."""
    content = f"{source(root, options)}, listing {_root.of(root).serial}"
    return _all_clips(root, _with_preset(options), content)[split]


def filters(options: Options) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    # Its own list names ids, of which the clips are made.
    before, after = media_base.clip_filters(replace(_with_preset(options), clip_list=None))
    return [*before, _NotEmpty()], after


def render(clip: Clip, options: Options) -> Frames:
    return media_base.render(clip, _with_preset(options))


def frame_size(options: Options) -> tuple[int, int] | None:
    return media_base.frame_size(options)


@dataclass(frozen=True)
class _NotEmpty:
    """Leaves out the files of no bytes that a broken download leaves behind."""

    def why_not(self, clip: Clip, /) -> str | None:
        media = clip.media
        if media is None:
            return None
        is_known = media.size_bytes is not None or prefetch.needs_download(clip)
        return "an empty file" if (media.size_bytes if is_known else os.path.getsize(media.path)) == 0 else None


def _with_preset(options: Options) -> Options:
    if options.preset == "none":
        return options
    return replace(
        options, fps=options.fps or 25.0, frames=options.frames or 32, min_matches=options.min_matches or _T2V_MATCHES
    )


@functools.lru_cache(maxsize=1)
def _all_clips(root: str | None, options: Options, content: str) -> dict[str, PackedClips]:
    """Return {split: clips}; read once for all splits, and again when the ``content`` has changed."""
    told = None if options.captions is None else lists.read_captions(options.captions, _videos(root, options))
    wanted = None if options.clip_list is None else lists.read_clip_list(options.clip_list)
    there = _root.of(root)
    media, packed = _media_files(there), archived.ArchiveIndex(there)
    places: dict[str, array.array[int]] = {split: array.array("q") for split in SPLITS}
    made = {split: PackedClips(options.windows) for split in SPLITS}
    known, names = set[str](), set[str]()
    has_rows = False
    for row in rows.read_rows(root, options.annotations):
        has_rows = True
        listed = (wanted.get(row.video) or wanted.get(row.name)) if wanted is not None else ("", "")
        if wanted is not None:
            known |= {row.video, row.name}
        if options.exclude_list is not None:
            names.add(row.name)
        if listed is not None:
            found = _found(row, media.get(row.name), packed, there)
            made[row.split].add(_clip(row, found, told, listed[0], options))
            # What is in no archive stays behind its neighbour in the annotations.
            place = packed.index(row.name)
            places[row.split].append(place if place is not None else (places[row.split] or [-1])[-1])
    for split, known_places in places.items():
        if packed:
            made[split].sort(known_places)
    if not has_rows:
        raise RawDataError(f"the annotations of {root} have no rows")
    listed_clips = (clip for some in made.values() for clip in some.without_windows()) if options.label_list is not None else ()
    media_base.check_names(options, names, {str(clip.meta["label"]) for clip in listed_clips if "label" in clip.meta})
    absent = {name: where for name, (_, where) in (wanted or {}).items() if name not in known}
    made["train"].add_last(
        [
            Clip(name, ("-",), group=name[:11], source=where, reject_reason="not in the annotations")
            for name, where in absent.items()
        ]
    )
    return made


def _videos(root: str | None, options: Options) -> set[str]:
    return {row.video for row in rows.read_rows(root, options.annotations)}


def _clip(
    row: rows.Row,
    media: MediaRef,
    told: lists.Captions | None,
    listed_class: str,
    options: Options,
) -> Clip:
    why_not, label, kinetics_label = row.why_not, row.label, None
    if options.preset == "t2v":
        # A list of clips is somebody's choice; it says the class itself, or leaves it to the label.
        own = listed_class if listed_class in _T2V_CLASSES.values() else _T2V_CLASSES.get(row.label)
        why_not = why_not or (None if own or options.clip_list else "none of the ten classes")
        label, kinetics_label = own or row.label, row.label
    if told is not None:
        said = told.of(row.video, row.span[0])
        why_not = why_not or (None if said else f"no caption in {told.file_name}")
    else:
        said = (options.template.replace("{label}", row.label),) if row.label else ()
        why_not = why_not or (None if said else "no label")
    meta = {
        "video": row.video or None,
        "segment": list(row.span),
        "label": label or None,
        "kinetics_label": kinetics_label,
        "is_cc": row.is_cc,
    }
    return Clip(
        # A row that is no clip of its own is counted under the name of its line.
        row.name if row.why_not is None else re.sub(r"[^A-Za-z0-9_-]+", "-", f"row-{row.source}")[-60:],
        # A clip without captions would be counted as that alone.
        media_base.caption_filter(options).kept(said) or ("-",),
        media=media,
        group=row.video or row.source,
        meta={name: value for name, value in meta.items() if value is not None},
        source=row.source,
        reject_reason=why_not,
    )


def _found(row: rows.Row, path: str | None, packed: archived.ArchiveIndex, root: Root) -> MediaRef:
    """Return where the file of a row is: in its folder, unless an archive has a replacement for it, or in an archive."""
    if path is not None and ("replacement" in path.split("/")[0] or not packed.is_replacement(row.name)):
        return root.media(path)
    return packed.find(row.name, row.split) or root.media(f"{row.name}.mp4")


def _files(root: Root) -> Iterator[tuple[str, str]]:
    """Yield (name without ending, path below the root) of every video below the root, in order."""
    for folder, name in root.files():
        stem, ending = os.path.splitext(name)
        if ending.lower() in lists.MEDIA_EXTENSIONS and len(stem) > 11 and lists.CLIP_NAME.fullmatch(stem):
            yield stem, f"{folder}/{name}" if folder else name


def _media_files(root: Root) -> dict[str, str]:
    """Return {name without ending: path below the root}; a replacement goes before the file that it replaces."""
    found: dict[str, str] = {}
    for stem, path in _files(root):
        if stem not in found or ("replacement" in path.split("/")[0] and "replacement" not in found[stem].split("/")[0]):
            found[stem] = path
    return found


def _no_annotations(root: Root) -> str:
    inner = next((one for one in root.names() if root.has_folder(one) and rows.annotation_names(root, one)), None)
    if inner is not None:
        return f"{root.place} holds {inner}; give --root {root.path(inner)}"
    if not root.is_url and rows.annotation_names(Root(str(Path(root.place).resolve().parent))):
        return f"{root.place} is one part of the release ({root.shown()}); give --root the folder that holds it"
    return f"no annotations in {root.place} ({root.shown()}); {_HOW.format(place=root.path('annotations'))}"
