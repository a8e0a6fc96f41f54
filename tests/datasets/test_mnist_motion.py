"""The promises of mnist-motion, clip by clip: captions, balance, exact paths, exact pixels, disjoint splits."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2vdata import datasets
from t2vdata.datasets.mnist_motion import MnistMotion, MotionClips, digits
from t2vdata.datasets.mnist_motion.options import SPLITS, MnistMotionOptions
from t2vdata.errors import RequestError, UnknownNameError
from t2vdata.types import Clip, Frames

BACK = {"down": "up", "up": "down", "right": "left", "left": "right"}
AXIS = {"down": "vertical", "up": "vertical", "right": "horizontal", "left": "horizontal"}


def options_of(**values: Any) -> MnistMotionOptions:
    return datasets.make_options("mnist-motion", values)


def clips_of(split: str = "train", *, seed: int = 0, **values: Any) -> MotionClips:
    return MnistMotion(None, options_of(**values), seed).clips(split)


def render(clip: Clip, options: MnistMotionOptions) -> Frames:
    return MnistMotion(None, options, 0).render(clip)


def movers(clips: MotionClips) -> Iterator[Any]:
    for clip in clips:
        yield from clip.meta["digits"]


# Captions and meta


@pytest.mark.parametrize("conjunction", ["and", "to"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_caption_names_the_digit_and_both_directions_first_leg_first(conjunction: str, split: str) -> None:
    clips = clips_of(split, n=800, val=80, test=80, conjunction=conjunction)
    assert len(clips) >= 80
    for clip in clips:
        (mover,) = clip.meta["digits"]
        first = mover["first_direction"]
        assert clip.captions == (f"the digit {mover['digit']} is moving {first} {conjunction} {BACK[first]}",)
        assert clip.meta["label"] == str(mover["digit"])
        assert clip.meta["meaning"] == f"{mover['digit']} {first}"


def test_forty_clips_include_the_digit_9_moving_down_and_up_once() -> None:
    assert [clip.captions[0] for clip in clips_of(n=40)].count("the digit 9 is moving down and up") == 1


def test_two_digits_have_a_clause_each_joined_by_and() -> None:
    for clip in clips_of(n=200, digits=2, conjunction="to"):
        clauses = [
            f"the digit {mover['digit']} is moving {mover['first_direction']} to {BACK[mover['first_direction']]}"
            for mover in clip.meta["digits"]
        ]
        assert len(clauses) == 2
        assert clip.captions == (" and ".join(clauses),)
        assert clip.meta["label"] == " ".join(str(mover["digit"]) for mover in clip.meta["digits"])
        assert clip.meta["meaning"] == ", ".join(
            f"{mover['digit']} {mover['first_direction']}" for mover in clip.meta["digits"]
        )


def test_both_conjunctions_are_equally_frequent_and_never_mixed_in_a_caption() -> None:
    captions = [clip.captions[0] for clip in clips_of(n=2000, digits=2, conjunction="both")]
    with_to = sum(caption.count(" to ") == 2 for caption in captions)
    assert 900 < with_to < 1100
    assert sum(" to " not in caption for caption in captions) == 2000 - with_to


def test_meta_is_complete_and_json() -> None:
    (clip,) = clips_of(n=1)
    assert set(clip.meta) == {"label", "meaning", "digits"}
    assert set(clip.meta["digits"][0]) == {
        "digit", "mnist_split", "mnist_index", "axis", "first_direction", "start", "turn", "across", "speed", "start_phase",
        "positions",
    }  # fmt: skip
    assert json.loads(json.dumps(clip.meta)) == clip.meta


def test_the_digit_matches_the_image_and_the_axis_the_direction() -> None:
    labels = {split: digits.labels(None, split) for split in ("train", "test")}
    for split in SPLITS:
        for mover in movers(clips_of(split, n=400, val=400, test=400, compositional=400, holdout=4)):
            assert labels[mover["mnist_split"]][mover["mnist_index"]] == mover["digit"]
            assert mover["axis"] == AXIS[mover["first_direction"]]


def test_keys_number_the_clips_of_a_split() -> None:
    assert [clip.key for clip in clips_of("val", n=30)] == ["val-00000000", "val-00000001", "val-00000002"]


def test_a_group_names_the_images_of_a_clip() -> None:
    single, double = clips_of(n=1)[0], clips_of(n=1, digits=2)[0]
    assert single.group == f"mnist-train-{single.meta['digits'][0]['mnist_index']}"
    assert double.group == "+".join(f"mnist-train-{mover['mnist_index']}" for mover in double.meta["digits"])


# Counts


@pytest.mark.parametrize(
    ("values", "meanings"),
    [
        ({}, {"train": 40, "val": 40, "test": 40}),
        ({"holdout": 4}, {"train": 36, "val": 36, "test": 36, "compositional": 4}),
        ({"holdout": 30}, {"train": 10, "val": 10, "test": 10, "compositional": 30}),
        ({"diversity": "low"}, {"train": 40, "val": 40, "test": 40}),
    ],
)
def test_every_prefix_of_every_split_has_each_meaning_equally_often(values: dict[str, Any], meanings: dict[str, int]) -> None:
    for split, expected in meanings.items():
        assert_balanced(clips_of(split, n=330, val=330, test=330, **values), expected)


@pytest.mark.parametrize(("holdout", "split", "expected"), [(0, "train", 1600), (4, "val", 1296), (4, "compositional", 304)])
def test_meanings_of_two_digits_are_equally_frequent(holdout: int, split: str, expected: int) -> None:
    compositional = 1700 if holdout else None
    assert_balanced(clips_of(split, n=1700, val=1700, holdout=holdout, compositional=compositional, digits=2), expected)


def assert_balanced(clips: MotionClips, num_meanings: int) -> None:
    """Assert that in every prefix no two of all ``num_meanings`` differ by more than one."""
    counts = Counter[str]()
    for number, clip in enumerate(clips):
        # Each meaning comes once in every run of all of them.
        assert counts[clip.meta["meaning"]] == number // num_meanings
        counts[clip.meta["meaning"]] += 1
    assert len(counts) == num_meanings


def test_each_run_of_all_meanings_has_its_own_order() -> None:
    meanings = [clip.meta["meaning"] for clip in clips_of(n=80)]
    assert sorted(meanings[:40]) == sorted(meanings[40:])
    assert meanings[:40] != meanings[40:]


def test_a_split_has_a_tenth_of_the_training_clips_and_at_least_one_by_default() -> None:
    assert [len(clips_of(split, n=400)) for split in SPLITS] == [400, 40, 40, 0]
    assert [len(clips_of(split, n=5, holdout=1)) for split in SPLITS] == [5, 1, 1, 1]
    assert [len(clips_of(split, n=400, val=7, test=0)) for split in SPLITS] == [400, 7, 0, 0]
    assert [len(clips_of(split, holdout=4)) for split in SPLITS] == [40_000, 4_000, 4_000, 4_000]
    assert list(clips_of("test", n=400, test=0)) == []


def test_a_clip_has_32_frames_of_64_pixels_at_30_fps_by_default() -> None:
    frames = render(clips_of(n=1)[0], options_of())
    assert (frames.data.shape, frames.fps) == ((32, 64, 64, 1), 30.0)
    assert MnistMotion(None, options_of(), 0).frame_size() == (64, 64)


def test_frames_fps_and_size_follow_the_options() -> None:
    options = options_of(n=1, frames=9, fps=12.5, size=41, digit_size=15)
    frames = render(MnistMotion(None, options, 0).clips("train")[0], options)
    assert (frames.data.shape, frames.fps) == ((9, 41, 41, 1), 12.5)
    assert MnistMotion(None, options, 0).frame_size() == (41, 41)


# Held-out pairs


@pytest.mark.parametrize("seed", [0, 1, 99])
def test_held_out_pairs_occur_only_in_the_compositional_split(seed: int) -> None:
    seen = {split: {clip.meta["meaning"] for clip in clips_of(split, seed=seed, n=400, holdout=4)} for split in SPLITS}
    assert len(seen["compositional"]) == 4
    assert seen["train"] == seen["val"] == seen["test"]
    assert len(seen["train"]) == 36
    assert not seen["train"] & seen["compositional"]


def test_a_clip_of_two_digits_is_compositional_when_one_clause_is_held_out() -> None:
    single = {clip.meta["meaning"] for clip in clips_of("compositional", n=40, holdout=4)}
    values = {"n": 2000, "digits": 2, "holdout": 4, "compositional": 400}
    assert not any(set(clip.meta["meaning"].split(", ")) & single for clip in clips_of("train", **values))
    assert all(set(clip.meta["meaning"].split(", ")) & single for clip in clips_of("compositional", **values))


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("holdout", range(31))
def test_training_has_every_digit_and_direction_for_any_holdout(holdout: int, seed: int) -> None:
    seen = {(mover["digit"], mover["first_direction"]) for mover in movers(clips_of(n=40, holdout=holdout, seed=seed))}
    assert len(seen) == 40 - holdout
    assert {digit for digit, _ in seen} == set(range(10))
    assert {direction for _, direction in seen} == set(BACK)


# Images


@pytest.mark.parametrize(
    "values", [{}, {"holdout": 4}, {"holdout": 4, "digits": 2}, {"holdout": 4, "diversity": "low"}], ids=str
)
def test_no_image_is_in_two_splits(values: dict[str, Any]) -> None:
    images = {
        split: {(mnist_split, index) for _, mnist_split, index in image_uses(split, **values)}
        for split in (SPLITS if values else SPLITS[:3])
    }
    assert all(images.values())
    for left, right in itertools.combinations(images, 2):
        assert not images[left] & images[right], f"{left} and {right}"
    assert {mnist_split for mnist_split, _ in images["train"]} == {"train"}
    assert {mnist_split for name in images if name != "train" for mnist_split, _ in images[name]} == {"test"}


@functools.cache
def image_uses(split: str, **values: Any) -> list[tuple[int, str, int]]:
    """Return (digit, MNIST split, index) of every digit in 6000 clips: every test image of a digit is among them."""
    # Short clips: which images are used does not depend on their length. Low diversity needs 20 frames.
    num_frames = 20 if values.get("diversity") == "low" else 5
    clips = clips_of(split, n=6000, val=6000, test=6000, frames=num_frames, **values)
    return [(mover["digit"], mover["mnist_split"], mover["mnist_index"]) for mover in movers(clips)]


def test_val_and_test_each_have_half_of_the_test_images() -> None:
    used = [{index for _, _, index in image_uses(split)} for split in ("val", "test")]
    assert [len(images) for images in used] == [4999, 5001]
    assert used[0] | used[1] == set(range(10_000))


@pytest.mark.parametrize(("split", "values"), [("val", {}), ("test", {"holdout": 4}), ("train", {"diversity": "low"})])
def test_all_images_of_a_digit_are_used_before_any_is_used_again(split: str, values: dict[str, Any]) -> None:
    uses = image_uses(split, **values)
    pool_sizes = Counter(digit for digit, _, _ in set(uses))
    digits, images = Counter[int](), Counter[int]()
    for digit, _, image in uses:
        assert images[image] == digits[digit] // pool_sizes[digit]
        digits[digit] += 1
        images[image] += 1
    assert min(digits[digit] / pool_sizes[digit] for digit in range(10)) > 1


def test_ten_thousand_training_clips_have_ten_thousand_images() -> None:
    assert len({mover["mnist_index"] for mover in movers(clips_of(n=10_000, frames=5))}) == 10_000


@pytest.mark.parametrize("split", SPLITS)
def test_low_diversity_has_ten_images_of_each_digit_and_two_speeds(split: str) -> None:
    drawn = list(movers(clips_of(split, n=1000, val=1000, test=1000, compositional=1000, holdout=10, diversity="low")))
    images = {(mover["digit"], mover["mnist_index"]) for mover in drawn}
    assert Counter(digit for digit, _ in images) == dict.fromkeys(range(10), 10)
    assert len({mover["speed"] for mover in drawn}) == 2


# Paths


def bounce(start: Fraction, turn: Fraction, speed: Fraction, phase: Fraction, num_frames: int) -> list[Fraction]:
    """Return the positions of a point that bounces between two walls, simulated step by step."""
    position, ahead, behind = start, turn, start
    positions = []
    for step in [phase] + [speed] * (num_frames - 1):
        remaining = step
        while remaining > abs(ahead - position):
            remaining -= abs(ahead - position)
            position, ahead, behind = ahead, behind, ahead
        position += remaining if ahead > position else -remaining
        positions.append(position)
    return positions


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**63 - 1),
    digit_size=st.integers(4, 60),
    free=st.integers(8, 120),
    frames=st.integers(20, 70),
    digits=st.sampled_from([1, 2]),
    diversity=st.sampled_from(["low", "high"]),
)
def test_positions_are_exact_through_every_reflection(
    seed: int, digit_size: int, free: int, frames: int, digits: int, diversity: str
) -> None:
    values = {"digit_size": digit_size, "size": digit_size + free, "frames": frames, "digits": digits, "diversity": diversity}
    for mover in movers(clips_of(seed=seed, n=12, **values)):
        path = [Fraction(mover[name]) for name in ("start", "turn", "speed", "start_phase")]
        assert mover["positions"] == bounce(*path, frames)
        assert all((64 * Fraction(value)).denominator == 1 for value in [*path, *mover["positions"]])
        assert isinstance(mover["across"], int)


def test_a_reflection_inside_a_step_is_computed_and_not_clamped() -> None:
    turning = [mover for mover in movers(clips_of(n=200)) if mover["turn"] not in mover["positions"]]
    assert len(turning) > 150
    for mover in turning:
        to_turn = [abs(Fraction(position) - Fraction(mover["turn"])) for position in mover["positions"]]
        leg = abs(Fraction(mover["turn"]) - Fraction(mover["start"]))
        last_before = floor((leg - Fraction(mover["start_phase"])) / Fraction(mover["speed"]))
        # The distances to the wall and back from it add up to one step; a clamped digit would stand on the wall.
        assert to_turn[last_before] + to_turn[last_before + 1] == Fraction(mover["speed"])


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_end_points_are_a_quarter_of_the_free_range_apart_or_more(split: str) -> None:
    legs = [abs(mover["turn"] - mover["start"]) for mover in movers(clips_of(split, n=2000, val=2000, test=2000))]
    assert 9 <= min(legs) < 9.5
    assert 34 < max(legs) <= 36
    assert all(0 <= mover[end] <= 36 for mover in movers(clips_of(split, n=2000)) for end in ("start", "turn", "across"))


@pytest.mark.parametrize(
    "values", [{}, {"frames": 5}, {"frames": 20, "diversity": "low"}, {"size": 300, "frames": 90}], ids=str
)
def test_every_clip_shows_its_first_leg_the_turn_and_a_quarter_of_the_way_back(values: dict[str, Any]) -> None:
    for mover in movers(clips_of(n=500, **values)):
        leg = abs(mover["turn"] - mover["start"])
        along = [abs(position - mover["start"]) for position in mover["positions"]]
        assert 0 <= along[0] < mover["speed"]
        # Time is discrete: the turn, and the point a quarter of a leg after it, fall between two frames.
        travelled = mover["start_phase"] + mover["speed"] * (len(along) - 1)
        assert travelled >= 1.25 * leg
        turn = next(frame for frame, distance in enumerate(along) if leg - distance <= mover["speed"] / 2)
        assert along[: turn + 1] == sorted(along[: turn + 1])
        assert min(along[turn:]) <= 0.75 * leg + mover["speed"]


# Slices of a split


@pytest.mark.parametrize("values", [{}, {"digits": 2, "holdout": 4, "conjunction": "both"}], ids=str)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_larger_n_keeps_the_first_clips(values: dict[str, Any], split: str) -> None:
    few, many = clips_of(split, n=300, val=300, **values), clips_of(split, n=2100, val=700, **values)
    assert list(few) == list(many[:300])


def test_the_size_of_a_split_does_not_affect_another() -> None:
    assert list(clips_of("test", n=100, val=0, test=20)) == list(clips_of("test", n=900, val=300, test=20))


@pytest.mark.parametrize(
    "part", [slice(None), slice(3, 9), slice(240, 270), slice(-7, None), slice(5, 5), slice(600, 900)], ids=str
)
def test_slicing_and_indexing_agree_with_iteration(part: slice) -> None:
    clips = clips_of(n=700, frames=5)
    all_clips = list(clips)
    assert len(all_clips) == len(clips) == 700
    assert list(clips[part]) == all_clips[part]
    assert [clips[part][index] for index in range(len(clips[part]))] == all_clips[part]


@pytest.mark.parametrize("part", [slice(None, None, 2), slice(10, 600, 7), slice(None, None, -1)], ids=str)
def test_slicing_in_steps_agrees_with_iteration(part: slice) -> None:
    clips = clips_of(n=700, frames=5)
    all_clips = list(clips)
    assert [clips[part][index] for index in range(len(clips[part]))] == all_clips[part]
    assert list(clips[part]) == all_clips[part]


def test_negative_indices_count_from_the_end_and_others_are_checked() -> None:
    clips = clips_of(n=50)
    assert clips[-1] == clips[49] == list(clips)[49]
    assert clips[10:20][3] == clips[13]
    with pytest.raises(IndexError):
        clips[50]


def test_the_same_seed_gives_the_same_clips() -> None:
    assert list(clips_of(n=50, seed=3)) == list(clips_of(n=50, seed=3))


def test_another_seed_gives_other_clips() -> None:
    first, second = (list(clips_of(n=200, seed=seed)) for seed in (0, 1))
    assert [clip.key for clip in first] == [clip.key for clip in second]
    assert sum(mine.captions == yours.captions for mine, yours in zip(first, second, strict=True)) < 40
    assert not any(mine.meta == yours.meta for mine, yours in zip(first, second, strict=True))


def test_splits_have_different_clips() -> None:
    train, val = (list(movers(clips_of(split, n=100, val=100))) for split in ("train", "val"))
    assert not any(mine["positions"] == yours["positions"] for mine, yours in zip(train, val, strict=True))


# Pixels


def reference_frames(clip: Clip, options: MnistMotionOptions) -> np.ndarray:
    """Return the frames by the rule in the docstring of drawing.py, a digit and a frame at a time, in integers."""
    size, subpixel = options.size, options.subpixel
    frames = np.zeros((options.frames, size, size), int)
    for mover in clip.meta["digits"]:
        image = reference_digit(mover["mnist_split"], mover["mnist_index"], options.digit_size)
        for frame, position in zip(frames, mover["positions"], strict=True):
            pixel, steps = divmod(floor(Fraction(position) * subpixel + Fraction(1, 2)), subpixel)
            here, ahead = (frame_with_digit(image, mover, along, size) for along in (pixel, pixel + 1))
            mixed = (2 * ((subpixel - steps) * here + steps * ahead) + subpixel) // (2 * subpixel)
            np.maximum(frame, mixed, out=frame)
    return frames[..., None]


def frame_with_digit(image: np.ndarray, mover: Any, along: int, size: int) -> np.ndarray:
    """Return a frame with the digit at a whole pixel, cropped at the edges."""
    side = len(image)
    y, x = (along, mover["across"]) if mover["axis"] == "vertical" else (mover["across"], along)
    frame = np.zeros((size + side, size + side), int)
    frame[y : y + side, x : x + side] = image
    return frame[:size, :size]


@functools.cache
def reference_digit(mnist_split: Any, index: int, new: int) -> np.ndarray:
    """Return a resized MNIST image: the mean of the area under each pixel, or bilinear where it grows."""
    image = digits.images(None, mnist_split)[index].astype(int)
    old = len(image)
    if new <= old:
        # Split each pixel into new x new, then average every square of old x old of those.
        small = image.repeat(new, axis=0).repeat(new, axis=1)
        sums = small.reshape(new, old, new, old).sum(axis=(1, 3))
        return (2 * sums + old**2) // (2 * old**2)
    weights = np.full((new, old), Fraction(0))
    for number in range(new):
        centre = min(max(Fraction(2 * number + 1, 2) * old / new - Fraction(1, 2), 0), old - 1)
        weights[number, floor(centre)] += 1 - centre % 1
        weights[number, min(floor(centre) + 1, old - 1)] += centre % 1
    # Back to integers: every weight is a multiple of 1 / (2 * new).
    scaled, total = (weights * 2 * new).astype(int), (2 * new) ** 2
    return (2 * (scaled @ image @ scaled.T) + total) // (2 * total)


@pytest.mark.parametrize("digit_size", [12, 28])
@pytest.mark.parametrize("subpixel", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("digits", [1, 2])
def test_pixels_follow_the_rule(subpixel: int, digit_size: int, digits: int) -> None:
    assert_drawn_by_the_rule(options_of(n=24, frames=8, size=48, digit_size=digit_size, subpixel=subpixel, digits=digits))


@pytest.mark.parametrize("subpixel", [1, 2, 4, 8, 16])
def test_pixels_of_enlarged_digits_follow_the_rule(subpixel: int) -> None:
    assert_drawn_by_the_rule(options_of(n=8, frames=8, digit_size=40, subpixel=subpixel))


def assert_drawn_by_the_rule(options: MnistMotionOptions) -> None:
    clips = MnistMotion(None, options, 0).clips("train")
    assert {mover["axis"] for mover in movers(clips)} == {"vertical", "horizontal"}
    for clip in clips:
        assert np.array_equal(render(clip, options).data, reference_frames(clip, options)), clip.key


@pytest.mark.parametrize("subpixel", [1, 16])
@pytest.mark.parametrize("direction", list(BACK))
def test_a_digit_is_drawn_in_full_at_both_edges(direction: str, subpixel: int) -> None:
    options = options_of(frames=5, size=40, subpixel=subpixel)
    for across in (0, 12):
        mover = {"mnist_split": "train", "mnist_index": 0, "axis": AXIS[direction], "across": across,
                 "positions": [0.0, 12.0, 11 + 63 / 64, 1 / 64, 6.0]}  # fmt: skip
        clip = Clip("edge", ("",), meta={"digits": [mover]})
        assert np.array_equal(render(clip, options).data, reference_frames(clip, options))


def test_two_digits_overlap_by_their_maximum() -> None:
    options = options_of(n=200, digits=2, frames=5)
    overlaps = 0
    for clip in MnistMotion(None, options, 0).clips("train"):
        alone = [render(Clip(clip.key, ("",), meta={"digits": [mover]}), options).data for mover in clip.meta["digits"]]
        assert np.array_equal(render(clip, options).data, np.maximum(*alone))
        overlaps += bool((alone[0].astype(bool) & alone[1].astype(bool)).any())
    assert overlaps > 20


def test_a_digit_at_whole_pixels_keeps_the_pixels_of_mnist() -> None:
    clip = clips_of(n=1)[0]
    (mover,) = clip.meta["digits"]
    assert mover["axis"] == "horizontal"
    x, y = floor(mover["positions"][0] + 0.5), mover["across"]
    frame = render(clip, options_of()).data[0, :, :, 0]
    assert np.array_equal(frame[y : y + 28, x : x + 28], digits.images(None, "train")[mover["mnist_index"]])
    assert frame.sum() == frame[y : y + 28, x : x + 28].sum()


def test_the_centre_of_ink_moves_in_the_direction_of_the_caption() -> None:
    options = options_of(n=80)
    for clip in MnistMotion(None, options, 0).clips("train"):
        first, second = clip.captions[0].split(" is moving ")[1].split(" and ")
        (mover,) = clip.meta["digits"]
        ink = render(clip, options).data[..., 0].astype(float)
        down, right = ((ink.sum(axis=other) * np.arange(64)).sum(axis=1) / ink.sum(axis=(1, 2)) for other in (2, 1))
        along, across = (down, right) if first in ("down", "up") else (right, down)
        to_turn = np.abs(np.array(mover["positions"]) - mover["turn"])
        turn = int(np.flatnonzero(to_turn <= mover["speed"] / 2)[0])
        sign = 1 if first in ("down", "right") else -1
        assert sign * (along[turn] - along[0]) > 3, clip.captions
        assert (sign * np.diff(along[: turn + 1]) > -1e-9).all()
        assert (sign * along[turn + 1 :]).min() < sign * along[turn] - 1
        assert second == BACK[first]
        assert np.allclose(across, across[0])


@pytest.mark.parametrize("values", [{}, {"digits": 2, "subpixel": 8, "digit_size": 20}], ids=str)
def test_the_json_of_a_clip_suffices_to_draw_it(values: dict[str, Any]) -> None:
    options = options_of(n=20, **values)
    for clip in MnistMotion(None, options, 0).clips("train"):
        reread = Clip("any", ("",), meta=orjson.loads(orjson.dumps(clip.meta)))
        assert np.array_equal(render(reread, options).data, render(clip, options).data)


# Recorded clips and pixels

FIRST_TRAIN = {
    "label": "1", "meaning": "1 left", "digits": [{
        "digit": 1, "mnist_split": "train", "mnist_index": 46012, "axis": "horizontal", "first_direction": "left",
        "start": 26.203125, "turn": 7.28125, "across": 30, "speed": 4.859375, "start_phase": 0.078125,
        "positions": [
            26.125, 21.265625, 16.40625, 11.546875, 7.875, 12.734375, 17.59375, 22.453125, 25.09375, 20.234375, 15.375,
            10.515625, 8.90625, 13.765625, 18.625, 23.484375, 24.0625, 19.203125, 14.34375, 9.484375, 9.9375, 14.796875,
            19.65625, 24.515625, 23.03125, 18.171875, 13.3125, 8.453125, 10.96875, 15.828125, 20.6875, 25.546875,
        ],
    }],
}  # fmt: skip
SECOND_VAL = {
    "label": "4", "meaning": "4 right", "digits": [{
        "digit": 4, "mnist_split": "test", "mnist_index": 1057, "axis": "horizontal", "first_direction": "right",
        "start": 2.890625, "turn": 12.0, "across": 32, "speed": 0.515625, "start_phase": 0.1875,
        "positions": [
            3.078125, 3.59375, 4.109375, 4.625, 5.140625, 5.65625, 6.171875, 6.6875, 7.203125, 7.71875, 8.234375, 8.75,
            9.265625, 9.78125, 10.296875, 10.8125, 11.328125, 11.84375, 11.640625, 11.125, 10.609375, 10.09375, 9.578125,
            9.0625, 8.546875, 8.03125, 7.515625, 7.0, 6.484375, 5.96875, 5.453125, 4.9375,
        ],
    }],
}  # fmt: skip
SECOND_TEST = {
    "label": "5", "meaning": "5 right", "digits": [{
        "digit": 5, "mnist_split": "test", "mnist_index": 9085, "axis": "horizontal", "first_direction": "right",
        "start": 13.84375, "turn": 26.75, "across": 28, "speed": 0.921875, "start_phase": 0.640625,
        "positions": [
            14.484375, 15.40625, 16.328125, 17.25, 18.171875, 19.09375, 20.015625, 20.9375, 21.859375, 22.78125, 23.703125,
            24.625, 25.546875, 26.46875, 26.109375, 25.1875, 24.265625, 23.34375, 22.421875, 21.5, 20.578125, 19.65625,
            18.734375, 17.8125, 16.890625, 15.96875, 15.046875, 14.125, 14.484375, 15.40625, 16.328125, 17.25,
        ],
    }],
}  # fmt: skip


@pytest.mark.parametrize(
    ("split", "number", "meta"), [("train", 0, FIRST_TRAIN), ("val", 1, SECOND_VAL), ("test", 1, SECOND_TEST)]
)
def test_clips_equal_the_recorded_ones(split: str, number: int, meta: dict[str, Any]) -> None:
    assert clips_of(split)[number].meta == meta


def test_the_first_forty_clips_have_the_recorded_pixels() -> None:
    digest = hashlib.sha256()
    for clip in clips_of()[:40]:
        digest.update(render(clip, options_of()).data.tobytes())
    assert digest.hexdigest() == "89629506c16882612036cb85ed8d7a2a51cf0d0d7a1ac01c7a933cd94c6b7081"


def test_clips_with_all_options_have_the_recorded_pixels() -> None:
    options = options_of(digits=2, holdout=4, subpixel=4, digit_size=20, conjunction="both")
    digest = hashlib.sha256()
    for split in SPLITS:
        for clip in MnistMotion(None, options, 7).clips(split)[:10]:
            digest.update(render(clip, options).data.tobytes())
    assert digest.hexdigest() == "0a8211928f4a9ce3246f1c049a754d285b64724cefc702fa1c19319efefe9979"


# Invalid options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": 0}, r"--n 0: expected 1 training clip or more"),
        ({"n": -3}, r"--n -3: expected 1 training clip or more"),
        ({"val": -1}, r"--val -1: expected 0 clips or more"),
        ({"test": -2}, r"--test -2: expected 0 clips or more"),
        ({"holdout": 4, "compositional": -1}, r"--compositional -1: expected 0 clips or more"),
        ({"compositional": 10}, r"--compositional 10 needs held-out pairs; add --holdout 4"),
        (
            {"holdout": 31},
            r"--holdout 31: expected 0 to 30 of the 40 pairs .*; with more, some digit would never be seen in training",
        ),
        ({"holdout": -1}, r"--holdout -1: expected 0 to 30"),
        ({"fps": 0.0}, r"--fps 0: expected a positive number of frames per second"),
        ({"fps": -5.0}, r"--fps -5: expected a positive number"),
        ({"fps": float("nan")}, r"--fps nan: expected a positive number"),
        ({"fps": float("inf")}, r"--fps inf: expected a positive number"),
        ({"frames": 4}, r"--frames 4: expected 5 or more, to show a leg and the turn"),
        ({"digit_size": 3}, r"--digit-size 3: expected 4 to 1024 pixels"),
        ({"digit_size": 1025, "size": 2000}, r"--digit-size 1025: expected 4 to 1024 pixels"),
        (
            {"digit_size": 80},
            r"a digit of 80 pixels has 0 pixels to move in a frame of 64; .*use --size 88, or a smaller --digit-s",
        ),
        ({"digit_size": 57}, r"a digit of 57 pixels has 7 pixels to move in a frame of 64; expected 8 or more: use --size 65"),
        ({"size": 6000}, r"32 frames of 6000x6000 are over 2\*\*28 pixels in one clip"),
        ({"frames": 16, "diversity": "low"}, r"--diversity low needs two speeds .*; 16 frames are too few: use 20"),
    ],
    ids=str,
)
def test_invalid_options_are_refused_with_a_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        options_of(**values)


@pytest.mark.parametrize(
    "values",
    [{"compositional": 10, "holdout": 4}, {"holdout": 30}, {"frames": 5}, {"digit_size": 80, "size": 88}, {"digit_size": 56},
     {"frames": 20, "diversity": "low"}, {"n": 1, "val": 0, "test": 0}],
    ids=str,
)  # fmt: skip
def test_options_that_a_hint_proposes_can_be_built(values: dict[str, Any]) -> None:
    options = options_of(**values)
    clip = MnistMotion(None, options, 0).clips("train")[0]
    assert render(clip, options).num_frames == options.frames


def test_an_unknown_split_is_reported_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no split 'tran'; did you mean 'train'\?"):
        options_of().num_clips("tran")
