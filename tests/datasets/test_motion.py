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
a_few = settings(max_examples=40, deadline=None, derandomize=True)


def first_paths(limits: MotionLimits, seed: int = 0, *, split: int = 0, count: int = 80) -> Paths:
    return motion.paths(SINGLE, limits, seed, split, 0, count)


@a_few
@given(limits, seeds)
def test_the_two_points_lie_in_the_room_and_a_quarter_of_it_apart(limits: MotionLimits, seed: int) -> None:
    found = first_paths(limits, seed)
    for end in (found.start, found.turn):
        assert end.min() >= 0
        assert end.max() <= limits.free_pixels * UNITS
    assert min(Fraction(int(leg), UNITS) for leg in np.abs(found.turn - found.start).ravel()) >= Fraction(limits.free, 4)


@a_few
@given(limits, seeds)
def test_every_frame_is_drawn_between_the_two_points(limits: MotionLimits, seed: int) -> None:
    found = first_paths(limits, seed)
    assert (found.positions >= np.minimum(found.start, found.turn)[..., None]).all()
    assert (found.positions <= np.maximum(found.start, found.turn)[..., None]).all()
    assert found.across.min() >= 0
    assert found.across.max() <= limits.free_pixels


@a_few
@given(limits, seeds)
def test_a_clip_begins_within_one_step_of_its_start(limits: MotionLimits, seed: int) -> None:
    found = first_paths(limits, seed)
    assert (np.abs(found.positions[..., 0] - found.start) == found.phase).all()
    assert (found.phase >= 0).all()
    assert (found.phase < found.speed).all()


@a_few
@given(limits, seeds)
def test_a_clip_shows_its_first_leg_the_turn_and_a_quarter_of_the_way_back(limits: MotionLimits, seed: int) -> None:
    found = first_paths(limits, seed)
    leg = np.abs(found.turn - found.start)
    # Without the phase, which only adds to it.
    travelled = found.speed * (limits.num_frames - 1)
    assert (4 * travelled >= 5 * leg).all()


@a_few
@given(limits, seeds)
def test_a_leg_takes_three_frames_or_more(limits: MotionLimits, seed: int) -> None:
    found = first_paths(limits, seed)
    assert (MIN_LEG_FRAMES * found.speed <= np.abs(found.turn - found.start)).all()


@a_few
@given(limits, seeds)
def test_the_first_leg_goes_in_the_direction_that_is_named(limits: MotionLimits, seed: int) -> None:
    found = first_paths(limits, seed)
    grows = np.isin(found.direction, [DIRECTIONS.index("down"), DIRECTIONS.index("right")])
    assert ((found.turn > found.start) == grows).all()


@pytest.mark.parametrize(("free", "num_frames"), [(36, 32), (36, 20), (8, 20), (200, 60)])
def test_low_diversity_has_two_speeds_and_uses_both_for_legs_of_any_length(free: int, num_frames: int) -> None:
    limits = MotionLimits(free, num_frames, True)
    found = first_paths(limits, count=400)
    assert set(found.speed.ravel().tolist()) == set(limits.speeds())
    assert len(set(limits.speeds())) == 2
    leg = np.abs(found.turn - found.start)
    assert (4 * found.speed * (num_frames - 1) >= 5 * leg).all()
    assert (MIN_LEG_FRAMES * found.speed <= leg).all()


def test_points_lines_and_speeds_are_random() -> None:
    found = first_paths(MotionLimits(36, 32, False), count=4000)
    assert min(found.start.min(), found.turn.min()) < UNITS
    assert max(found.start.max(), found.turn.max()) > 35 * UNITS
    assert set(found.across.ravel().tolist()) == set(range(37))
    assert len(np.unique(found.speed)) > 300
    assert 1800 < found.conjunction.sum() < 2200


