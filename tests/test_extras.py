"""Without the packages of an extra, commands and imports say in one line which pip command installs them."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import ROOT

from t2vdata import extras
from t2vdata.build.run import BuildResult
from t2vdata.errors import MissingPackageError, RequestError
from t2vdata.text.tokenizers_file import TokenizersFile

# Runs each command line of argv[1] in a process in which no module of any extra can be imported.
WITHOUT_EXTRAS = """
import json, sys
from t2vdata.extras import EXTRA_OF
sys.modules.update(dict.fromkeys(EXTRA_OF))
from click.testing import CliRunner
from t2vdata.cli import main
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(main, words)
    print(json.dumps([done.exit_code, done.output, repr(done.exception)]))
"""


def test_each_command_without_its_packages_ends_with_the_pip_command_in_a_line(built: BuildResult, tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,caption\nclip.mp4,a cat runs\n")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    table = ["build", "table", "--table", str(tmp_path / "clips.csv"), "--out", str(tmp_path / "out")]
    commands = {
        "score": (["score", "--data", built.out], "scoring needs torch, .*'t2vdata[torch]'"),
        "bench": (["bench", built.out], "making batches needs torch, .*'t2vdata[torch]'"),
        "ray": (
            ["build", "mnist-motion", "--n", "1", "--engine", "ray", "--out", str(tmp_path / "ray")],
            "ray.*'t2vdata[ray]'",
        ),
        "s3": (["show", "s3://bucket/data"], "s3fs.*'t2vdata[remote]'"),
        "http": (["verify", "http://127.0.0.1:9/data"], "aiohttp.*'t2vdata[remote]'"),
        "language": ([*table, "--language", "en"], "--language needs py3langid, .*'t2vdata[language]'"),
        "matches": ([*table, "--min-matches", "20"], "--min-matches: no OpenCV; pip install opencv-python-headless"),
    }
    words = json.dumps([words for words, _ in commands.values()])
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRAS, words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for (name, (_, message)), line in zip(commands.items(), done.stdout.splitlines(), strict=True):
        exit_code, output, exception = json.loads(line)
        assert (exit_code, exception) == (1, "SystemExit(1)"), (name, output, exception)
        assert len(output.strip().splitlines()) == 1, (name, output)
        assert re.search(message.replace("[", r"\[").replace("]", r"\]"), output), (name, output)


@pytest.mark.parametrize("module", ["baselines.train", "baselines.table", "t2vdata.scoring.train_clip_classifier"])
def test_a_module_run_without_its_packages_ends_with_the_pip_command_in_a_line(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-m", module], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"\S.* needs torch, which is not installed: pip install 't2vdata\[(torch|baselines)\]'\n", done.stderr)


def test_the_error_is_an_import_error_and_survives_a_process_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(RequestError, match=r"a tokenizers file needs tokenizers, .* 't2vdata") as raised:
        TokenizersFile("nowhere.json")
    assert isinstance(raised.value, ModuleNotFoundError)
    assert raised.value.name == "tokenizers"
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (type(copy), str(copy), copy.name) == (MissingPackageError, str(raised.value), "tokenizers")


def test_a_missing_module_of_no_extra_stays_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'") as raised:
        extras.load("no_such_module", "this")
    assert not isinstance(raised.value, MissingPackageError)


def test_every_extra_that_errors_name_exists_and_installs_the_package() -> None:
    packages = {"cv2": "opencv-python-headless", "yaml": "pyyaml"}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, extra in extras.EXTRA_OF.items():
        assert any(entry.startswith(packages.get(module, module)) for entry in declared[extra]), module
