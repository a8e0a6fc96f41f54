"""Filters answer with a reason that can be counted."""

from __future__ import annotations

import numpy as np
import pytest

from t2vdata.errors import RequestError
from t2vdata.filters import (
    AnnotationFilter,
    CaptionLength,
    FramesDuration,
    HasCaption,
    HasMedia,
    Moving,
    NumFrames,
    SpanDuration,
)
from t2vdata.types import Clip, Frames, MediaRef


def frames(*levels: int) -> Frames:
    """Return frames of a single grey level each."""
    return Frames(np.array(levels, np.uint8)[:, None, None, None].repeat(4, axis=1).repeat(4, axis=2), 30.0)


@pytest.mark.parametrize("captions", [(), ("",), (" \n",), ("a digit", " ")])
def test_a_clip_without_a_caption_is_left_out(captions: tuple[str, ...]) -> None:
    assert HasCaption().why_not(Clip("a", captions)) == "no caption"


@pytest.mark.parametrize("captions", [("a digit",), ("a digit", "a number")])
def test_a_clip_with_captions_is_kept(captions: tuple[str, ...]) -> None:
    assert HasCaption().why_not(Clip("a", captions)) is None


@pytest.mark.parametrize(
    ("num_chars", "reason"),
    [
        (0, "caption under 3 characters"),
        (2, "caption under 3 characters"),
        (3, None),
        (5, None),
        (6, "caption over 5 characters"),
    ],
)
def test_the_first_caption_has_a_length_within_both_bounds(num_chars: int, reason: str | None) -> None:
    chosen = CaptionLength(max_chars=5, min_chars=3)
    assert chosen.why_not(Clip("a", ("x" * num_chars, "a second caption, which is ignored"))) == reason


def test_a_clip_without_captions_is_too_short() -> None:
    assert CaptionLength(max_chars=5).why_not(Clip("a", ())) == "caption under 1 characters"


@pytest.mark.parametrize(("least", "most"), [(3, 2), (-1, 5)])
def test_lengths_that_keep_nothing_are_refused(least: int, most: int) -> None:
    with pytest.raises(RequestError, match=f"caption length from {least} to {most} characters keeps nothing"):
        CaptionLength(max_chars=most, min_chars=least)


def test_a_clip_with_too_few_frames_is_left_out() -> None:
    assert NumFrames(3).why_not(frames(1, 2)) == "fewer than 3 frames"
    assert NumFrames(3).why_not(frames(1, 2, 3)) is None


def test_a_clip_moves_when_neighbouring_frames_differ_enough_on_average() -> None:
    # Differences of 10 and 0 levels: 5 on average.
    assert Moving(5.0).why_not(frames(0, 10, 10)) is None
    assert Moving(5.5).why_not(frames(0, 10, 10)) == "static: frames differ by less than 5.5 levels"


def test_levels_are_subtracted_without_wrapping_round() -> None:
    assert Moving(255.0).why_not(frames(255, 0, 255)) is None
    assert Moving(2.0).why_not(frames(1, 0, 1)) == "static: frames differ by less than 2 levels"


def test_a_single_frame_does_not_move() -> None:
    assert Moving(0.1).why_not(frames(9)) == "static: frames differ by less than 0.1 levels"
    assert Moving(0.0).why_not(frames(9)) is None


def test_a_clip_that_its_annotations_rule_out_is_rejected_with_their_reason() -> None:
    assert AnnotationFilter().why_not(Clip("a", ("x",), reject_reason="no label")) == "no label"
    assert AnnotationFilter().why_not(Clip("a", ("x",), meta={"why_not": "published, and ignored"})) is None


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (None, None),
        (MediaRef("/nowhere/a.mp4"), "no media file"),
        (MediaRef(__file__), None),
        (MediaRef("s3://bucket/a.mp4"), None),
        (MediaRef("s3://bucket/a.mp4", size_bytes=0), None),
        (
            MediaRef("s3://bucket/a.mp4", absent_reason="no media file, and part_0.tar is damaged"),
            "no media file, and part_0.tar is damaged",
        ),
        (MediaRef("/nowhere/part_0.tar", offset=512), None),
        (MediaRef("/nowhere/part_0.tar", is_in_unread_archive=True), None),
    ],
    ids=str,
)
def test_a_file_is_missing_if_a_listing_or_the_disk_says_so(media: MediaRef | None, reason: str | None) -> None:
    assert HasMedia().why_not(Clip("a", ("x",), media)) == reason


@pytest.mark.parametrize(
    ("end", "reason"), [(1.9, "shorter than 1 s"), (2.0, None), (3.0, None), (3.1, "longer than 2 s"), (None, None)]
)
def test_the_duration_of_a_span_is_within_a_closed_range(end: float | None, reason: str | None) -> None:
    clip = Clip("a", ("x",), start_seconds=1.0, end_seconds=end)
    assert SpanDuration(1.0, 2.0).why_not(clip) == reason


def test_the_duration_of_frames_is_that_of_their_span_if_it_is_known() -> None:
    video = frames(*range(30))
    assert FramesDuration(1.0, 1.0).why_not(video) is None
    assert FramesDuration(1.5).why_not(video) == "shorter than 1.5 s"
    assert FramesDuration(max_seconds=0.5).why_not(video) == "longer than 0.5 s"
    assert FramesDuration(1.5).why_not(Frames(video.data, 30.0, {"seconds": 2.0})) is None
