"""The clip classifier works for clips of any size, and its features tell sets of clips apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import CLIP_SIZES, real_clips

from t2vdata.scoring import clip_classifier, distances
from t2vdata.scoring.grammar import meaning_of
from t2vdata.scoring.motion import grey
from t2vdata.scoring.quality import gan_train, quality
from t2vdata.scoring.reference import ReferenceClips


def inputs(size: str, split: str, count: int) -> tuple[torch.Tensor, list[str]]:
    videos, captions = real_clips(size, split, count)
    return clip_classifier.inputs([grey(video) for video in videos]), captions


@pytest.mark.parametrize("size", list(CLIP_SIZES))
@pytest.mark.parametrize("split", ["val", "test", "compositional"])
def test_unseen_real_clips_are_classified(size: str, split: str) -> None:
    clips, captions = inputs(size, split, 200)
    assert clip_classifier.predict(clips).num_correct([meaning_of(caption) for caption in captions]) >= 0.9 * 200


def test_clips_of_any_size_and_length_become_eight_frames_of_32() -> None:
    rng = np.random.default_rng(0)
    videos = [rng.integers(0, 256, shape).astype(np.uint8) for shape in ((1, 20, 30), (8, 32, 32), (100, 128, 96))]
    clips = clip_classifier.inputs(videos)
    assert clips.shape == (3, 1, 8, 32, 32)
    assert (clips[1, 0].numpy() == videos[1]).all()
    assert (clips[0, 0, 0] == clips[0, 0, 7]).all()


def test_joint_probabilities_sum_to_those_of_digits_and_directions() -> None:
    predictions = clip_classifier.predict(inputs("24x24", "test", 40)[0])
    assert predictions.features.shape == (40, 64)
    assert predictions.joint.shape == (40, 40)
    assert np.allclose(predictions.joint.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(predictions.joint.reshape(40, 10, 4).sum(axis=2), predictions.digits, atol=1e-5)


def test_real_clips_are_nearer_to_training_than_still_or_noisy_ones() -> None:
    train = clip_classifier.predict(inputs("32x32", "train", 400)[0]).features
    videos = [grey(video) for video in real_clips("32x32", "test", 400)[0]]
    noise = np.random.default_rng(0).integers(0, 60, videos[0].shape).astype(np.uint8)
    sets = (videos, [video[:1] for video in videos], [np.maximum(video, noise) for video in videos])
    real, still, noisy = (clip_classifier.predict(clip_classifier.inputs(clips)).features for clips in sets)
    for distance in (distances.frechet, distances.mmd):
        assert distance(real, train) < 0.5 * distance(still, train)
        assert distance(real, train) < 0.5 * distance(noisy, train)


def test_quality_is_measured_against_real_clips() -> None:
    reference = ReferenceClips(*real_clips("24x24", "train", 400), *real_clips("24x24", "test", 200))
    greys = [grey(video) for video in reference.videos]
    measured = quality(greys, [meaning_of(caption) for caption in reference.captions], reference)
    assert measured.gan_test.value >= 0.9
    assert measured.memorization is not None
    assert measured.memorization.ratio == pytest.approx(1)
    assert measured.inception is not None
    assert measured.inception[0] > 15
    alone = quality(greys, [meaning_of(caption) for caption in reference.captions])
    assert (alone.frechet, alone.mmd, alone.memorization) == (None, None, None)
    assert alone.gan_test == measured.gan_test
    few = quality(greys[:1], [meaning_of(reference.captions[0])], reference)
    assert (few.inception, few.frechet, few.mmd) == (None, None, None)


def test_a_classifier_trained_on_still_clips_cannot_predict_directions() -> None:
    (clips, captions), (real, real_captions) = inputs("24x24", "train", 400), inputs("24x24", "test", 200)
    meanings, real_meanings = ([meaning_of(caption) for caption in texts] for texts in (captions, real_captions))
    moving = gan_train(clips, meanings, real, real_meanings, steps=30)
    still = gan_train(clips[:, :, :1].expand_as(clips), meanings, real, real_meanings, steps=30)
    assert moving.num_clips == 200
    assert moving.value > 2 * still.value


def test_gan_train_is_repeatable_and_leaves_the_random_state_alone() -> None:
    clips, captions = inputs("24x24", "train", 80)
    meanings = [meaning_of(caption) for caption in captions]
    before = torch.get_rng_state()
    assert gan_train(clips, meanings, clips, meanings, steps=2) == gan_train(clips, meanings, clips, meanings, steps=2)
    assert torch.equal(torch.get_rng_state(), before)
