"""The command line, run as users run it: in its own process."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from build_process import accept_ctrl_c
from support import ROOT, t2vdata

from t2vdata import datasets
from t2vdata.build.run import BuildResult
from t2vdata.cli import COMMANDS

EXAMPLES = str(ROOT / "tests" / "examples")
# The folder at the top of the tree that `datasets NAME` prints.
TOP = {"table": "mydata", "msvd": "MSVD", "kinetics": "k400", "moments": "Moments_in_Time_Mini", "visdial-coco": "COCO"}


def test_help_of_every_command_ends_in_an_example() -> None:
    assert len(COMMANDS) == 11
    for words in ([], *([command] for command in COMMANDS), ["build", "mnist-motion"], ["estimate", "mnist-motion"]):
        done = t2vdata(*words, "--help")
        assert done.returncode == 0
        assert "Example: t2vdata " in done.stdout.strip().rsplit("\n\n", 2)[-1] + done.stdout.strip().rsplit("\n\n", 2)[-2]


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys; from t2vdata.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert "'click'" in loaded
    for heavy in ("numpy", "pyarrow", "pandas", "av", "PIL", "rich", "fsspec", "zstandard", "torch"):
        assert f"'{heavy}'" not in loaded


def test_building_needs_no_pandas_and_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from t2vdata import BuildSpec, build_dataset\n"
        f"build_dataset(BuildSpec('mnist-motion', options={{'n': 5}}), {str(tmp_path / 'out')!r}, num_workers=1)\n"
        "print([name for name in ('pandas', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["buid"], 2, "no command 'buid'; did you mean 'build'?"),
        (["build", "mnist-moton"], 1, "no dataset 'mnist-moton'; did you mean 'mnist-motion'?"),
        (["build", "mnist-motion", "--nn", "5"], 2, "No such option"),
        (["build", "mnist-motion", "--n", "lots"], 2, "'lots' is not a valid integer"),
        (["build", "mnist-motion", "--n", "0"], 1, "--n 0: expected 1 training clip or more"),
        (["build", "mnist-motion", "--n", "-3"], 1, "--n -3: expected 1 training clip or more"),
        (["build", "mnist-motion", "--digits", "3"], 2, "'3' is not one of 1, 2"),
        (["build", "mnist-motion", "--digit-size", "64"], 1, "a digit of 64 pixels has 0 pixels to move"),
        (["build", "mnist-motion", "--shard-size", "0"], 1, "--shard-size 0: expected 1 sample or more"),
        (["build", "mnist-motion", "--holdout", "41"], 1, "--holdout 41: expected 0 to 30"),
        (["build", "mnist-motion", "--encoding", "h265"], 1, "no encoding 'h265'; did you mean 'h264'?"),
        (["build", "mnist-motion", "--crf", "20"], 1, "--crf does not apply to --encoding lossless"),
        (["build", "mnist-motion", "--encoding", "h264", "--crf", "99"], 1, "expected 0 (best) to 51"),
        (["build", "mnist-motion", "--mnist", "/nowhere"], 1, "no folder /nowhere; --mnist takes a folder"),
        (["stats", "/nowhere"], 1, "there is no such folder"),
        (["verify", "/nowhere"], 1, "there is no such folder"),
        (["show", "/nowhere"], 1, "there is no such folder"),
        (["datasets", "mnist"], 1, "no dataset 'mnist'; did you mean 'mnist-motion'?"),
        (["stats", "pipe:cat /etc/passwd"], 1, "there is no such folder"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    out = ["--out", str(tmp_path / "out")] if words[0] == "build" and len(words) > 2 else []
    done = t2vdata(*words, *out)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_build_prints_counts_and_the_next_command(tmp_path: Path) -> None:
    words = ["build", "mnist-motion", "--n", "50", "--out", tmp_path / "out", "--workers", "2"]
    done = t2vdata(*words)
    assert done.returncode == 0, done.stderr
    for text in ("train", "val", "test", "kept", "rejected", "failed", "clips/s", f"-> {tmp_path / 'out'}"):
        assert text in done.stdout.replace("\n", "")
    assert (
        f"next: t2vdata show {tmp_path / 'out'}" in done.stdout.replace("\n", " ").replace("  ", " ") or "next:" in done.stdout
    )
    again = t2vdata(*words)
    assert "nothing to do" in again.stdout


def test_the_default_folder_is_data_and_the_name(tmp_path: Path) -> None:
    done = t2vdata("build", "mnist-motion", "--n", "5", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "mnist-motion" / "manifest.json").exists()


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "t2vdata", "build", "mnist-motion", "--n", "4000", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"})
    os.close(slave)
    output = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # Linux says EIO when the other end is closed.
            break
        if not block:
            break
        output += block
    assert process.wait() == 0
    assert b"building mnist-motion" in output
    assert b"clips/s" in output
    assert "━".encode() in output


def test_a_log_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from t2vdata.cli import _progress

    with _progress.progress("building x", "clips", line_interval_seconds=0.0) as advance:
        advance(0, 100)
        time.sleep(0.01)
        advance(50, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("building x: 50 of 100 clips, ")
    assert lines[-1].endswith(" s left")


def test_stats_as_json_has_the_counts(built: BuildResult) -> None:
    done = t2vdata("stats", built.out, "--json")
    body = json.loads(done.stdout)
    assert {name: split["clips"] for name, split in body["splits"].items()} == {
        "train": 60,
        "val": 6,
        "test": 6,
        "compositional": 6,
    }
    assert body["kept"] == 78
    assert body["shared_groups"] == {}


def test_stats_draws_tables_and_writes_a_page(built: BuildResult, tmp_path: Path) -> None:
    done = t2vdata("stats", built.out, "--html", tmp_path / "stats.html")
    assert done.returncode == 0, done.stderr
    for text in ("compositional", "histogram", "█", "meanings", "vocabulary: 19 words", "groups in two splits: none"):
        assert text in done.stdout
    page = (tmp_path / "stats.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://creativecommons.org", "")


def test_show_writes_the_picture_it_names(built: BuildResult, tmp_path: Path) -> None:
    done = t2vdata("show", built.out, "val-00000001", "--out", tmp_path / "x.gif")
    assert done.returncode == 0, done.stderr
    assert "val-00000001: the digit" in done.stdout
    assert (tmp_path / "x.gif").read_bytes().startswith(b"GIF89a")


def test_show_does_not_overwrite_a_picture_without_out(built: BuildResult, tmp_path: Path) -> None:
    where = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    assert t2vdata("show", built.out, **where).returncode == 0
    done = t2vdata("show", built.out, **where)
    assert done.returncode == 1
    assert "mnist-motion.png already exists; name the picture with --out" in done.stderr


def test_datasets_lists_and_describes() -> None:
    assert "mnist-motion" in t2vdata("datasets").stdout
    for name in datasets.names():
        text = t2vdata("datasets", name).stdout
        assert ("build makes the data" in text) == (name == "mnist-motion")
        assert name == "mnist-motion" or f"\n  {TOP[name]}/" in text
        assert f"\nLicence: {datasets.load(name).LICENCE}\nCitation: {datasets.load(name).CITATION}\n" in text
        assert f"Build it: t2vdata build {name} " in text
    description = t2vdata("datasets", "mnist-motion").stdout
    for text in ("CC BY-SA 3.0", "Citation:", "Raw files: none", "t2vdata build mnist-motion --n 40000"):
        assert text in description


def test_your_own_module_is_built_with_its_own_flags(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), EXAMPLES])}
    done = t2vdata("build", "mydata.wavy_lines", "--n", "30", "--out", tmp_path / "out", "--max-failures", "0.5", env=env)
    assert done.returncode == 0, done.stderr
    assert "failed 2: RenderError" in done.stdout
    assert "rejected 6: caption over 60 characters" in done.stdout
    assert t2vdata("verify", tmp_path / "out", "--deep").returncode == 0


def test_a_closed_pipe_does_not_crash(built: BuildResult) -> None:
    command = f"{sys.executable} -m t2vdata stats {built.out} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_the_command_line_loads_is_one_line() -> None:
    code = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name == 't2vdata.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "from t2vdata.__main__ import run\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, preexec_fn=accept_ctrl_c, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "t2vdata: interrupted\n")