@a_few
@given(seeds, st.integers(0, 130), st.integers(1, 90), st.sampled_from([1, 2]))
def test_a_path_does_not_depend_on_which_others_are_drawn_with_it(seed: int, first: int, count: int, num_digits: int) -> None:
    meanings = Meanings.of(num_digits, [(3, 1)], only_excluded=False)
    limits = MotionLimits(20, 12, False)
    whole = motion.paths(meanings, limits, seed, 2, 0, 220)
    part = motion.paths(meanings, limits, seed, 2, first, first + count)
    for field in dataclasses.fields(Paths):
        assert np.array_equal(getattr(whole, field.name)[first : first + count], getattr(part, field.name)), field.name


def test_another_seed_or_split_gives_other_paths() -> None:
    limits = MotionLimits(36, 32, False)
    one = first_paths(limits, 0).positions
    assert not np.array_equal(one, first_paths(limits, 1).positions)
    assert not np.array_equal(one, first_paths(limits, 0, split=1).positions)


def test_an_occurrence_counts_how_often_the_split_has_used_the_digit_before() -> None:
    meanings = Meanings.of(2, [(3, 1), (3, 2), (7, 0)], only_excluded=False)
    found = motion.paths(meanings, MotionLimits(20, 12, False), 5, 1, 0, 3000)
    used = dict.fromkeys(range(10), 0)
    for digit, occurrence in zip(found.digit.ravel().tolist(), found.occurrence.ravel().tolist(), strict=True):
        assert occurrence == used[digit]
        used[digit] += 1


def test_a_choice_is_the_high_half_of_a_word_spread_over_the_choices() -> None:
    drawn = np.array([0, 2**32 - 1, 2**63, 2**64 - 1], np.uint64)
    assert motion.choose(drawn, 7).tolist() == [0, 0, 3, 6]
    assert motion.choose(drawn, 2**31 - 1).tolist() == [0, 0, 2**30 - 1, 2**31 - 2]
    assert motion.choose(drawn, np.array([1, 2, 3, 4])).tolist() == [0, 0, 1, 3]


def test_a_stream_is_pcg64_seeded_with_its_numbers() -> None:
    assert motion.random_words(5, 1, 2, shape=(2, 3)).ravel().tolist() == np.random.PCG64([5, 1, 2]).random_raw(6).tolist()
    # Of NumPy 1.26 and 2; if it ever changes, all data does.
    assert motion.random_words(0, 1, shape=(2,)).tolist() == [16412783775159424549, 10277383025879800780]


def test_a_shuffle_has_every_number_once() -> None:
    assert sorted(motion.shuffled(3, 1, size=1000).tolist()) == list(range(1000))
    assert motion.shuffled(3, 1, size=1000).tolist() != list(range(1000))


@pytest.mark.parametrize("seed", range(5))
def test_held_out_pairs_are_the_first_of_one_order(seed: int) -> None:
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
def test_thirty_held_out_pairs_and_fewer_leave_every_digit_and_direction(count: int, seed: int) -> None:
    left = set(PAIRS) - set(motion.held_out(seed, count))
    assert len(left) == 40 - count
    assert {digit for digit, _ in left} == set(range(10))
    assert {direction for _, direction in left} == set(range(4))


@pytest.mark.parametrize(("num_digits", "num_seen", "num_others"), [(1, 36, 4), (2, 36 * 36, 40 * 40 - 36 * 36)])
def test_meanings_with_and_without_a_held_out_pair_are_all_there_are(num_digits: int, num_seen: int, num_others: int) -> None:
    excluded = motion.held_out(0, 4)
    seen = Meanings.of(num_digits, excluded, only_excluded=False)
    others = Meanings.of(num_digits, excluded, only_excluded=True)
    assert (len(seen), len(others)) == (num_seen, num_others)
    as_clauses = [{tuple(map(tuple, clauses)) for clauses in one.table.tolist()} for one in (seen, others)]
    assert [len(one) for one in as_clauses] == [num_seen, num_others]
    assert not any(set(clauses) & set(excluded) for clauses in as_clauses[0])
    assert all(set(clauses) & set(excluded) for clauses in as_clauses[1])
