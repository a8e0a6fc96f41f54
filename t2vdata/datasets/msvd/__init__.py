"""MSVD, the Microsoft Research Video Description Corpus: 1,970 short YouTube clips, each described in about forty sentences.

Clips and annotations are read as downloaded, the annotations in any of the forms in circulation.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from t2vdata.datasets import _text_files
from t2vdata.datasets.media import MediaDataset, MediaOptions, check_media_options, published
from t2vdata.datasets.msvd import cooking, layout, rows, segments
from t2vdata.datasets.msvd.rows import KEY
from t2vdata.datasets.msvd.segments import Segment
from t2vdata.datasets.splits import split_of
from t2vdata.errors import RequestError
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.types import Clip, Frames


@dataclass(frozen=True)
class MsvdOptions(MediaOptions):
    annotations: Path | None = None
    """The annotations, if --root holds several kinds: the CSV, a text or a JSON file."""
    preset: Literal["none", "adelaide"] = "none"
    """`adelaide`: --subset cooking --max-caption-chars 60 --min-segment-frames 32 --val-share 0.2 --test-share 0."""
    subset: Literal["all", "cooking"] = "all"
    """`cooking` keeps clips if half or more of their captions have a cooking verb and a food noun."""
    clip_list: Path | None = None
    """Only these clips: a file with one per line, such as -4wsuPCjDBc_5_15 or vid1."""
    split: Literal["seeded", "official"] = "seeded"
    """`seeded` assigns source videos by --seed; `official` is vid1 to vid1200, to vid1300, to vid1970."""
    val_share: float | None = None
    """Share of source videos assigned to val; default: 0.05."""
    test_share: float | None = None
    """Share of source videos assigned to test; default: 0.05."""
    row_language: str = "English"
    """Language of the descriptions, as the CSV names it; the other files are in English only."""
    rows: Literal["all", "clean", "prefer-clean"] = "all"
    """Rows of the CSV: `clean` drops clips without clean rows, `prefer-clean` uses all rows of such clips."""
    min_segment_frames: int | None = None
    """Reject clips with fewer frames, counted as (End - Start + 1) times the file's frame rate."""


class Msvd(MediaDataset):
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
  AllVideoDescriptions.txt                  English only
  sents_train_lc_nopunc.txt ...             S2VT's, with youtube_mapping.txt
  training_label.json, testing_label.json   MLDS's
  youtube_mapping.txt                       for --split official, and wherever clips are called vid1
