"""Size and time of a build before it runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from media import video_files
from support import t2vdata, tiny_spec

from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import RawDataError
from t2vdata.estimate.dry_run import NUM_SAMPLED, choose_clips, dry_run
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


def test_it_counts_clips_by_their_annotations(table: Path) -> None:
    estimate = dry_run(BuildSpec("table", options={"table": table, "size": 16}, encoding=encoding("jpeg")), num_workers=1)
    assert {name: split.num_clips for name, split in estimate.splits.items()} == {"train": 22, "val": 8}
    assert estimate.splits["train"].rejected == {"no media file": 8}
    assert estimate.sampled.seen == NUM_SAMPLED
    assert estimate.sampled.failed["DecodeError"] == NUM_SAMPLED - estimate.sampled.kept
    assert 10 <= estimate.num_kept <= 28


def test_the_estimate_is_close_to_the_build(built: BuildResult) -> None:
    estimate = dry_run(tiny_spec(), num_workers=2)
    assert estimate.num_kept == built.manifest.tally.kept
    assert estimate.num_bytes == pytest.approx(built.manifest.num_bytes, rel=0.25)
    assert 0 < estimate.seconds_per_clip < 1
    assert estimate.seconds == estimate.num_clips * estimate.seconds_per_clip / 2


def test_the_same_clips_are_sampled_every_time(table: Path) -> None:
    spec = BuildSpec("table", options={"table": table, "size": 16}, encoding=encoding("jpeg"))
    assert dry_run(spec).sampled == dry_run(spec).sampled


def test_all_clips_of_a_small_dataset_are_sampled(tmp_path: Path) -> None:
    (tmp_path / "one.mp4").write_bytes(video_files.make("h264"))
    (tmp_path / "clips.csv").write_text("path,caption,split\none.mp4,a clip,train\n")
    spec = BuildSpec("table", options={"table": tmp_path / "clips.csv", "size": 16}, encoding=encoding("jpeg"))
    estimate = dry_run(spec, num_workers=1)
    result = build_dataset(spec, tmp_path / "out", num_workers=1)
    assert (estimate.num_kept, estimate.sampled.seen) == (1, 1)
    # A shard is padded to full records of 10 kB.
    assert result.manifest.num_bytes - 10_240 < estimate.num_bytes <= result.manifest.num_bytes


def test_nothing_is_written(table: Path, tmp_path: Path) -> None:
    done = t2vdata("build", "table", "--table", table, "--encoding", "jpeg", "--dry-run", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "nothing was written" in done.stdout
    assert "rejected 10: no media file" in done.stdout
    assert re.search(r"\btrain +22 +8\b.*\bval +8 +2\b", done.stdout, re.S)
    assert f"of {NUM_SAMPLED} clips built on trial, " in done.stdout
    assert re.search(r"expected: about \d+ clips, [\d.,]+ \w+, \S+ .*on \d+ processes", done.stdout)
    assert not list(tmp_path.iterdir())


def test_missing_raw_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="no folder nowhere"):
        dry_run(BuildSpec("msvd", root="nowhere"))


def test_clips_that_are_not_sampled_are_not_created() -> None:
    created = []

    class Drawn(Sequence[Clip]):
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, number: int) -> Clip:  # type: ignore[override]
            created.append(number)
            return Clip(f"clip-{number}", ("words",))

    plans = (ShardPlan("train", number, Drawn()) for number in range(1000))
    assert len(choose_clips(plans)) == NUM_SAMPLED
    assert len(created) < 1000
