from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from baselines import recipe_file
from baselines.checkpoints import Checkpoints
from baselines.family import TrainerSetup
from baselines.gan import Trainer
from baselines.randomness import StepRandom
from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.loading import Batch, LoadSpec, loader
from t2vdata.text.vocabulary import Vocabulary

CAPTIONS = ["the screen is dark", "the screen is bright"]
SHAPE = (1, 4, 16, 16)
MODEL = {"width": 1 / 16, "noise": 4, "text_features": 8, "blocks": 2}
TEXT = {"embedding": 8, "size": 8}
Sections = dict[str, dict[str, Any]]


def trainer(
    vocabulary: Vocabulary | None = None, shape: tuple[int, int, int, int] = SHAPE, bfloat16: bool = False, **sections: Any
) -> Trainer:
    torch.manual_seed(0)
    values = {
        "family": "gan",
        "data": {"path": "data"},
        "run": {"steps": 10},
        **sections,
        "model": MODEL | sections.get("model", {}),
        "text": sections.get("text", TEXT),
    }
    words = vocabulary or Vocabulary.build(CAPTIONS)
    setting = TrainerSetup(
        vocabulary=words,
        labels=("dark", "bright"),
        shape=shape,
        autocast=lambda: torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
    )
    return Trainer(recipe_file.parse(values), setting)


def screens(number: int = 8) -> Batch:
    """Return clips whose brightness matches their captions."""
    kinds = torch.arange(number) % 2
    grey = torch.where(kinds == 1, 230, 25).view(-1, 1, 1, 1, 1)
    texts = [CAPTIONS[kind] for kind in kinds.tolist()]
    words = Vocabulary.build(CAPTIONS).encode_batch(texts)
    return Batch(
        video=(grey + torch.arange(SHAPE[3])).expand(-1, *SHAPE).to(torch.uint8),
        captions=texts,
        keys=[str(index) for index in range(number)],
        labels=kinds,
        tokens=torch.from_numpy(words.tokens),
        lengths=torch.from_numpy(words.lengths),
    )


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.named_parameters()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> bool:
    return any(not torch.equal(before[name], value) for name, value in module.named_parameters())


def run(gan: Trainer, steps: int, *, first: int = 0) -> list[dict[str, torch.Tensor]]:
    return [gan.step([screens()], StepRandom(0, step)) for step in range(first, first + steps)]


SECTIONS: list[Sections] = [
    {},
    {"model": {"motion": False}, "loss": {"coherence": 1.0, "l1": 0.1}},
    {"loss": {"game": "least squares", "negatives": "other caption"}},
    {"loss": {"game": "hinge", "negatives": "other label"}, "text": TEXT | {"taught_by": "discriminator"}},
    {"loss": {"game": "wasserstein", "generator_every": 2}, "discriminator": {"name": "rmsprop", "clip_weights": 0.01}},
    {"model": {"discriminator_norm": "layer"}, "loss": {"game": "wasserstein", "gradient_penalty": 10.0}},
    {
        "model": {
            "discriminator_norm": "spectral",
            "condition": "projection",
            "hidden": 8,
            "pairs": 2,
            "batch_deviation": True,
        },
        "loss": {"game": "relativistic", "r1": 1.0, "r2": 0.5, "penalty_every": 3},
        "generator": {"ema": 0.9},
    },
    {
        "text": TEXT | {"taught_by": "generator"},
        "loss": {"interpolated": 1.0},
        "model": {"generator_norm": "conditional pixel"},
    },
    {"text": TEXT | {"pretrain_steps": 2}, "model": {"generator": "frames"}},
    {"text": {"encoder": "none"}, "model": {"generator": "vgan"}, "loss": {"mask": 0.1}},
    {
        "text": TEXT | {"pretrain_steps": 2, "scale": "standard", "remember": True},
        "model": {"condition": "projection", "hidden": 8, "match": 4, "init": "kaiming", "discriminator_norm": "none"},
        "loss": {"matching": 0.5, "matching_steps": 2},
    },
]