"""

    Options = MsvdOptions
    options: MsvdOptions

    @functools.cached_property
    def media_options(self) -> MsvdOptions:
        return _with_preset(self.options)

    @staticmethod
    def check(options: MsvdOptions) -> None:
        check_media_options(options)
        if options.min_segment_frames is not None and options.min_segment_frames < 1:
            raise RequestError(f"--min-segment-frames {options.min_segment_frames}: expected 1 or more")
        if options.split == "official":
            if options.preset != "none":
                raise RequestError(f"--preset {options.preset} has its own seeded split; leave out --split official")
            if (options.val_share, options.test_share) != (None, None):
                raise RequestError("--split official has its own shares; leave out --val-share and --test-share")
        split_of("", 0, _shares(_with_preset(options)))

    def missing(self) -> str | None:
        """Return what the folder lacks and how to get it, or None."""
        options = self.options
        if self.root is None:
            return "give it --root DIR, the folder that holds YouTubeClips and the annotations (see docs/datasets.md)"
        needs_mapping = options.split == "official"
        why = layout.missing(self.listing, options.annotations, options.clip_list, needs_mapping=needs_mapping)
        return why or super().missing()

    def source(self) -> dict[str, Any]:
        """Return the hashes of the annotations, the mapping and the list of clips. Media files are not read."""
        files = self._files
        paths = [*files.annotations, *filter(None, (files.mapping, self.options.clip_list))]
        return {
            # With names, because the JSON of a clip says "video_corpus.csv, line 7".
            "files": [[path.name, _text_files.sha256(path)] for path in paths],
            "decoder": self.decoder_identity(),
        }

    def clips(self, split: str) -> list[Clip]:
        """Return the clips of a split. Raises RawDataError for annotations that cannot be understood."""
        return self._clips_by_split[split]

    def clip_filters(self) -> list[ClipFilter]:
        # Without the clip list, which may name clips in other ways: the clips were chosen by it already.
        return self._clip_filters(replace(self.lists, clip_list=None))

    def frame_filters(self) -> list[FrameFilter]:
        at_least = self.media_options.min_segment_frames
        return [*super().frame_filters(), *([] if at_least is None else [_SegmentFrames(at_least)])]

    def render(self, clip: Clip) -> Frames:
        frames = super().render(clip)
        start, end = clip.meta["segment"]
        num_frames = (end - start + 1) * frames.about["original"]["fps"]
        return replace(frames, about={**frames.about, "segment_frames": num_frames})

    @functools.cached_property
    def _files(self) -> layout.Files:
        return layout.find(self.listing, self.options.annotations)

    @functools.cached_property
    def _clips_by_split(self) -> dict[str, list[Clip]]:
        """{split: clips}; read for all splits at once."""
        options, files = self.media_options, self._files
        names = rows.read_mapping(files.mapping) if files.mapping else {}
        vids = {clip: vid for vid, clip in names.items()}
        by_key = segments.read_segments(files.annotations, names, language=options.row_language, rows_to_use=options.rows)
        # Checked against all segments, because a list of clips leaves only some.
        self.lists.check_names(by_key.keys(), frozenset())
        if options.clip_list is not None:
            listed = rows.read_clip_list(options.clip_list, names)
            unknown = "not in the annotations"
            by_key = {key: by_key.get(key) or Segment(source, reject_reason=unknown) for key, source in listed.items()}
        media = layout.media_names(files)
        clips: dict[str, list[Clip]] = {split: [] for split in self.SPLITS}
        for key, segment in by_key.items():
            vid = vids.get(key)
            path = media.get(key) or media.get(vid or "") or f"{files.clip_folders[0]}/{key}.avi"
            clip = self._clip(key, segment, path, vid)
            clips[self._split_of(clip, vid)] += self.cut_windows([clip])
        return clips

    def _split_of(self, clip: Clip, vid: str | None) -> str:
        if self.options.split == "official":
            number = int(vid[3:]) if vid else 0
            return "train" if number <= 1200 else "val" if number <= 1300 else "test"
        return split_of(clip.group, self.seed, _shares(self.media_options))

    def _clip(self, key: str, segment: Segment, path: str, vid: str | None) -> Clip:
        options = self.media_options
        captions = [row.caption or "" for row in segment.rows]
        kept_captions = set(self.kept_captions(captions))
        kept_rows = [row for row in segment.rows if row.caption in kept_captions]
        reason, cooking_share = segment.reject_reason, None
        if options.subset == "cooking" and reason is None:
            cooking_share = cooking.cooking_share(captions)
            reason = "not about cooking" if cooking_share < 0.5 else None
        if options.split == "official" and vid is None:
            reason = reason or "not in youtube_mapping.txt"
        columns = kept_rows[0].columns if kept_rows else ()
        match = KEY.fullmatch(key)
        meta = {
            "video": match[1] if match else None,
            "segment": [int(match[2]), int(match[3])] if match else None,
            "vid": vid,
            "cooking_share": cooking_share,
            "rows_left_out": dict(+segment.left_out) or None,
            # The columns of the CSV, a value for each caption.
            "rows": {name: [row.columns[name] for row in kept_rows] for name in columns} or None,
        }
        return Clip(
            key,
            # Without captions, "no caption" would be its only reason.
            tuple(row.caption or "" for row in kept_rows) or ("-",),
            media=replace(self.listing.media(path), name=path.rpartition("/")[2]),
            group=match[1] if match else key,
            meta=published(meta),
            source=segment.source,
            reject_reason=reason,
        )


DATASET = Msvd


@dataclass(frozen=True)
class _SegmentFrames:
    """Keep clips by Adelaide's rule, ``(End - Start + 1) * fps >= 32``, which counts one second more than the clip lasts."""

    at_least: int

    def why_not(self, frames: Frames, /) -> str | None:
        return f"segment of fewer than {self.at_least} frames" if frames.about["segment_frames"] < self.at_least else None


def _with_preset(options: MsvdOptions) -> MsvdOptions:
    if options.preset == "none":
        return options
    return replace(
        options,
        # A list of clips already selects cooking clips; a vote would only remove some.
        subset=options.subset if options.clip_list else "cooking",
        max_caption_chars=options.max_caption_chars or 60,
        min_segment_frames=options.min_segment_frames or 32,
        val_share=0.2 if options.val_share is None else options.val_share,
        test_share=0.0 if options.test_share is None else options.test_share,
    )


def _shares(options: MsvdOptions) -> dict[str, float]:
    shares = {"test": options.test_share, "val": options.val_share}
    return {split: 0.05 if share is None else share for split, share in shares.items()}
