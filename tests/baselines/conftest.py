"""Shared by the baselines' tests: the example of a model family, recipes of it, and small trained runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support import ROOT

from baselines import recipe_file
from baselines.distributed import ProcessGroup
from baselines.loop import train
from t2vdata.build.run import BuildResult

EXAMPLES = ROOT / "tests" / "examples"


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the families of tests/examples importable, in this process and in its children."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: these networks are too small for more, and tests may run in parallel."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def recipe_path(tmp_path_factory: pytest.TempPathFactory, built: BuildResult) -> Path:
    """A recipe of the example family on the tiny dataset."""
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(f"""
family: mymodel.regression
data: {{path: {built.out}}}
load: {{batch_size: 10}}
run: {{steps: 60, log_every: 5, checkpoint_every: 10, picture_every: null, threads: 1, device: cpu}}
model: {{width: 4, noise: 0.1}}
optimiser: {{lr: 0.01, ema: 0.9}}
""")
    return path


@pytest.fixture(scope="session")
def trained_regression(tmp_path_factory: pytest.TempPathFactory, recipe_path: Path) -> Path:
    """A run of the example family after 20 steps; tests only read it."""
    out = tmp_path_factory.mktemp("regression") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        train(recipe_file.read(str(recipe_path), ["run.steps=20"]), out, ProcessGroup())
    return out


@pytest.fixture
def trained(trained_regression: Path, tmp_path: Path) -> Path:
    """A copy of that run, which a test may change."""
    return Path(shutil.copytree(trained_regression, tmp_path / "run"))


def train_smoke(name: str, folder: Path, built: BuildResult) -> Path:
    """Train a recipe of recipes/smoke to its last step."""
    overrides = [f"data.path={built.out}", "run.picture_every=null"]
    train(recipe_file.read(str(ROOT / "recipes" / "smoke" / f"{name}.yaml"), overrides), folder / "run", ProcessGroup())
    return folder / "run"


@pytest.fixture(scope="session")
def trained_glow(tmp_path_factory: pytest.TempPathFactory, built: BuildResult) -> Path:
    """A finished run of recipes/smoke/glow.yaml; tests only read it."""
    return train_smoke("glow", tmp_path_factory.mktemp("glow"), built)


@pytest.fixture(scope="session")
def trained_gan(tmp_path_factory: pytest.TempPathFactory, built: BuildResult) -> Path:
    """A finished run of recipes/smoke/gan-cls.yaml; tests only read it."""
    return train_smoke("gan-cls", tmp_path_factory.mktemp("gan"), built)
