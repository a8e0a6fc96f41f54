"""Every Glow recipe trains, on one process and on two."""

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

from baselines import recipe_file, table
from baselines.checkpoints import Checkpoints
from baselines.distributed import ProcessGroup
from baselines.family import TrainerSetup
from baselines.glow import Trainer
from baselines.loop import train
from baselines.randomness import StepRandom
from t2vdata.build.run import BuildResult
from t2vdata.loading import Batch
from t2vdata.text.vocabulary import Vocabulary

RECIPES = ROOT / "recipes"
NARROW = ["head.width=4", "tail.width=4", "head.steps=1", "tail.steps=1"]


def glow_recipes(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.yaml")) if "\nfamily: glow\n" in path.read_text()]


SMOKE, FULL = glow_recipes(RECIPES / "smoke"), glow_recipes(RECIPES)


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_all_recipes_are_found() -> None:
    assert len(SMOKE) == 3
    assert len(FULL) == 3


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_every_smoke_recipe_trains_and_writes_pictures(path: Path, tmp_path: Path, built: BuildResult) -> None:
    train(recipe_file.read(str(path), [f"data.path={built.out}"]), tmp_path / "run", ProcessGroup())
    logged = rows(tmp_path / "run")
    assert [row["step"] for row in logged] == [1, 2]
    assert logged[0]["reconstruction"] < 1e-4
    assert logged[1]["bits_per_dim/tail"] < 12
    with Image.open(tmp_path / "run" / "pictures" / "step-00000002.gif") as picture:
        assert picture.n_frames == 4


@pytest.mark.long
def test_two_processes_have_the_likelihood_of_one(tmp_path: Path, built: BuildResult) -> None:
    path = str(RECIPES / "smoke" / "glow.yaml")
    common = [f"data.path={built.out}", "run.picture_every=null"]
    train(recipe_file.read(path, [*common, "load.batch_size=8"]), tmp_path / "one", ProcessGroup())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command = [*launch, "baselines.train", path, "--out", str(tmp_path / "two"), *common]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    alone, together = rows(tmp_path / "one"), rows(tmp_path / "two")
    for name in ("bits_per_dim/head", "bits_per_dim/tail", "norm/head", "norm/tail", "norm/state"):
        assert together[0][name] == pytest.approx(alone[0][name], rel=1e-4), name
    # The first update moves by the signs of gradients, which rounding determines for gradients near 0.
    for name in ("bits_per_dim/head", "bits_per_dim/tail"):
        assert together[1][name] == pytest.approx(alone[1][name], rel=1e-3), name


def test_a_glow_with_nan_weights_returns_to_its_last_checkpoint(
    tmp_path: Path, built: BuildResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the tail, which is updated after the head; before the ActNorms are initialised, and after.
    calls, step = iter(range(100)), Trainer.step

    def ruined_step(self: Trainer, batches: list[Batch], random: StepRandom) -> dict[str, torch.Tensor]:
        if next(calls) in (0, 3):
            next(self.glow.tail.parameters()).data.fill_(torch.nan)
        return step(self, batches, random)

    monkeypatch.setattr(Trainer, "step", ruined_step)
    overrides = [f"data.path={built.out}", "run.steps=4", "run.picture_every=null"]
    train(recipe_file.read(str(RECIPES / "smoke" / "glow.yaml"), overrides), tmp_path / "run", ProcessGroup())
    logged = rows(tmp_path / "run")
    assert [(row["step"], row.get("returned_from")) for row in logged] == [
        (0, 1),
        (1, None),
        (2, None),
        (2, 3),
        (3, None),
        (4, None),
    ]
    assert {row["why"] for row in logged if "why" in row} == {"gradient norm is nan"}
    assert all(row["bits_per_dim/tail"] < 12 for row in logged if "why" not in row)
    _, state = Checkpoints(tmp_path / "run" / "checkpoints").load("last")
    parts = [state["trainer"][part][kind] for part in ("head", "tail", "state") for kind in ("module", "averaged")]
    assert all(value.isfinite().all() for part in parts for value in part.values())


# torch itself ignores this warning, about a vector that is not a leaf of the graph, but pytest's filter raises it.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.long
def test_a_compiled_glow_learns_the_same() -> None:
    if shutil.which("c++") is None:
        skip_or_fail("torch.compile needs a C++ compiler")
    # Equal head and tail halve the compilation. SGD, because rounding determines the signs of gradients near 0, and with them
    # the steps of Adam.
    alike = [f"{part}.{word}" for part in ("head", "tail") for word in ("levels=1", "steps=1", "width=2", "checkpoint=false")]
    alike += ["tail.conditional_priors=false", "model.state_channels=0", "model.previous_frame=false"]
    steady = [f"{part}_optimiser.{word}" for part in ("head", "tail") for word in ("name=sgd", "lr=1.0e-4", "ema=null")]
    shape, captions = (1, 2, 4, 4), ["the digit 9 is moving down and up", "the digit 3 is moving left and right"]
    runs = []
    for compiled in ("true", "false"):
        recipe = recipe_file.read(str(RECIPES / "smoke" / "glow.yaml"), [*alike, *steady, f"run.compile={compiled}"])
        torch.manual_seed(0)
        trainer = Trainer(recipe, TrainerSetup(vocabulary=Vocabulary.build(captions), labels=(), shape=shape))
        clips = Batch(
            video=torch.randint(0, 256, (2, *shape), dtype=torch.uint8), captions=captions, keys=["a", "b"],
            labels=torch.tensor([-1, -1]),
        )  # fmt: skip
        runs.append([trainer.step([clips], StepRandom(0, step)) for step in range(3)])
        assert (trainer.glow.tail._compiled_call_impl is not None) == (compiled == "true")
    for compiled_step, plain_step in zip(*runs, strict=True):
        assert compiled_step.keys() == plain_step.keys()
        for name in compiled_step.keys() - {"reconstruction"}:
            assert float(compiled_step[name]) == pytest.approx(float(plain_step[name]), rel=1e-4), name
    assert float(runs[0][-1]["bits_per_dim/head"]) < float(runs[0][0]["bits_per_dim/head"])


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_every_full_recipe_takes_two_steps_at_reduced_width(path: Path) -> None:
    # The recipe's frame size and options, on a few short clips of noise.
    recipe = recipe_file.read(str(path), NARROW)
    channels, side = recipe.load.channels or 1, 24 if "cpu" in path.stem else 64
    shape = (channels, 3, side, side)
    torch.manual_seed(0)
    captions = ["the digit 9 is moving down and up", "the digit 3 is moving left and right"]
    trainer = Trainer(recipe, TrainerSetup(vocabulary=Vocabulary.build(captions), labels=("3", "9"), shape=shape))
    clips = Batch(
        video=torch.randint(0, 256, (2, *shape), dtype=torch.uint8), captions=captions, keys=["a", "b"],
        labels=torch.tensor([1, 0]),
    )  # fmt: skip
    first, second = (trainer.step([clips], StepRandom(0, step)) for step in range(2))
    assert first.keys() >= {"bits_per_dim/head", "bits_per_dim/tail", "norm/head", "norm/tail", "reconstruction"}
    assert all(value.isfinite() for value in second.values())
    assert trainer.sample(captions, StepRandom(0)).shape == (2, *shape)


def test_the_table_has_the_papers_five_settings_and_three_seeds() -> None:
    spec = table.read(str(RECIPES / "tables" / "glow.yaml"))
    assert len(spec.rows) == 5
    assert len(spec.seeds) == 3
    assert spec.split == "test"
    assert {"head_bits_per_dim", "tail_bits_per_dim", "head_nats", "tail_nats", "label_bits"} <= set(spec.columns)


def test_the_rows_of_the_table_have_equal_numbers_of_parameters_except_for_labels() -> None:
    heads, tails = [], []
    setup = TrainerSetup(vocabulary=Vocabulary.build(["the digit"]), labels=tuple("0123456789"), shape=(1, 8, 24, 24))
    for row in table.read(str(RECIPES / "tables" / "glow.yaml")).rows.values():
        glow = Trainer(recipe_file.read(str(ROOT / row.recipe), row.set), setup).glow
        sizes = [
            sum(value.numel() for name, value in part.named_parameters() if not name.startswith("describer"))
            for part in glow.parts()
        ]
        heads.append(sizes[0])
        tails.append(sum(sizes[1:]))
    assert max(heads) < 1.01 * min(heads)
    assert max(tails) < 1.01 * min(tails)
