"""Decoding workers: errors, deaths, and that nothing is left of them."""

from __future__ import annotations

import contextlib
import gc
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from build_process import accept_ctrl_c
from support import patch_children

import t2vdata
from t2vdata.build.run import BuildResult
from t2vdata.errors import WorkerDiedError
from t2vdata.loading import Loader, LoadSpec, Resources

TWO = Resources(workers=2, processes=True)


def workers() -> list[psutil.Process]:
    """Return the loading workers among this process's children."""
    result = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "t2vdata.loading.worker_main" in child.cmdline():
                result.append(child)
    return result


def wait_until(holds: object, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_a_killed_worker_is_reported_with_its_signal(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    with Loader(dataset["train"], LoadSpec(batch_size=2), resources=TWO) as reading:
        batches = iter(reading)
        next(batches)
        for child in workers():
            child.send_signal(signal.SIGKILL)
        with pytest.raises(
            WorkerDiedError, match=r"a loading worker \(process \d+\) was killed by SIGKILL \(out of memory\?\); use fewer"
        ):
            list(batches)
    assert not workers()


def test_a_bug_in_a_worker_is_raised_as_that_bug(built: BuildResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_children(
        tmp_path,
        monkeypatch,
        "from t2vdata.media.decode import selected\n"
        "def decode(*args, **options):\n"
        "    raise ZeroDivisionError('a bug of the decoder', 7)\n"
        "selected.decode = decode\n",
    )
    dataset = t2vdata.open_dataset(built.out)
    with Loader(dataset["train"], LoadSpec(batch_size=2), resources=TWO) as reading, pytest.raises(ZeroDivisionError) as caught:
        next(iter(reading))
    assert caught.value.args == ("a bug of the decoder", 7)
    assert "sitecustomize.py" in caught.value.__notes__[-1]


def test_a_closed_loader_leaves_no_process_and_no_thread(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    gc.collect()
    before = threading.active_count()
    for resources in (TWO, Resources(workers=3)):
        reading = Loader(dataset["train"], LoadSpec(batch_size=4), resources=resources)
        next(iter(reading))
        reading.close()
        assert not workers()
        assert threading.active_count() <= before
        # It can be used again.
        assert sum(len(batch) for batch in reading) == 56
        reading.close()


def test_a_dropped_loader_leaves_no_process_and_no_thread(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    gc.collect()
    before = threading.active_count()
    for resources in (TWO, Resources(workers=3), Resources(workers=3)):
        for _ in Loader(dataset["train"], LoadSpec(batch_size=4), resources=resources):
            break
    gc.collect()
    assert wait_until(lambda: not workers() and threading.active_count() <= before)


def test_a_loader_may_be_dropped_while_its_workers_are_busy(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    threshold = gc.get_threshold()
    try:
        # Collected often, and so also in the threads that decode.
        gc.set_threshold(20, 2, 2)
        for number in range(40):
            for _ in Loader(dataset["train"], LoadSpec(batch_size=2), seed=number, resources=Resources(workers=2)):
                break
    finally:
        gc.set_threshold(*threshold)


READER = """
import sys, time, t2vdata
from t2vdata.loading import Loader, LoadSpec, Resources
resources = Resources(workers=2, processes=True)
reading = Loader(t2vdata.open_dataset(sys.argv[1])["train"], LoadSpec(batch_size=4), resources=resources)
batch = next(iter(reading))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_killed_trainer(built: BuildResult, number: signal.Signals) -> None:
    trainer = subprocess.Popen(
        [sys.executable, "-c", READER, str(built.out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=accept_ctrl_c,
    )
    assert trainer.stdout is not None
    with trainer, trainer.stdout:
        assert trainer.stdout.readline() == b"ready\n"
        their_workers = psutil.Process(trainer.pid).children(recursive=True)
        assert len(their_workers) == 2
        # Memory that has a name could outlive them.
        processes = (psutil.Process(trainer.pid), *their_workers)
        maps = [mapping.path for process in processes for mapping in process.memory_maps()]
        assert any("memfd:t2vdata-batches" in path for path in maps)
        assert not [path for path in maps if path.startswith("/dev/shm")]
        trainer.send_signal(number)
        trainer.wait(20)
    assert wait_until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in their_workers))


def test_a_script_without_a_guard_can_use_processes(built: BuildResult, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import t2vdata\n"
        "from t2vdata.loading import LoadSpec, Resources, loader\n"
        f"dataset = t2vdata.open_dataset({str(built.out)!r})\n"
        "resources = Resources(workers=2, processes=True)\n"
        "print(sum(len(batch) for batch in loader(dataset['train'], LoadSpec(), resources=resources)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("60\n", "")


def test_workers_import_no_torch(built: BuildResult) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, t2vdata.loading.worker_main; print([m for m in ('torch', 'pandas', 'click') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout == "[]\n"
