from __future__ import annotations

from collections import Counter

import pytest
import torch

from baselines.gan import negatives
from t2vdata.errors import RequestError


@pytest.mark.parametrize("number", [2, 3, 7, 64])
def test_a_derangement_is_a_permutation_without_fixed_points(number: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        permutation = negatives.derangement(number, generator)
        assert sorted(permutation.tolist()) == list(range(number))
        assert not (permutation == torch.arange(number)).any()


def test_all_derangements_are_equally_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = Counter(tuple(negatives.derangement(4, generator).tolist()) for _ in range(1800))
    # There are 9 of four things; 200 of each are expected, with a standard deviation of 13.
    assert len(counts) == 9
    assert all(140 < count < 260 for count in counts.values())


def test_a_derangement_depends_only_on_its_generator() -> None:
    first, second = (negatives.derangement(20, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.equal(second)


def test_one_clip_has_no_derangement() -> None:
    with pytest.raises(RequestError, match="a batch of 1 clips has no mismatched caption; expected 2 clips or more"):
        negatives.derangement(1)


def test_others_never_pairs_equal_captions_even_if_they_fill_most_of_the_batch() -> None:
    groups = torch.tensor([0, 0, 0, 0, 0, 1, 2])
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(100):
        indices, has_other = negatives.others(groups, generator)
        assert has_other.all()
        assert (groups[indices] != groups).all()
        seen |= {(index, int(other)) for index, other in enumerate(indices)}
    # Every allowed pair comes: 5 x 2 of the large group, 6 each of the other two.
    assert len(seen) == 5 * 2 + 6 + 6


def test_a_derangement_may_pair_equal_captions() -> None:
    groups = torch.tensor([0, 0, 0, 1])
    generator = torch.Generator().manual_seed(0)
    assert any((groups[negatives.derangement(4, generator)] == groups).any() for _ in range(20))


def test_clips_without_another_caption_are_marked() -> None:
    indices, has_other = negatives.others(torch.tensor([4, 4, 4]))
    assert indices.tolist() == [0, 1, 2]
    assert has_other.tolist() == [False, False, False]


def test_the_first_of_each_group_is_found() -> None:
    assert negatives.first_of_each(torch.tensor([2, 0, 2, 1, 0])).tolist() == [1, 3, 0]


def test_equal_captions_share_a_number() -> None:
    tokens = torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2], [1, 5, 2, 0]])
    groups = negatives.same_captions(tokens)
    assert groups[0] == groups[2]
    assert groups[0] != groups[1]
