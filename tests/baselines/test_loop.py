"""A run does what its recipe says, whatever happens to the process."""

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

from baselines import evaluation, loop, recipe
from baselines.distributed import Ranks
from baselines.learner import DivergedError
from baselines.loop import RunFailedError, train
from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.text.vocabulary import Vocabulary

TIMES = ("clips_per_second", "waiting")


def command(recipe_file: Path, out: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "baselines.train", str(recipe_file), "--out", str(out), *overrides]


def run(recipe_file: Path, out: Path, *overrides: str) -> None:
    """Train in this process."""
    train(recipe.read(str(recipe_file), overrides), out, Ranks())


def lines(out: Path, *, without: tuple[str, ...] = TIMES) -> list[dict[str, object]]:
    """Return what metrics.jsonl says, but for what a clock says."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in without} for row in rows]


def weights(out: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / f"step-{step:08d}" / "state.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_learns_and_leaves_what_its_folder_promises(recipe_file: Path, tmp_path: Path, built: BuildResult) -> None:
    out = tmp_path / "run"
    more = ("run.picture_every=30", "run.judge_every=20", "run.best=constancy", "run.num_judged=6", "run.num_pictured=3")
    run(recipe_file, out, *more)
    told = [row for row in lines(out, without=()) if "loss" in row]
    assert [row["step"] for row in told] == list(range(5, 61, 5))
    assert told[-1]["loss"] < told[0]["loss"] / 2
    assert told[-1]["clips"] == 600
    assert all(row["clips_per_second"] > 0 and 0 <= row["waiting"] <= 1 for row in told)
    judged = [row for row in lines(out) if "held_out/caption" in row]
    assert [row["step"] for row in judged] == [20, 40, 60]
    facts = json.loads((out / "run.json").read_text())
    assert (facts["fingerprint"], facts["versions"]["torch"]) == (built.manifest.fingerprint, torch.__version__)
    for step in (30, 60):
        with Image.open(out / "pictures" / f"step-{step:08d}.gif") as picture:
            assert picture.n_frames == 8
        assert (out / "pictures" / f"step-{step:08d}.png").stat().st_size > 1000
    assert list((out / "tensorboard").iterdir())
    assert json.loads((out / "checkpoints" / "best.json").read_text())["step"] in (20, 40, 60)


def test_pictures_are_of_the_same_captions_and_noise_each_time(recipe_file: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(recipe_file, tmp_path / name, "run.steps=10", "run.picture_every=10")
    one, two = ((tmp_path / name / "pictures" / "step-00000010.png").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("name", "steps", "every", "num_lines"),
    [("small", 900, 200, 50), ("tgansc", 60, 8, 12), ("glow", 60, 8, 12)],
    ids=["regression", "gan", "glow"],
)
def test_a_killed_run_goes_on_bit_for_bit(
    name: str, steps: int, every: int, num_lines: int, recipe_file: Path, tmp_path: Path, built: BuildResult
) -> None:
    # Long enough to be killed in the middle.
    own = recipe_file if name == "small" else ROOT / "recipes" / "smoke" / f"{name}.yaml"
    overrides = (f"data.path={built.out}", f"run.steps={steps}", f"run.checkpoint_every={every}", "run.picture_every=null")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = subprocess.Popen(command(own, killed, *overrides), cwd=ROOT, stderr=subprocess.PIPE)
    metrics = killed / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > num_lines):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert every < lines(killed)[-1]["step"] < steps
    # The same command goes on.
    again = subprocess.run(command(own, killed, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr
    run(own, whole, *overrides)
    assert lines(killed) == lines(whole)
    assert lines(whole)[-1]["step"] == steps
    assert equal(weights(killed, steps), weights(whole, steps))


def test_a_finished_run_is_left_as_it_is_and_may_be_made_longer(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(recipe_file, out, "run.steps=20")
    before = (out / "metrics.jsonl").read_bytes()
    run(recipe_file, out, "run.steps=20")
    assert (out / "metrics.jsonl").read_bytes() == before
    run(recipe_file, out, "run.steps=30")
    run(recipe_file, tmp_path / "straight", "run.steps=30")
    assert lines(out) == lines(tmp_path / "straight")


def test_gradients_of_several_batches_add_up_to_one_update(recipe_file: Path, tmp_path: Path) -> None:
    run(recipe_file, tmp_path / "one", "run.steps=10", "load.batch_size=20", "model.noise=0.0")
    run(recipe_file, tmp_path / "two", "run.steps=10", "run.accumulate=2", "model.noise=0.0")
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [row["clips"] for row in one] == [row["clips"] for row in two] == [100, 200]
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in two], rel=1e-5)


def test_two_ranks_learn_what_one_process_learns_from_twice_the_batch(recipe_file: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    words = command(recipe_file, tmp_path / "ranks", "run.steps=20")[2:]
    done = subprocess.run([*launch, *words], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    run(recipe_file, tmp_path / "alone", "run.steps=20", "load.batch_size=20")
    ranks, alone = lines(tmp_path / "ranks"), lines(tmp_path / "alone")
    assert [row["clips"] for row in ranks] == [row["clips"] for row in alone]
    assert [row["loss"] for row in ranks] == pytest.approx([row["loss"] for row in alone], rel=1e-4)
    other = weights(tmp_path / "alone", 20)
    for name, value in weights(tmp_path / "ranks", 20).items():
        assert torch.allclose(value.double(), other[name].double(), rtol=1e-3, atol=1e-5), name


def failing(monkeypatch: pytest.MonkeyPatch, at: list[int]) -> None:
    """Let the trainer diverge in its calls with these numbers, after it has spoilt its weights."""
    from mymodel import regression

    calls, step = iter(range(10_000)), regression.Trainer.step

    def fails(self: object, *given: object) -> object:
        if next(calls) in at:
            with torch.no_grad():
                for parameter in self.learner.module.parameters():
                    parameter.fill_(torch.nan)
            raise DivergedError("the gradient's norm is nan")
        return step(self, *given)

    monkeypatch.setattr(regression.Trainer, "step", fails)


def test_a_run_that_diverges_returns_to_its_last_checkpoint(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    failing(monkeypatch, [24])
    run(recipe_file, out)
    rows = lines(out)
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 20, *range(25, 61, 5)]
    assert rows[4] == {"step": 20, "returned_from": 25, "why": "the gradient's norm is nan"}
    assert all(value.isfinite().all() for value in weights(out, 60).values())
    assert "step 25: the gradient's norm is nan; back to step 20" in capsys.readouterr().err
    # Once more, and the numbers are the same: what a return does depends on nothing else.
    failing(monkeypatch, [24])
    run(recipe_file, tmp_path / "again")
    assert lines(tmp_path / "again") == rows


def test_after_a_return_other_batches_come(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mymodel import regression

    seen: list[tuple[str, ...]] = []
    step = regression.Trainer.step

    def noted(self: object, batches: list[object], draws: object) -> object:
        seen.append(tuple(batches[0].keys))
        if len(seen) == 15:
            raise DivergedError("enough")
        return step(self, batches, draws)

    monkeypatch.setattr(regression.Trainer, "step", noted)
    run(recipe_file, tmp_path / "run", "run.steps=16")
    assert len(seen) == 21
    # The sixteenth call takes step 11 again, on the batch after the fifteenth.
    assert seen[15] not in (seen[10], seen[14])


def test_a_run_that_always_diverges_gives_up(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, list(range(1000)))
    with pytest.raises(
        RunFailedError, match=r"step 1: the gradient's norm is nan; after 3 returns: lower lr, or set clip_norm"
    ):
        run(recipe_file, tmp_path / "run", "run.max_returns=3")


def test_a_split_that_has_lost_its_clips_is_told_and_its_rate_not_asked_for(recipe_file: Path, built: BuildResult) -> None:
    made, data = recipe.read(str(recipe_file)), open_dataset(built.out)
    words = Vocabulary.load(data.vocabulary_path)
    splits = {**data.manifest.splits, "val": replace(data.manifest.splits["val"], shards=())}
    without = replace(data, manifest=replace(data.manifest, splits=splits))
    assert loop.frame_rate(made, without) == loop.frame_rate(made, data) > 0
    with pytest.raises(
        RequestError, match=r"split 'val' of \S+ has no clips to look at; name another, such as data.held_out=train"
    ):
        evaluation.clips(made, without, made.data.held_out, 4, words)


def test_a_best_that_no_judgement_gives_is_told(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match=r"run.best 'beauty' is no number of a judgement; there is caption, digit"):
        run(recipe_file, tmp_path / "run", "run.judge_every=10", "run.best=beauty", "run.num_judged=4")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("run.steps=x",), "baselines: .*run.steps: expected a whole number, got 'x'"),
        (("data.path=nowhere",), "baselines: .*nowhere"),
    ],
)
def test_mistakes_are_told_in_a_line(recipe_file: Path, tmp_path: Path, wrong: tuple[str, ...], message: str) -> None:
    done = subprocess.run(command(recipe_file, tmp_path / "run", *wrong), cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr)


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert loop.chosen_device("auto", Ranks()) == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert loop.chosen_device("auto", Ranks()) == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loop.chosen_device("auto", Ranks(1, 2, local_rank=1)) == torch.device("cuda", 1)


def test_in_a_terminal_a_bar_shows_losses_and_waiting(recipe_file: Path, tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    words = command(recipe_file, tmp_path / "run", "run.steps=20")
    process = subprocess.Popen(words, cwd=ROOT, stderr=terminal, env=environment)
    os.close(terminal)
    told = b""
    # Reading fails once the other end is closed.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 65536):
            told += part
    os.close(ours)
    assert process.wait(timeout=100) == 0
    assert "20/20" in told.decode()
    assert re.search(r"loss [0-9.]+  norm [0-9.]+  clips_per_second [0-9,]+  waiting [0-9.]+%", told.decode())
