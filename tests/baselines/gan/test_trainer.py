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
    """Return clips that are as dark or as bright as their captions say."""
    kinds = torch.arange(number) % 2
    grey = torch.where(kinds == 1, 230, 25).view(-1, 1, 1, 1, 1)
    texts = [CAPTIONS[kind] for kind in kinds.tolist()]
    words = Vocabulary.build(CAPTIONS).encode_batch(texts)
    return Batch(
        video=(grey + torch.arange(SHAPE[3])).expand(-1, *SHAPE).to(torch.uint8),
        captions=texts,
        keys=[str(place) for place in range(number)],
        labels=kinds,
        tokens=torch.from_numpy(words.tokens),
        lengths=torch.from_numpy(words.lengths),
    )


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.named_parameters()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> bool:
    return any(not torch.equal(before[name], value) for name, value in module.named_parameters())


def run(made: Trainer, steps: int, *, first: int = 0) -> list[dict[str, torch.Tensor]]:
    return [made.step([screens()], StepRandom(0, step)) for step in range(first, first + steps)]


GAMES: list[Sections] = [
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


@pytest.mark.parametrize("sections", GAMES, ids=str)
def test_a_run_that_goes_on_from_its_state_is_the_run_that_was_not_stopped(sections: Sections, tmp_path: Path) -> None:
    whole, first, second = (trainer(**sections) for _ in range(3))
    told = run(whole, 5)
    assert all(value.isfinite() for numbers in told for value in numbers.values())
    run(first, 3)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, first.state_dict())
    second.load_state_dict(checkpoints.load()[1])
    for numbers, expected in zip(run(second, 2, first=3), told[3:], strict=True):
        assert {name: float(value) for name, value in numbers.items()} == {
            name: float(value) for name, value in expected.items()
        }
    assert torch.equal(second.sample(CAPTIONS, StepRandom(9)), whole.sample(CAPTIONS, StepRandom(9)))


def test_a_step_changes_generator_and_discriminators_and_leaves_a_frozen_encoder_alone() -> None:
    made = trainer()
    assert made.encoder is not None
    parts = [made.generator.module, made.discriminator.module, made.encoder]
    before = [weights(part) for part in parts]
    run(made, 1)
    assert [changed(old, part) for old, part in zip(before, parts, strict=True)] == [True, True, False]


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_an_encoder_is_taught_by_the_player_that_the_recipe_names(player: str) -> None:
    made = trainer(text=TEXT | {"taught_by": player})
    assert made.encoder is not None
    # The other player learns nothing, so that only this one can have changed it.
    others = {"discriminator": made.generator, "generator": made.discriminator}
    assert "encoder" not in [name.split(".")[0] for name, _ in others[player].module.named_parameters()]
    before = weights(made.encoder)
    run(made, 1)
    assert changed(before, made.encoder)


def test_remembered_sentences_are_those_that_would_be_read_again() -> None:
    made, other = trainer(text=TEXT | {"remember": True}), trainer()
    batch = screens()
    for _ in range(2):
        mine, again = made._sentences(batch)[0], other._sentences(batch)[0]
        assert mine is not None
        assert again is not None
        assert torch.allclose(mine, again, atol=1e-6)
    assert len(made._known) == len(CAPTIONS)
    # Another state has other vectors.
    changed_state = other.state_dict()
    changed_state["encoder"] = {name: value + 0.5 for name, value in changed_state["encoder"].items()}
    made.load_state_dict(changed_state)
    assert not torch.allclose(made._sentences(batch)[0], mine, atol=1e-3)


def test_pre_training_teaches_the_encoder_alone_and_tells_how_much_comes_back() -> None:
    made = trainer(text=TEXT | {"pretrain_steps": 61}, encoder={"lr": 0.03})
    assert made.encoder is not None
    others = [weights(made.generator.module), weights(made.discriminator.module)]
    told = run(made, 61)
    assert set(told[1]) == {"loss/autoencoder", "gradient/autoencoder"}
    assert set(told[0]) == {"loss/autoencoder", "rebuilt/words", "rebuilt/sentences", "gradient/autoencoder"}
    assert told[-1]["rebuilt/words"] > told[0]["rebuilt/words"]
    assert float(told[-1]["rebuilt/sentences"]) == 1.0
    assert not changed(others[0], made.generator.module)
    assert not changed(others[1], made.discriminator.module)
    learned = weights(made.encoder)
    assert "loss/generator" in run(made, 1, first=61)[0]
    assert not changed(learned, made.encoder)


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_in_bfloat16_weights_losses_and_penalties_stay_in_float32(norm: str) -> None:
    model = {"discriminator_norm": norm, "channels_last": True}
    made = trainer(bfloat16=True, model=model, loss={"r1": 1.0}, text=TEXT | {"taught_by": "discriminator"})
    told = run(made, 2)
    assert all(value.isfinite() for numbers in told for value in numbers.values())
    assert told[-1]["loss/penalty"].dtype == torch.float32
    assert {value.dtype for value in made.generator.module.parameters()} == {torch.float32}
    assert made.sample(CAPTIONS, StepRandom(0)).dtype == torch.uint8