@pytest.mark.parametrize("sections", SECTIONS, ids=str)
def test_resume_is_exact(sections: Sections, tmp_path: Path) -> None:
    uninterrupted, first, second = (trainer(**sections) for _ in range(3))
    history = run(uninterrupted, 5)
    assert all(value.isfinite() for numbers in history for value in numbers.values())
    run(first, 3)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, first.state_dict())
    second.load_state_dict(checkpoints.load()[1])
    for numbers, expected in zip(run(second, 2, first=3), history[3:], strict=True):
        assert {name: float(value) for name, value in numbers.items()} == {
            name: float(value) for name, value in expected.items()
        }
    assert torch.equal(second.sample(CAPTIONS, StepRandom(9)), uninterrupted.sample(CAPTIONS, StepRandom(9)))


def test_a_step_changes_generator_and_discriminators_and_leaves_a_frozen_encoder_alone() -> None:
    gan = trainer()
    assert gan.encoder is not None
    parts = [gan.generator.module, gan.discriminator.module, gan.encoder]
    before = [weights(part) for part in parts]
    run(gan, 1)
    assert [changed(old, part) for old, part in zip(before, parts, strict=True)] == [True, True, False]


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_the_encoder_is_trained_by_the_loss_that_the_recipe_names(player: str) -> None:
    gan = trainer(text=TEXT | {"taught_by": player})
    assert gan.encoder is not None
    # The other network does not train the encoder, so only this one can have changed it.
    others = {"discriminator": gan.generator, "generator": gan.discriminator}
    assert "encoder" not in [name.split(".")[0] for name, _ in others[player].module.named_parameters()]
    before = weights(gan.encoder)
    run(gan, 1)
    assert changed(before, gan.encoder)


def test_cached_sentences_equal_those_encoded_again() -> None:
    gan, other = trainer(text=TEXT | {"remember": True}), trainer()
    batch = screens()
    for _ in range(2):
        mine, again = gan._sentences(batch)[0], other._sentences(batch)[0]
        assert mine is not None
        assert again is not None
        assert torch.allclose(mine, again, atol=1e-6)
    assert len(gan._cached_sentences) == len(CAPTIONS)
    # Another state has other vectors.
    changed_state = other.state_dict()
    changed_state["encoder"] = {name: value + 0.5 for name, value in changed_state["encoder"].items()}
    gan.load_state_dict(changed_state)
    assert not torch.allclose(gan._sentences(batch)[0], mine, atol=1e-3)


def test_pretraining_updates_only_the_encoder_and_logs_reconstruction() -> None:
    gan = trainer(text=TEXT | {"pretrain_steps": 61}, encoder={"lr": 0.03})
    assert gan.encoder is not None
    others = [weights(gan.generator.module), weights(gan.discriminator.module)]
    history = run(gan, 61)
    assert set(history[1]) == {"loss/autoencoder", "gradient/autoencoder"}
    assert set(history[0]) == {"loss/autoencoder", "rebuilt/words", "rebuilt/sentences", "gradient/autoencoder"}
    assert history[-1]["rebuilt/words"] > history[0]["rebuilt/words"]
    assert float(history[-1]["rebuilt/sentences"]) == 1.0
    assert not changed(others[0], gan.generator.module)
    assert not changed(others[1], gan.discriminator.module)
    learned = weights(gan.encoder)
    assert "loss/generator" in run(gan, 1, first=61)[0]
    assert not changed(learned, gan.encoder)


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_in_bfloat16_weights_losses_and_penalties_stay_in_float32(norm: str) -> None:
    model = {"discriminator_norm": norm, "channels_last": True}
    gan = trainer(bfloat16=True, model=model, loss={"r1": 1.0}, text=TEXT | {"taught_by": "discriminator"})
    history = run(gan, 2)
    assert all(value.isfinite() for numbers in history for value in numbers.values())
    assert history[-1]["loss/penalty"].dtype == torch.float32
    assert {value.dtype for value in gan.generator.module.parameters()} == {torch.float32}
    assert gan.sample(CAPTIONS, StepRandom(0)).dtype == torch.uint8


def test_the_generator_is_updated_every_generator_every_steps() -> None:
    history = run(trainer(loss={"generator_every": 3}), 6)
    assert ["loss/generator" in numbers for numbers in history] == [False, False, True] * 2


def test_lazy_penalties_are_scaled_by_their_interval() -> None:
    history = run(trainer(loss={"r1": 2.0, "penalty_every": 3}), 6)
    assert ["loss/penalty" in numbers for numbers in history] == [True, False, False] * 2
    # The gradient of a step with the penalty alone shows its weight: three times that of a penalty every step.
    model = {"discriminator_norm": "none", "init": "torch"}
    norms = [
        float(run(trainer(loss={"r1": 1e8, "penalty_every": every}, model=model), 1)[0]["gradient/discriminator"])
        for every in (1, 3)
    ]
    assert norms[1] == pytest.approx(3 * norms[0], rel=1e-2)


