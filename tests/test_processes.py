"""Child processes: messages, errors that arrive as themselves, and deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from t2vdata.errors import ShardError, StorageError, T2VError, UnknownNameError, WorkerDiedError
from t2vdata.processes import Child, Message, NoAnswerError, TimeLimit, describe_error, rebuild_error

Run = Callable[[str], Child]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Start a child that executes a statement for each message it receives."""
    monkeypatch.syspath_prepend(str(tmp_path))
    children = []

    def start(statements: str) -> Child:
        (tmp_path / "child_of_tests.py").write_text(
            "import os, pathlib, signal, time\n"
            "from t2vdata import errors\n"
            "class OwnError(Exception):\n"
            "    pass\n"
            "def main(channel):\n"
            "    for message in channel:\n"
            "        with channel.reporting_errors():\n" + textwrap.indent(textwrap.dedent(statements), " " * 12)
        )
        children.append(Child("child_of_tests", name="a child of tests", advice="run it again", quiet=True))
        return children[-1]

    yield start
    for child in children:
        child.close()


def raised_by(child: Child) -> Exception:
    child.send({})
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the tests look at it
        child.receive()
    return caught.value


@pytest.mark.parametrize("num_bytes", [0, 1, 70_000, 5_000_000])
def test_headers_and_payloads_of_any_size_arrive_unchanged(run: Run, num_bytes: int) -> None:
    child = run("channel.send({**message.header, 'num_bytes': len(message.payload)}, message.payload)")
    payload = np.random.default_rng(0).integers(0, 256, num_bytes, np.uint8)
    header = {"text": "häßlich \ud800", "numbers": [1, 2.5, None]}
    child.send(header, payload)
    assert child.receive() == Message({**header, "num_bytes": num_bytes}, payload.tobytes())
    child.send(header, payload)
    answer = child.receive(allocate=lambda num_bytes: np.empty(num_bytes, np.uint8))
    assert np.array_equal(answer.payload, payload)


@pytest.mark.parametrize(
    ("statement", "error_class", "args"),
    [
        ("raise ZeroDivisionError('by zero')", ZeroDivisionError, ("by zero",)),
        ("{}['key']", KeyError, ("key",)),
        ("raise ValueError(1, 2.5, None, True, 'text')", ValueError, (1, 2.5, None, True, "text")),
        ("raise ValueError", ValueError, ()),
        ("raise errors.ShardError('cut short')", ShardError, ("cut short",)),
        ("raise errors.StorageError('disk full')", StorageError, ("disk full",)),
        ("raise errors.UnknownNameError('no split')", UnknownNameError, ("no split",)),
    ],
)
def test_an_error_in_a_child_is_raised_as_itself_with_its_traceback(
    run: Run, statement: str, error_class: type[Exception], args: tuple[object, ...]
) -> None:
    child = run(statement)
    error = raised_by(child)
    assert type(error) is error_class
    assert error.args == args
    assert f"in child process {child.pid}:\nTraceback" in error.__notes__[-1]
    assert "child_of_tests.py" in error.__notes__[-1]
    # The child goes on.
    assert type(raised_by(child)) is error_class


def test_a_missing_file_keeps_its_path(run: Run) -> None:
    error = raised_by(run("open('/no/such/file')"))
    assert isinstance(error, FileNotFoundError)
    assert (error.filename, error.errno) == ("/no/such/file", 2)


def test_notes_and_causes_of_an_error_arrive(run: Run) -> None:
    error = raised_by(
        run(
            """
            try:
                int("x")
            except ValueError as cause:
                error = TypeError("no number")
                error.add_note("clip 17")
                raise error from cause
            """
        )
    )
    assert error.__notes__[0] == "clip 17"
    assert "invalid literal for int()" in error.__notes__[-1]


