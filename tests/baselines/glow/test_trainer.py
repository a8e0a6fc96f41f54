"""A video Glow learns clips, reports its likelihood in bits, and samples clips for captions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flows import WORDS, batch

from baselines import recipe_file
from baselines.checkpoints import Checkpoints
from baselines.family import TrainerSetup
from baselines.glow import Trainer
from baselines.learner import OptimiserSpec
from baselines.randomness import StepRandom
from t2vdata.errors import RequestError
from t2vdata.loading import Batch

FLOW = {"coupling": "affine", "width": 8, "levels": 2, "steps": 2}
QUICK = {"name": "adamax", "lr": 0.01, "betas": [0.9, 0.999], "clip_norm": 1000.0}
DIGITS = tuple(map(str, range(10)))
CAPTIONS = ["the digit 3 is moving up and down", "the digit 9 is moving left and right"]


def make_trainer(
    shape: tuple[int, int, int, int] = (1, 7, 16, 16), labels: tuple[str, ...] = DIGITS, **sections: Any
) -> Trainer:
    torch.manual_seed(0)
    values = {"family": "glow", "data": {"path": "data"}, "run": {"steps": 10}, "head": FLOW, "tail": FLOW,
              "head_optimiser": QUICK, "tail_optimiser": QUICK, "state_optimiser": QUICK,
              "model": {"state_channels": 2, "label_size": 4}}  # fmt: skip
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return Trainer(recipe_file.parse(values), TrainerSetup(vocabulary=WORDS, labels=labels, shape=shape))


def first_clips(num_clips: int, frames: int = 7) -> Batch:
    """Return the first clips of ``batch``."""
    clips = batch()
    return replace(
        clips, video=clips.video[:num_clips, :, :frames], captions=clips.captions[:num_clips], keys=clips.keys[:num_clips],
        labels=clips.labels[:num_clips], tokens=clips.tokens[:num_clips], lengths=clips.lengths[:num_clips],
    )  # fmt: skip


def learn(model: Trainer, clips: Batch, steps: int) -> list[dict[str, float]]:
    return [{name: float(value) for name, value in model.step([clips], StepRandom(0, step)).items()} for step in range(steps)]


def test_a_clip_of_four_frames_is_memorised() -> None:
    model, clip = make_trainer((1, 4, 16, 16), model={"num_bits": 5}), first_clips(1, frames=4)
    # Twice in a batch, each with its own noise.
    clip = replace(
        clip, video=clip.video.expand(2, -1, -1, -1, -1), captions=list(clip.captions) * 2, keys=list(clip.keys) * 2,
        labels=clip.labels.expand(2), tokens=clip.tokens.expand(2, -1), lengths=clip.lengths.expand(2),
    )  # fmt: skip
    steps = learn(model, clip, 80)
    for part in ("head", "tail"):
        assert steps[0][f"bits_per_dim/{part}"] > 2
        assert steps[-1][f"bits_per_dim/{part}"] < 1
    assert max(step["reconstruction"] for step in steps if "reconstruction" in step) < 1e-4
    # Other clips cost far more.
    own, other = (model.evaluate([clips], StepRandom(1))["tail_nats"] for clips in (clip, first_clips(4, frames=4)))
    assert other > 2 * own


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"previous_frame": False, "state_channels": 0}},
        {"model": {"state_channels": 0}},
        {"model": {"label": "image"}, "loss": {"unit": "bits_per_dim"}},
        {"model": {"label": "vector", "label_of": "meaning", "label_in_tail": True}},
        {"model": {"label": "caption", "label_in_tail": True}},
        {"model": {"dequantisation": "variational"}},
        {"head": {"form": "cglow", "coupling": "additive"}, "tail": {"conditional_priors": True, "checkpoint": True}},
        {"loss": {"frames": 3}},
        {"model": {"number_size": 2, "previous_frame": False, "state_channels": 0}},
        {"model": {"number_size": 2, "label": "vector", "label_of": "meaning", "label_in_tail": True}},
        {"model": {"motion": 4, "number_size": 2, "label": "vector", "label_of": "meaning", "label_in_tail": True}},
        {"loss": {"tail_frames": 2}, "head": {"pixels": "logit"}, "tail": {"pixels": "logit", "injector": True}},
    ],
    ids=str,
)
def test_every_configuration_learns_evaluates_and_samples(sections: dict[str, Any]) -> None:
    model, clips = make_trainer(**sections, evaluation={"label_clips": 1}), first_clips(4)
    steps = learn(model, clips, 3)
    assert steps[2]["bits_per_dim/head"] < steps[0]["bits_per_dim/head"]
    assert all(math.isfinite(value) for step in steps for value in step.values())
    metrics = model.evaluate([clips], StepRandom(0))
    assert metrics["bits_per_dim"] < 9.5
    assert metrics["dimensions"] == 256
    has_labels = sections.get("model", {}).get("label") in ("image", "vector")
    assert ("label_bits" in metrics) == has_labels
    video = model.sample(CAPTIONS, StepRandom(0))
    assert video.shape == (2, 1, 7, 16, 16)
    assert video.dtype == torch.uint8


def test_samples_at_temperature_0_do_not_depend_on_the_seed() -> None:
    model = make_trainer(model={"label": "vector"})
    learn(model, first_clips(8), 5)
    cold = [model.sample(CAPTIONS, StepRandom(seed), temperature=0) for seed in (0, 1)]
    warm = [model.sample(CAPTIONS, StepRandom(seed), temperature=1) for seed in (0, 1)]
    assert torch.equal(cold[0], cold[1])
    assert not torch.equal(warm[0], warm[1])
    assert torch.equal(warm[0], model.sample(CAPTIONS, StepRandom(0), temperature=1))


@pytest.mark.parametrize("num_bits", [8, 5])
def test_given_first_frames_are_unchanged_and_later_frames_depend_on_them(num_bits: int) -> None:
    model, clips = make_trainer(model={"num_bits": num_bits}), first_clips(2)
    learn(model, first_clips(8), 5)
    first = clips.video[:, :, 0]
    assert len((first & 7).unique()) > 2
    video = model.sample(CAPTIONS, StepRandom(0), first=first)
    assert torch.equal(video[:, :, 0], first)
    other = model.sample(CAPTIONS, StepRandom(0), first=255 - first)
    assert not torch.equal(video[:, :, 1], other[:, :, 1])
    with pytest.raises(
        RequestError, match=r"first frames of \(1, 1, 16, 16\); expected \(2, 1, 16, 16\): one for each caption"
    ):
        model.sample(CAPTIONS, StepRandom(0), first=first[:1])


def test_chosen_later_frames_have_the_likelihood_they_have_among_all() -> None:
    # The step determines which frames are chosen.
    model, clips = make_trainer(loss={"tail_frames": 2}), first_clips(8)
    learn(model, clips, 1)
    levels, conditioning = model.levels(clips.video), model.conditioning(clips)
    noise, chosen = torch.rand(levels.shape), model.choose_later(levels, StepRandom(0, 1))
    assert chosen.shape == (8, 2)
    assert all(len(set(row)) == 2 for row in chosen.tolist())
    assert len(set(chosen.flatten().tolist())) > 3
    with torch.no_grad():
        every = model.glow.log_probabilities(levels, noise, conditioning).later
        part = model.glow.log_probabilities(levels, noise, conditioning, chosen).later
    assert torch.allclose(part, every.gather(1, chosen), rtol=1e-4)


def test_fewer_bits_make_coarser_clips() -> None:
    video = make_trainer(model={"num_bits": 2}).sample(CAPTIONS, StepRandom(0), temperature=1)
    assert set(video.unique().tolist()) <= {0, 64, 128, 192}


def test_a_loaded_model_is_the_same_and_learns_the_same(tmp_path: Path) -> None:
    settings = {"head_optimiser": {"ema": 0.9}, "tail_optimiser": {"ema": 0.9}, "state_optimiser": {"ema": 0.9}}
    model, loaded, clips = make_trainer(**settings), make_trainer(**settings), first_clips(4)
    learn(model, clips, 3)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, model.state_dict())
    loaded.load_state_dict(checkpoints.load("last")[1])
    assert model.evaluate([clips], StepRandom(0)) == loaded.evaluate([clips], StepRandom(0))
    assert model.step([clips], StepRandom(0, 3)) == loaded.step([clips], StepRandom(0, 3))


@pytest.mark.long
def test_label_bits_are_the_information_that_a_label_carries() -> None:
    # Clips are dark or bright, as one of two labels says: a label has one bit of information.
    labels = torch.arange(16) % 2
    grey = torch.where(labels == 1, 200, 40).view(-1, 1, 1, 1, 1)
    clips = replace(batch(), video=(grey + torch.randint(0, 8, (16, 1, 3, 16, 16))).to(torch.uint8), labels=labels)
    model = make_trainer(
        (1, 3, 16, 16), ("dark", "bright"), model={"label": "vector", "state_channels": 0}, evaluation={"label_clips": 4}
    )
    before = model.evaluate([clips], StepRandom(0))
    assert before["label_bits"] == pytest.approx(0, abs=1e-6)
    assert before["label_bits_limit"] == 1
    learn(model, clips, 60)
    after = model.evaluate([clips], StepRandom(0))
    assert 0.6 < after["label_bits"] <= 1


def test_bits_nats_and_noise_draws_are_consistent() -> None:
    model, clips = make_trainer(evaluation={"noise_draws": 4, "digit_size": 8}), first_clips(4)
    learn(model, clips, 3)
    metrics = model.evaluate([clips, clips], StepRandom(0))
    assert metrics["head_bits_per_dim"] == pytest.approx(metrics["head_nats"] / (256 * math.log(2)))
    assert metrics["bits_per_dim"] == pytest.approx((metrics["head_bits_per_dim"] + 6 * metrics["tail_bits_per_dim"]) / 7)
    assert metrics["noise_draws"] == 4
    assert metrics["head_bits_per_dim_limit"] == pytest.approx((64 + math.log2(81) + math.log2(10)) / 256)
    # On average, the mean probability over draws is at least that of a single draw.
    single = make_trainer(evaluation={"noise_draws": 1})
    single.load_state_dict(model.state_dict())
    assert metrics["bits_per_dim"] < single.evaluate([clips, clips], StepRandom(0))["bits_per_dim"]


def test_autocast_leaves_likelihoods_in_float32() -> None:
    model, clips = make_trainer(), first_clips(4)
    learn(model, clips, 3)
    fine = model.evaluate([clips], StepRandom(0))
    model.setup = replace(model.setup, autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    coarse = model.evaluate([clips], StepRandom(0))
    assert coarse["bits_per_dim"] == pytest.approx(fine["bits_per_dim"], abs=0.02)
    (step,) = learn(model, clips, 1)
    assert math.isfinite(step["norm/tail"])


def test_each_part_is_clipped_by_its_own_norm() -> None:
    model, clips = (
        make_trainer(tail_optimiser={"name": "sgd", "lr": 1.0, "betas": [0.0, 0.9], "clip_norm": 1e-3}),
        first_clips(4),
    )
    learn(model, clips, 1)
    before = [parameter.detach().clone() for parameter in model.glow.tail.parameters()]
    learn(model, clips, 1)
    now = [parameter.detach() for parameter in model.glow.tail.parameters()]
    moved = sum(float((a - b).square().sum()) for a, b in zip(before, now, strict=True))
    assert 0 < math.sqrt(moved) <= 1.001e-3


def test_single_frames_missing_labels_and_unknown_labels_are_refused() -> None:
    with pytest.raises(RequestError, match=r"clips of 1 frame: a video Glow needs 2 or more; set load\.num_frames"):
        make_trainer((1, 1, 16, 16))
    with pytest.raises(RequestError, match=r"label_of label: the dataset has no labels; use meaning, or model\.label caption"):
        make_trainer(labels=(), model={"label": "vector"})
    model, clips = make_trainer(model={"label": "vector"}), first_clips(2)
    with pytest.raises(RequestError, match=f"clip {clips.keys[1]} has no label; use model.label_of meaning"):
        model.step([replace(clips, labels=torch.tensor([3, -1]))], StepRandom(0))
    with pytest.raises(RequestError, match="'a dog' is not a label of the model's data; expected one of 10, such as 0, 1, 2"):
        model.sample(["a dog"], StepRandom(0))


def test_adamax_warms_up() -> None:
    assert OptimiserSpec("adamax", warmup_steps=10, lr=1e-3).rate(4) == pytest.approx(5e-4)
