"""A recipe says all, and what is wrong with it is told at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from support import ROOT

from baselines import recipe, run_folder
from baselines.family import Setting
from baselines.learner import OptimiserSpec
from t2vdata.build.run import BuildResult
from t2vdata.errors import OtherSpecError, RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.text.vocabulary import Vocabulary

RECIPES = [path for run_folder in ("recipes", "recipes/smoke") for path in sorted((ROOT / run_folder).glob("*.yaml"))]

GOOD = """
# A comment.
family: mymodel.regression
data: {path: data/x}
run: {steps: 10, log_every: 5, checkpoint_every: 5}
optimiser: {lr: 0.01, betas: [0, 0.9]}
"""


def written(tmp_path: Path, text: str = GOOD) -> str:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    return str(path)


def test_a_recipe_is_typed_sections_with_defaults(tmp_path: Path) -> None:
    made = recipe.read(written(tmp_path))
    assert (made.family, made.seed, made.run.steps, made.run.device) == ("mymodel.regression", 0, 10, "auto")
    assert made.sections["optimiser"] == OptimiserSpec(lr=0.01, betas=(0.0, 0.9))
    assert made.load.batch_size == 64


def test_values_on_the_command_line_take_the_place_of_the_files(tmp_path: Path) -> None:
    made = recipe.read(written(tmp_path), ["run.steps=20", "seed=3", "model.width=2", "optimiser.lr=1.0e-4", "data.path=a=b"])
    assert (made.run.steps, made.seed, made.sections["model"].width) == (20, 3, 2)
    assert (made.sections["optimiser"].lr, made.data.path) == (1e-4, "a=b")


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    wrong = """
family: mymodel.regression
dta: {path: x}
data: {split: train}
load: {batch_size: 0}
run: {steps: many, precision: half, log_evry: 3, checkpoint_every: 5}
optimiser: {lr: 1e-4, ema: 2}
model: 3
"""
    with pytest.raises(RequestError) as told:
        recipe.read(written(tmp_path, wrong))
    for part in [
        "dta: no such section; did you mean data?",
        "data.path: has to be given",
        "load: LoadSpec.batch_size 0: expected more than 0",
        "run.steps: expected a whole number, got 'many'",
        "run.precision: expected one of float32, bfloat16, got 'half'",
        "run.log_evry: no such name; did you mean log_every?",
        "optimiser.lr: expected a number, got '1e-4' (YAML reads 1e-4 as text; write 1.0e-4)",
        "model: expected names and values, got 3",
    ]:
        assert part in str(told.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.steps", r"'run.steps': expected section.name=value"),
        ("run.log_every=3", r"run: checkpoint_every 5: expected a multiple of log_every, 3"),
        ("run.judge_every=7", r"run: judge_every 7: expected a multiple of checkpoint_every, 5"),
        ("run.best=caption", r"run: best 'caption' without judge_every"),
        ("run.compile=1", r"run.compile: expected true or false, got 1"),
        ("optimiser.betas=0.5", r"optimiser.betas: expected a list of 2 numbers, got 0.5"),
        ("optimiser.ema=2", r"optimiser: ema 2.0: expected between 0 and 1"),
        ("optimiser.decay=cosine", r"optimiser: decay 'cosine' with decay_steps None; give both, or neither"),
        ("optimiser.clip_norm='1'", r"optimiser.clip_norm: expected a number or null, got '1' \(without quotes\)"),
        ("seed=x", r"seed: expected a whole number, got 'x'"),
        ("family=gann", r"no family 'gann'"),
        ("family=mymodel.nowhere", r"no module 'mymodel.nowhere'; is the folder that holds it on PYTHONPATH\?"),
        ("family=mymodel", r"no family 'mymodel'"),
        ("family=json.decoder", r"json.decoder is no family: it has no SECTIONS, Trainer; see docs/recipes.md"),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe.read(written(tmp_path), [override])


def test_a_recipe_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(RequestError, match=r"no recipe .*onee.yaml; did you mean .*one.yaml\?"):
        recipe.read(str(tmp_path / "onee.yaml"))
    with pytest.raises(RequestError, match="is no YAML file"):
        recipe.read(written(tmp_path, "a: [1"))
    with pytest.raises(RequestError, match="expected sections"):
        recipe.read(written(tmp_path, "- 1"))
    with pytest.raises(RequestError, match="family: has to be given"):
        recipe.read(written(tmp_path, "run: {}"))


def test_a_resolved_recipe_reads_as_itself(tmp_path: Path, built: BuildResult) -> None:
    made = recipe.read(written(tmp_path), ["optimiser.ema=0.99", "load.resize=[16, 16]"])
    run = tmp_path / "run"
    setting = Setting(Vocabulary.load(open_dataset(built.out).vocabulary_path), ("a",), (1, 8, 24, 24))
    run_folder.begin(run, made, setting, "f" * 64, 30.0)
    assert run_folder.read(run) == made
    assert run_folder.read_setting(run, torch.device("cpu")) == (dataclasses.replace(setting, device=torch.device("cpu")), 30.0)


def test_a_folder_of_another_run_is_refused_with_the_difference(tmp_path: Path, built: BuildResult) -> None:
    made, run = recipe.read(written(tmp_path)), tmp_path / "run"
    setting = Setting(Vocabulary.load(open_dataset(built.out).vocabulary_path), ("a",), (1, 8, 24, 24))
    rest = (setting, "f" * 64, 30.0)
    run_folder.begin(run, made, *rest)
    with pytest.raises(OtherSpecError, match=r"holds another run: optimiser.lr is 0.5, was 0.01; choose another folder"):
        run_folder.begin(run, recipe.read(written(tmp_path), ["optimiser.lr=0.5"]), *rest)
    # A longer run is the same one.
    run_folder.begin(run, recipe.read(written(tmp_path), ["run.steps=50"]), *rest)
    assert run_folder.read(run).run.steps == 50
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(OtherSpecError, match="the dataset is eeeeeeeeeeee, was ffffffffffff"):
        run_folder.begin(run, made, setting, "e" * 64, 30.0)
    with pytest.raises(OtherSpecError, match="holds something that is no run"):
        run_folder.begin(tmp_path / "notes", made, *rest)
    with pytest.raises(RequestError, match="no run in"):
        run_folder.read(tmp_path / "notes")


# The recipes that there are


def test_all_recipes_are_found() -> None:
    assert len(RECIPES) == 29


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_says_on_top_what_it_is_and_how_it_is_run(path: Path) -> None:
    top = path.read_text().partition("family:")[0]
    assert f"python -m baselines.train {path.relative_to(ROOT)}" in top
    assert "# Data: t2vdata build " in top
    assert "# Time" in top
