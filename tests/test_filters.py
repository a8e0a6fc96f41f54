"""Filters say why not, in words that can be counted."""

from __future__ import annotations

import numpy as np
import pytest

from t2vdata.errors import RequestError
from t2vdata.filters import CaptionLength, HasCaption, Moving, NumFrames
from t2vdata.types import Clip, Frames


def frames(*levels: int) -> Frames:
    """Return frames that each have one level all over."""
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
    assert chosen.why_not(Clip("a", ("x" * num_chars, "a second one that is not looked at"))) == reason


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
