"""Every recipe of a Glow trains, on one process or two, and says what it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from support import ROOT, skip_or_fail

from baselines import recipe, table
from baselines.checkpoints import Checkpoints
from baselines.distributed import Ranks
from baselines.family import TrainerSetup
from baselines.glow import Trainer
from baselines.loop import train
from baselines.randomness import StepRandom
from t2vdata.build.run import BuildResult
from t2vdata.loading import Batch
from t2vdata.text.vocabulary import Vocabulary

RECIPES = ROOT / "recipes"
NARROW = ["head.width=4", "tail.width=4", "head.steps=1", "tail.steps=1"]


def of_glow(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.yaml")) if "\nfamily: glow\n" in path.read_text()]


SMOKE, FULL = of_glow(RECIPES / "smoke"), of_glow(RECIPES)


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_all_recipes_are_found() -> None:
    assert len(SMOKE) == 3
    assert len(FULL) == 3


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_every_kind_of_glow_trains_and_draws_on_a_real_build(path: Path, tmp_path: Path, built: BuildResult) -> None:
    train(recipe.read(str(path), [f"data.path={built.out}"]), tmp_path / "run", Ranks())
    told = rows(tmp_path / "run")
    assert [row["step"] for row in told] == [1, 2]
    assert told[0]["reconstruction"] < 1e-4
    assert told[1]["bits_per_dim/tail"] < 12
    with Image.open(tmp_path / "run" / "pictures" / "step-00000002.gif") as picture:
        assert picture.n_frames == 4


def test_two_processes_see_the_likelihood_that_one_sees(tmp_path: Path, built: BuildResult) -> None:
    path = str(RECIPES / "smoke" / "glow.yaml")
    common = [f"data.path={built.out}", "run.picture_every=null"]
    train(recipe.read(path, [*common, "load.batch_size=8"]), tmp_path / "one", Ranks())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command = [*launch, "baselines.train", path, "--out", str(tmp_path / "two"), *common]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    (first, second), (their_first, their_second) = rows(tmp_path / "one"), rows(tmp_path / "two")
    for name in ("bits_per_dim/head", "bits_per_dim/tail", "norm/head", "norm/tail", "norm/state"):
        assert their_first[name] == pytest.approx(first[name], rel=1e-4), name
    # After an update whose first steps are of the gradients' signs, which rounding decides where a gradient is about 0.
    for name in ("bits_per_dim/head", "bits_per_dim/tail"):
        assert their_second[name] == pytest.approx(second[name], rel=1e-3), name


def test_a_glow_whose_weights_are_no_numbers_returns_to_its_last_checkpoint(
    tmp_path: Path, built: BuildResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the tail: the head has taken its step before that is seen. At first no norm was ever set, later all were.
    calls, step = iter(range(100)), Trainer.step

    def spoilt(self: Trainer, batches: list[Batch], draws: StepRandom) -> dict[str, torch.Tensor]:
        if next(calls) in (0, 3):
            next(self.glow.tail.parameters()).data.fill_(torch.nan)
        return step(self, batches, draws)

    monkeypatch.setattr(Trainer, "step", spoilt)
    overrides = [f"data.path={built.out}", "run.steps=4", "run.picture_every=null"]
    train(recipe.read(str(RECIPES / "smoke" / "glow.yaml"), overrides), tmp_path / "run", Ranks())
    told = rows(tmp_path / "run")
    assert [(row["step"], row.get("returned_from")) for row in told] == [
        (0, 1),
        (1, None),
        (2, None),
        (2, 3),
        (3, None),
        (4, None),
    ]
    assert {row["why"] for row in told if "why" in row} == {"the gradient's norm is nan"}
    assert all(row["bits_per_dim/tail"] < 12 for row in told if "why" not in row)
    _, state = Checkpoints(tmp_path / "run" / "checkpoints").load("last")
    parts = [state["trainer"][part][kind] for part in ("head", "tail", "state") for kind in ("module", "averaged")]
    assert all(value.isfinite().all() for part in parts for value in part.values())


# A vector is no leaf of the graph: torch hides this warning of its own, but not from a filter that raises.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_compiled_glow_learns_what_a_plain_one_learns() -> None:
    if shutil.which("c++") is None:
        skip_or_fail("torch.compile needs a C++ compiler")
    # Head and tail alike, so that half of the code is compiled; plain steps, for rounding decides signs of gradients around 0.
    alike = [f"{part}.{word}" for part in ("head", "tail") for word in ("levels=1", "steps=1", "width=2", "checkpoint=false")]
    alike += ["tail.conditional_priors=false", "model.state_channels=0", "model.previous_frame=false"]
    steady = [f"{part}_optimiser.{word}" for part in ("head", "tail") for word in ("name=sgd", "lr=1.0e-4", "ema=null")]
    shape, captions = (1, 2, 4, 4), ["the digit 9 is moving down and up", "the digit 3 is moving left and right"]
    told = []
    for compiled in ("true", "false"):
        made = recipe.read(str(RECIPES / "smoke" / "glow.yaml"), [*alike, *steady, f"run.compile={compiled}"])
        torch.manual_seed(0)
        trainer = Trainer(made, TrainerSetup(vocabulary=Vocabulary.build(captions), labels=(), shape=shape))
        clips = Batch(
            video=torch.randint(0, 256, (2, *shape), dtype=torch.uint8), captions=captions, keys=["a", "b"],
            labels=torch.tensor([-1, -1]),
        )  # fmt: skip
        told.append([trainer.step([clips], StepRandom(0, step)) for step in range(3)])
        assert (trainer.glow.tail._compiled_call_impl is not None) == (compiled == "true")
    for one, other in zip(*told, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"reconstruction"}:
            assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-4), name
    assert float(one["bits_per_dim/head"]) < float(told[0][0]["bits_per_dim/head"])


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_every_full_recipe_takes_two_steps_at_reduced_width(path: Path) -> None:
    # Sizes of frames and options are the recipe's; clips of noise stand for the data, few and short.
    made = recipe.read(str(path), NARROW)
    channels, side = made.load.channels or 1, 24 if "cpu" in path.stem else 64
    shape = (channels, 3, side, side)
    torch.manual_seed(0)
    captions = ["the digit 9 is moving down and up", "the digit 3 is moving left and right"]
    trainer = Trainer(made, TrainerSetup(vocabulary=Vocabulary.build(captions), labels=("3", "9"), shape=shape))
    clips = Batch(
        video=torch.randint(0, 256, (2, *shape), dtype=torch.uint8), captions=captions, keys=["a", "b"],
        labels=torch.tensor([1, 0]),
    )  # fmt: skip
    first, second = (trainer.step([clips], StepRandom(0, step)) for step in range(2))
    assert first.keys() >= {"bits_per_dim/head", "bits_per_dim/tail", "norm/head", "norm/tail", "reconstruction"}
    assert all(value.isfinite() for value in second.values())
    assert trainer.sample(captions, StepRandom(0)).shape == (2, *shape)


def test_the_table_has_the_five_settings_of_the_paper_and_three_seeds() -> None:
    spec = table.read(str(RECIPES / "tables" / "glow.yaml"))
    assert len(spec.rows) == 5
    assert len(spec.seeds) == 3
    assert spec.split == "test"
    assert {"head_bits_per_dim", "tail_bits_per_dim", "head_nats", "tail_nats", "label_bits"} <= set(spec.columns)


def test_the_tables_rows_have_as_many_parameters_beside_their_labels() -> None:
    heads, tails = [], []
    setting = TrainerSetup(vocabulary=Vocabulary.build(["the digit"]), labels=tuple("0123456789"), shape=(1, 8, 24, 24))
    for row in table.read(str(RECIPES / "tables" / "glow.yaml")).rows.values():
        made = Trainer(recipe.read(str(ROOT / row.recipe), row.set), setting).glow
        sizes = [
            sum(value.numel() for name, value in part.named_parameters() if not name.startswith("describer"))
            for part in made.parts()
        ]
        heads.append(sizes[0])
        tails.append(sum(sizes[1:]))
    assert max(heads) < 1.01 * min(heads)
    assert max(tails) < 1.01 * min(tails)