def test_the_generator_has_its_turn_as_often_as_the_recipe_says() -> None:
    told = run(trainer(loss={"generator_every": 3}), 6)
    assert ["loss/generator" in numbers for numbers in told] == [False, False, True] * 2


def test_penalties_are_lazy_and_weigh_as_much_as_the_steps_between_them() -> None:
    told = run(trainer(loss={"r1": 2.0, "penalty_every": 3}), 6)
    assert ["loss/penalty" in numbers for numbers in told] == [True, False, False] * 2
    # The gradient of a step with the penalty alone shows its weight: three times that of a penalty every step.
    model = {"discriminator_norm": "none", "init": "torch"}
    norms = [
        float(run(trainer(loss={"r1": 1e8, "penalty_every": every}, model=model), 1)[0]["gradient/discriminator"])
        for every in (1, 3)
    ]
    assert norms[1] == pytest.approx(3 * norms[0], rel=1e-2)


def test_clipped_weights_stay_within_their_bound() -> None:
    made = trainer(loss={"game": "wasserstein"}, discriminator={"clip_weights": 0.01, "lr": 0.1})
    run(made, 2)
    assert max(float(value.detach().abs().max()) for value in made.discriminator.module.parameters()) <= 0.0100001


def test_discriminators_learn_which_clips_are_real_and_which_captions_are_theirs() -> None:
    # The generator stays as it is.
    made = trainer(
        loss={"generator_every": 1000, "negatives": "other caption"}, discriminator={"lr": 2e-3}, model={"init": "torch"}
    )
    run(made, 40)
    batch = screens()
    text = made._sentences(batch)[0]
    assert text is not None
    judges = made.game.judges.eval()
    real = batch.video.float() / 127.5 - 1
    made_up = made.game.make(StepRandom(5).normal(len(batch), 4), text).video
    for name in judges.names:
        matched, wrong, generated = (
            float(judges(video, sentences)[name].detach().mean())
            for video, sentences in ((real, text), (real, text.roll(1, 0)), (made_up, text))
        )
        assert matched > generated
        # Of two still frames the difference is nothing, whatever the caption.
        assert name == "motion" or matched > wrong


@pytest.mark.parametrize("game", ["non-saturating", "least squares", "hinge"])
def test_clips_are_taken_for_real_or_not(game: str) -> None:
    loss = {"generator_every": 1000, "mismatched": 0.0, "game": game}
    made = trainer(loss=loss, discriminator={"lr": 2e-3}, model={"init": "torch", "motion": False})
    run(made, 30)
    batch = screens()
    real, generated = (
        made.realness(clips, batch.captions) for clips in (batch.video, made.sample(CAPTIONS * 4, StepRandom(3)))
    )
    assert real.shape == (8,)
    assert real.mean() > 0 > generated.mean()
    assert (real > generated).all()


@pytest.mark.parametrize("game", ["wasserstein", "relativistic"])
def test_scores_that_mean_something_only_side_by_side_judge_no_clip(game: str) -> None:
    with pytest.raises(RequestError, match=f"scores of a {game} game do not say of one clip"):
        trainer(loss={"game": game}).realness(screens().video, screens().captions)  # type: ignore[arg-type]


def test_the_generator_learns_what_its_discriminators_take_for_real() -> None:
    made = trainer(discriminator={"lr": 1e-9}, generator={"lr": 2e-3}, model={"discriminator_norm": "none", "init": "torch"})
    told = run(made, 30)
    assert told[-1]["loss/generator"] < told[0]["loss/generator"]


def test_matching_is_learned_by_both_players_and_ends_when_its_steps_are_over() -> None:
    model = {"condition": "projection", "hidden": 8, "match": 4, "init": "torch", "discriminator_norm": "none", "frame": False}
    loss = {"matching": 10.0, "matching_steps": 100}
    made = trainer(model=model, loss=loss, discriminator={"lr": 5e-3}, generator={"lr": 5e-3})
    told = run(made, 60)
    for name in ("loss/matching_real", "loss/matching_generated"):
        assert float(told[-1][name]) < float(told[0][name]) / 2
    made.discriminator.num_updates = 100
    assert "loss/matching_real" not in run(made, 1, first=60)[0]


def test_the_l1_term_draws_clips_towards_the_real_ones() -> None:
    made = trainer(loss={"l1": 100.0}, generator={"lr": 5e-3})
    told = run(made, 30)
    assert told[-1]["loss/l1"] < told[0]["loss/l1"] / 2


