"""A trained model is sampled, evaluated and put into tables by the commands of the documentation."""

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

from baselines import evaluate, recipe, sample, table
from baselines.distributed import Ranks
from baselines.loop import train
from baselines.table import Cell
from baselines.trained import open_run
from t2vdata.errors import RequestError

CAPTION = "the digit 9 is moving down and up"


@pytest.fixture
def trained(recipe_file: Path, tmp_path: Path) -> Path:
    out = tmp_path / "run"
    train(recipe.read(str(recipe_file), ["run.steps=20"]), out, Ranks())
    return out


def call(command: object, *words: object) -> str:
    """Call a command as the command line does; errors of ours are raised."""
    done = CliRunner().invoke(command, [*map(str, words)], catch_exceptions=False, standalone_mode=False)
    return done.output


def test_samples_are_written_as_array_picture_and_animation(trained: Path, tmp_path: Path) -> None:
    told = call(sample.command, trained, "--caption", CAPTION, "--n", 3, "--out", tmp_path / "x.npy")
    assert told == f"3 clips of step 20 -> {tmp_path / 'x.npy'}\n"
    clips = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert (clips.shape, clips.dtype) == ((3, 8, 24, 24, 1), np.uint8)
    for name in ("x.gif", "x.png"):
        call(sample.command, trained, "--caption", CAPTION, "--n", 2, "--out", tmp_path / name)
    with Image.open(tmp_path / "x.gif") as picture:
        assert picture.n_frames == 8


def test_a_model_is_used_without_its_data(trained: Path, tmp_path: Path) -> None:
    text = (trained / "recipe.yaml").read_text()
    data = next(line for line in text.splitlines() if "path:" in line)
    (trained / "recipe.yaml").write_text(text.replace(data, "  path: gone"))
    call(sample.command, trained, "--caption", CAPTION, "--n", 1, "--out", tmp_path / "x.npy")
    assert (tmp_path / "x.npy").exists()


def test_a_model_in_use_computes_as_it_did_when_it_learned(trained: Path) -> None:
    small, num_threads = torch.tensor([1e-310], dtype=torch.float64), torch.get_num_threads()
    torch.set_flush_denormal(False)
    torch.set_num_threads(2)
    try:
        assert float(small / 2) > 0
        open_run(trained)
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
        (["--caption", CAPTION, "--out", "x.mkv"], r"expected a name that ends in .gif, .png or .npy"),
        (["--caption", CAPTION, "--out", "x.gif", "--n", "0"], r"--n 0: expected 1 or more"),
        (["--caption", CAPTION, "--out", "x.gif", "--checkpoint", "7"], r"no checkpoint '7'; there is last, best, 10, 20"),
    ],
)
def test_what_cannot_be_sampled_is_told(trained: Path, words: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        call(sample.command, trained, *words)


def test_an_evaluation_has_the_model_beside_the_controls(trained: Path) -> None:
    told = call(evaluate.command, trained, "--split", "test", "--n", 6)
    for row in ("model", "real", "shuffled captions", "first frame alone", "shuffled frames", "nearest training clip"):
        assert row in told
    found = json.loads((trained / "evaluation-test.json").read_text())
    assert found["scores"]["real"]["direction"]["share"] == 1.0
    assert found["numbers"]["caption"] == found["scores"]["model"]["caption"]["share"]
    assert found["numbers"]["caption_of_real"] == found["numbers"]["caption"] / found["scores"]["real"]["caption"]["share"]
    assert (found["step"], found["clips"]) == (20, 6)
    assert json.loads(call(evaluate.command, trained, "--n", 6, "--json")) == found


def test_an_evaluation_is_the_same_each_time(trained: Path) -> None:
    one, two = (call(evaluate.command, trained, "--n", 6, "--json") for _ in range(2))
    assert one == two


@pytest.fixture
def table_file(recipe_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml.table"
    path.write_text(f"""
columns: [caption, digit, nothing]
seeds: [0, 1]
clips: 6
rows:
  Wide, by far: {{recipe: {recipe_file}, set: [run.steps=10, model.width=2]}}
""")
    return path


def test_a_table_runs_what_is_missing_and_prints_means(table_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    # One run is trained but not evaluated, one is not there.
    words = [sys.executable, "-m", "baselines.table", str(table_file), "--out", str(out)]
    spec = table.read(str(table_file))
    row = spec.rows["Wide, by far"]
    train(recipe.read(row.recipe, [*row.set, "seed=1"]), out / "wide-by-far-1", Ranks())
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
    # What is there is neither trained nor evaluated again.
    assert table.make(spec, out) == []
    assert call(table.command, table_file, "--out", out, "--print") == done.stdout


def test_a_run_that_fails_does_not_stop_the_table(table_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode = 1

    monkeypatch.setattr(table.subprocess, "run", lambda *_, **__: Failed)
    with pytest.raises(RequestError, match=r"2 runs failed: Wide, by far, seed 0: baselines.train; .*start it again to go on"):
        call(table.command, table_file, "--out", tmp_path / "runs")


def test_two_jobs_run_side_by_side(table_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, seen = threading.Barrier(2, timeout=20), []

    def meet(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        both.wait()
        seen.append(words[2])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(table.subprocess, "run", meet)
    assert table.make(table.read(str(table_file)), tmp_path / "runs", jobs=2) == []
    assert sorted(seen) == ["baselines.evaluate"] * 2 + ["baselines.train"] * 2


def test_a_table_with_mistakes_is_refused_before_anything_runs(table_file: Path, tmp_path: Path) -> None:
    text = table_file.read_text()
    table_file.write_text(text.replace("model.width=2", "model.wdth=2"))
    with pytest.raises(RequestError, match=r"model.wdth: no such name; did you mean width\?"):
        table.read(str(table_file))
    table_file.write_text(text.replace("seeds: [0, 1]", "seeds: many"))
    with pytest.raises(RequestError, match=r"seeds: Input should be a valid"):
        table.read(str(table_file))
    with pytest.raises(RequestError, match="no table"):
        table.read(str(tmp_path / "none.yaml"))


def test_a_cell_is_mean_and_standard_deviation() -> None:
    assert str(Cell((1.0, 2.0, 3.0))) == "2.000 ± 1.000"
    assert str(Cell((0.5,))) == "0.500"
    assert str(Cell(())) == "-"
