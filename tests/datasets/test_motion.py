"""Paths as numbers: legs stay within their limits, meanings cycle, and each random choice depends on its own stream alone."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2vdata.datasets.mnist_motion import motion
from t2vdata.datasets.mnist_motion.motion import DIRECTIONS, MIN_FRAMES, MIN_LEG_FRAMES, UNITS, Meanings, MotionLimits, Paths

SINGLE = Meanings.of(1, [], only_excluded=False)
PAIRS = [(digit, direction) for digit in range(10) for direction in range(4)]

limits = st.builds(MotionLimits, st.integers(8, 400), st.integers(MIN_FRAMES, 90), st.just(False))
seeds = st.integers(0, 2**63 - 1)
few_examples = settings(max_examples=40, deadline=None, derandomize=True)


def first_paths(limits: MotionLimits, seed: int = 0, *, split: int = 0, count: int = 80) -> Paths:
    return motion.paths(SINGLE, limits, seed, split, 0, count)


@few_examples
@given(limits, seeds)
def test_end_points_stay_within_the_limits_and_a_quarter_of_the_range_apart(limits: MotionLimits, seed: int) -> None:
    paths = first_paths(limits, seed)
    for end in (paths.start, paths.turn):
        assert end.min() >= 0
        assert end.max() <= limits.free_pixels * UNITS
    assert min(Fraction(int(leg), UNITS) for leg in np.abs(paths.turn - paths.start).ravel()) >= Fraction(limits.free_pixels, 4)


@few_examples
@given(limits, seeds)
def test_every_position_lies_between_the_two_end_points(limits: MotionLimits, seed: int) -> None:
    paths = first_paths(limits, seed)
    assert (paths.positions >= np.minimum(paths.start, paths.turn)[..., None]).all()
    assert (paths.positions <= np.maximum(paths.start, paths.turn)[..., None]).all()
    assert paths.across.min() >= 0
    assert paths.across.max() <= limits.free_pixels


@few_examples
@given(limits, seeds)
def test_a_clip_starts_within_one_step_of_its_start_point(limits: MotionLimits, seed: int) -> None:
    paths = first_paths(limits, seed)
    assert (np.abs(paths.positions[..., 0] - paths.start) == paths.phase).all()
    assert (paths.phase >= 0).all()
    assert (paths.phase < paths.speed).all()


@few_examples
@given(limits, seeds)
def test_a_clip_shows_its_first_leg_the_turn_and_a_quarter_of_the_way_back(limits: MotionLimits, seed: int) -> None:
    paths = first_paths(limits, seed)
    leg = np.abs(paths.turn - paths.start)
    # Without the phase, which only adds to the distance.
    travelled = paths.speed * (limits.num_frames - 1)
    assert (4 * travelled >= 5 * leg).all()


@few_examples
@given(limits, seeds)
def test_a_leg_takes_three_frames_or_more(limits: MotionLimits, seed: int) -> None:
    paths = first_paths(limits, seed)
    assert (MIN_LEG_FRAMES * paths.speed <= np.abs(paths.turn - paths.start)).all()


@few_examples
@given(limits, seeds)
def test_the_first_leg_goes_in_the_named_direction(limits: MotionLimits, seed: int) -> None:
    paths = first_paths(limits, seed)
    grows = np.isin(paths.direction, [DIRECTIONS.index("down"), DIRECTIONS.index("right")])
    assert ((paths.turn > paths.start) == grows).all()


@pytest.mark.parametrize(("free", "num_frames"), [(36, 32), (36, 20), (8, 20), (200, 60)])
def test_low_diversity_uses_two_speeds_that_suit_every_leg(free: int, num_frames: int) -> None:
    limits = MotionLimits(free, num_frames, True)
    paths = first_paths(limits, count=400)
    assert set(paths.speed.ravel().tolist()) == set(limits.speeds())
    assert len(set(limits.speeds())) == 2
    leg = np.abs(paths.turn - paths.start)
    assert (4 * paths.speed * (num_frames - 1) >= 5 * leg).all()
    assert (MIN_LEG_FRAMES * paths.speed <= leg).all()


def test_end_points_offsets_and_speeds_vary() -> None:
    paths = first_paths(MotionLimits(36, 32, False), count=4000)
    assert min(paths.start.min(), paths.turn.min()) < UNITS
    assert max(paths.start.max(), paths.turn.max()) > 35 * UNITS
    assert set(paths.across.ravel().tolist()) == set(range(37))
    assert len(np.unique(paths.speed)) > 300
    assert 1800 < paths.conjunction.sum() < 2200


@few_examples
@given(seeds, st.integers(0, 130), st.integers(1, 90), st.sampled_from([1, 2]))
def test_a_path_does_not_depend_on_the_range_it_is_computed_in(seed: int, first: int, count: int, num_digits: int) -> None:
    meanings = Meanings.of(num_digits, [(3, 1)], only_excluded=False)
    limits = MotionLimits(20, 12, False)
    all_paths = motion.paths(meanings, limits, seed, 2, 0, 220)
    part = motion.paths(meanings, limits, seed, 2, first, first + count)
    for field in dataclasses.fields(Paths):
        assert np.array_equal(getattr(all_paths, field.name)[first : first + count], getattr(part, field.name)), field.name


def test_another_seed_or_split_gives_other_paths() -> None:
    limits = MotionLimits(36, 32, False)
    positions = first_paths(limits, 0).positions
    assert not np.array_equal(positions, first_paths(limits, 1).positions)
    assert not np.array_equal(positions, first_paths(limits, 0, split=1).positions)


def test_an_occurrence_counts_the_earlier_uses_of_a_digit_in_the_split() -> None:
    meanings = Meanings.of(2, [(3, 1), (3, 2), (7, 0)], only_excluded=False)
    paths = motion.paths(meanings, MotionLimits(20, 12, False), 5, 1, 0, 3000)
    used = dict.fromkeys(range(10), 0)
    for digit, occurrence in zip(paths.digit.ravel().tolist(), paths.occurrence.ravel().tolist(), strict=True):
        assert occurrence == used[digit]
        used[digit] += 1


def test_a_choice_is_the_high_half_of_a_word_spread_over_the_choices() -> None:
    words = np.array([0, 2**32 - 1, 2**63, 2**64 - 1], np.uint64)
    assert motion.choose(words, 7).tolist() == [0, 0, 3, 6]
    assert motion.choose(words, 2**31 - 1).tolist() == [0, 0, 2**30 - 1, 2**31 - 2]
    assert motion.choose(words, np.array([1, 2, 3, 4])).tolist() == [0, 0, 1, 3]


def test_a_stream_is_pcg64_seeded_with_its_numbers() -> None:
    assert motion.random_words(5, 1, 2, shape=(2, 3)).ravel().tolist() == np.random.PCG64([5, 1, 2]).random_raw(6).tolist()
    # The same in NumPy 1.26 and 2; if it ever changes, so does every clip.
    assert motion.random_words(0, 1, shape=(2,)).tolist() == [16412783775159424549, 10277383025879800780]


def test_a_shuffle_is_a_permutation() -> None:
    assert sorted(motion.shuffled(3, 1, size=1000).tolist()) == list(range(1000))
    assert motion.shuffled(3, 1, size=1000).tolist() != list(range(1000))


@pytest.mark.parametrize("seed", range(5))
def test_held_out_pairs_are_a_prefix_of_one_order(seed: int) -> None:
    order = motion.held_out(seed, 40)
    assert sorted(order) == PAIRS
    assert all(motion.held_out(seed, count) == order[:count] for count in range(41))


@pytest.mark.parametrize("seed", range(5))
def test_a_few_held_out_pairs_fall_on_different_digits_and_on_all_directions(seed: int) -> None:
    digits, directions = zip(*motion.held_out(seed, 4), strict=True)
    assert len(set(digits)) == 4
    assert set(directions) == set(range(4))


@pytest.mark.parametrize("count", range(31))
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_up_to_thirty_held_out_pairs_leave_every_digit_and_direction(count: int, seed: int) -> None:
    remaining = set(PAIRS) - set(motion.held_out(seed, count))
    assert len(remaining) == 40 - count
    assert {digit for digit, _ in remaining} == set(range(10))
    assert {direction for _, direction in remaining} == set(range(4))


@pytest.mark.parametrize(("num_digits", "num_seen", "num_others"), [(1, 36, 4), (2, 36 * 36, 40 * 40 - 36 * 36)])
def test_meanings_with_and_without_a_held_out_pair_partition_all_meanings(
    num_digits: int, num_seen: int, num_others: int
) -> None:
    excluded = motion.held_out(0, 4)
    seen = Meanings.of(num_digits, excluded, only_excluded=False)
    others = Meanings.of(num_digits, excluded, only_excluded=True)
    assert (len(seen), len(others)) == (num_seen, num_others)
    as_clauses = [{tuple(map(tuple, clauses)) for clauses in meanings.table.tolist()} for meanings in (seen, others)]
    assert [len(meanings) for meanings in as_clauses] == [num_seen, num_others]
    assert not any(set(clauses) & set(excluded) for clauses in as_clauses[0])
    assert all(set(clauses) & set(excluded) for clauses in as_clauses[1])
