"""Packed clips are the clips that were added, in a fraction of the memory."""

from __future__ import annotations

import sys

import pytest

from t2vdata.datasets._packed import PackedClips
from t2vdata.types import Clip, MediaRef

META = {"label": "y", "n": [1, None]}
CLIPS = [
    Clip(f"clip-{number}", ("a caption", "größer"), MediaRef(f"/a/{number}.mp4"), 0.5, None, group="x", meta=META)
    for number in range(5)
]


def packed(num_windows: int = 1) -> PackedClips:
    clips = PackedClips(num_windows)
    for clip in CLIPS:
        clips.add(clip)
    return clips


def test_paths_that_are_not_utf8_and_long_integers_come_back_unchanged() -> None:
    clips = PackedClips()
    clip = Clip("a", ("x", "\ud800"), MediaRef("/caf\udce9/a.mp4", "caf\udce9/a.mp4", row=7), meta={"n": 1 << 70})
    clips.add(clip)
    clips.add(CLIPS[0])
    assert list(clips) == [clip, CLIPS[0]]


def test_clips_come_back_unchanged() -> None:
    assert list(packed()) == CLIPS
    assert packed()[1:4] == CLIPS[1:4]
    assert packed()[-1] == CLIPS[-1]
    with pytest.raises(IndexError, match="clip 5 of 5"):
        packed()[5]


@pytest.mark.parametrize(
    "clip",
    [
        Clip("a", ("x",)),
        Clip("a", (), MediaRef("a.mp4", "b.mp4", 0), source="train.csv, line 2", reject_reason="no label"),
        Clip("a", ("x",), MediaRef("a.tar", "b.mp4", 7, 512, True), 1.0, 2.5, "g", {"label": "y"}),
        Clip("a", ("x",), MediaRef("a.tar", is_in_unread_archive=True)),
        Clip("a", ("x",), MediaRef("a.mp4", absent_reason="no media file")),
        Clip("a-w2", ("x",), MediaRef("a.mp4", "a.mp4"), window=2),
    ],
    ids=str,
)
def test_every_field_comes_back_unchanged(clip: Clip) -> None:
    clips = PackedClips()
    clips.add(clip)
    assert clips[0] == clip


def test_windows_are_cut_when_a_clip_is_read() -> None:
    clips = packed(3)
    clips.add_last([Clip("last", ("-",))])
    assert len(clips) == 16
    assert [clip.key for clip in clips[:4]] == ["clip-0-w0", "clip-0-w1", "clip-0-w2", "clip-1-w0"]
    assert [clip.window for clip in clips[:4]] == [0, 1, 2, 0]
    assert (clips[15].key, clips[-1].key, clips[14].key) == ("last", "last", "clip-4-w2")
    assert list(clips.without_windows()) == CLIPS


def test_a_clip_takes_about_a_hundred_bytes() -> None:
    clips = PackedClips()
    for number in range(20_000):
        media = MediaRef(f"/data/{number:06d}.mp4")
        clips.add(Clip(f"clip-{number:06d}", ("a person is playing golf",), media, meta={"label": "golf"}))
    # 255 bytes if lines held field names.
    assert sys.getsizeof(clips._lines) + sys.getsizeof(clips._ends) < 20_000 * 150


def test_clips_are_sorted_by_their_positions_and_ties_keep_their_order() -> None:
    clips = PackedClips(2)
    for key in ("a", "b", "c", "d"):
        clips.add(Clip(key, ("x",), media=MediaRef("part.tar.gz", offset=5, is_gzipped=True)))
    clips.sort([7, -1, 7, 3])
    assert [clip.key for clip in clips] == [f"{key}-w{window}" for key in "bdac" for window in (0, 1)]
    assert clips[0].media == MediaRef("part.tar.gz", offset=5, is_gzipped=True)
