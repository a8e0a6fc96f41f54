"""A run trains what its recipe says, whatever happens to the process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support import ROOT

from baselines import command, devices, evaluation, loop, recipe_file
from baselines.distributed import ProcessGroup
from baselines.learner import DivergedError
from baselines.loop import RunFailedError, train
from baselines.train import command as train_command
from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.text.vocabulary import Vocabulary

TIMINGS = ("clips_per_second", "waiting")


def command_line(recipe_path: Path, out: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "baselines.train", str(recipe_path), "--out", str(out), *overrides]


def run(recipe_path: Path, out: Path, *overrides: str) -> None:
    """Train in this process."""
    train(recipe_file.read(str(recipe_path), overrides), out, ProcessGroup())


def lines(out: Path, *, without: tuple[str, ...] = TIMINGS) -> list[dict[str, object]]:
    """Return the lines of metrics.jsonl, without timings by default."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in without} for row in rows]


def weights(out: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / f"step-{step:08d}" / "state.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_learns_and_writes_all_promised_files(recipe_path: Path, tmp_path: Path, built: BuildResult) -> None:
    out = tmp_path / "run"
    more = ("run.picture_every=30", "run.judge_every=20", "run.best=constancy", "run.num_judged=6", "run.num_pictured=3")
    run(recipe_path, out, *more)
    logged = [row for row in lines(out, without=()) if "loss" in row]
    assert [row["step"] for row in logged] == list(range(5, 61, 5))
    assert logged[-1]["loss"] < logged[0]["loss"] / 2
    assert logged[-1]["clips"] == 600
    assert all(row["clips_per_second"] > 0 and 0 <= row["waiting"] <= 1 for row in logged)
    evaluated = [row for row in lines(out) if "held_out/caption" in row]
    assert [row["step"] for row in evaluated] == [20, 40, 60]
    facts = json.loads((out / "run.json").read_text())
    assert (facts["fingerprint"], facts["versions"]["torch"]) == (built.manifest.fingerprint, torch.__version__)
    for step in (30, 60):
        with Image.open(out / "pictures" / f"step-{step:08d}.gif") as picture:
            assert picture.n_frames == 8
        assert (out / "pictures" / f"step-{step:08d}.png").stat().st_size > 1000
    assert list((out / "tensorboard").iterdir())
    assert json.loads((out / "checkpoints" / "best.json").read_text())["step"] in (20, 40, 60)


def test_pictures_show_the_same_captions_and_noise_each_time(recipe_path: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        run(recipe_path, tmp_path / name, "run.steps=10", "run.picture_every=10")
    first, second = ((tmp_path / name / "pictures" / "step-00000010.png").read_bytes() for name in ("first", "second"))
    assert first == second


@pytest.mark.parametrize(
    ("name", "steps", "every", "num_lines"),
    [
        pytest.param("small", 900, 200, 50, id="regression"),
        pytest.param("tgansc", 60, 8, 12, id="gan", marks=pytest.mark.long),
        pytest.param("glow", 60, 8, 12, id="glow", marks=pytest.mark.long),
    ],
)
def test_a_killed_run_resumes_bit_for_bit(
    name: str, steps: int, every: int, num_lines: int, recipe_path: Path, tmp_path: Path, built: BuildResult
) -> None:
    # Long enough to be killed midway.
    path = recipe_path if name == "small" else ROOT / "recipes" / "smoke" / f"{name}.yaml"
    overrides = (f"data.path={built.out}", f"run.steps={steps}", f"run.checkpoint_every={every}", "run.picture_every=null")
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    process = subprocess.Popen(command_line(path, killed, *overrides), cwd=ROOT, stderr=subprocess.PIPE)
    metrics = killed / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > num_lines):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert every < lines(killed)[-1]["step"] < steps
    # The same command resumes it.
    resumed = subprocess.run(command_line(path, killed, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert resumed.returncode == 0, resumed.stderr
    run(path, uninterrupted, *overrides)
    assert lines(killed) == lines(uninterrupted)
    assert lines(uninterrupted)[-1]["step"] == steps
    assert equal(weights(killed, steps), weights(uninterrupted, steps))


def test_a_finished_run_is_not_changed_and_can_be_extended(
    recipe_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    run(recipe_path, out, "run.steps=20")
    before = (out / "metrics.jsonl").read_bytes()
    run(recipe_path, out, "run.steps=20")
    assert (out / "metrics.jsonl").read_bytes() == before
    assert capsys.readouterr().err.splitlines()[-1] == f"{out} has finished all its steps"
    run(recipe_path, out, "run.steps=30")
    run(recipe_path, tmp_path / "straight", "run.steps=30")
    assert lines(out) == lines(tmp_path / "straight")


def test_gradients_of_several_batches_add_up_to_one_update(recipe_path: Path, tmp_path: Path) -> None:
    run(recipe_path, tmp_path / "large", "run.steps=10", "load.batch_size=20", "model.noise=0.0")
    run(recipe_path, tmp_path / "accumulated", "run.steps=10", "run.accumulate=2", "model.noise=0.0")
    large, accumulated = lines(tmp_path / "large"), lines(tmp_path / "accumulated")
    assert [row["clips"] for row in large] == [row["clips"] for row in accumulated] == [100, 200]
    assert [row["loss"] for row in large] == pytest.approx([row["loss"] for row in accumulated], rel=1e-5)


def test_two_ranks_learn_what_one_process_learns_from_twice_the_batch(recipe_path: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    words = command_line(recipe_path, tmp_path / "ranks", "run.steps=20")[2:]
    done = subprocess.run([*launch, *words], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    run(recipe_path, tmp_path / "alone", "run.steps=20", "load.batch_size=20")
    ranks, alone = lines(tmp_path / "ranks"), lines(tmp_path / "alone")
    assert [row["clips"] for row in ranks] == [row["clips"] for row in alone]
    assert [row["loss"] for row in ranks] == pytest.approx([row["loss"] for row in alone], rel=1e-4)
    other = weights(tmp_path / "alone", 20)
    for name, value in weights(tmp_path / "ranks", 20).items():
        assert torch.allclose(value.double(), other[name].double(), rtol=1e-3, atol=1e-5), name


def diverge(monkeypatch: pytest.MonkeyPatch, at: list[int]) -> None:
    """Make the trainer diverge in the calls with these numbers, after it has ruined its weights."""
    from mymodel import regression

    calls, step = iter(range(10_000)), regression.Trainer.step

    def diverging_step(self: object, *arguments: object) -> object:
        if next(calls) in at:
            with torch.no_grad():
                for parameter in self.learner.module.parameters():
                    parameter.fill_(torch.nan)
            raise DivergedError("gradient norm is nan")
        return step(self, *arguments)

    monkeypatch.setattr(regression.Trainer, "step", diverging_step)


def test_a_run_that_diverges_returns_to_its_last_checkpoint(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    diverge(monkeypatch, [24])
    run(recipe_path, out)
    rows = lines(out)
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 20, *range(25, 61, 5)]
    assert rows[4] == {"step": 20, "returned_from": 25, "why": "gradient norm is nan"}
    assert all(value.isfinite().all() for value in weights(out, 60).values())
    assert "step 25: gradient norm is nan; back to step 20" in capsys.readouterr().err
    # A second time gives the same numbers: a return depends on nothing else.
    diverge(monkeypatch, [24])
    run(recipe_path, tmp_path / "again")
    assert lines(tmp_path / "again") == rows


def test_after_a_return_the_data_continues(recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mymodel import regression

    keys: list[tuple[str, ...]] = []
    step = regression.Trainer.step

    def recorded_step(self: object, batches: list[object], random: object) -> object:
        keys.append(tuple(batches[0].keys))
        if len(keys) == 15:
            raise DivergedError("enough")
        return step(self, batches, random)

    monkeypatch.setattr(regression.Trainer, "step", recorded_step)
    run(recipe_path, tmp_path / "run", "run.steps=16")
    assert len(keys) == 21
    # The sixteenth call repeats step 11, on the batch after the fifteenth.
    assert keys[15] not in (keys[10], keys[14])


def test_a_run_that_keeps_diverging_fails(recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverge(monkeypatch, list(range(1000)))
    with pytest.raises(
        RunFailedError, match=r"step 1: gradient norm is nan, after 3 returns to a checkpoint; lower lr, or set clip_norm"
    ):
        run(recipe_path, tmp_path / "run", "run.max_returns=3")


def test_a_held_out_split_without_clips_is_refused_and_not_needed_for_the_frame_rate(
    recipe_path: Path, built: BuildResult
) -> None:
    recipe, dataset = recipe_file.read(str(recipe_path)), open_dataset(built.out)
    vocabulary = Vocabulary.load(dataset.vocabulary_path)
    splits = {**dataset.manifest.splits, "val": replace(dataset.manifest.splits["val"], shards=())}
    empty = replace(dataset, manifest=replace(dataset.manifest, splits=splits))
    assert loop.frame_rate(recipe, empty) == loop.frame_rate(recipe, dataset) > 0
    with pytest.raises(RequestError, match=r"split 'val' of \S+ has no clips; name another, such as data.held_out=train"):
        evaluation.read_clips(recipe, empty, recipe.data.held_out, 4, vocabulary)


def test_a_best_that_is_not_a_metric_is_refused(recipe_path: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match=r"best 'beauty' is not a metric of the evaluation; choose from caption, digit"):
        run(recipe_path, tmp_path / "run", "run.judge_every=10", "run.best=beauty", "run.num_judged=4")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("run.steps=x",), "baselines: .*run.steps: expected an integer, got 'x'"),
        (("data.path=nowhere",), "baselines: .*nowhere"),
    ],
)
def test_mistakes_are_reported_in_a_line(
    recipe_path: Path,
    tmp_path: Path,
    overrides: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", command_line(recipe_path, tmp_path / "run", *overrides)[2:])
    with pytest.raises(SystemExit) as ended:
        command.run(train_command)
    assert ended.value.code == 1
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    assert re.search(message, stderr)


def test_auto_picks_the_fastest_available_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.choose_device("auto", ProcessGroup()) == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.choose_device("auto", ProcessGroup()) == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose_device("auto", ProcessGroup(1, 2, local_rank=1)) == torch.device("cuda", 1)


def test_in_a_terminal_a_progress_bar_shows_losses_and_waiting(recipe_path: Path, tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    words = command_line(recipe_path, tmp_path / "run", "run.steps=20")
    process = subprocess.Popen(words, cwd=ROOT, stderr=terminal, env=environment)
    os.close(terminal)
    output = b""
    # Reading fails once the other end is closed.
    with contextlib.suppress(OSError):
        while part := os.read(screen, 65536):
            output += part
    os.close(screen)
    assert process.wait(timeout=100) == 0
    assert "20/20" in output.decode()
    assert re.search(r"loss [0-9.]+  norm [0-9.]+  clips_per_second [0-9,]+  waiting [0-9.]+%", output.decode())