def test_arguments_that_are_not_plain_data_become_text(run: Run) -> None:
    error = raised_by(run("raise ValueError(pathlib.Path('a/b'), {1, })"))
    assert type(error) is ValueError
    assert error.args == ("a/b", "{1}")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("raise OwnError('of the module')", "child_of_tests.OwnError: of the module"),
        # Its constructor wants bytes, which are not plain data.
        (r"b'\xff'.decode()", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_an_error_that_cannot_be_rebuilt_arrives_as_its_text(run: Run, statement: str, text: str) -> None:
    error = raised_by(run(statement))
    assert type(error) is RuntimeError
    assert str(error).startswith(text)
    assert "Traceback" in error.__notes__[-1]


@pytest.mark.parametrize(
    ("module", "name"), [("subprocess", "Popen"), ("builtins", "SystemExit"), ("builtins", "eval"), ("no.such.module", "Error")]
)
def test_a_child_cannot_name_another_class(module: str, name: str) -> None:
    description = {"module": module, "class": name, "args": ["x"], "text": "x", "notes": [], "traceback": ""}
    error = rebuild_error(description, pid=1)
    assert type(error) is RuntimeError
    assert str(error) == f"{module}.{name}: x".removeprefix("builtins.")


def test_the_name_of_an_error_runs_no_code_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    # Many modules import their parts when an attribute is first asked for.
    lazy, asked = types.ModuleType("lazy"), list[str]()
    lazy.__getattr__ = asked.append  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    description = {"module": "lazy", "class": "Error", "args": [], "text": "x", "notes": [], "traceback": ""}
    assert type(rebuild_error(description, pid=1)) is RuntimeError
    assert not asked


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "needs_more.py").write_text("import no_such_package\n")
    child = Child("needs_more", name="a child", advice="run it again")
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"):
        child.receive()
    child.close()


@pytest.mark.parametrize(
    ("statement", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"was killed by SIGKILL \(out of memory\?\)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("os._exit(3)", "ended with status 3"),
    ],
)
def test_a_child_that_died_is_reported_with_its_signal_or_status(run: Run, statement: str, how: str) -> None:
    child = run(statement)
    child.send({})
    for _ in range(2):
        with pytest.raises(WorkerDiedError, match=rf"^a child of tests \(process {child.pid}\) {how}; run it again$"):
            child.receive()
        # Sending to the dead raises nothing.
        child.send({}, bytes(1 << 20))


def test_a_child_that_does_not_answer_costs_the_time_that_was_set(run: Run) -> None:
    child = run("time.sleep(60)")
    child.send({})
    began = time.monotonic()
    with pytest.raises(NoAnswerError):
        child.receive(limit=TimeLimit(child.pid, 0.3))
    assert 0.3 <= time.monotonic() - began < 10


def test_a_header_over_the_limit_counts_as_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "long_winded.py").write_text("def main(channel):\n    channel.send({'text': 'x' * 2000})\n")
    child = Child("long_winded", name="a child", advice="run it again", max_header_bytes=1000)
    with pytest.raises(WorkerDiedError, match="a child"):
        child.receive()
    child.close()


def test_a_child_ends_with_its_parents_channel(run: Run) -> None:
    child = run("channel.send({})")
    child.send({})
    child.receive()
    assert os.getsid(child.pid) == child.pid, "Ctrl-C would reach the child"
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_child_whose_parent_is_killed_ends(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text("def main(channel):\n    channel.send({})\n    channel.receive()\n")
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from t2vdata.processes import Child\n"
        "child = Child('waits', name='a child', advice='')\n"
        "child.receive(); print(child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while Path(f"/proc/{int(done.stdout)}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Child:
    """Start a child that runs a module with this text."""
    monkeypatch.syspath_prepend(str(folder))
    (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return Child(name, name="a child", advice="use fewer")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))\nkept = [open('/dev/null') for _ in range(9)]",
            r"ended: .*Too many open files.*; raise the limit of open files \(ulimit -n\)$",
        ),
        ("open('/proc/1/mem/x')", "ended: .*Not a directory"),
        (
            "raise PermissionError(13, 'Permission denied', '/a/b')",
            "ended: .*Permission denied: '/a/b'.*; give yourself access to",
        ),
        ("raise SystemExit(3)", r"ended: SystemExit: 3 .*does_not_start.*, line 1\); use fewer$"),
        ("import os; os._exit(3)", "ended with status 3; use fewer$"),
    ],
    ids=["files", "path", "permission", "exit", "status"],
)
def test_a_child_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    child = start(tmp_path, monkeypatch, "does_not_start", text)
    with pytest.raises(WorkerDiedError, match=message) as caught:
        child.receive()
    child.close()
    assert "memory" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_program_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(WorkerDiedError, match="a child does not start: No such file or directory; use fewer"):
        Child("anything", name="a child", advice="use fewer")


