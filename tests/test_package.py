"""The wheel that users install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from support import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("t2vdata-*.whl")
    return path


def test_the_wheel_holds_the_digits_and_their_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert sum(name.startswith("t2vdata/datasets/mnist_motion/images/") for name in names) == 4
    assert any(name.endswith("NOTICE") for name in names)
    assert any(name.endswith("LICENSE") for name in names)
    assert "t2vdata/py.typed" in names
    assert not any(name.startswith(("tests", "docs")) for name in names)
    assert wheel.stat().st_size < 11_000_000


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("-e",)], ids=["installed", "editable"])
def test_the_package_is_found_from_the_folder_above_its_checkout(options: tuple[str, ...], tmp_path: Path) -> None:
    checkout = tmp_path / "t2vdata"
    checkout.mkdir()
    for name in ("t2vdata", "baselines", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, checkout / name)
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--no-deps", *options, checkout]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    code = "import t2vdata, t2vdata.errors; print(t2vdata.__version__)"
    for folder in (tmp_path, checkout, tmp_path / "env"):
        done = subprocess.run([python, "-c", code], cwd=folder, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, (folder, done.stderr)


@pytest.mark.long
def test_the_wheel_builds_clips_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    constraints = ROOT / "tests" / "constraints.txt"
    install = [python, "-m", "pip", "install", "-q", "-c", constraints, wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # A folder and an environment from which the checkout cannot be imported.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    program = tmp_path / "env" / "bin" / "t2vdata"
    for words in (
        ["build", "mnist-motion", "--n", "100"],
        ["stats", "data/mnist-motion"],
        ["verify", "data/mnist-motion", "--deep"],
        ["show", "data/mnist-motion"],
    ):
        done = subprocess.run([program, *words], cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    # What a plain install lacks is named with the command that installs it.
    for words in (["score", "--data", "data/mnist-motion"], ["bench", "data/mnist-motion"]):
        done = subprocess.run([program, *words], cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.endswith("needs torch, which is not installed: pip install 't2vdata[torch]'\n")
    assert (tmp_path / "mnist-motion.png").exists()
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "torch" not in listed
    done = subprocess.run([python, "-m", "t2vdata", "--version"], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.stdout.startswith("t2vdata, version ")
