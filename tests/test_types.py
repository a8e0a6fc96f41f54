"""The types validate themselves, and tallies add up."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2vdata.errors import ClipError, RequestError
from t2vdata.types import (
    Clip,
    Frames,
    MediaRef,
    Reject,
    Sample,
    ShardPlan,
    ShardReport,
    Tally,
    check_key,
    window_key,
    without_window,
)

reasons = st.dictionaries(st.sampled_from(["static", "no caption", "DecodeError"]), st.integers(1, 9))
tallies = st.builds(Tally, st.integers(0, 9), reasons, reasons)


def reject(kind: str, reason: str) -> Reject:
    return Reject("a", "train", "clip", kind, reason, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["a", "train-00000000", "A_z-9", "x" * 72])
def test_a_key_may_have_letters_digits_underscores_and_hyphens(key: str) -> None:
    check_key(key)


@pytest.mark.parametrize("key", ["", "x" * 73, "a.b", "a/b", "..", "a b", "a\n", "é", "a\0"])
def test_any_other_key_is_refused(key: str) -> None:
    for make in (check_key, lambda key: Clip(key, ()), lambda key: Sample(key, {"txt": b""})):
        with pytest.raises(RequestError, match=r"illegal key .*: expected 1 to 72 of the characters A-Z a-z 0-9 _ -"):
            make(key)


@pytest.mark.parametrize(("start", "end"), [(2.0, 2.0), (2.0, 1.0)])
def test_a_clip_ends_after_it_starts(start: float, end: float) -> None:
    with pytest.raises(RequestError, match=f"a: the span ends at {end} s, before its start"):
        Clip("a", (), media=MediaRef("a.mp4"), start_seconds=start, end_seconds=end)
    assert Clip("a", (), media=MediaRef("a.mp4"), end_seconds=end).start_seconds is None


def test_a_path_in_place_of_a_media_ref_is_refused_with_the_right_form() -> None:
    with pytest.raises(RequestError, match=r"a: media is a path, 'cat.mp4'; expected MediaRef\('cat.mp4'\)"):
        Clip("a", ("x",), media="cat.mp4")  # type: ignore[arg-type]


def test_windows_have_keys_that_lists_may_shorten() -> None:
    clip = Clip("cat-w3", ("a cat",), media=MediaRef("cat-w3.mp4"))
    assert clip.list_names == {"cat-w3"}
    window = clip.cut_window(2)
    assert (window.key, window.window, window.list_names) == ("cat-w3-w2", 2, {"cat-w3-w2", "cat-w3"})
    assert [without_window(key) for key in ("cat", "cat-w3", "cat-w3-w2", "cat-wild")] == ["cat", "cat", "cat-w3", "cat-wild"]
    assert window_key("cat", 3) == "cat-w3"


def test_clips_are_frozen_and_cross_process_borders() -> None:
    clip = Clip("a", ("a caption",), group="g", meta={"label": "1"})
    assert pickle.loads(pickle.dumps(clip)) == clip
    with pytest.raises(dataclasses.FrozenInstanceError):
        clip.key = "b"  # type: ignore[misc]


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_know_their_size(channels: int) -> None:
    frames = Frames(np.zeros((2, 4, 6, channels), np.uint8), 25.0)
    assert (frames.num_frames, frames.height, frames.width, frames.channels) == (2, 4, 6, channels)


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((2, 4, 6), np.uint8),
        np.zeros((2, 4, 6, 2), np.uint8),
        np.zeros((2, 4, 6, 4), np.uint8),
        np.zeros((0, 4, 6, 3), np.uint8),
        np.zeros((2, 4, 0, 3), np.uint8),
        np.zeros((2, 4, 6, 3), np.float32),
        np.zeros((2, 4, 6, 3), np.int8),
    ],
    ids=lambda data: f"{data.shape}{data.dtype}",
)
def test_frames_of_another_shape_or_type_are_refused(data: np.ndarray) -> None:
    with pytest.raises(ClipError, match=r"expected frames of shape \(T, H, W, 1 or 3\) uint8, got"):
        Frames(data, 25.0)


@pytest.mark.parametrize("fps", [0, -1.0, float("nan")])
def test_frames_have_a_positive_rate(fps: float) -> None:
    with pytest.raises(ClipError, match=f"expected frames at a positive rate, got {fps} fps"):
        Frames(np.zeros((1, 2, 2, 1), np.uint8), fps)


@pytest.mark.parametrize("extension", ["txt", "npy.zst", "mp4", "a" * 27, "a.b.c"])
def test_an_extension_is_lower_case_letters_and_digits_with_dots_between(extension: str) -> None:
    assert Sample("a", {extension: b""}).files == {extension: b""}


@pytest.mark.parametrize("extension", ["", ".txt", "txt.", "TXT", "a..b", "a/b", "a" * 28, "txt\n"])
def test_any_other_extension_is_refused(extension: str) -> None:
    with pytest.raises(RequestError, match=r"a: illegal extension .*: expected up to 27 characters like 'npy.zst'"):
        Sample("a", {extension: b""})


def test_a_sample_has_a_file() -> None:
    with pytest.raises(RequestError, match="a: a sample needs at least one file"):
        Sample("a", {})


def test_a_tally_counts_rejects_by_reason() -> None:
    tally = Tally.of(5, [reject("rejected", "static"), reject("failed", "DecodeError"), reject("rejected", "static")])
    assert tally == Tally(5, {"static": 2}, {"DecodeError": 1})
    assert (tally.num_rejected, tally.num_failed, tally.seen) == (2, 1, 8)
    assert tally.as_json() == {"kept": 5, "rejected": {"static": 2}, "failed": {"DecodeError": 1}}


@settings(deadline=None, derandomize=True)
@given(tallies, tallies, tallies)
def test_tallies_add_in_any_order_and_lose_nothing(a: Tally, b: Tally, c: Tally) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Tally() == a
    assert (a + b).seen == a.seen + b.seen
    assert (a + b).num_failed == a.num_failed + b.num_failed


def test_a_plan_is_named_by_its_index_and_split() -> None:
    plan = ShardPlan("train", 3, [Clip("a", ()), Clip("b", ())], (reject("rejected", "no caption"),))
    assert str(plan) == "shard 3 of split train"


def test_a_report_tallies_its_samples_and_rejects() -> None:
    report = ShardReport("s.tar", "train", 4, 10240, "0" * 64, (reject("failed", "RenderError"),))
    assert report.tally == Tally(4, {}, {"RenderError": 1})


def test_a_reject_holds_text_although_the_name_of_a_file_need_not_be_text() -> None:
    name = b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    assert Reject("a", "train", "render", "failed", "DecodeError", f"no file {name}").message == r"no file caf\udce9.mp4"
