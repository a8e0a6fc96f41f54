"""`t2vdata build`: its exit code and what it says at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from t2vdata.cli import main
from t2vdata.format.dataset import open_dataset


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="t2vdata")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of two pictures."""
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "clips.csv").write_text("path,caption\na.png,a black square\nb.png,another black square\n")
    return tmp_path / "clips.csv"


def build(table: Path, *more: str | Path) -> Result:
    shares = ("--val-share", "0", "--test-share", "0")
    return run(
        "build", "table", "--table", table, *shares, "--size", "16", "--workers", "1", "--out", table.parent / "out", *more
    )


def test_a_build_that_keeps_nothing_fails_and_says_why_and_what_next(table: Path) -> None:
    for name in ("a.png", "b.png"):
        (table.parent / name).unlink()
    for _ in range(2):
        done = build(table)
        assert done.exit_code == 1
        assert "has no clip: none of 2 was kept, 2 for 'no media file'; see" in done.stderr
        assert "rejects.parquet, change the options or the files" in done.stderr
        assert "next: t2vdata show" not in done.stdout
    assert build(table, "--retry-failed").exit_code == 1
    trial = build(table, "--dry-run")
    assert (trial.exit_code, trial.stderr) == (
        1,
        "t2vdata: none of the clips on trial was kept; change the options or the files\n",
    )
    shown = run("show", table.parent / "out")
    assert shown.exit_code == 1
    assert "split 'train' of" in shown.stderr
    assert "has no clip to show; `t2vdata stats` says what became of them" in shown.stderr


def test_a_build_that_keeps_a_clip_succeeds(table: Path) -> None:
    (table.parent / "a.png").unlink()
    done = build(table)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "next: t2vdata show" in done.stdout


def test_a_caption_of_a_million_letters_is_drawn_as_far_as_there_is_room(table: Path) -> None:
    long = "x" * 1_100_000
    (table.parent / "clips.jsonl").write_text(
        f'{{"path": "a.png", "caption": "{long}"}}\n{{"path": "b.png", "caption": "b c"}}\n'
    )
    assert build(table.with_suffix(".jsonl")).exit_code == 0
    out = table.parent / "out"
    assert {len(clip.captions[0]) for clip in open_dataset(out)["train"]} == {len(long), 3}
    assert run("show", out, "--out", table.parent / "x.png").exit_code == 0
    assert run("show", out, "--out", table.parent / "x.gif").exit_code == 0


def test_a_build_says_which_edited_files_it_kept(table: Path) -> None:
    build(table)
    out = table.parent / "out"
    (out / "index.parquet").unlink()
    (out / "README.md").write_text("mine")
    done = build(table)
    assert done.exit_code == 0, done.stderr
    assert "README.md has been edited, and was kept" in done.stdout
