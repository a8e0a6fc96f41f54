"""Local engines: one report per plan, errors with their traceback, and no worker left behind, however a run ends."""

from __future__ import annotations

import importlib
import operator
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from t2vdata.engines import local
from t2vdata.errors import BuildError, WorkerDiedError

# A separate module: workers find their work by name.
WORK = '''
import os, signal, sys, time
from pathlib import Path

class Stubborn(Exception):
    """Cannot be pickled: it takes two arguments, and pickle passes one."""
    def __init__(self, first, second):
        super().__init__(first)

def double(plan):
    return 2 * plan

def own_process(plan):
    time.sleep(0.2)
    return os.getpid()

def fail_on_three(plan):
    if plan == 3:
        raise ValueError(f"no good: {plan}")
    return plan

def fail_stubbornly(plan):
    raise Stubborn("one", "two")

def die_on_three(plan):
    if plan == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return plan

def crash(plan):
    os.kill(os.getpid(), signal.SIGSEGV)

def killed_once(plan):
    folder, number, name = plan
    if number in (2, 3):
        try:
            Path(folder, str(number)).touch(exist_ok=False)
            os.kill(os.getpid(), signal.Signals[name])
        except FileExistsError:
            pass
    return number

def imports_random(plan):
    import random
    return os.environ.get("PYTHONSAFEPATH")

def leave(plan):
    sys.exit(3)

def ignores_ctrl_c(plan):
    os.kill(os.getpid(), signal.SIGINT)
    return plan

def note_and_wait(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "work_of_engines.py").write_text(WORK)
    return folder


@pytest.fixture(scope="module")
def work(folder: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("work_of_engines")


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = set(psutil.Process().children())
    yield
    assert set(psutil.Process().children()) <= before


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Any, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_reports(work: Any, num_workers: int) -> None:
    assert sorted(local.run(work.double, range(20), num_workers=num_workers)) == list(range(0, 40, 2))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_no_plans_give_no_reports(num_workers: int) -> None:
    assert list(local.run(operator.neg, [], num_workers=num_workers)) == []


def test_more_workers_than_plans_are_not_started(work: Any) -> None:
    assert len(set(local.processes(work.own_process, range(2), num_workers=50))) == 2


def test_one_worker_is_this_process(work: Any) -> None:
    assert set(local.run(work.own_process, range(2), num_workers=1)) == {os.getpid()}
    assert os.getpid() not in set(local.run(work.own_process, range(2), num_workers=2))


def recorded(plans: range, taken: list[int]) -> Iterator[int]:
    for plan in plans:
        taken.append(plan)
        yield plan


def test_plans_are_taken_one_at_a_time_in_this_process(work: Any) -> None:
    taken: list[int] = []
    reports = local.serial(work.double, recorded(range(10**9), taken))
    assert taken == []
    assert next(reports) == 0
    assert taken == [0]
    assert next(reports) == 2
    assert taken == [0, 1]


def test_plans_are_taken_for_free_workers_only(work: Any) -> None:
    taken: list[int] = []
    reports = local.processes(work.double, recorded(range(10**9), taken), num_workers=2)
    assert taken == []
    for done in range(1, 6):
        next(reports)
        assert len(taken) <= done + 2
    reports.close()


def test_closing_early_leaves_no_worker(work: Any) -> None:
    before = set(psutil.Process().children())
    reports = local.processes(work.double, range(1000), num_workers=2)
    next(reports)
    assert len(set(psutil.Process().children()) - before) == 2
    reports.close()
    assert set(psutil.Process().children()) <= before


def test_an_error_arrives_with_its_type_and_traceback(work: Any) -> None:
    with pytest.raises(ValueError, match="no good: 3") as caught:
        list(local.processes(work.fail_on_three, range(1000), num_workers=2))
    (note,) = caught.value.__notes__
    assert note.startswith("in a worker process:\nTraceback")
    assert "work_of_engines.py" in note
    assert "in fail_on_three" in note


def test_an_error_in_this_process_arrives_unchanged(work: Any) -> None:
    with pytest.raises(ValueError, match="no good: 3"):
        list(local.serial(work.fail_on_three, range(10)))


def test_an_error_that_cannot_be_pickled_arrives_as_its_text(work: Any) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in a worker process:.*in fail_stubbornly.*Stubborn: one"):
        list(local.processes(work.fail_stubbornly, range(2), num_workers=2))


def test_an_error_while_planning_ends_the_workers(work: Any) -> None:
    def plans() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("no third plan")

    with pytest.raises(LookupError, match="no third plan"):
        list(local.processes(work.double, plans(), num_workers=2))


def test_a_plan_that_gets_its_workers_killed_again_and_again_is_reported(work: Any) -> None:
    message = r"4 workers in a row were ended by SIGKILL \(out of memory\? try fewer --workers\) on 3; run the same command"
    with pytest.raises(WorkerDiedError, match=message):
        list(local.processes(work.die_on_three, range(1000), num_workers=2))


def test_a_crashed_worker_is_reported_with_its_signal(work: Any) -> None:
    with pytest.raises(BuildError, match="4 workers in a row were ended by SIGSEGV on 7; run the same command again"):
        list(local.processes(work.crash, [7], num_workers=2))


@pytest.mark.parametrize("killed_by", ["SIGKILL", "SIGTERM"])
def test_the_plan_of_a_worker_that_was_killed_is_worked_on_again(work: Any, tmp_path: Path, killed_by: str) -> None:
    plans = [(str(tmp_path), number, killed_by) for number in range(6)]
    assert sorted(local.processes(work.killed_once, plans, num_workers=2)) == list(range(6))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_stray_module_in_the_current_folder_is_not_run_by_workers(
    work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "queue", "threading", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stray module was run')")
    monkeypatch.chdir(tmp_path)
    assert list(local.processes(work.imports_random, range(3), num_workers=2)) == [os.environ.get("PYTHONSAFEPATH")] * 3


def test_a_worker_that_exits_is_reported(work: Any) -> None:
    with pytest.raises(
        WorkerDiedError,
        match=r"a worker \(process \d+\) ended: SystemExit: 3 .*, line \d+\) on 7; run",
    ):
        list(local.processes(work.leave, [7], num_workers=2))


def test_workers_ignore_ctrl_c(work: Any) -> None:
    assert sorted(local.processes(work.ignores_ctrl_c, range(3), num_workers=2)) == [0, 1, 2]


def run_script(folder: Path, text: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text))
    # Python puts the script's folder on the path, here and in the workers.
    return subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_script_needs_no_main_guard(folder: Path) -> None:
    script = run_script(
        folder,
        """
        print("begins")
        import work_of_engines
        from t2vdata.engines import local
        print(sorted(local.processes(work_of_engines.double, range(5), num_workers=2)))
        """,
    )
    out, err = script.communicate(timeout=60)
    assert (out, err, script.returncode) == ("begins\n[0, 2, 4, 6, 8]\n", "", 0)


@pytest.mark.parametrize("killed_by", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_workers_die_with_their_parent(folder: Path, tmp_path: Path, killed_by: int) -> None:
    script = run_script(
        folder,
        f"""
        import work_of_engines
        from t2vdata.engines import local
        list(local.processes(work_of_engines.note_and_wait, [{str(tmp_path)!r}] * 2, num_workers=2))
        """,
    )
    try:
        assert wait_until(lambda: len(os.listdir(tmp_path)) == 2)
        pids = [int(name) for name in os.listdir(tmp_path)]
        assert all(map(is_alive, pids))
    finally:
        script.send_signal(killed_by)
        script.communicate(timeout=60)
    assert wait_until(lambda: not any(map(is_alive, pids)))
