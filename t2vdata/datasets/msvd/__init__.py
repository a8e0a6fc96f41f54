"""MSVD, the Microsoft Research Video Description Corpus: 1,970 short clips of YouTube, each in some forty sentences.

Clips and annotations are read as downloaded, the annotations in any of the forms that go round (``_msvd_read.py``).
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from t2vdata.datasets import _root
from t2vdata.datasets import media as media_base
from t2vdata.datasets._root import Root
from t2vdata.datasets._splits import split_of
from t2vdata.datasets.msvd import cooking, layout, rows
from t2vdata.datasets.msvd.rows import KEY
from t2vdata.errors import RawDataError, RequestError, nearest
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.types import Clip, Frames

VERSION = 2
SPLITS = ("train", "val", "test")
LICENCE = (
    "None is stated. Microsoft Research's terms of download hold, and the rights of the clips' owners on YouTube: "
    "for research, not to be passed on."
)
CITATION = (
    "David L. Chen and William B. Dolan: Collecting Highly Parallel Data for Paraphrase Evaluation. "
    "Annual Meeting of the Association for Computational Linguistics (ACL), 2011."
)
EXAMPLE = "--root MSVD --frames 32"
RAW_FILES = "in --root: the clips, and the annotations in one of their forms"
TREE = """
MSVD/
  YouTubeClips/-4wsuPCjDBc_5_15.avi ...     YouTubeClips.tar, 1,970 files; or vid1.avi ..., with youtube_mapping.txt
  MSR Video Description Corpus.csv          or video_corpus.csv; or one of the following
  AllVideoDescriptions.txt                  English alone
  sents_train_lc_nopunc.txt ...             S2VT's, with youtube_mapping.txt
  training_label.json, testing_label.json   MLDS's
  youtube_mapping.txt                       for --split official, and wherever clips are called vid1
"""


@dataclass(frozen=True)
class Options(media_base.MediaOptions):
    annotations: Path | None = None
    """The annotations, where --root holds several kinds: the CSV, a text or a JSON file."""
    preset: Literal["none", "adelaide"] = "none"
    """`adelaide` is --subset cooking --max-caption-chars 60 --min-segment-frames 32 --val-share 0.2 --test-share 0."""
    subset: Literal["all", "cooking"] = "all"
    """`cooking` keeps clips of whose captions half or more have a cooking verb and a food noun."""
    clip_list: Path | None = None
    """Only these clips: a file with one a line, such as -4wsuPCjDBc_5_15 or vid1."""
    split: Literal["seeded", "official"] = "seeded"
    """`seeded` deals out source videos by --seed; `official` is vid1 to vid1200, to vid1300, to vid1970."""
    val_share: float | None = None
    """Share of source videos dealt out to val; 0.05 unless told."""
    test_share: float | None = None
    """Share of source videos dealt out to test; 0.05 unless told."""
    row_language: str = "English"
    """Language of the descriptions, as the CSV names it; the other files have English alone."""
    rows: Literal["all", "clean", "prefer-clean"] = "all"
    """Rows of the CSV: `clean` loses clips that have none, `prefer-clean` takes all rows of those."""
    min_segment_frames: int | None = None
    """Leave out clips whose End - Start + 1 seconds, at their file's rate, are fewer frames."""


def check(options: Options) -> None:
    """Raise RequestError for options that cannot be, or do not go together."""
    media_base.check(options)
    if options.min_segment_frames is not None and options.min_segment_frames < 1:
        raise RequestError(f"--min-segment-frames {options.min_segment_frames}: expected 1 or more")
    if options.split == "official":
        if options.preset != "none":
            raise RequestError(f"--preset {options.preset} has a seeded split of its own; leave out --split official")
        if (options.val_share, options.test_share) != (None, None):
            raise RequestError("--split official has its own shares; leave out --val-share and --test-share")
    split_of("", 0, _shares(_with_preset(options)))


def missing(root: str | None, options: Options) -> str | None:
    """Return what is not in the folder and how to get it, or None."""
    why = layout.missing(root, options.annotations, options.clip_list, needs_mapping=options.split == "official")
    return why or media_base.missing(options)


