"""The recipe for Moments in Time trains on the dataset that its comment builds; samples and evaluations are by category."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path

import layouts
import numpy as np
import pytest
from click.testing import CliRunner
from media import video_files
from support import ROOT

from baselines import evaluate, sample, train
from baselines.checkpoints import Checkpoints
from t2vdata.cli import main
from t2vdata.datasets.splits import split_of
from t2vdata.format.dataset import open_dataset

RECIPE = ROOT / "recipes" / "glow-moments-cglow.yaml"
CATEGORIES = ("adult+female+singing", "clapping")
# Everything else is the recipe's: frame size, bits, form of the label, loss.
SMALL = ["head.width=4", "tail.width=4", "head.steps=1", "run.steps=2", "run.log_every=1", "run.checkpoint_every=2",
         "run.picture_every=2", "run.num_pictured=1", "run.device=cpu", "run.threads=1", "load.batch_size=4"]  # fmt: skip


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with Moments_in_Time_Mini: two categories, each with two clips in train and one in val."""
    videos = (video_files.of_pictures(video_files.scene(seed, 32, width=96, height=72)) for seed in itertools.count())
    with monkeypatch.context() as patch:
        patch.setattr(video_files, "make", lambda _: next(videos))
        layouts.moments_mini(tmp_path / "Moments_in_Time_Mini")
    folder = tmp_path / "Moments_in_Time_Mini"
    names = [f"yt-{number:011d}" for number in range(1000)]
    held_out = [name for name in names if split_of(name, 0, {"val": 0.01}) == "val"]
    trained_on = [name for name in names if name not in held_out]
    with (folder / "trainingSet.csv").open("a") as rows:
        for label in CATEGORIES:
            for name in (trained_on.pop(), held_out.pop()):
                (folder / "training" / label / f"{name}_1.mp4").write_bytes(next(videos))
                rows.write(f"{label}/{name}_1.mp4,{label},3,0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(command: object, *words: object) -> str:
    return CliRunner().invoke(command, [*map(str, words)], catch_exceptions=False, standalone_mode=False).output


@pytest.mark.long
def test_the_recipe_trains_on_the_dataset_that_its_comment_builds(mini: Path) -> None:
    (build,) = re.findall(r"^# Data: t2vdata (.*)$", RECIPE.read_text(), re.M)
    main([*shlex.split(build), "--workers", "1"], standalone_mode=False)
    data = open_dataset("data/moments-cglow")
    assert [len(data[split]) for split in ("train", "val")] == [4, 2]
    assert data["train"][0].frames.data.shape == (30, 64, 64, 3)

    call(train.command, RECIPE, *SMALL, "--out", "run")
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in lines] == [1, 2]
    assert all(0 < row[name] < 12 for row in lines for name in ("bits_per_dim/head", "bits_per_dim/tail"))
    assert lines[0]["reconstruction"] < 1e-4
    facts = json.loads(Path("run/run.json").read_text())
    assert (facts["labels"], facts["shape"]) == ([*CATEGORIES], [3, 30, 64, 64])
    # Both categories' images have moved, in steps of Adam.
    before, after = (Checkpoints(Path("run/checkpoints")).load(step)[1]["trainer"]["head"]["module"] for step in ("0", "2"))
    moved = (after["describer.images"] - before["describer.images"]).abs().flatten(1)
    assert moved.shape == (2, 3 * 64 * 64)
    assert (moved.amax(dim=1) > 0).all()
    assert moved.max() < 3e-4

    for caption in ("clapping", "adult female singing"):
        call(sample.command, "run", "--caption", caption, "--n", 1, "--first-from", "val", "--out", "x.npy")
        (clip,) = np.load("x.npy", allow_pickle=False)
        (real,) = [item for item in data["val"] if item.captions == (caption,)]
        assert np.array_equal(clip[0], real.frames.data[0])
        # 5 bits.
        assert not (clip[1:] & 7).any()
    call(evaluate.command, "run", "--split", "val", "--n", 2)
    numbers = json.loads(Path("run/evaluation-val.json").read_text())["numbers"]
    assert (numbers["num_bits"], numbers["dimensions"]) == (5, 3 * 64 * 64)
    assert 0 < numbers["bits_per_dim"] < 12
