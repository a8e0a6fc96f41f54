"""What a build would give, before it is made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from media import video_files
from support import t2vdata, tiny_spec

from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import RawDataError
from t2vdata.estimate.dry_run import SAMPLE, choose, forecast
from t2vdata.media.encode import encoding
from t2vdata.types import Clip, ShardPlan


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clips: ten without a file, ten broken."""
    folder = tmp_path_factory.mktemp("media")
    rows = ["path,caption,split"]
    for number in range(40):
        rows.append(f"{number}.mp4,clip number {number},{'val' if number % 4 == 3 else 'train'}")
        if number >= 10:
            (folder / f"{number}.mp4").write_bytes(b"not a video" if number >= 30 else video_files.make("h264"))
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"


def test_it_counts_what_the_annotations_tell(table: Path) -> None:
    found = forecast(BuildSpec("table", options={"table": table, "size": 16}, encoding=encoding("jpeg")), num_workers=1)
    assert {name: one.clips for name, one in found.splits.items()} == {"train": 22, "val": 8}
    assert found.splits["train"].rejected == {"no media file": 8}
    assert found.sampled.seen == SAMPLE
    assert found.sampled.failed["DecodeError"] == SAMPLE - found.sampled.kept
    assert 10 <= found.kept <= 28


def test_it_is_near_to_what_the_build_gives(built: BuildResult) -> None:
    found = forecast(tiny_spec(), num_workers=2)
    assert found.kept == built.manifest.tally.kept
    assert found.num_bytes == pytest.approx(built.manifest.num_bytes, rel=0.25)
    assert 0 < found.seconds_per_clip < 1
    assert found.seconds == found.clips * found.seconds_per_clip / 2


def test_the_same_clips_are_tried_every_time(table: Path) -> None:
    spec = BuildSpec("table", options={"table": table, "size": 16}, encoding=encoding("jpeg"))
    assert forecast(spec).sampled == forecast(spec).sampled


def test_a_dataset_of_few_clips_is_tried_whole(tmp_path: Path) -> None:
    (tmp_path / "one.mp4").write_bytes(video_files.make("h264"))
    (tmp_path / "clips.csv").write_text("path,caption,split\none.mp4,a clip,train\n")
    spec = BuildSpec("table", options={"table": tmp_path / "clips.csv", "size": 16}, encoding=encoding("jpeg"))
    found = forecast(spec, num_workers=1)
    result = build_dataset(spec, tmp_path / "out", num_workers=1)
    assert (found.kept, found.sampled.seen) == (1, 1)
    # A shard is filled up to whole records of 10 kB.
    assert result.manifest.num_bytes - 10_240 < found.num_bytes <= result.manifest.num_bytes


def test_nothing_is_written(table: Path, tmp_path: Path) -> None:
    done = t2vdata("build", "table", "--table", table, "--encoding", "jpeg", "--dry-run", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "nothing was written" in done.stdout
    assert "rejected 10: no media file" in done.stdout
    assert re.search(r"\btrain +22 +8\b.*\bval +8 +2\b", done.stdout, re.S)
    assert f"of {SAMPLE} clips made on trial, " in done.stdout
    assert re.search(r"expected: about \d+ clips, [\d.,]+ \w+, \S+ .*on \d+ processes", done.stdout)
    assert not list(tmp_path.iterdir())


def test_raw_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="no folder nowhere"):
        forecast(BuildSpec("msvd", root="nowhere"))


def test_clips_that_are_not_chosen_are_not_made() -> None:
    made = []

    class Drawn(Sequence[Clip]):
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, number: int) -> Clip:  # type: ignore[override]
            made.append(number)
            return Clip(f"clip-{number}", ("words",))

    plans = (ShardPlan("train", number, Drawn()) for number in range(1000))
    assert len(choose(plans)) == SAMPLE
    assert len(made) < 1000
