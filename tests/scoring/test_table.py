"""The benchmark's table, from Python and from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import real_clips, t2vdata

from t2vdata.build.run import BuildResult
from t2vdata.cli._progress import stages
from t2vdata.errors import RequestError
from t2vdata.scoring.reference import ReferenceClips
from t2vdata.scoring.score import NEAREST, controls, full_score, score, table

ROWS = ["yours", "real", "shuffled captions", "first frame alone", "shuffled frames", NEAREST]


@pytest.fixture(scope="module")
def reference() -> ReferenceClips:
    return ReferenceClips(*real_clips("24x24", "train", 400), *real_clips("24x24", "test", 80))


def test_the_table_has_yours_and_every_control(reference: ReferenceClips) -> None:
    videos, captions = real_clips("24x24", "val", 80)
    rows = table({"yours": (videos, captions)}, reference)
    assert list(rows) == ROWS
    assert rows["yours"] == full_score(videos, captions, reference=reference)
    assert rows["yours"].match == score(videos, captions)
    train = (reference.train_videos, reference.train_captions)
    assert {name: row.match for name, row in rows.items() if name != "yours"} == controls(
        reference.videos, reference.captions, train=train
    )
    assert all(row.quality.gan_train is None for row in rows.values())
    assert list(table(None, reference)) == ROWS[1:]
    assert list(table({"yours": (videos, captions)})) == ["yours"]


def test_copies_and_still_clips_differ_from_real_clips(reference: ReferenceClips) -> None:
    rows = {name: row.quality for name, row in table(None, reference).items()}
    assert rows["real"].memorization is not None
    assert rows[NEAREST].memorization is not None
    assert rows["real"].memorization.ratio == pytest.approx(1)
    assert (rows[NEAREST].memorization.ratio, rows[NEAREST].memorization.copied.value) == (0, 1)
    assert rows["shuffled captions"].frechet == rows["real"].frechet
    assert rows["shuffled captions"].gan_test.value < 0.15
    assert rows["first frame alone"].frechet is not None
    assert rows["real"].frechet is not None
    assert rows["first frame alone"].frechet > 2 * rows["real"].frechet
    assert rows["first frame alone"].gan_test.value < 0.5


def test_gan_train_runs_on_request_and_never_tests_on_its_training_clips(reference: ReferenceClips) -> None:
    rows = table(None, reference, gan_train_steps=2)
    tested = {name: row.quality.gan_train.num_clips for name, row in rows.items() if row.quality.gan_train is not None}
    # Controls made from held-out clips are tested on the 400 training clips, those from training on the 80 held-out clips.
    assert tested == dict.fromkeys(ROWS[1:5], 400) | {NEAREST: 80}
    with pytest.raises(RequestError, match="GAN-train tests on real clips, but there are none"):
        full_score(reference.videos, reference.captions, gan_train_steps=2)


def test_reference_clips_need_a_caption_each() -> None:
    clip = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(RequestError, match="1 training clips and 1 captions; expected equal numbers, at least two"):
        ReferenceClips([clip], ["a"], [clip] * 2, ["a"] * 2)
    with pytest.raises(RequestError, match="2 held-out clips and 3 captions"):
        ReferenceClips([clip] * 2, ["a"] * 2, [clip] * 2, ["a"] * 3)


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
    rows = json.loads(t2vdata("score", "--data", built.out, "--split", "train", "--n", "40", "--json").stdout)
    assert list(rows) == ROWS[1:]
    assert rows["real"]["direction"]["share"] == 1.0
    assert set(rows["real"]) >= {"caption", "diversity", "frechet", "mmd", "inception", "gan_test", "gan_train", "memory"}


def test_scoring_reports_how_far_it_is(reference: ReferenceClips) -> None:
    calls: dict[str, list[tuple[int, int]]] = {}

    def note(stage: str, done: int, total: int) -> None:
        calls.setdefault(stage, []).append((done, total))

    watched = replace(reference, progress=note)
    table({"yours": (reference.videos[:8], reference.captions[:8])}, watched, gan_train_steps=2, progress=note)
    assert calls["measuring clips: yours"] == [(done, 8) for done in range(1, 9)]
    assert calls["training a classifier: real"] == [(1, 2), (2, 2)]
    assert calls["reading training clips"][-1] == (400, 400)
    assert set(calls) >= {f"measuring clips: {NEAREST}", "reading the digits of all training clips"}


def test_without_a_terminal_progress_is_a_line_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with stages("score", line_interval_seconds=0) as report:
        report("reading your clips", 1, 2)
        report("measuring clips: yours", 1_000, 2_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["score: reading your clips, 1 of 2", "score: measuring clips: yours, 1,000 of 2,000"]
    with stages("score") as report:
        report("reading your clips", 1, 2)
    assert capsys.readouterr().err == ""


def test_the_command_line_names_missing_options() -> None:
    assert t2vdata("score").returncode == 2
    assert "PATH needs the captions of the clips; add --captions FILE" in t2vdata("score", "clips.npy").stderr
    refused = t2vdata("score", "clips.npy", "--captions", "captions.txt", "--gan-train")
    assert "--gan-train tests on real clips; name a dataset with --data" in refused.stderr
