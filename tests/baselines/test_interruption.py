"""Ctrl-C and SIGTERM lose no step: the run ends after the running one, and resumes as if nothing had happened."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import ROOT

from baselines import command, recipe_file, table
from baselines.checkpoints import Checkpoints
from baselines.distributed import ProcessGroup
from baselines.interruption import InterruptedRunError, Interruption
from baselines.learner import DivergedError
from baselines.loop import train
from baselines.train import command as train_command
from t2vdata.build.run import BuildResult

TIMINGS = ("clips_per_second", "waiting")


@pytest.fixture(autouse=True)
def no_signal_is_ignored() -> Iterator[None]:
    """Take signals as in a terminal, also when the tests run in the background, where SIGINT and SIGHUP may be ignored."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(recipe_path: Path, out: Path, *overrides: str) -> None:
    train(recipe_file.read(str(recipe_path), overrides), out, ProcessGroup())


def lines(out: Path) -> list[dict[str, object]]:
    """Return the lines of metrics.jsonl without timings."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]


def checkpoints(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").glob("*-*"))


def assert_same(out: Path, other: Path, step: int) -> None:
    """Check that two finished runs have the same metrics and weights, bit for bit."""
    assert lines(out) == lines(other)
    assert checkpoints(out) == checkpoints(other)
    name = f"checkpoints/step-{step:08d}/state.safetensors"
    weights, expected = load_file(out / name), load_file(other / name)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in weights.items())


def signalled(monkeypatch: pytest.MonkeyPatch, module: str, signals: dict[int, int], diverges: tuple[int, ...] = ()) -> None:
    """Have the process receive a signal, or a step diverge, in the calls of a family's ``step`` with these numbers, from 1."""
    trainer = importlib.import_module(module).Trainer
    step, calls = trainer.step, iter(range(1, 10_000))

    def signalled_step(self: object, *arguments: object) -> object:
        call = next(calls)
        if call in signals:
            os.kill(os.getpid(), signals[call])
        if call in diverges:
            raise DivergedError("gradient norm is nan")
        return step(self, *arguments)

    monkeypatch.setattr(trainer, "step", signalled_step)


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGINT, 7), (signal.SIGTERM, 13), (signal.SIGHUP, 20), (signal.SIGUSR1, 1)]
)
def test_an_interrupted_run_saves_its_step_and_resumes_bit_for_bit(
    number: int, step: int, recipe_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        signalled(patch, "mymodel.regression", {step: number})
        with pytest.raises(
            InterruptedRunError, match=rf"{signal.Signals(number).name} after step {step} of 25: saved in .*run; "
        ):
            run(recipe_path, out, "run.steps=25")
    assert Checkpoints(out / "checkpoints").load("last")[0] == step
    run(recipe_path, out, "run.steps=25")
    assert f"{out} resumes at step {step + 1} of 25\n" in capsys.readouterr().err
    run(recipe_path, tmp_path / "undisturbed", "run.steps=25")
    assert_same(out, tmp_path / "undisturbed", 25)


@pytest.mark.long
@pytest.mark.parametrize(("name", "module"), [("tgansc", "baselines.gan.trainer"), ("glow", "baselines.glow.trainer")])
def test_an_interrupted_run_of_each_family_resumes_bit_for_bit(
    name: str, module: str, tmp_path: Path, built: BuildResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "recipes" / "smoke" / f"{name}.yaml"
    overrides = (
        f"data.path={built.out}",
        "run.steps=12",
        "run.log_every=4",
        "run.checkpoint_every=4",
        "run.picture_every=null",
    )
    run(path, tmp_path / "undisturbed", *overrides)
    signalled(monkeypatch, module, {2: signal.SIGTERM, 5: signal.SIGINT, 9: signal.SIGTERM})
    for _ in range(3):
        with pytest.raises(InterruptedRunError):
            run(path, tmp_path / "run", *overrides)
    run(path, tmp_path / "run", *overrides)
    assert_same(tmp_path / "run", tmp_path / "undisturbed", 12)


def test_a_run_interrupted_again_and_again_and_diverging_gives_the_numbers_of_an_undisturbed_one(
    recipe_path: Path, tmp_path: Path
) -> None:
    # The 24th and 28th call diverge: back to step 20, twice.
    signals = {7: signal.SIGTERM, 8: signal.SIGTERM, 22: signal.SIGINT, 24: signal.SIGTERM, 26: signal.SIGTERM}
    for name, received in (("run", signals), ("undisturbed", {})):
        with pytest.MonkeyPatch.context() as patch:
            signalled(patch, "mymodel.regression", received, diverges=(24, 28))
            for _ in received:
                with pytest.raises(InterruptedRunError):
                    run(recipe_path, tmp_path / name, "run.steps=30")
            run(recipe_path, tmp_path / name, "run.steps=30")
    assert [row["returned_from"] for row in lines(tmp_path / "run") if "returned_from" in row] == [24]
    assert_same(tmp_path / "run", tmp_path / "undisturbed", 30)


def test_a_signal_in_the_last_step_does_not_interrupt(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled(monkeypatch, "mymodel.regression", {10: signal.SIGTERM})
    run(recipe_path, tmp_path / "run", "run.steps=10")
    assert checkpoints(tmp_path / "run") == ["step-00000000", "step-00000010"]


def test_the_next_checkpoint_replaces_that_of_an_interruption(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)
    saved.save(10, {"value": 1})
    saved.save_interrupted(10, {"value": 2})
    # The run had returned to step 10 when it was interrupted.
    assert (saved.load("last"), saved.load("scheduled")) == ((10, {"value": 2}), (10, {"value": 1}))
    saved.save_interrupted(13, {"value": 3})
    assert (saved.newest_step(), saved.steps(), saved.load("13")) == (13, [10], (13, {"value": 3}))
    saved.save(20, {"value": 4})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000020"]


def test_the_command_prints_where_it_resumes_and_ends_with_the_status_of_the_signal(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(recipe_path), "--out", str(tmp_path / "a run"), "run.steps=10"]
    for number, step, status in ((signal.SIGINT, 3, 130), (signal.SIGTERM, 4, 143)):
        with pytest.MonkeyPatch.context() as patch:
            signalled(patch, "mymodel.regression", {1 if step == 4 else 3: number})
            patch.setattr(sys, "argv", ["baselines", *words])
            with pytest.raises(SystemExit) as ended:
                command.run(train_command)
        assert ended.value.code == status
        last = capsys.readouterr().err.splitlines()[-1]
        assert f"{signal.Signals(number).name} after step {step} of 10: saved in " in last
        assert re.search(f"; resumes at step {step + 1}: .*{re.escape(shlex.join(words))}$", last)


def test_a_second_ctrl_c_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter((100.0, 100.5, 102.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        # The same Ctrl-C, passed on by torchrun.
        signal.raise_signal(signal.SIGINT)
        assert interruption.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert not interruption.number
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.long
def test_a_signal_to_one_rank_ends_all_ranks_which_resume_bit_for_bit(recipe_path: Path, tmp_path: Path) -> None:
    family = tmp_path / "modules" / "signalled"
    family.mkdir(parents=True)
    (family / "__init__.py").touch()
    (family / "regression.py").write_text("""
import os, signal
from mymodel import regression
from mymodel.regression import SECTIONS

class Trainer(regression.Trainer):
    def step(self, batches, random):
        # Rank 1 alone, in its seventh step.
        if os.environ["RANK"] == "1" and self.learner.num_updates == int(os.environ["SIGNAL_AT"]) - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(batches, random)
""")

    def ranks(out: Path, at: int) -> subprocess.CompletedProcess[str]:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "baselines.train"]
        words = [str(recipe_path), "--out", str(out), "run.steps=20", "family=signalled.regression"]
        path = os.pathsep.join([str(family.parent), os.environ["PYTHONPATH"]])
        environment = {**os.environ, "PYTHONPATH": path, "SIGNAL_AT": str(at)}
        return subprocess.run([*launch, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)

    interrupted = ranks(tmp_path / "run", 7)
    assert interrupted.returncode != 0
    assert interrupted.stderr.count("SIGTERM after step 7 of 20: saved in ") == 1, interrupted.stderr
    assert "resumes at step 8: torchrun --nproc-per-node 2 -m baselines.train " in interrupted.stderr
    for out in ("run", "undisturbed"):
        done = ranks(tmp_path / out, 0)
        assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "run", tmp_path / "undisturbed", 20)


@pytest.mark.long
def test_an_interrupted_table_ends_with_its_runs_and_resumes(recipe_path: Path, tmp_path: Path) -> None:
    spec = tmp_path / "table.yaml"
    spec.write_text(
        f"columns: [caption]\nseeds: [0]\nclips: 4\nrows: {{a: {{recipe: {recipe_path}, set: [run.steps=5000]}}}}\n"
    )
    words = [sys.executable, "-m", "baselines.table", str(spec), "--out", str(tmp_path / "runs")]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    metrics = tmp_path / "runs" / "a-0" / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > 3):
        time.sleep(0.05)
    process.terminate()
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 143, stderr
    assert "SIGTERM after step " in stderr
    assert stderr.splitlines()[-1].startswith("SIGTERM: every started run is saved; resumes: ")
    assert Checkpoints(metrics.parent / "checkpoints").newest_step()
    assert not table.is_trained(table.run_folder_of(tmp_path / "runs", "a", 0))
