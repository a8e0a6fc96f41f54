"""The whole table, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import real_clips, t2vdata

from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError
from t2vdata.scoring.real import Real
from t2vdata.scoring.score import NEAREST, controls, full, score, table

ROWS = ["yours", "real", "shuffled captions", "first frame alone", "shuffled frames", NEAREST]


@pytest.fixture(scope="module")
def real() -> Real:
    return Real(*real_clips("24x24", "train", 400), *real_clips("24x24", "test", 80))


def test_the_table_has_yours_and_every_control(real: Real) -> None:
    videos, captions = real_clips("24x24", "val", 80)
    rows = table({"yours": (videos, captions)}, real)
    assert list(rows) == ROWS
    assert rows["yours"] == full(videos, captions, real=real)
    assert rows["yours"].match == score(videos, captions)
    train = (real.train_videos, real.train_captions)
    assert {name: row.match for name, row in rows.items() if name != "yours"} == controls(
        real.videos, real.captions, train=train
    )
    assert all(row.quality.gan_train is None for row in rows.values())
    assert list(table(None, real)) == ROWS[1:]
    assert list(table({"yours": (videos, captions)})) == ["yours"]


def test_copies_and_still_clips_are_told_from_real_ones(real: Real) -> None:
    rows = {name: row.quality for name, row in table(None, real).items()}
    assert rows["real"].memory is not None
    assert rows[NEAREST].memory is not None
    assert rows["real"].memory.ratio == pytest.approx(1)
    assert (rows[NEAREST].memory.ratio, rows[NEAREST].memory.copied.value) == (0, 1)
    assert rows["shuffled captions"].frechet == rows["real"].frechet
    assert rows["shuffled captions"].gan_test.value < 0.15
    assert rows["first frame alone"].frechet is not None
    assert rows["real"].frechet is not None
    assert rows["first frame alone"].frechet > 2 * rows["real"].frechet
    assert rows["first frame alone"].gan_test.value < 0.5


def test_gan_train_is_there_when_it_is_asked_for_and_never_tests_on_what_it_learnt_from(real: Real) -> None:
    rows = table(None, real, gan_train_steps=2)
    tested = {name: row.quality.gan_train.num_clips for name, row in rows.items() if row.quality.gan_train is not None}
    # Controls of held-out clips on the 400 of training; those of training on the 80 held-out ones.
    assert tested == dict.fromkeys(ROWS[1:5], 400) | {NEAREST: 80}
    with pytest.raises(RequestError, match="GAN-train tests on real clips, and there are none"):
        full(real.videos, real.captions, gan_train_steps=2)


def test_real_clips_need_as_many_captions() -> None:
    clip = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(RequestError, match="1 training clips and 1 captions; expected as many, two or more"):
        Real([clip], ["a"], [clip] * 2, ["a"] * 2)
    with pytest.raises(RequestError, match="2 held-out clips and 3 captions"):
        Real([clip] * 2, ["a"] * 2, [clip] * 2, ["a"] * 3)


def test_the_command_line_prints_yours_beside_the_controls(built: BuildResult, tmp_path: Path) -> None:
    videos, captions = real_clips("32x32", "test", 40)
    np.save(tmp_path / "clips.npy", np.stack(videos))
    (tmp_path / "captions.txt").write_text("\n".join(captions) + "\n")
    done = t2vdata(
        "score", tmp_path / "clips.npy", "--captions", tmp_path / "captions.txt", "--data", built.out, "--split", "test"
    )
    assert done.returncode == 0, done.stderr
    for column in ("caption", "diversity", "Fréchet", "MMD", "inception", "GAN-test", "nearest", "copied"):
        assert column in done.stdout
    # In both tables.
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert [sum(line.startswith(f"{row}  ") for line in lines) for row in ROWS] == [2] * len(ROWS)
    told = json.loads(t2vdata("score", "--data", built.out, "--split", "train", "--n", "40", "--json").stdout)
    assert list(told) == ROWS[1:]
    assert told["real"]["direction"]["share"] == 1.0
    assert set(told["real"]) >= {"caption", "diversity", "frechet", "mmd", "inception", "gan_test", "gan_train", "memory"}


def test_what_the_command_line_lacks_it_says() -> None:
    assert t2vdata("score").returncode == 2
    assert "say what the clips should show, with --captions" in t2vdata("score", "clips.npy").stderr
    lacking = t2vdata("score", "clips.npy", "--captions", "captions.txt", "--gan-train")
    assert "name a dataset of them with --data" in lacking.stderr
