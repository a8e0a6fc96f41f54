"""The commands sample and evaluate a trained model, and make tables of several."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support import ROOT

from baselines import evaluate, recipe_file, sample, table
from baselines.distributed import ProcessGroup
from baselines.loop import train
from baselines.table import Cell
from baselines.trained import open_run
from t2vdata.errors import DataError, RequestError

CAPTION = "the digit 9 is moving down and up"


def call(command: object, *words: object) -> str:
    """Return the output of a command; its errors are raised."""
    return CliRunner().invoke(command, [*map(str, words)], catch_exceptions=False, standalone_mode=False).output


def test_samples_are_written_as_array_picture_and_animation(trained_regression: Path, tmp_path: Path) -> None:
    output = call(sample.command, trained_regression, "--caption", CAPTION, "--n", 3, "--out", tmp_path / "x.npy")
    assert output == f"3 clips of step 20 -> {tmp_path / 'x.npy'}\n"
    clips = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert (clips.shape, clips.dtype) == ((3, 8, 24, 24, 1), np.uint8)
    for name in ("x.gif", "x.png"):
        call(sample.command, trained_regression, "--caption", CAPTION, "--n", 2, "--out", tmp_path / name)
    with Image.open(tmp_path / "x.gif") as picture:
        assert picture.n_frames == 8


def test_sampling_does_not_need_the_training_data(trained: Path, tmp_path: Path) -> None:
    text = (trained / "recipe.yaml").read_text()
    data = next(line for line in text.splitlines() if "path:" in line)
    (trained / "recipe.yaml").write_text(text.replace(data, "  path: gone"))
    call(sample.command, trained, "--caption", CAPTION, "--n", 1, "--out", tmp_path / "x.npy")
    assert (tmp_path / "x.npy").exists()


def test_an_opened_run_uses_the_threads_and_denormals_of_its_training(trained_regression: Path) -> None:
    small, num_threads = torch.tensor([1e-310], dtype=torch.float64), torch.get_num_threads()
    torch.set_flush_denormal(False)
    torch.set_num_threads(2)
    try:
        assert float(small / 2) > 0
        open_run(trained_regression)
        assert float(small / 2) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(num_threads)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--caption", "the digit 9 flies", "--out", "x.gif"],
            r"the model does not know 'flies' .* it knows \d+ words, such as",
        ),
        (["--caption", CAPTION, "--out", "x.mkv"], r"expected a file name ending in .gif, .png or .npy"),
        (["--caption", CAPTION, "--out", "x.gif", "--n", "0"], r"--n 0: expected 1 or more"),
        (["--caption", CAPTION, "--out", "x.gif", "--checkpoint", "7"], r"no checkpoint '7'; choose from last, best, 10, 20"),
    ],
)
def test_impossible_samples_are_refused(trained_regression: Path, words: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        call(sample.command, trained_regression, *words)


def test_an_evaluation_compares_the_model_with_the_controls(trained: Path) -> None:
    output = call(evaluate.command, trained, "--split", "test", "--n", 6)
    for row in ("model", "real", "shuffled captions", "first frame alone", "shuffled frames", "nearest training clip"):
        assert row in output
    result = json.loads((trained / "evaluation-test.json").read_text())
    assert result["scores"]["real"]["direction"]["share"] == 1.0
    assert result["numbers"]["caption"] == result["scores"]["model"]["caption"]["share"]
    assert result["numbers"]["caption_of_real"] == result["numbers"]["caption"] / result["scores"]["real"]["caption"]["share"]
    assert (result["step"], result["clips"]) == (20, 6)
    assert json.loads(call(evaluate.command, trained, "--n", 6, "--json")) == result


def test_an_evaluation_is_reproducible(trained: Path) -> None:
    first, second = (call(evaluate.command, trained, "--n", 6, "--json") for _ in range(2))
    assert first == second


@pytest.fixture
def table_path(recipe_path: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml.table"
    path.write_text(f"""
columns: [caption, digit, nothing]
seeds: [0, 1]
clips: 6
rows:
  Wide, by far: {{recipe: {recipe_path}, set: [run.steps=10, model.width=2]}}
""")
    return path


@pytest.mark.long
def test_a_table_runs_only_what_is_missing_and_prints_means(table_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    # One run is trained but not evaluated, the other is missing.
    words = [sys.executable, "-m", "baselines.table", str(table_path), "--out", str(out)]
    spec = table.read(str(table_path))
    row = spec.rows["Wide, by far"]
    train(recipe_file.read(row.recipe, [*row.set, "seed=1"]), out / "wide-by-far-1", ProcessGroup())
    before = (out / "wide-by-far-1" / "metrics.jsonl").stat().st_mtime_ns
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[0] == "| | seeds | caption | digit | nothing |"
    assert [line.split("|")[1:3] for line in printed[2:]] == [[" Wide, by far ", " 2 "]]
    assert " ± " in printed[2]
    assert printed[2].endswith("| - |")
    assert (out / "wide-by-far-1" / "metrics.jsonl").stat().st_mtime_ns == before
    assert sorted(path.name for path in out.iterdir()) == ["table.md", "wide-by-far-0", "wide-by-far-1"]
    # Nothing is trained or evaluated twice.
    assert table.run_missing(spec, out) == []
    assert call(table.command, table_path, "--out", out, "--print") == done.stdout


def test_a_failed_run_does_not_stop_the_table(table_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table.Commands, "run", lambda *_: 1)
    with pytest.raises(
        RequestError, match=r"2 runs failed: Wide, by far, seed 0: baselines.train; .*run the same command again to resume"
    ):
        call(table.command, table_path, "--out", tmp_path / "runs")


def test_two_jobs_run_side_by_side(table_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, commands = threading.Barrier(2, timeout=20), []

    def meet(self: object, words: list[str]) -> int:
        both.wait()
        commands.append(words[0])
        return 0

    monkeypatch.setattr(table.Commands, "run", meet)
    assert table.run_missing(table.read(str(table_path)), tmp_path / "runs", jobs=2) == []
    assert sorted(commands) == ["baselines.evaluate"] * 2 + ["baselines.train"] * 2


def test_a_table_with_mistakes_is_refused_before_anything_runs(table_path: Path, tmp_path: Path) -> None:
    text = table_path.read_text()
    table_path.write_text(text.replace("model.width=2", "model.wdth=2"))
    with pytest.raises(RequestError, match=r"model.wdth: no such name; did you mean width\?"):
        table.read(str(table_path))
    table_path.write_text(text.replace("seeds: [0, 1]", "seeds: many"))
    with pytest.raises(RequestError, match=r"seeds: Input should be a valid"):
        table.read(str(table_path))
    with pytest.raises(RequestError, match="no table"):
        table.read(str(tmp_path / "none.yaml"))


def test_a_cell_shows_mean_and_standard_deviation() -> None:
    assert str(Cell((1.0, 2.0, 3.0))) == "2.000 ± 1.000"
    assert str(Cell((0.5,))) == "0.500"
    assert str(Cell(())) == "-"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "Input should be"),
        (b'{"fingerprint": 3}', "fingerprint: Input should be a valid string"),
        (b'{"fingerprint": "a", "shape": [1, 2], "fps": 8.0, "labels": []}', r"shape\.2: Field required"),
    ],
)
def test_damaged_facts_of_a_run_are_named(trained: Path, content: bytes, message: str) -> None:
    (trained / "run.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"run\.json is damaged: {message}"):
        open_run(trained)
