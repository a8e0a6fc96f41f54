"""Cuts are found, and motion within a shot is not mistaken for one."""

from __future__ import annotations

import numpy as np
import pytest
from media.video_files import pictures, scene

from t2vdata.media import shots


def joined(*lengths: int) -> np.ndarray:
    """Return scenes of these lengths, joined in order."""
    return np.concatenate([scene(seed, length, width=64, height=64) for seed, length in enumerate(lengths)])


@pytest.mark.parametrize(
    ("lengths", "cuts"), [((30,), []), ((10, 12), [10]), ((3, 9, 5), [3, 12]), ((1, 8), [1]), ((8, 1), [8])]
)
def test_a_cut_is_where_another_scene_begins(lengths: tuple[int, ...], cuts: list[int]) -> None:
    assert shots.cuts(joined(*lengths)) == cuts


def test_motion_within_a_shot_is_not_a_cut() -> None:
    assert shots.cuts(pictures(40, 64, 48)) == []


def test_repeated_frames_neither_hide_nor_make_cuts() -> None:
    assert shots.cuts(joined(6, 6).repeat(4, axis=0)) == [24]
    assert shots.cuts(joined(12).repeat(4, axis=0)) == []


def test_grey_and_large_frames_work_too() -> None:
    grey = joined(6, 7)[..., :1].copy()
    grey[:6] //= 3
    assert shots.cuts(grey) == [6]
    large = np.concatenate([scene(seed, 5, width=320, height=240) for seed in (1, 4)])
    assert shots.cuts(large) == [5]


@pytest.mark.parametrize("length", [1, 2])
def test_a_clip_of_one_or_two_frames_has_no_cut(length: int) -> None:
    assert shots.cuts(joined(length)) == []
    assert shots.longest(joined(length)) == slice(0, length)


def test_the_longest_shot_is_the_first_of_equal_ones() -> None:
    assert shots.longest(joined(4, 9, 5)) == slice(4, 13)
    assert shots.longest(joined(6, 6)) == slice(0, 6)
    assert shots.longest(joined(11)) == slice(0, 11)
