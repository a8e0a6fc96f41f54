"""Builds of videos whose processes are killed and paused at random moments: the same bytes, and no traceback."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from build_process import accept_ctrl_c
from media import video_files
from support import hashes

NUM_CLIPS = 10
KILLED = {-signal.SIGKILL, -signal.SIGTERM, 130}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of small videos of several kinds, one of them damaged, one too short."""
    folder = tmp_path_factory.mktemp("media")
    rows = ["path,caption"]
    for number in range(NUM_CLIPS):
        name = ("h264", "vp9")[number % 2]
        data = video_files.make("one-frame" if number == 5 else name)
        (folder / f"{number:02d}.mp4").write_bytes(data[: len(data) // 3] if number == 8 else data)
        rows.append(f"{number:02d}.mp4,clip number {number}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"


class Build:
    """A build in processes of its own."""

    def __init__(self, table: Path, out: Path) -> None:
        words = ["build", "table", "--table", table, "--out", out, "--size", "32", "--frames", "8", "--shard-size", "2"]
        words += ["--val-share", "0.2", "--timeout", "1", "--workers", "2", "--encoding", "jpeg"]
        self.seen: set[psutil.Process] = set()
        """All processes of the build that ``members`` has seen."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "t2vdata", *map(str, words)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=accept_ctrl_c,
        )

    def members(self) -> dict[str, list[psutil.Process]]:
        """Return the processes of the build by what they do."""
        members: dict[str, list[psutil.Process]] = {"parent": [], "worker": [], "helper": []}
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            members["parent"].append(parent)
            for child in parent.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    words = " ".join(child.cmdline())
                    self.seen.add(child)
                    if "sandbox_main" in words:
                        members["helper"].append(child)
                    elif "engines.worker_main" in words:
                        members["worker"].append(child)
        return members

    def disturb(self, choice: random.Random) -> str | None:
        """Kill or pause some of the processes; return what was done, None if the build had ended."""
        victim = choice.choice(["parent", "worker", "worker", "helper", "helper", "all"])
        chosen: list[psutil.Process] = []
        while not chosen:
            members = self.members()
            # Before, Python itself may be interrupted while it starts.
            if victim == "parent" and not members["worker"]:
                members["parent"].clear()
            if self.process.poll() is not None:
                return None
            chosen = [process for group in members.values() for process in group] if victim == "all" else members[victim]
        time.sleep(choice.choice([0.0, choice.uniform(0, 1)]))
        if victim != "all":
            chosen = [choice.choice(chosen)]
        if victim == "all" or choice.random() < 0.3:
            self._signal(chosen, signal.SIGSTOP)
            # Longer than the limit of a clip.
            time.sleep(choice.uniform(0.5, 2.0))
            self._signal(chosen, signal.SIGCONT)
            return f"paused {victim}"
        kinds = {
            "parent": [signal.SIGKILL, signal.SIGTERM, signal.SIGINT],
            "worker": [signal.SIGKILL, signal.SIGTERM],
            "helper": [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV],
        }
        number = choice.choice(kinds[victim])
        self._signal(chosen, number)
        return f"{number.name} to {victim}"

    def end(self) -> str:
        """Wait for the end, also of all processes; return what was printed to standard error."""
        errors = self.process.communicate(timeout=240)[1]
        _, left = psutil.wait_procs(self.seen, timeout=20)
        assert not left
        return errors

    @staticmethod
    def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def build_disturbed(table: Path, out: Path, choice: random.Random, seconds: float) -> list[str]:
    """Build, disturbed at up to six moments, and again as long as the build itself was killed; return what was done."""
    done: list[str] = []
    while True:
        build = Build(table, out)
        for _ in range(choice.randint(1, 6) if len(done) < 20 else 0):
            time.sleep(choice.uniform(0, seconds / 6))
            what = build.disturb(choice)
            done += [what] if what is not None else []
        errors = build.end()
        assert "Traceback" not in errors, (done, errors)
        if build.process.returncode == 0:
            return done
        assert build.process.returncode in KILLED, (done, errors)


@pytest.mark.parametrize(
    "num_kills",
    [2, pytest.param(20, marks=pytest.mark.long), pytest.param(200, marks=[pytest.mark.long, pytest.mark.campaign])],
)
@pytest.mark.timeout(7200)
def test_killed_and_paused_processes_change_no_byte(table: Path, tmp_path: Path, num_kills: int) -> None:
    start = time.monotonic()
    undisturbed = Build(table, tmp_path / "undisturbed")
    errors = undisturbed.end()
    assert undisturbed.process.returncode == 0, errors
    seconds = time.monotonic() - start
    expected = hashes(tmp_path / "undisturbed")
    choice = random.Random(num_kills)
    while num_kills > 0:
        out = tmp_path / "out"
        done = build_disturbed(table, out, choice, seconds)
        print(num_kills, done, flush=True)
        num_kills -= len(done)
        assert hashes(out) == expected, done
        shutil.rmtree(out)
    assert os.listdir(tmp_path) == ["undisturbed"]
