"""What a clip of a media file becomes, and what a file that cannot be trusted may cost."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import numbered_files, video_files

from t2vdata import BuildSpec, build_dataset, filters
from t2vdata.datasets.media import MediaDataset, MediaOptions, check_media_options
from t2vdata.datasets.splits import split_of
from t2vdata.errors import DecodeError, RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.media import sandbox
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video
from t2vdata.media.encode import encoding
from t2vdata.types import Clip, Frames


def file(tmp_path: Path, name: str) -> str:
    path = tmp_path / name
    path.write_bytes(video_files.make(name))
    return str(path)


@pytest.mark.parametrize("name", [name for name in video_files.NAMES if name != "one-frame"])
def test_frames_of_a_whole_file_are_those_of_open_video(name: str, tmp_path: Path) -> None:
    path = file(tmp_path, name)
    with open_video(path, backend="pyav") as video:
        expected = video.frames_at(range(video.num_frames))
    taken = read_clip(path, ClipRequest())
    assert (taken.data == expected).all()
    assert taken.about["original"]["height"] == expected.shape[1]


@pytest.mark.parametrize("name", ["large", "variable-rate", "h264-b-frames-avi", "h264-mpegts", "vp9", "rotated-90", "gif"])
@pytest.mark.parametrize("fps", [10.0, 25.0, 40.0])
def test_a_span_holds_the_frames_that_are_shown_at_its_times(name: str, fps: float, tmp_path: Path) -> None:
    path = file(tmp_path, name)
    with open_video(path, backend="pyav") as video:
        times = [video.seconds[0] + 0.3 + number / fps for number in range(round(0.4 * fps))]
        expected = video.frames_at_times(times)
    taken = read_clip(path, ClipRequest(start_seconds=0.3, end_seconds=0.7, fps=fps))
    assert taken.data.shape == expected.shape
    assert (taken.data == expected).all()
    assert taken.fps == fps


def test_windows_are_spread_from_the_start_of_the_span_to_its_end(tmp_path: Path) -> None:
    path = file(tmp_path, "h264")
    all_frames = read_clip(path, ClipRequest())
    starts = [0, 10, 20]
    for window, start in enumerate(starts):
        taken = read_clip(path, ClipRequest(num_frames=4, window=window, num_windows=3))
        assert (taken.data == all_frames.data[start : start + 4]).all()


def test_sizes_are_cut_squashed_or_padded(tmp_path: Path) -> None:
    path = file(tmp_path, "h264")
    for resize in ("shorter", "squash", "pad"):
        assert read_clip(path, ClipRequest(size=32, resize=resize)).data.shape[1:] == (32, 32, 3)
    padded = read_clip(path, ClipRequest(size=32, resize="pad")).data
    assert not padded[:, :4].any()
    assert padded[:, 4:28].any()


def test_the_pixels_of_a_span_are_limited_with_a_hint_what_to_change(tmp_path: Path) -> None:
    path = file(tmp_path, "h264")
    limit = 24 * 16 * 16
    assert read_clip(path, ClipRequest(size=16), max_pixels=limit).num_frames == 24
    for request, hint in (
        (ClipRequest(size=17), "clip; use --frames, a smaller --size, or a shorter span"),
        (ClipRequest(size=32, num_frames=20), "clip; use fewer --frames, a smaller --size, or a shorter span"),
        (
            ClipRequest(size=17, num_frames=4, shot="longest"),
            "span, all of which is read before frames are chosen; use a smaller --size, or a shorter span",
        ),
    ):
        with pytest.raises(DecodeError, match=f"over 6144 pixels in one {hint}"):
            read_clip(path, request, max_pixels=limit)


def test_the_larger_frames_for_matching_count_too_once_each(tmp_path: Path) -> None:
    path = file(tmp_path, "h264")
    own, grey = 16 * 16, 240 * 320 // 3
    limit = 24 * grey + 48 * own
    # At twice the file's rate, each frame comes twice.
    assert read_clip(path, ClipRequest(size=16, fps=50.0, counts_matches=True), max_pixels=limit).num_frames == 48
    limit = 24 * grey + 24 * own - 1
    assert read_clip(path, ClipRequest(size=16), max_pixels=limit).num_frames == 24
    with pytest.raises(DecodeError, match="use --frames, a smaller --size, no --min-matches, or a shorter span"):
        read_clip(path, ClipRequest(size=16, counts_matches=True), max_pixels=limit)


def test_a_span_after_the_end_says_where_the_file_ends(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"no frame from 9 s on: the file ends at 0\.96 s"):
        read_clip(file(tmp_path, "h264"), ClipRequest(start_seconds=9.0, fps=5.0))


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nother.ts\n", "ffconcat version 1.0\nfile 'other.mp4'\n"]
)
def test_a_playlist_opens_no_other_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text(text)
    with pytest.raises(DecodeError, match="no video container"):
        sandbox.take(str(tmp_path / "list.mp4"), ClipRequest())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": 3}, "--windows 3 needs the length of a window; add --frames 32"),
        ({"frames": 0}, "--frames 0: expected 1 or more"),
        ({"fps": -1.0}, "--fps -1: expected a positive number"),
        ({"timeout": float("inf")}, "--timeout inf: expected a positive number"),
    ],
    ids=str,
)
def test_invalid_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        check_media_options(MediaOptions(**options))


def test_captions_over_a_limit_are_dropped_and_clips_without_any_other_rejected() -> None:
    chosen = filters.AnyCaption(max_chars=6, max_words=2)
    assert chosen.kept(["a cat", "a black cat", "one of three"]) == ("a cat",)
    assert chosen.why_not(Clip("a", ("a black cat", "a"))) is None
    assert chosen.why_not(Clip("a", ("a black cat",))) == "no caption of 6 characters or fewer"
    assert chosen.why_not(Clip("a", ("a b c",))) == "no caption of 2 words or fewer"


def frame_filters(**options: object) -> Sequence[filters.FrameFilter]:
    """Return the frame filters of a media dataset."""

    class Films(MediaDataset):
        def clips(self, split: str) -> Sequence[Clip]:
            return ()

    return Films(None, MediaOptions(**options), 0).frame_filters()


def test_filters_judge_the_original_file_and_pass_pictures() -> None:
    still = np.zeros((8, 4, 4, 3), np.uint8)
    video = {"original": {"height": 100, "width": 200, "fps": 25.0, "hdr": False}}
    picture = {"original": {"height": 100, "width": 200, "hdr": False}}
    chosen = frame_filters(frames=16, min_size=90, min_motion=0.5)
    assert filters.first_reason(Frames(still, 25.0, video), chosen) == "fewer than 16 frames"
    assert filters.first_reason(Frames(still.repeat(2, axis=0), 25.0, video), chosen).startswith("static")
    assert filters.first_reason(Frames(still[:1], 1.0, picture), chosen) is None
    hdr = {"original": {**video["original"], "hdr": True}}
    assert filters.first_reason(Frames(still, 25.0, hdr), chosen) == "high dynamic range"
    assert filters.OriginalSize(101).why_not(Frames(still, 25.0, video)) == "under 101 pixels"
    assert filters.FramesDuration(1.0).why_not(Frames(still, 25.0, video)) == "shorter than 1 s"
    assert filters.FramesDuration(1.0).why_not(Frames(still, 25.0, {**video, "seconds": 1.0})) is None
    assert filters.FramesDuration(max_seconds=1.0).why_not(Frames(still, 25.0, {**video, "seconds": 1.5})) == "longer than 1 s"
    chosen = frame_filters(min_seconds=2.0)
    assert filters.first_reason(Frames(still[:1], 1.0, picture), chosen) is None
    assert filters.SpanDuration(2.0).why_not(Clip("a", ("b",), end_seconds=1.0)) == "shorter than 2 s"


def test_the_split_of_a_group_depends_on_nothing_else() -> None:
    shares = {"test": 0.1, "val": 0.2}
    splits = [split_of(f"video {number}", 0, shares) for number in range(5000)]
    assert 0.08 < splits.count("test") / 5000 < 0.12
    assert 0.17 < splits.count("val") / 5000 < 0.23
    assert splits != [split_of(f"video {number}", 1, shares) for number in range(5000)]
    with pytest.raises(RequestError, match=r"shares test 0\.9, val 0\.2: expected 0 to 1 in all"):
        split_of("a", 0, {"test": 0.9, "val": 0.2})


def test_durations_follow_the_times_of_the_file_and_damage_is_skipped_on_request(tmp_path: Path) -> None:
    kind = numbered_files.Kind("mp4", "libx264", {"x264-params": "keyint=1:bframes=0"})
    (tmp_path / "slides.mp4").write_bytes(numbered_files.encode(kind, [0, 1, 2], rate=Fraction(10), durations=[1, 1, 20]))
    (tmp_path / "short.mp4").write_bytes(numbered_files.encode(kind, range(15), rate=Fraction(10)))
    damaged = video_files.damaged_at(numbered_files.encode(kind, range(25), rate=Fraction(10)), 4)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    table = tmp_path / "clips.csv"
    table.write_text("path,caption,key\n" + "".join(f"{name}.mp4,x,{name}\n" for name in ("slides", "short", "damaged")))
    kept = {}
    for skip_damage in (False, True):
        shares = {"val_share": 0.0, "test_share": 0.0}
        options = {"table": table, "size": 0, "min_seconds": 2.0, "skip_damage": skip_damage, **shares}
        out = tmp_path / f"{skip_damage}"
        build_dataset(BuildSpec("table", options, encoding=encoding("lossless")), out, num_workers=1)
        kept[skip_damage] = {item.key: item for item in open_dataset(out)["train"]}
    assert set(kept[False]) == {"slides"}
    assert set(kept[True]) == {"slides", "damaged"}
    assert kept[True]["slides"].meta["seconds"] == 2.2
    assert numbered_files.numbers_in(kept[True]["damaged"].frames.data) == [*range(4), *range(5, 25)]