def test_clipped_weights_stay_within_their_bound() -> None:
    gan = trainer(loss={"game": "wasserstein"}, discriminator={"clip_weights": 0.01, "lr": 0.1})
    run(gan, 2)
    assert max(float(value.detach().abs().max()) for value in gan.discriminator.module.parameters()) <= 0.0100001


def test_discriminators_learn_to_separate_real_and_matched_clips() -> None:
    # The generator stays as it is.
    gan = trainer(
        loss={"generator_every": 1000, "negatives": "other caption"}, discriminator={"lr": 2e-3}, model={"init": "torch"}
    )
    run(gan, 40)
    batch = screens()
    text = gan._sentences(batch)[0]
    assert text is not None
    discriminators = gan.objective.discriminators.eval()
    real = batch.video.float() / 127.5 - 1
    generated_video = gan.objective.generate(StepRandom(5).normal(len(batch), 4), text).video
    for name in discriminators.names:
        matched, wrong, generated = (
            float(discriminators(video, sentences)[name].detach().mean())
            for video, sentences in ((real, text), (real, text.roll(1, 0)), (generated_video, text))
        )
        assert matched > generated
        # Of two still frames the difference is nothing, whatever the caption.
        assert name == "motion" or matched > wrong


@pytest.mark.parametrize("game", ["non-saturating", "least squares", "hinge"])
def test_realness_is_positive_for_real_and_negative_for_generated_clips(game: str) -> None:
    loss = {"generator_every": 1000, "mismatched": 0.0, "game": game}
    gan = trainer(loss=loss, discriminator={"lr": 2e-3}, model={"init": "torch", "motion": False})
    run(gan, 30)
    batch = screens()
    real, generated = (gan.realness(clips, batch.captions) for clips in (batch.video, gan.sample(CAPTIONS * 4, StepRandom(3))))
    assert real.shape == (8,)
    assert real.mean() > 0 > generated.mean()
    assert (real > generated).all()


@pytest.mark.parametrize("game", ["wasserstein", "relativistic"])
def test_realness_is_refused_for_relative_losses(game: str) -> None:
    with pytest.raises(RequestError, match=f"scores of a {game} loss do not classify a single clip"):
        trainer(loss={"game": game}).realness(screens().video, screens().captions)  # type: ignore[arg-type]


def test_the_generator_learns_to_fool_fixed_discriminators() -> None:
    gan = trainer(discriminator={"lr": 1e-9}, generator={"lr": 2e-3}, model={"discriminator_norm": "none", "init": "torch"})
    history = run(gan, 30)
    assert history[-1]["loss/generator"] < history[0]["loss/generator"]


def test_both_losses_learn_matching_until_matching_steps() -> None:
    model = {"condition": "projection", "hidden": 8, "match": 4, "init": "torch", "discriminator_norm": "none", "frame": False}
    loss = {"matching": 10.0, "matching_steps": 100}
    gan = trainer(model=model, loss=loss, discriminator={"lr": 5e-3}, generator={"lr": 5e-3})
    history = run(gan, 60)
    for name in ("loss/matching_real", "loss/matching_generated"):
        assert float(history[-1][name]) < float(history[0][name]) / 2
    gan.discriminator.num_updates = 100
    assert "loss/matching_real" not in run(gan, 1, first=60)[0]


def test_the_l1_term_pulls_clips_towards_real_ones() -> None:
    gan = trainer(loss={"l1": 100.0}, generator={"lr": 5e-3})
    history = run(gan, 30)
    assert history[-1]["loss/l1"] < history[0]["loss/l1"] / 2


def test_the_mask_term_makes_the_mask_smaller() -> None:
    gan = trainer(text={"encoder": "none"}, model={"generator": "vgan"}, loss={"mask": 100.0}, generator={"lr": 1e-2})
    history = run(gan, 15)
    assert history[-1]["loss/mask"] < history[0]["loss/mask"] - 0.1