STRAY = ("queue", "random", "numpy", "json", "struct", "select", "sitecustomize", "t2vdata")


@pytest.mark.parametrize("where", ["script elsewhere", "PYTHONPATH", "PYTHONSAFEPATH"])
def test_a_child_finds_modules_where_its_parent_finds_them_and_nowhere_else(tmp_path: Path, where: str) -> None:
    """The current folder holds modules that the program never sees."""
    current, own = tmp_path / "current", tmp_path / "own"
    current.mkdir()
    own.mkdir()
    for name in STRAY:
        (current / f"{name}.py").write_text("raise SystemExit('a stray module was run')")
    (own / "tells.py").write_text(
        "import queue, random, numpy, os, sys\n"
        "def main(channel):\n    channel.send({'cwd': os.getcwd(), 'same': sys.path == channel.receive().header['path']})\n"
    )
    (own / "script.py").write_text(
        f"import sys; sys.path.append({str(own)!r})\n"
        "from t2vdata.processes import Child, search_path\n"
        "child = Child('tells', name='a child', advice='')\n"
        "child.send({'path': search_path()}); print(child.receive().header)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": {"PYTHONPATH": str(own)}, "PYTHONSAFEPATH": {"PYTHONSAFEPATH": "1"}}.get(where, {})
    command = [sys.executable, own / "script.py"]
    done = subprocess.run(command, cwd=current, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.stdout, done.returncode) == (f"{{'cwd': {str(current)!r}, 'same': True}}\n", 0), done.stderr


def test_a_child_sees_modules_in_the_current_folder_if_its_parent_does(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text("def main(channel):\n    channel.send({'is': 'found'})\n")
    script = "from t2vdata.processes import Child; print(Child('plugin', name='', advice='').receive().header)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("{'is': 'found'}\n", 0), done.stderr


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)], ids=["stdin", "all"])
def test_children_get_their_pipes_and_files_where_standard_descriptors_are_closed(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    (tmp_path / "maps.py").write_text(
        "import mmap, os\n"
        "def double(number):\n    return 2 * number\n"
        "def main(channel):\n"
        "    for message in channel:\n"
        "        memory = mmap.mmap(message.header['file'], 4096); memory[0] += 1; memory.close()\n"
        "        os.write(2, b'noise'); channel.send({})\n"
    )
    script = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "import maps\n"
        "from t2vdata.engines import local\n"
        "from t2vdata.loading.buffers import BatchBuffers\n"
        "from t2vdata.processes import Child\n"
        "buffers = BatchBuffers(1, 4096)\n"
        "child = Child('maps', name='a child', advice='', share_files=[buffers.file])\n"
        "for _ in range(2): child.send({'file': buffers.file}); child.receive()\n"
        "reports = sorted(local.processes(maps.double, range(3), num_workers=2))\n"
        f"open({str(tmp_path / 'out')!r}, 'w').write(f'{{int(buffers.view(0, (1,))[0])}} {{reports}}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, timeout=60, preexec_fn=lambda: [os.close(number) for number in closed]
    )
    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "2 [0, 2, 4]"


def stopped(pid: int, seconds: float) -> None:
    """Stop a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def test_the_time_in_which_a_child_is_stopped_does_not_count(run: Run) -> None:
    child = run("time.sleep(0.2)\nchannel.send({})")
    child.send({})
    threading.Thread(target=stopped, args=(child.pid, 1.0)).start()
    child.receive(limit=TimeLimit(child.pid, 0.8))


def test_a_child_that_computes_or_sleeps_reaches_its_limit(run: Run) -> None:
    for statement in ("while True: pass", "time.sleep(60)"):
        child = run(statement)
        child.send({})
        with pytest.raises(NoAnswerError):
            child.receive(limit=TimeLimit(child.pid, 0.3))


def test_every_error_of_t2vdata_survives_the_journey() -> None:
    def subclasses(base: type) -> Iterator[type]:
        for derived in base.__subclasses__():
            yield derived
            yield from subclasses(derived)

    for error_class in subclasses(T2VError):
        if not error_class.__module__.startswith("t2vdata."):
            # Those of baselines cross no border.
            continue
        error = rebuild_error(describe_error(error_class("what happened")), pid=1)
        assert type(error) is error_class
        assert str(error) == "what happened"