def source(root: str | None, options: Options) -> dict[str, Any]:
    """Return the hashes of the annotations, the mapping and the list of clips. Media files are not read for it."""
    files = layout.find(root, options.annotations)
    told = [*files.annotations, *filter(None, (files.mapping, options.clip_list))]
    return {
        # Their names, for the JSON of a clip says "video_corpus.csv, line 7".
        "files": [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in told],
        "decoder": media_base.identity(options),
    }


def clips(root: str | None, split: str, options: Options, seed: int) -> Sequence[Clip]:
    """Return the clips of a split. Raises RawDataError for annotations that cannot be understood."""
    content = f"{source(root, options)}, listing {_root.of(root).serial}"
    return [clip for known, clip in _all_clips(root, _with_preset(options), seed, content) if known == split]


def filters(options: Options) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    options = _with_preset(options)
    # Its own list names clips in other ways too; the clips are made of it.
    before, after = media_base.clip_filters(replace(options, clip_list=None))
    if options.min_segment_frames is not None:
        after = [*after, _SegmentFrames(options.min_segment_frames)]
    return before, after


def render(clip: Clip, options: Options) -> Frames:
    frames = media_base.render(clip, options)
    start, end = clip.meta["segment"]
    return replace(frames, about={**frames.about, "segment_frames": (end - start + 1) * frames.about["original"]["fps"]})


def frame_size(options: Options) -> tuple[int, int] | None:
    return media_base.frame_size(options)


@dataclass(frozen=True)
class _SegmentFrames:
    """Keeps clips by Adelaide's rule, ``(End - Start + 1) * fps >= 32``, which is a second more than the clip lasts."""

    at_least: int

    def why_not(self, frames: Frames, /) -> str | None:
        return f"segment of fewer than {self.at_least} frames" if frames.about["segment_frames"] < self.at_least else None


def _with_preset(options: Options) -> Options:
    if options.preset == "none":
        return options
    return replace(
        options,
        # A list of clips is somebody's choice of the cooking clips; a vote would only take from it.
        subset=options.subset if options.clip_list else "cooking",
        max_caption_chars=options.max_caption_chars or 60,
        min_segment_frames=options.min_segment_frames or 32,
        val_share=0.2 if options.val_share is None else options.val_share,
        test_share=0.0 if options.test_share is None else options.test_share,
    )


def _shares(options: Options) -> dict[str, float]:
    told = {"test": options.test_share, "val": options.val_share}
    return {name: 0.05 if share is None else share for name, share in told.items()}


