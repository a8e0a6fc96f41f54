"""The order of samples: golden values, statistics, and shares of ranks."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2vdata.errors import RequestError
from t2vdata.loading.order import (
    batches,
    choose,
    epoch_order,
    num_batches,
    random_numbers,
    samples_after,
    share,
)

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=12)

# What users have trained with; a change here is a change of everybody's runs.
GOLDEN_FULL = [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
GOLDEN_WINDOW = [6, 4, 8, 5, 7, 9, 11, 10, 2, 0, 3, 1]
GOLDEN_LARGE = "963adeac1066d8dc"
GOLDEN_DRAWS = (18298967904868131627, 2844942306789632281, 7910676177787089832, 618337966228496886, 10326420314531385692)


def test_the_order_is_that_of_the_golden_values() -> None:
    assert epoch_order([10], 0, 0).tolist() == GOLDEN_FULL
    assert epoch_order([4, 4, 4], 7, 2, window=2).tolist() == GOLDEN_WINDOW
    large = epoch_order([1000] * 40, 1, 3)
    assert hashlib.sha256(large.astype("<i8").tobytes()).hexdigest()[:16] == GOLDEN_LARGE


def test_random_numbers_are_the_golden_values() -> None:
    assert random_numbers(0, 1, "train-00000002") == GOLDEN_DRAWS


@given(SIZES, st.integers(0, 2**40), st.integers(0, 9), st.one_of(st.none(), st.integers(1, 14)))
def test_every_sample_occurs_once_per_epoch(sizes: list[int], seed: int, epoch: int, window: int | None) -> None:
    assert sorted(epoch_order(sizes, seed, epoch, window)) == list(range(sum(sizes)))


def test_epochs_and_seeds_have_different_orders() -> None:
    orders = {tuple(epoch_order([50], seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_every_sample_is_equally_likely_at_every_position() -> None:
    counts = np.zeros((8, 8))
    for seed in range(4000):
        counts[np.arange(8), epoch_order([8], seed, 0)] += 1
    # Chi-square with 49 degrees of freedom: above 85.4 once in a thousand.
    assert ((counts - 500) ** 2 / 500).sum() < 85.4


def test_neighbours_in_a_shard_are_not_neighbours_in_the_order() -> None:
    order = epoch_order([1000] * 10, 0, 0)
    assert (np.abs(np.diff(order)) == 1).mean() < 0.001


def test_a_window_reads_only_its_shards() -> None:
    sizes = [10] * 12
    order = epoch_order(sizes, 5, 1, window=3)
    windows = [set((part // 10).tolist()) for part in order.reshape(4, 30)]
    assert [len(window) for window in windows] == [3, 3, 3, 3]
    assert len(set.union(*windows)) == 12


def test_a_window_shuffles_across_its_shards() -> None:
    first = epoch_order([100] * 6, 0, 0, window=3)[:300]
    assert (np.diff(first // 100) != 0).mean() > 0.5


def test_the_order_of_shards_differs_between_epochs() -> None:
    assert len({tuple(epoch_order([1] * 9, 0, epoch, window=1)) for epoch in range(6)}) == 6


@given(st.integers(1, 200), st.integers(1, 9), st.booleans())
def test_ranks_get_equal_shares_that_follow_the_order_side_by_side(count: int, world: int, pad: bool) -> None:
    order = np.arange(count)
    if count < world:
        with pytest.raises(RequestError, match=f"{count} samples cannot feed {world} ranks; use at most {count} ranks"):
            share(order, 0, world, pad=pad)
        return
    parts = np.stack([share(order, rank, world, pad=pad) for rank in range(world)])
    together = parts.T.reshape(-1)
    if pad:
        assert together.tolist() == [*order, *order[: len(together) - count]]
        assert set(together) == set(order)
    else:
        assert together.tolist() == order[: len(together)].tolist()
        assert count - len(together) < world


def test_a_rank_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RequestError, match="rank 3 of 3 ranks; expected 0 to 2"):
        share(np.arange(9), 3, 3)


@given(st.integers(1, 90), st.integers(1, 4), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(0, 90))
def test_all_ranks_have_equally_many_batches(count: int, world: int, size: int, drop: bool, pad: bool, position: int) -> None:
    order, position = np.arange(count), min(position, count)
    of_ranks = [batches(order, position, rank, world, batch_size=size, drop_last=drop, pad=pad) for rank in range(world)]
    assert len({tuple(map(len, of_rank)) for of_rank in of_ranks}) == 1
    assert num_batches(count - position, world, batch_size=size, drop_last=drop, pad=pad) == len(of_ranks[0])
    if drop:
        assert all(len(batch) == size for batch in of_ranks[0])


@pytest.mark.parametrize(
    ("sample", "world", "after"), [(4, 1, [0, 3, 1, 2, 4]), (0, 2, [1, 4, 3, 2, 0]), (3, 5, [3]), (2, 7, [0, 1, 4, 3, 2])]
)
def test_the_samples_after_a_sample_are_those_of_its_rank(sample: int, world: int, after: list[int]) -> None:
    assert list(samples_after(np.array([4, 0, 3, 1, 2]), sample, world)) == after


def test_negative_seeds_and_empty_windows_are_refused() -> None:
    with pytest.raises(RequestError, match="seed -1, epoch 0: expected 0 or more"):
        epoch_order([3], -1, 0)
    with pytest.raises(RequestError, match="a window of 0 shards; expected 1 or more"):
        epoch_order([3], 0, 0, window=0)


def test_random_numbers_depend_on_seed_epoch_and_key_and_are_uniform() -> None:
    assert len({random_numbers(seed, epoch, key).start for seed in (0, 1) for epoch in (0, 1) for key in ("a", "b")}) == 8
    counts = np.bincount([choose(random_numbers(0, 0, str(key)).flip, 5) for key in range(5000)], minlength=5)
    # Chi-square with 4 degrees of freedom: above 18.5 once in a thousand.
    assert ((counts - 1000) ** 2 / 1000).sum() < 18.5