def test_the_mask_term_makes_the_mask_smaller() -> None:
    made = trainer(text={"encoder": "none"}, model={"generator": "vgan"}, loss={"mask": 100.0}, generator={"lr": 1e-2})
    told = run(made, 15)
    assert told[-1]["loss/mask"] < told[0]["loss/mask"] - 0.1


class SameNoise(StepRandom):
    """StepRandom whose noise is the same for all clips, however they are spread over batches."""

    def normal(self, num_rows: int, *shape: int) -> torch.Tensor:
        return torch.ones(num_rows, *shape)


def test_batches_that_are_accumulated_are_one_large_batch() -> None:
    quiet = {"generator_norm": "none", "discriminator_norm": "none", "init": "torch"}
    large, small = (
        trainer(model=quiet, loss={"mismatched": 0.0}, discriminator={"name": "sgd"}, generator={"name": "sgd"})
        for _ in range(2)
    )
    batch = screens(8)
    halves = [_rows(batch, slice(0, 4)), _rows(batch, slice(4, 8))]
    one, two = large.step([batch], SameNoise(0)), small.step(halves, SameNoise(0))
    for name in one:
        assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-4, abs=1e-7)
    for mine, other in zip(large.generator.module.parameters(), small.generator.module.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-7)


def _rows(batch: Batch, rows: slice) -> Batch:
    assert batch.tokens is not None
    assert batch.lengths is not None
    return Batch(
        batch.video[rows], batch.captions[rows], batch.keys[rows], batch.labels[rows], batch.tokens[rows], batch.lengths[rows]
    )


def test_samples_are_bytes_that_depend_on_caption_noise_and_averaged_weights() -> None:
    made = trainer(generator={"ema": 0.999, "lr": 1e-2}, model={"init": "torch"})
    run(made, 3)
    clips = made.sample(CAPTIONS, StepRandom(1))
    assert clips.shape == (2, *SHAPE)
    assert clips.dtype == torch.uint8
    assert torch.equal(clips, made.sample(CAPTIONS, StepRandom(1)))
    assert not torch.equal(clips, made.sample(CAPTIONS, StepRandom(2)))
    assert not torch.equal(clips, made.sample(CAPTIONS[::-1], StepRandom(1)))
    made.generator.averaged.requires_grad_(False)
    for value in made.generator.module.parameters():
        value.data.zero_()
    assert torch.equal(clips, made.sample(CAPTIONS, StepRandom(1)))


def test_sampling_changes_nothing_of_the_training() -> None:
    one, other = trainer(), trainer()
    run(one, 1)
    run(other, 1)
    other.sample(CAPTIONS, StepRandom(1))
    assert {name: float(value) for name, value in run(one, 1, first=1)[0].items()} == {
        name: float(value) for name, value in run(other, 1, first=1)[0].items()
    }


def test_real_clips_and_captions_go_through(built: BuildResult) -> None:
    dataset = open_dataset(built.out)
    words = Vocabulary.load(dataset.vocabulary_path)
    made = trainer(words, (1, 8, 24, 24), loss={"negatives": "other label"})
    with loader(dataset["train"], LoadSpec(batch_size=8, drop_last=True), vocabulary=words, seed=0) as reading:
        told = [made.step([batch], StepRandom(0, step)) for step, batch in enumerate(reading)]
    assert len(told) == 7
    assert all(value.isfinite() for numbers in told for value in numbers.values())


def test_a_batch_of_one_caption_goes_without_wrong_ones() -> None:
    made = trainer(loss={"negatives": "other caption"})
    alike = _rows(screens(16), slice(0, 16, 2))
    assert made.step([alike], StepRandom(0))["loss/discriminator"].isfinite()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"loss": {"mask": 0.1}}, "only model.generator vgan has a mask"),
        ({"loss": {"coherence": 1.0}, "model": {"frame": False, "motion": False}}, "loss.coherence compares frame maps"),
        ({"loss": {"matching": 0.5}}, "set model.match, such as 64"),
        ({"loss": {"gradient_penalty": 10.0}}, "set model.discriminator_norm to layer or none"),
    ],
)
def test_sections_that_do_not_go_together_are_refused(sections: Sections, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        trainer(**sections)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: Batch(batch.video, batch.captions, batch.keys, batch.labels), "batches without tokens"),
        (
            lambda batch: Batch(
                batch.video, batch.captions, batch.keys, batch.labels, batch.tokens[:, None], batch.lengths[:, None]
            ),
            "set load.captions to one or first",
        ),
    ],
)
def test_batches_that_do_not_suit_are_refused(change: Callable[[Batch], Batch], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        trainer().step([change(screens())], StepRandom(0))
