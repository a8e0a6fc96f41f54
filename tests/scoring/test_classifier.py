"""The clip classifier works for clips of any size, and sets of clips are judged by what it sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import CLIP_SIZES, real_clips

from t2vdata.scoring import classifier, distances
from t2vdata.scoring.grammar import meaning_of
from t2vdata.scoring.motion import grey
from t2vdata.scoring.quality import gan_train, quality
from t2vdata.scoring.real import Real


def inputs(size: str, split: str, count: int) -> tuple[torch.Tensor, list[str]]:
    videos, captions = real_clips(size, split, count)
    return classifier.inputs([grey(video) for video in videos]), captions


@pytest.mark.parametrize("size", list(CLIP_SIZES))
@pytest.mark.parametrize("split", ["val", "test", "compositional"])
def test_unseen_real_clips_are_told(size: str, split: str) -> None:
    clips, captions = inputs(size, split, 200)
    assert classifier.watch(clips).num_right([meaning_of(caption) for caption in captions]) >= 0.9 * 200


def test_clips_of_any_size_and_length_become_eight_frames_of_32() -> None:
    draws = np.random.default_rng(0)
    videos = [draws.integers(0, 256, shape).astype(np.uint8) for shape in ((1, 20, 30), (8, 32, 32), (100, 128, 96))]
    made = classifier.inputs(videos)
    assert made.shape == (3, 1, 8, 32, 32)
    assert (made[1, 0].numpy() == videos[1]).all()
    assert (made[0, 0, 0] == made[0, 0, 7]).all()


def test_probabilities_of_meanings_are_those_of_digits_and_directions() -> None:
    found = classifier.watch(inputs("24x24", "test", 40)[0])
    assert found.features.shape == (40, 64)
    assert found.meanings.shape == (40, 40)
    assert np.allclose(found.meanings.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(found.meanings.reshape(40, 10, 4).sum(axis=2), found.digits, atol=1e-5)


def test_real_clips_are_nearer_to_training_than_still_or_noisy_ones() -> None:
    train = classifier.watch(inputs("32x32", "train", 400)[0]).features
    videos = [grey(video) for video in real_clips("32x32", "test", 400)[0]]
    noise = np.random.default_rng(0).integers(0, 60, videos[0].shape).astype(np.uint8)
    sets = (videos, [video[:1] for video in videos], [np.maximum(video, noise) for video in videos])
    real, still, noisy = (classifier.watch(classifier.inputs(some)).features for some in sets)
    for distance in (distances.frechet, distances.mmd):
        assert distance(real, train) < 0.5 * distance(still, train)
        assert distance(real, train) < 0.5 * distance(noisy, train)


def test_quality_is_judged_beside_real_clips() -> None:
    real = Real(*real_clips("24x24", "train", 400), *real_clips("24x24", "test", 200))
    greys = [grey(video) for video in real.videos]
    found = quality(greys, [meaning_of(caption) for caption in real.captions], real)
    assert found.gan_test.value >= 0.9
    assert found.memory is not None
    assert found.memory.ratio == pytest.approx(1)
    assert found.inception is not None
    assert found.inception[0] > 15
    alone = quality(greys, [meaning_of(caption) for caption in real.captions])
    assert (alone.frechet, alone.mmd, alone.memory) == (None, None, None)
    assert alone.gan_test == found.gan_test
    few = quality(greys[:1], [meaning_of(real.captions[0])], real)
    assert (few.inception, few.frechet, few.mmd) == (None, None, None)


def test_a_classifier_that_learns_from_still_clips_does_not_know_where_real_ones_go() -> None:
    (clips, captions), (real, shown_captions) = inputs("24x24", "train", 400), inputs("24x24", "test", 200)
    wanted, shown = ([meaning_of(caption) for caption in some] for some in (captions, shown_captions))
    moving = gan_train(clips, wanted, real, shown, steps=30)
    still = gan_train(clips[:, :, :1].expand_as(clips), wanted, real, shown, steps=30)
    assert moving.num_clips == 200
    assert moving.value > 2 * still.value


def test_gan_train_gives_the_same_twice_and_leaves_random_numbers_alone() -> None:
    clips, captions = inputs("24x24", "train", 80)
    wanted = [meaning_of(caption) for caption in captions]
    before = torch.get_rng_state()
    assert gan_train(clips, wanted, clips, wanted, steps=2) == gan_train(clips, wanted, clips, wanted, steps=2)
    assert torch.equal(torch.get_rng_state(), before)