@dataclass
class _Segment:
    """A clip as its rows tell it."""

    where: str
    rows: list[rows.Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """{reason: rows}"""
    why_not: str | None = None


@functools.lru_cache(maxsize=1)
def _all_clips(root: str | None, options: Options, seed: int, content: str) -> list[tuple[str, Clip]]:
    """Return (split, clip) of all clips; read once for all splits, and again when the ``content`` has changed."""
    files = layout.find(root, options.annotations)
    names = rows.read_mapping(files.mapping) if files.mapping else {}
    vids = {clip: vid for vid, clip in names.items()}
    segments = _segments(files.annotations, names, options)
    # By all segments: a list of clips leaves few of them.
    media_base.check_names(options, segments.keys(), frozenset())
    if options.clip_list is not None:
        wanted = rows.read_clip_list(options.clip_list, names)
        segments = {
            clip: segments.get(clip) or _Segment(where, why_not="not in the annotations") for clip, where in wanted.items()
        }
    media = layout.media_names(files)
    made = []
    for key, segment in segments.items():
        path = media.get(key) or media.get(vids.get(key, "")) or f"{files.clip_folders[0]}/{key}.avi"
        clip = _clip(key, segment, path, vids.get(key), files.root, options)
        if options.split == "official" and key not in vids and clip.reject_reason is None:
            clip = replace(clip, reject_reason="not in youtube_mapping.txt")
        official = _official(vids.get(key)) if options.split == "official" else None
        made += [(official or split_of(clip.group, seed, _shares(options)), one) for one in media_base.windows([clip], options)]
    return made


def _official(vid: str | None) -> str:
    number = int(vid[3:]) if vid else 0
    return "train" if number <= 1200 else "val" if number <= 1300 else "test"


def _segments(annotations: Sequence[Path], names: Mapping[str, str], options: Options) -> dict[str, _Segment]:
    """Return {clip: its rows}; what cannot be a clip stands under a name of its own, to be counted."""
    found: dict[str, _Segment] = {}
    languages: Counter[str] = Counter()
    for number, row in enumerate(row for path in annotations for row in rows.read_rows(path)):
        key = names.get(row.clip, row.clip) or f"row-{number}"
        segment = found.setdefault(key, _Segment(row.source))
        segment.why_not = segment.why_not or row.why_not or _no_segment(key)
        language = row.columns.get("Language", "English")
        languages[language] += row.why_not is None
        reason = _why_not_row(row, language, options)
        if reason is None:
            segment.rows.append(row)
        elif row.why_not is None:
            segment.left_out[reason] += 1
    if not found:
        raise RawDataError(f"{', '.join(map(str, annotations))}: no row names a clip")
    spoken = {language.lower(): language for language in languages}
    if options.row_language.lower() not in spoken:
        close = nearest(options.row_language.title(), languages)
        hint = f"did you mean {close!r}?" if close else f"there is {', '.join(sorted(languages)[:12])}"
        raise RawDataError(f"{annotations[0].name} has no row in {options.row_language!r} (--row-language); {hint}")
    for segment in found.values():
        _choose_rows(segment, options)
    return found


def _no_segment(key: str) -> str | None:
    told = KEY.fullmatch(key)
    if told is None:
        return "not in youtube_mapping.txt" if rows.VID.fullmatch(key) else None
    return "ends before it starts" if int(told[3]) <= int(told[2]) else None


def _why_not_row(row: rows.Row, language: str, options: Options) -> str | None:
    if language.lower() != options.row_language.lower():
        return "another language"
    if not row.caption:
        return "not UTF-8" if row.caption is None else "empty"
    letters = [letter for letter in row.caption if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    # One sentence of the release is Hindi and calls itself English.
    return "another script" if language.lower() == "english" and latin * 2 < len(letters) else None


def _choose_rows(segment: _Segment, options: Options) -> None:
    clean = [row for row in segment.rows if row.columns.get("Source", "clean") == "clean"]
    if options.rows == "clean" or (options.rows == "prefer-clean" and clean):
        segment.left_out["not clean"] += len(segment.rows) - len(clean)
        if segment.rows and not clean:
            segment.why_not = segment.why_not or "no clean description"
        segment.rows = clean
    if not segment.rows:
        segment.why_not = segment.why_not or f"no description in {options.row_language}"


def _clip(key: str, segment: _Segment, path: str, vid: str | None, root: Root, options: Options) -> Clip:
    texts = [row.caption or "" for row in segment.rows]
    within = set(media_base.caption_filter(options).kept(texts))
    rows = [row for row in segment.rows if row.caption in within]
    why_not, votes = segment.why_not, None
    if options.subset == "cooking" and why_not is None:
        votes = cooking.cooking_share(texts)
        why_not = "not about cooking" if votes < 0.5 else None
    told = KEY.fullmatch(key)
    meta = {
        "video": told[1] if told else None,
        "segment": [int(told[2]), int(told[3])] if told else None,
        "vid": vid,
        "cooking_share": votes,
        "rows_left_out": dict(+segment.left_out) or None,
        # The columns of the CSV, a value for each caption.
        "rows": {name: [row.columns[name] for row in rows] for name in (rows[0].columns if rows else ())} or None,
    }
    return Clip(
        key,
        # A clip without captions would be counted as that alone.
        tuple(row.caption or "" for row in rows) or ("-",),
        media=replace(root.media(path), name=path.rpartition("/")[2]),
        group=told[1] if told else key,
        meta={name: value for name, value in meta.items() if value is not None},
        source=segment.where,
        reject_reason=why_not,
    )
