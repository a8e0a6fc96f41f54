"""A recipe is complete, and all its mistakes are reported at once."""

from __future__ import annotations

import dataclasses
import io
import re
import sys
from pathlib import Path

import pytest
import torch
from support import ROOT

from baselines import command, recipe_file
from baselines.family import TrainerSetup
from baselines.learner import OptimiserSpec
from baselines.metrics import MetricsLog
from baselines.run_folder import RunFolder
from baselines.train import command as train_command
from t2vdata import storage
from t2vdata.build.run import BuildResult
from t2vdata.errors import OtherSpecError, RequestError, StorageError
from t2vdata.format.dataset import open_dataset
from t2vdata.text.vocabulary import Vocabulary

RECIPES = [path for folder in ("recipes", "recipes/smoke") for path in sorted((ROOT / folder).glob("*.yaml"))]

GOOD = """
# A comment.
family: mymodel.regression
data: {path: data/x}
run: {steps: 10, log_every: 5, checkpoint_every: 5}
optimiser: {lr: 0.01, betas: [0, 0.9]}
"""


def written(tmp_path: Path, text: str = GOOD) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(text)
    return str(path)


def test_a_recipe_is_typed_sections_with_defaults(tmp_path: Path) -> None:
    recipe = recipe_file.read(written(tmp_path))
    assert (recipe.family, recipe.seed, recipe.run.steps, recipe.run.device) == ("mymodel.regression", 0, 10, "auto")
    assert recipe.sections["optimiser"] == OptimiserSpec(lr=0.01, betas=(0.0, 0.9))
    assert recipe.load.batch_size == 64