class SameNoise(StepRandom):
    """Random numbers with equal noise for all clips, however they are split into batches."""

    def normal(self, num_rows: int, *shape: int) -> torch.Tensor:
        return torch.ones(num_rows, *shape)


def test_accumulated_batches_equal_one_large_batch() -> None:
    quiet = {"generator_norm": "none", "discriminator_norm": "none", "init": "torch"}
    large, small = (
        trainer(model=quiet, loss={"mismatched": 0.0}, discriminator={"name": "sgd"}, generator={"name": "sgd"})
        for _ in range(2)
    )
    batch = screens(8)
    halves = [_rows(batch, slice(0, 4)), _rows(batch, slice(4, 8))]
    large_metrics, small_metrics = large.step([batch], SameNoise(0)), small.step(halves, SameNoise(0))
    for name in large_metrics:
        assert float(large_metrics[name]) == pytest.approx(float(small_metrics[name]), rel=1e-4, abs=1e-7)
    for mine, other in zip(large.generator.module.parameters(), small.generator.module.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-7)


def _rows(batch: Batch, rows: slice) -> Batch:
    assert batch.tokens is not None
    assert batch.lengths is not None
    return Batch(
        batch.video[rows], batch.captions[rows], batch.keys[rows], batch.labels[rows], batch.tokens[rows], batch.lengths[rows]
    )


def test_samples_depend_on_caption_noise_and_averaged_weights() -> None:
    gan = trainer(generator={"ema": 0.999, "lr": 1e-2}, model={"init": "torch"})
    run(gan, 3)
    clips = gan.sample(CAPTIONS, StepRandom(1))
    assert clips.shape == (2, *SHAPE)
    assert clips.dtype == torch.uint8
    assert torch.equal(clips, gan.sample(CAPTIONS, StepRandom(1)))
    assert not torch.equal(clips, gan.sample(CAPTIONS, StepRandom(2)))
    assert not torch.equal(clips, gan.sample(CAPTIONS[::-1], StepRandom(1)))
    gan.generator.averaged.requires_grad_(False)
    for value in gan.generator.module.parameters():
        value.data.zero_()
    assert torch.equal(clips, gan.sample(CAPTIONS, StepRandom(1)))


def test_sampling_does_not_change_training() -> None:
    reference, other = trainer(), trainer()
    run(reference, 1)
    run(other, 1)
    other.sample(CAPTIONS, StepRandom(1))
    assert {name: float(value) for name, value in run(reference, 1, first=1)[0].items()} == {
        name: float(value) for name, value in run(other, 1, first=1)[0].items()
    }


def test_a_real_dataset_trains(built: BuildResult) -> None:
    dataset = open_dataset(built.out)
    words = Vocabulary.load(dataset.vocabulary_path)
    gan = trainer(words, (1, 8, 24, 24), loss={"negatives": "other label"})
    with loader(dataset["train"], LoadSpec(batch_size=8, drop_last=True), vocabulary=words, seed=0) as reading:
        history = [gan.step([batch], StepRandom(0, step)) for step, batch in enumerate(reading)]
    assert len(history) == 7
    assert all(value.isfinite() for numbers in history for value in numbers.values())


def test_a_batch_of_one_caption_has_no_mismatched_captions() -> None:
    gan = trainer(loss={"negatives": "other caption"})
    alike = _rows(screens(16), slice(0, 16, 2))
    assert gan.step([alike], StepRandom(0))["loss/discriminator"].isfinite()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"loss": {"mask": 0.1}}, "only model.generator vgan has a mask"),
        ({"loss": {"coherence": 1.0}, "model": {"frame": False, "motion": False}}, "loss.coherence compares frame maps"),
        ({"loss": {"matching": 0.5}}, "set model.match, such as 64"),
        ({"loss": {"gradient_penalty": 10.0}}, "set model.discriminator_norm to layer or none"),
    ],
)
def test_contradictory_sections_are_refused(sections: Sections, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        trainer(**sections)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: Batch(batch.video, batch.captions, batch.keys, batch.labels), "the batches have no tokens"),
        (
            lambda batch: Batch(
                batch.video, batch.captions, batch.keys, batch.labels, batch.tokens[:, None], batch.lengths[:, None]
            ),
            "set load.captions to one or first",
        ),
    ],
)
def test_unsuitable_batches_are_refused(change: Callable[[Batch], Batch], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        trainer().step([change(screens())], StepRandom(0))
