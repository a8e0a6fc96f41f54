"""What the tests of the trainer share: the example of a model family, and a recipe of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT

EXAMPLES = ROOT / "tests" / "examples"


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The families of tests/examples can be imported, in this process and in those that it starts."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))


@pytest.fixture
def recipe_file(tmp_path: Path, built: object) -> Path:
    """The recipe of a small run over the tiny dataset."""
    path = tmp_path / "small.yaml"
    path.write_text(f"""
family: mymodel.regression
data: {{path: {built.out}}}
load: {{batch_size: 10}}
run: {{steps: 60, log_every: 5, checkpoint_every: 10, picture_every: null, threads: 1, device: cpu}}
model: {{width: 4, noise: 0.1}}
optimiser: {{lr: 0.01, ema: 0.9}}
""")
    return path