def test_command_line_values_override_the_file(tmp_path: Path) -> None:
    recipe = recipe_file.read(
        written(tmp_path), ["run.steps=20", "seed=3", "model.width=2", "optimiser.lr=1.0e-4", "data.path=a=b"]
    )
    assert (recipe.run.steps, recipe.seed, recipe.sections["model"].width) == (20, 3, 2)
    assert (recipe.sections["optimiser"].lr, recipe.data.path) == (1e-4, "a=b")


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    text = """
family: mymodel.regression
dta: {path: x}
data: {split: train}
load: {batch_size: 0}
run: {steps: many, precision: half, log_evry: 3, checkpoint_every: 5}
optimiser: {lr: 1e-4, ema: 2}
model: 3
"""
    with pytest.raises(RequestError) as raised:
        recipe_file.read(written(tmp_path, text))
    for part in [
        "dta: no such section; did you mean data?",
        "data.path: required",
        "load: LoadSpec.batch_size 0: expected more than 0",
        "run.steps: expected an integer, got 'many'",
        "run.precision: expected one of float32, bfloat16, got 'half'",
        "run.log_evry: no such name; did you mean log_every?",
        "optimiser.lr: expected a number, got '1e-4' (YAML reads 1e-4 as a string; write 1.0e-4)",
        "model: expected names and values, got 3",
    ]:
        assert part in str(raised.value)


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
        ("seed=x", r"seed: expected an integer, got 'x'"),
        ("family=gann", r"no family 'gann'"),
        ("family=mymodel.nowhere", r"no module 'mymodel.nowhere'; add the folder that holds it to PYTHONPATH"),
        ("family=mymodel", r"no family 'mymodel'"),
        ("family=json.decoder", r"json.decoder is not a model family: it lacks SECTIONS, Trainer; see docs/recipes.md"),
    ],
)
def test_a_mistake_is_reported_with_what_was_expected(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe_file.read(written(tmp_path), [override])


def test_a_missing_or_malformed_file_is_reported_with_a_hint(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(RequestError, match=r"no recipe .*smalll.yaml; did you mean .*small.yaml\?"):
        recipe_file.read(str(tmp_path / "smalll.yaml"))
    with pytest.raises(RequestError, match=r"small\.yaml, line \d+: "):
        recipe_file.read(written(tmp_path, "a: [1"))
    with pytest.raises(RequestError, match="expected sections"):
        recipe_file.read(written(tmp_path, "- 1"))
    with pytest.raises(RequestError, match="family: required"):
        recipe_file.read(written(tmp_path, "run: {}"))


def test_a_run_folder_returns_the_recipe_and_the_setup_it_was_created_with(tmp_path: Path, built: BuildResult) -> None:
    recipe = recipe_file.read(written(tmp_path), ["optimiser.ema=0.99", "load.resize=[16, 16]"])
    folder = RunFolder(tmp_path / "run")
    setup = TrainerSetup(Vocabulary.load(open_dataset(built.out).vocabulary_path), ("a",), (1, 8, 24, 24))
    folder.create(recipe, setup, "f" * 64, 30.0)
    assert folder.recipe() == recipe
    cpu = torch.device("cpu")
    assert folder.trainer_setup(cpu) == (dataclasses.replace(setup, device=cpu), 30.0)


def test_a_folder_of_another_run_is_refused_with_the_difference(tmp_path: Path, built: BuildResult) -> None:
    recipe, folder = recipe_file.read(written(tmp_path)), RunFolder(tmp_path / "run")
    setup = TrainerSetup(Vocabulary.load(open_dataset(built.out).vocabulary_path), ("a",), (1, 8, 24, 24))
    facts = (setup, "f" * 64, 30.0)
    folder.create(recipe, *facts)
    with pytest.raises(OtherSpecError, match=r"holds another run: optimiser.lr is 0.5, was 0.01; choose another folder"):
        folder.create(recipe_file.read(written(tmp_path), ["optimiser.lr=0.5"]), *facts)
    # Extending a run is allowed.
    folder.create(recipe_file.read(written(tmp_path), ["run.steps=50"]), *facts)
    assert folder.recipe().run.steps == 50
    notes = RunFolder(tmp_path / "notes")
    notes.path.mkdir()
    (notes.path / "mine.txt").write_text("mine")
    with pytest.raises(OtherSpecError, match="the dataset is eeeeeeeeeeee, was ffffffffffff"):
        folder.create(recipe, setup, "e" * 64, 30.0)
    with pytest.raises(OtherSpecError, match="holds files that are not a run"):
        notes.create(recipe, *facts)
    with pytest.raises(RequestError, match="no run in"):
        notes.recipe()


@pytest.mark.parametrize("num_files", [0, 1, 2])
def test_a_run_that_was_killed_while_its_folder_was_created_goes_on(
    num_files: int, tmp_path: Path, built: BuildResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = recipe_file.read(written(tmp_path)), RunFolder(tmp_path / "run")
    facts = (TrainerSetup(Vocabulary.load(open_dataset(built.out).vocabulary_path), ("a",), (1, 8, 24, 24)), "f" * 64, 30.0)
    write, written_files = storage.write_whole, iter(range(10))

    def killed_write(path: str, data: bytes) -> None:
        if next(written_files) == num_files:
            (Path(path).parent / ".partial").write_bytes(data[:10])
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_whole", killed_write)
        with pytest.raises(KeyboardInterrupt):
            folder.create(recipe, *facts)
    folder.create(recipe, *facts)
    assert folder.recipe() == recipe
    assert folder.trainer_setup(torch.device("cpu"))[0].vocabulary.words == facts[0].vocabulary.words


def test_a_run_in_a_place_that_cannot_be_a_folder_is_refused(tmp_path: Path, built: BuildResult) -> None:
    (tmp_path / "file").write_text("")
    setup = TrainerSetup(Vocabulary.load(open_dataset(built.out).vocabulary_path), ("a",), (1, 8, 24, 24))
    with pytest.raises(StorageError, match=r"cannot write to .*file/run: Not a directory; choose another folder with --out"):
        RunFolder(tmp_path / "file" / "run").create(recipe_file.read(written(tmp_path)), setup, "f" * 64, 30.0)


# The recipes in recipes/


def test_all_recipes_are_found() -> None:
    assert len(RECIPES) == 29


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_begins_with_a_comment_on_its_data_command_and_time(path: Path) -> None:
    top = path.read_text().partition("family:")[0]
    assert f"python -m baselines.train {path.relative_to(ROOT)}" in top
    assert "# Data: t2vdata build " in top
    assert "# Time" in top


def test_control_characters_of_a_recipe_reach_the_terminal_as_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a\x1b[31mb.yaml"
    path.write_text(GOOD + '"s\\e[2Jx": {}\nmodel: {"w\\u202Ex": "\\a"}\n')
    monkeypatch.setattr(sys, "argv", ["train", str(path)])
    with pytest.raises(SystemExit):
        command.run(train_command)
    stderr = capsys.readouterr().err
    assert "a\\x1b[31mb.yaml" in stderr
    assert "s\\x1b[2Jx: no such section" in stderr
    assert "model.w\\u202ex: no such name" in stderr
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", stderr)


def test_lines_above_a_progress_bar_are_not_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    with MetricsLog(tmp_path, step=0, steps=2, size_bytes=0) as log:
        log.print("resumes: runs/[/red]\x1b[2J")
        log.show(1, {"[/loss]": 0.5})
    assert "resumes: runs/[/red]\\x1b[2J" in stream.getvalue()
    assert "[/loss] 0.5" in stream.getvalue()
