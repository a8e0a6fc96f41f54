from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from support import ROOT, skip_or_fail

from baselines import recipe_file
from baselines.distributed import ProcessGroup
from baselines.family import TrainerSetup
from baselines.gan import Trainer
from baselines.loop import train
from baselines.randomness import StepRandom
from t2vdata.build.run import BuildResult
from t2vdata.text.vocabulary import Vocabulary

RECIPES = ROOT / "recipes"


def of_gans(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.yaml")) if "\nfamily: gan\n" in path.read_text()]


SMOKE, FULL = of_gans(RECIPES / "smoke"), of_gans(RECIPES)


def test_all_recipes_exist() -> None:
    assert len(SMOKE) == 11
    assert len(FULL) == 12


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_every_kind_of_gan_trains_on_a_real_build(path: Path, tmp_path: Path, built: BuildResult) -> None:
    spec = recipe_file.read(str(path), [f"data.path={built.out}"])
    train(spec, tmp_path / "run", ProcessGroup())
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, spec.run.steps + 1))
    assert "loss/discriminator" in rows[-1]
    assert "loss/generator" in rows[-1]
    assert (tmp_path / "run" / "checkpoints" / f"step-{spec.run.steps:08d}" / "state.safetensors").exists()
    with Image.open(tmp_path / "run" / "pictures" / f"step-{spec.run.steps:08d}.png") as picture:
        assert picture.height > 24


@pytest.mark.long
def test_a_compiled_generator_learns_the_same(tmp_path: Path, built: BuildResult) -> None:
    if shutil.which("c++") is None:
        skip_or_fail("torch.compile needs a C++ compiler")
    losses = []
    for compiled in ("true", "false"):
        spec = recipe_file.read(str(RECIPES / "smoke" / "tgansc.yaml"), [f"data.path={built.out}", f"run.compile={compiled}"])
        train(spec, tmp_path / compiled, ProcessGroup())
        rows = [json.loads(line) for line in (tmp_path / compiled / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss/generator"] for row in rows if "loss/generator" in row])
    assert len(losses[0]) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_every_full_recipe_generates_clips_of_the_size_it_loads(path: Path) -> None:
    # Narrow, to be fast; sizes and options are those of the recipe.
    spec = recipe_file.read(str(path), ["model.width=0.03125"])
    side = 24 if path.stem.endswith("-cpu") else spec.load.resize or 64
    assert isinstance(side, int)
    shape = (spec.load.channels or 1, spec.load.num_frames or 32, side, side)
    words = Vocabulary.build(["the digit 9 is moving down and up"])
    trainer = Trainer(spec, TrainerSetup(vocabulary=words, labels=(), shape=shape))
    clips = trainer.sample(["the digit 9 is moving down and up"] * 2, StepRandom(0))
    assert clips.shape == (2, *shape)
    assert clips.dtype == torch.uint8
