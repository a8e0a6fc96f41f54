"""Clips in little memory are the clips that were put in."""

from __future__ import annotations

import sys

import pytest

from t2vdata.datasets._packed import PackedClips
from t2vdata.types import Clip

CLIPS = [
    Clip(
        f"clip-{number}", ("a caption", "größer"), f"/a/{number}.mp4", 0.5, None, group="x", meta={"label": "y", "n": [1, None]}
    )
    for number in range(5)
]


def packed(num_windows: int = 1) -> PackedClips:
    made = PackedClips(num_windows)
    for clip in CLIPS:
        made.add(clip)
    return made


def test_clips_come_back_as_they_were() -> None:
    assert list(packed()) == CLIPS == [packed()[number] for number in range(5)]
    assert packed()[1:4] == CLIPS[1:4]
    assert packed()[-1] == CLIPS[-1]
    with pytest.raises(IndexError, match="clip 5 of 5"):
        packed()[5]


def test_windows_are_cut_when_a_clip_is_asked_for() -> None:
    made = packed(3)
    made.add_last([Clip("last", ("-",))])
    assert len(made) == 16
    assert [clip.key for clip in made[:4]] == ["clip-0-w0", "clip-0-w1", "clip-0-w2", "clip-1-w0"]
    assert [clip.meta["window"] for clip in made[:4]] == [0, 1, 2, 0]
    assert (made[15].key, made[-1].key, made[14].key) == ("last", "last", "clip-4-w2")
    assert list(made.whole()) == CLIPS


def test_a_clip_takes_a_few_hundred_bytes() -> None:
    made = PackedClips()
    for number in range(20_000):
        made.add(Clip(f"clip-{number:06d}", ("a person is playing golf",), f"/data/{number:06d}.mp4", meta={"label": "golf"}))
    assert sys.getsizeof(made._lines) + sys.getsizeof(made._ends) < 20_000 * 300


def test_clips_are_put_in_the_order_of_their_places() -> None:
    packed = PackedClips(2)
    for key in ("a", "b", "c", "d"):
        packed.add(Clip(key, ("x",), media="part.tar.gz", media_offset=5, is_gzipped=True))
    packed.sort([7, -1, 7, 3])
    assert [clip.key for clip in packed] == [f"{key}-w{window}" for key in "bdac" for window in (0, 1)]
    assert (packed[0].media_offset, packed[0].is_gzipped) == (5, True)
