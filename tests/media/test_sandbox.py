"""The sandbox: what a file that cannot be trusted may cost, and that nothing else decides about a clip."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from media import video_files
from support import patch_children

from t2vdata.errors import DecodeError, WorkerDiedError
from t2vdata.media import sandbox
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest


def file(folder: Path, name: str) -> str:
    path = folder / name
    path.write_bytes(video_files.make(name))
    return str(path)


def test_a_helper_gives_what_this_process_would(tmp_path: Path) -> None:
    path = file(tmp_path, "h264")
    request = ClipRequest(fps=5.0, size=16)
    assert (sandbox.take(path, request).data == read_clip(path, request).data).all()
    assert (sandbox.take(Path(path).read_bytes(), request).data == read_clip(path, request).data).all()


def test_a_helper_that_dies_is_replaced(tmp_path: Path) -> None:
    path = file(tmp_path, "h264")
    own = sandbox.Sandbox()
    own.take(path, ClipRequest(), timeout_seconds=20)
    os.kill(own.pid, signal.SIGSEGV)
    assert own.take(path, ClipRequest(), timeout_seconds=20).num_frames == 24
    own.close()


def test_a_file_that_hangs_costs_its_clip_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs.mp4")
    own = sandbox.Sandbox()
    begun = time.monotonic()
    with pytest.raises(DecodeError, match="timed out after 1 s"):
        own.take(str(tmp_path / "hangs.mp4"), ClipRequest(), timeout_seconds=1)
    assert time.monotonic() - begun < 5
    assert own.take(file(tmp_path, "h264"), ClipRequest(), timeout_seconds=20).num_frames == 24
    own.close()


def test_after_an_interrupt_the_next_clip_gets_its_own_frames(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow.mp4")
    own = sandbox.Sandbox()
    # SIGINT may be ignored here, as in a background job.
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            own.take(str(tmp_path / "slow.mp4"), ClipRequest(), timeout_seconds=20)
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
    assert own.pid is None
    assert own.take(file(tmp_path, "h264"), ClipRequest(), timeout_seconds=20).num_frames == 24
    own.close()


def test_a_file_that_crashes_or_eats_memory_costs_its_clip_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_children(
        tmp_path,
        monkeypatch,
        "import os, signal\n"
        "from t2vdata.media.clip_reader import ClipReader\n"
        "read = ClipReader.read\n"
        "def misbehave(self, source, request):\n"
        "    if str(source).endswith('crash.mp4'): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if str(source).endswith('eats.mp4'): bytearray(8 << 30)\n"
        "    return read(self, source, request)\n"
        "ClipReader.read = misbehave\n",
    )
    own = sandbox.Sandbox()
    for name, message in (
        ("crash", r"the decoder crashed \(SIGSEGV\) 3 times"),
        ("eats", "decoding takes over 4 GiB of memory"),
    ):
        with pytest.raises(DecodeError, match=message):
            own.take(str(tmp_path / f"{name}.mp4"), ClipRequest(), timeout_seconds=20)
        assert own.take(file(tmp_path, "h264"), ClipRequest(), timeout_seconds=20).num_frames == 24
    own.close()


class Killer:
    """Kills the helper of a sandbox, whenever it finds a new one, some seconds after its start."""

    def __init__(self, times: int, after_seconds: float, killed_by: int) -> None:
        self.num_killed = 0
        self._times, self._after_seconds, self._killed_by = times, after_seconds, killed_by
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        known: set[int] = set()
        # Helpers that are starting are not the sandbox's yet.
        while self.num_killed < self._times:
            for child in psutil.Process().children():
                if child.pid not in known and child.name().startswith("python"):
                    known.add(child.pid)
                    time.sleep(self._after_seconds)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.send_signal(self._killed_by)
                        self.num_killed += 1
            time.sleep(0.005)


@pytest.mark.parametrize(
    ("times", "after_seconds", "killed_by"),
    [(4, 0.0, signal.SIGKILL), (2, 0.05, signal.SIGTERM)],
    ids=["as they start", "a little later"],
)
def test_helpers_that_are_killed_from_outside_cost_no_clip(
    tmp_path: Path, times: int, after_seconds: float, killed_by: int
) -> None:
    path = file(tmp_path, "h264")
    expected = read_clip(path, ClipRequest()).data
    own = sandbox.Sandbox()
    killer = Killer(times, after_seconds, killed_by)
    while killer.num_killed < times:
        assert (own.take(path, ClipRequest(), timeout_seconds=20).data == expected).all()
    assert (own.take(path, ClipRequest(), timeout_seconds=20).data == expected).all()
    own.close()


@pytest.mark.long
def test_a_file_on_which_each_helper_is_killed_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_children(
        tmp_path,
        monkeypatch,
        "import os, signal\n"
        "from t2vdata.media.clip_reader import ClipReader\n"
        "ClipReader.read = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    own = sandbox.Sandbox()
    with pytest.raises(DecodeError, match=r"^the decoder was killed \(SIGKILL\) 15 times$"):
        own.take(file(tmp_path, "h264"), ClipRequest(), timeout_seconds=20)
    own.close()


def test_a_helper_that_cannot_start_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_children(tmp_path, monkeypatch, "import sys\nsys.modules['av'] = None\n")
    with pytest.raises(ModuleNotFoundError, match="av"):
        sandbox.Sandbox().take(file(tmp_path, "h264"), ClipRequest(), timeout_seconds=20)
    patch_children(tmp_path, monkeypatch, "import os\nos._exit(7)\n")
    with pytest.raises(WorkerDiedError, match=r"the decoder \(process \d+\) ended with status 7; it needs 4 GiB of address"):
        sandbox.Sandbox().take(file(tmp_path, "h264"), ClipRequest(), timeout_seconds=20)


def test_a_helper_that_is_stopped_for_longer_than_the_timeout_goes_on(tmp_path: Path) -> None:
    path = file(tmp_path, "h264")
    own = sandbox.Sandbox()
    own.take(path, ClipRequest(), timeout_seconds=20)
    helper = own.pid
    os.kill(helper, signal.SIGSTOP)
    threading.Timer(1.5, os.kill, (helper, signal.SIGCONT)).start()
    assert own.take(path, ClipRequest(), timeout_seconds=1).num_frames == 24
    assert own.pid == helper
    own.close()


def test_a_program_that_is_stopped_for_longer_than_the_timeout_goes_on(tmp_path: Path) -> None:
    """The helper hangs for half of its time, in which its parent is stopped for twice that time."""
    patch = (
        "import time\n"
        "from t2vdata.media.clip_reader import ClipReader\n"
        "read = ClipReader.read\n"
        "ClipReader.read = lambda *args: time.sleep(0.5) or read(*args)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(patch)
    script = (
        "import sys\n"
        "from t2vdata.media import sandbox\n"
        "from t2vdata.media.clip_request import ClipRequest\n"
        "print('starts', flush=True)\n"
        "print(sandbox.take(sys.argv[1], ClipRequest(), timeout_seconds=1).num_frames)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, file(tmp_path, "h264")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "starts\n"
    for _ in range(4):
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.4)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.05)
    assert process.communicate(timeout=60)[0] == "24\n"


def test_a_bug_in_the_helper_is_raised_as_that_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_children(
        tmp_path,
        monkeypatch,
        "from t2vdata.media.clip_reader import ClipReader\n"
        "read = ClipReader.read\n"
        "def fail(self, source, request):\n"
        "    if str(source).endswith('bug.mp4'): {}['missing']\n"
        "    return read(self, source, request)\n"
        "ClipReader.read = fail\n",
    )
    own = sandbox.Sandbox()
    with pytest.raises(KeyError) as caught:
        own.take(str(tmp_path / "bug.mp4"), ClipRequest(), timeout_seconds=20)
    assert caught.value.args == ("missing",)
    assert "sitecustomize.py" in caught.value.__notes__[-1]
    helper = own.pid
    assert own.take(file(tmp_path, "h264"), ClipRequest(), timeout_seconds=20).num_frames == 24
    assert own.pid == helper, "a bug does not end the helper"
    own.close()
