"""What a build guarantees: same bytes, complete or not at all, nothing disappears, no file of the user is deleted."""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from build_process import FLAGS, accept_ctrl_c, build_completely, kill_group, start_build, wait_for_shards
from support import ROOT, TINY, hashes, skip_or_fail, t2vdata, tiny_spec

from t2vdata import storage
from t2vdata.build.checkpoint import Checkpoint
from t2vdata.build.planning import plan_shards
from t2vdata.build.run import BuildResult, Progress, build_dataset
from t2vdata.build.shard import ShardBuilder
from t2vdata.build.spec import BuildSpec
from t2vdata.errors import (
    NotADatasetError,
    OtherSpecError,
    RequestError,
    StorageError,
    TooManyFailuresError,
    UnknownNameError,
)
from t2vdata.format import manifest, shards, tables
from t2vdata.format.dataset import open_dataset
from t2vdata.inspect import stats
from t2vdata.media.encode import H264, Lossless, encoding
from t2vdata.storage import Folder

EXAMPLES = ROOT / "tests" / "examples"


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the example dataset importable, here and in workers."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES), prepend=os.pathsep)


# Same spec, same bytes


@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_number_of_processes_does_not_change_a_byte(built: BuildResult, tmp_path: Path, num_workers: int) -> None:
    result = build_dataset(tiny_spec(), tmp_path / "out", num_workers=num_workers)
    assert hashes(Path(result.out)) == hashes(Path(built.out))
    assert len(hashes(Path(result.out))) == 3 + 1 + 1 + 1 + 6


@pytest.mark.parametrize("coding", [Lossless(), H264(gop=4)], ids=["lossless", "h264"])
def test_building_twice_gives_the_same_bytes(tmp_path: Path, coding: Lossless | H264) -> None:
    spec = BuildSpec("mnist-motion", options={**TINY, "n": 12}, shard_size=5, encoding=coding)
    first, second = (build_dataset(spec, tmp_path / name, num_workers=1) for name in ("first", "second"))
    assert hashes(Path(first.out)) == hashes(Path(second.out))


def test_a_larger_build_begins_with_the_same_samples(tmp_path: Path) -> None:
    small = build_dataset(tiny_spec(n=40), tmp_path / "small", num_workers=1)
    large = build_dataset(tiny_spec(n=70), tmp_path / "large", num_workers=1)
    for number in (0, 1):
        name = f"mnist-motion-train-{number:06d}.tar"
        assert (Path(small.out) / name).read_bytes() == (Path(large.out) / name).read_bytes()


def test_another_seed_gives_another_dataset(built: BuildResult, tmp_path: Path) -> None:
    other = build_dataset(BuildSpec("mnist-motion", options=TINY, seed=1, shard_size=20), tmp_path / "out", num_workers=1)
    assert other.manifest.fingerprint != built.manifest.fingerprint
    ours, theirs = (hashes(Path(result.out))["mnist-motion-train-000000.tar"] for result in (other, built))
    assert ours != theirs


def test_the_official_mnist_files_are_the_packaged_ones(tmp_path: Path, shared: Path) -> None:
    ours = build_dataset(tiny_spec(n=10), tmp_path / "ours", num_workers=1)
    theirs = build_dataset(tiny_spec(n=10, mnist=shared / "data" / "mnist"), tmp_path / "theirs", num_workers=1)
    assert hashes(Path(theirs.out)) == hashes(Path(ours.out))


def test_the_fingerprint_is_the_hash_of_the_spec(built: BuildResult) -> None:
    body = json.loads((Path(built.out) / "manifest.json").read_text())
    assert manifest.fingerprint(body["spec"]) == body["fingerprint"] == built.manifest.fingerprint
    assert str(ROOT.parent) not in json.dumps(body)


# On disk


def test_the_index_has_the_offset_of_every_file(built: BuildResult) -> None:
    rows = tables.read_index(built.out).to_pylist()
    assert len(rows) == 60 + 6 + 6 + 6
    for row in rows[::7]:
        with tarfile.open(Path(built.out) / row["shard"]) as tar:
            names = {"pixels": f"{row['key']}.npy.zst", "txt": f"{row['key']}.txt", "json": f"{row['key']}.json"}
            for role, name in names.items():
                member = tar.getmember(name)
                assert (member.offset_data, member.size) == (row[f"{role}_offset"], row[f"{role}_size"])
                assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)


def test_the_index_names_every_frame_of_an_mp4(tmp_path: Path) -> None:
    spec = BuildSpec("mnist-motion", options={**TINY, "n": 3}, encoding=H264(gop=4))
    row = tables.read_index(build_dataset(spec, tmp_path / "out", num_workers=1).out).to_pylist()[0]
    assert row["num_frames"] == len(row["pts"]) == len(row["key_frames"]) == 8
    assert row["key_frames"] == [True, False, False, False, True, False, False, False]
    ticks_per_second = int(row["time_base"].removeprefix("1/"))
    assert [pts * 30 / ticks_per_second for pts in row["pts"]] == list(range(8))


def test_the_json_of_a_sample_describes_its_clip(built: BuildResult) -> None:
    item = open_dataset(built.out)["train"][5]
    clip = tiny_spec().open().clips("train")[5]
    assert item.meta["digits"] == clip.meta["digits"]
    assert (item.key, item.captions, item.meta["group"]) == (clip.key, clip.captions, clip.group)


def test_the_card_lists_the_files_of_every_split(built: BuildResult) -> None:
    card = (Path(built.out) / "README.md").read_text()
    header = card.split("---")[1]
    for split, hub_name in (("train", "train"), ("val", "validation"), ("compositional", "compositional")):
        assert f"- split: {hub_name}" in header
        assert f"mnist-motion-{split}-000000.tar" in header
    assert "t2vdata build mnist-motion --n 60 --frames 8 --size 24 --digit-size 12 --holdout 4 --shard-size 20" in card
    assert "CC BY-SA 3.0" in card
    assert "![" in card
    assert (Path(built.out) / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_in_the_card_builds_the_dataset_again(built: BuildResult, tmp_path: Path) -> None:
    lines = (Path(built.out) / "README.md").read_text().splitlines()
    command = next(line for line in lines if line.startswith("t2vdata build"))
    done = t2vdata(*command.split()[1:], "--out", tmp_path / "again", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert hashes(tmp_path / "again") == hashes(Path(built.out))


# Complete or not at all


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_build_killed_at_thirty_moments_gives_the_same_bytes(tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    start = time.monotonic()
    build_completely(undisturbed, 1500)
    seconds = time.monotonic() - start
    expected = hashes(undisturbed)
    moments = random.Random(0)
    killed = 0
    for attempt in range(20):
        out = tmp_path / f"killed-{attempt}"
        # Each folder is killed several times in a row.
        for _ in range(3):
            process = start_build(out, 1500)
            time.sleep(moments.uniform(0.1, seconds))
            killed += process.poll() is None
            kill_group(process)
        build_completely(out, 1500)
        assert hashes(out) == expected
        shutil.rmtree(out)
        if killed >= 30:
            return
    pytest.fail(f"only {killed} of {3 * 20} builds were still running when they were to be killed")


def test_a_killed_build_keeps_its_finished_shards(tmp_path: Path) -> None:
    process = start_build(tmp_path / "out", 20_000)
    wait_for_shards(tmp_path / "out", 5)
    kill_group(process)
    before = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "out").glob("*.tar"))}
    reported = sorted(path.name for path in (tmp_path / "out" / ".t2vdata-build" / "reports").glob("*.tar.jsonl"))
    assert len(reported) >= 3
    process = start_build(tmp_path / "out", 20_000)
    time.sleep(2)
    kill_group(process)
    for name in reported:
        path = tmp_path / "out" / name.removesuffix(".jsonl")
        assert path.stat().st_mtime_ns == before[path]


def test_ctrl_c_stops_at_once_and_says_how_to_resume(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "t2vdata", "build", "mnist-motion", "--n", "100000", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--workers", "2"], start_new_session=True, stderr=subprocess.PIPE, text=True, preexec_fn=accept_ctrl_c
    )
    wait_for_shards(tmp_path / "out", 1)
    os.killpg(process.pid, signal.SIGINT)
    start = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - start < 10
    assert "run the same command again to resume" in errors
    assert "Traceback" not in errors
    for path in (tmp_path / "out").glob("*.tar"):
        with path.open("rb") as file:
            assert sum(1 for _ in shards.read_samples(file)) == 1000
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith(".t2vdata-aside")]


def test_lost_shards_of_a_finished_dataset_are_restored(copy: Path) -> None:
    expected = hashes(copy)
    (copy / "mnist-motion-val-000000.tar").unlink()
    (copy / "mnist-motion-train-000001.tar").write_bytes(b"cut short")
    result = build_dataset(tiny_spec(), copy, num_workers=1)
    assert result.clips_built == 6 + 20
    assert hashes(copy) == expected


@pytest.mark.parametrize("name", ["index.parquet", "rejects.parquet", "vocabulary.json"])
def test_lost_tables_of_a_finished_dataset_are_restored(copy: Path, name: str) -> None:
    expected = hashes(copy)
    (copy / name).unlink()
    build_dataset(tiny_spec(), copy, num_workers=1)
    assert hashes(copy) == expected


def test_a_finished_dataset_is_not_touched(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    result = build_dataset(tiny_spec(), copy, num_workers=1)
    assert result.clips_built == 0
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_a_finished_dataset_on_a_read_only_disk_needs_no_writing(small_disk: Path) -> None:
    spec = tiny_spec(n=5, holdout=0)
    build_dataset(spec, small_disk / "out", num_workers=1)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert build_dataset(spec, small_disk / "out", num_workers=1).clips_built == 0


def test_a_build_killed_after_writing_its_manifest_is_cleaned_up(copy: Path) -> None:
    expected = hashes(copy)
    (copy / ".t2vdata-build" / "reports").mkdir(parents=True)
    (copy / ".t2vdata-build" / "spec.json").write_text(json.dumps(tiny_spec().as_json()))
    (copy / ".t2vdata-build" / "reports" / f".x.123{storage.ASIDE}").write_bytes(b"half")
    assert build_dataset(tiny_spec(), copy, num_workers=1).clips_built == 0
    assert hashes(copy) == expected
    assert not (copy / ".t2vdata-build").exists()


# Nothing disappears


def test_kept_rejected_and_failed_clips_are_all_requested_clips(examples: None, tmp_path: Path) -> None:
    spec = BuildSpec("mydata.wavy_lines", options={"n": 40}, shard_size=7)
    result = build_dataset(spec, tmp_path / "out", num_workers=2)
    tally = result.manifest.tally
    assert tally.seen == 80
    assert dict(tally.failed) == {"RenderError": 2}
    assert tally.rejected["caption over 60 characters"] == 8
    rejects = tables.read_rejects(result.out)
    keys = {row["key"] for row in tables.read_index(result.out, ["key"]).to_pylist()} | {reject.key for reject in rejects}
    assert keys == {f"{split}-{number:04d}" for split in ("train", "test") for number in range(40)}
    assert len(rejects) == tally.num_rejected + tally.num_failed
    broken = [reject for reject in rejects if reject.kind == "failed"]
    assert {(reject.stage, reject.reason, reject.message) for reject in broken} == {("render", "RenderError", "the pen broke")}
    assert stats.compute(result.out).failed == {"RenderError": 2}


def test_the_example_dataset_has_the_same_bytes_with_any_number_of_processes(examples: None, tmp_path: Path) -> None:
    spec = BuildSpec("mydata.wavy_lines", options={"n": 30}, shard_size=7)
    serial, parallel = (build_dataset(spec, tmp_path / str(count), num_workers=count) for count in (1, 2))
    assert hashes(Path(serial.out)) == hashes(Path(parallel.out))


def test_a_split_without_kept_clips_has_no_shard(examples: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("mydata.wavy_lines")
    monkeypatch.setattr(module.WavyLines, "clip_filters", lambda self: ())
    monkeypatch.setattr(module.WavyLines, "frame_filters", lambda self: [module.Moving(min_difference=255)])
    result = build_dataset(BuildSpec("mydata.wavy_lines", options={"n": 3}), tmp_path / "out", num_workers=1)
    assert result.manifest.tally.kept == 0
    assert result.manifest.tally.num_rejected == 6
    assert not list(Path(result.out).glob("*.tar"))


def test_a_build_with_too_many_failures_stops_early_and_says_why(
    examples: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("mydata.wavy_lines")

    def broken(dataset: object, clip: object) -> None:
        raise module.RenderError("no ink")

    monkeypatch.setattr(module.WavyLines, "render", broken)
    spec = BuildSpec("mydata.wavy_lines", options={"n": 400}, shard_size=60)
    with pytest.raises(
        TooManyFailuresError, match=r"\d+ of \d+ clips failed, more than 5%: RenderError \d+; see .*rejects.parquet"
    ):
        build_dataset(spec, tmp_path / "out", num_workers=1)
    failed = [reject for reject in tables.read_rejects(str(tmp_path / "out")) if reject.kind == "failed"]
    assert 100 <= len(failed) < 300
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(NotADatasetError, match=r"too many clips failed; see .*, and run .*a higher --max-failures"):
        open_dataset(tmp_path / "out")
    build_dataset(spec, tmp_path / "out", num_workers=1, max_failures=1.0)


def test_a_bug_stops_the_build_and_names_the_clip(examples: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("mydata.wavy_lines")
    monkeypatch.setattr(module.WavyLines, "render", lambda self, clip: 1 // 0)
    with pytest.raises(ZeroDivisionError) as caught:
        build_dataset(BuildSpec("mydata.wavy_lines"), tmp_path / "out", num_workers=1)
    assert any("clip train-0000 of mydata.wavy_lines" in note for note in caught.value.__notes__)


# No file of the user is deleted


def test_a_bug_in_a_clip_filter_stops_the_build_and_names_the_clip(
    examples: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def why_not(self, clip: object) -> str | None:
            raise KeyError("no such column")

    module = importlib.import_module("mydata.wavy_lines")
    monkeypatch.setattr(module.WavyLines, "clip_filters", lambda self: [Broken()])
    with pytest.raises(KeyError, match="no such column") as caught:
        build_dataset(BuildSpec("mydata.wavy_lines"), tmp_path / "out", num_workers=1)
    assert "while filtering clip train-0000 of split train" in caught.value.__notes__


@pytest.mark.parametrize("stage", ["finished", "half way"])
def test_a_folder_of_another_spec_is_refused_with_the_difference(built: BuildResult, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "out"
    if stage == "finished":
        shutil.copytree(built.out, out)
    else:
        process = start_build(out, 5000)
        wait_for_shards(out, 1)
        kill_group(process)
    before = hashes(out)
    with pytest.raises(OtherSpecError, match=r"options.n is \d+ there, 70 here.*choose another --out"):
        build_dataset(tiny_spec(n=70), out, num_workers=1)
    assert hashes(out) == before


def test_another_encoding_is_another_spec(copy: Path) -> None:
    spec = BuildSpec("mnist-motion", options=TINY, shard_size=20, encoding=H264())
    with pytest.raises(OtherSpecError, match=r'encoding.name is "lossless" there, "h264" here'):
        build_dataset(spec, copy, num_workers=1)


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter 1")
    with pytest.raises(OtherSpecError, match=r"not empty and not a t2vdata build: it holds thesis.txt"):
        build_dataset(tiny_spec(), tmp_path, num_workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_second_build_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    process = start_build(tmp_path / "out", 50_000)
    try:
        wait_for_shards(tmp_path / "out", 1)
        spec = BuildSpec("mnist-motion", options={**TINY, "n": 50_000}, shard_size=25)
        with pytest.raises(OtherSpecError, match=rf"process {process.pid} is building into"):
            build_dataset(spec, tmp_path / "out", num_workers=1)
    finally:
        kill_group(process)


# Storage refuses


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk]).returncode != 0:
        skip_or_fail("cannot mount a small disk here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_keeps_finished_shards_and_the_build_resumes_once_there_is_space(small_disk: Path, tmp_path: Path) -> None:
    out = small_disk / "out"
    flags = ["--n", "100", "--shard-size", "10", "--workers", "2", *FLAGS]
    full = t2vdata("build", "mnist-motion", "--out", out, *flags)
    assert full.returncode == 1
    # A slow build prints its progress before it.
    message = full.stderr.splitlines()[-1]
    assert "no space left while writing" in message
    assert "run the same command again" in message
    assert "Traceback" not in full.stderr
    kept = sorted(out.glob("*.tar"))
    assert kept
    for path in kept:
        with path.open("rb") as file:
            assert sum(1 for _ in shards.read_samples(file)) == 10
    assert not [path for path in out.rglob("*") if path.name.endswith(".t2vdata-aside")]
    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    assert t2vdata("build", "mnist-motion", "--out", out, *flags).returncode == 0
    undisturbed = t2vdata("build", "mnist-motion", "--out", tmp_path / "undisturbed", *flags)
    assert undisturbed.returncode == 0
    assert hashes(out) == hashes(tmp_path / "undisturbed")


def test_a_file_size_limit_is_a_clear_error(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = t2vdata("build", "mnist-motion", "--n", "100", "--out", tmp_path / "out", "--workers", "1", *FLAGS, preexec_fn=limit)
    assert done.returncode == 1
    assert "file size limit reached while writing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_disk_is_a_clear_error(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match=r"no permission for .*choose another --out"):
        build_dataset(tiny_spec(), small_disk / "out", num_workers=1)


def test_an_output_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(StorageError, match="is, or lies under, a file; expected a folder"):
        build_dataset(tiny_spec(), tmp_path / "out", num_workers=1)
    with pytest.raises(StorageError, match="is, or lies under, a file; expected a folder"):
        build_dataset(tiny_spec(), tmp_path / "out" / "deeper", num_workers=1)
    assert (tmp_path / "out").read_text() == "precious"


# Requests


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard_size": 0}, "--shard-size 0: expected 1 sample or more"),
        ({"seed": -1}, "--seed -1: expected 0 to"),
        ({"options": {"n": -5}}, "--n -5: expected 1 training clip or more"),
        ({"options": {"digit_size": 70}}, "a digit of 70 pixels has 0 pixels to move in a frame of 64"),
        ({"options": {"holdout": 31}}, "--holdout 31: expected 0 to 30"),
        ({"options": {"n": "many"}}, "--n: expected int, got 'many'"),
        ({"options": {"nn": 5}}, "no option of mnist-motion 'nn'; did you mean 'n'"),
        ({"dataset": "mnist-moton"}, "no dataset 'mnist-moton'; did you mean 'mnist-motion'"),
        ({"dataset": "no.such.module"}, "no module 'no.such.module'"),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_written(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_dataset(BuildSpec(**{"dataset": "mnist-motion", **change}), tmp_path / "out", num_workers=1)
    assert not (tmp_path / "out").exists()


def test_invalid_build_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--workers 0: expected 1 process or more"):
        build_dataset(tiny_spec(), tmp_path / "out", num_workers=0)
    with pytest.raises(RequestError, match="--max-failures 5: expected a share from 0 to 1"):
        build_dataset(tiny_spec(), tmp_path / "out", max_failures=5)
    with pytest.raises(UnknownNameError, match="no encoding 'losless'; did you mean 'lossless'"):
        encoding("losless")
    with pytest.raises(RequestError, match="--gop does not apply to --encoding lossless"):
        encoding("lossless", gop=5)
    with pytest.raises(
        RequestError, match="cannot write to https://host/x: http servers take no files; use a folder, or a store such as"
    ):
        build_dataset(tiny_spec(), "https://host/x")
    odd = BuildSpec("mnist-motion", options={**TINY, "size": 25}, encoding=H264())
    with pytest.raises(RequestError, match="h264 cannot hold 25x25; choose an even size"):
        build_dataset(odd, tmp_path / "out", num_workers=1)


def test_progress_reaches_the_total_and_never_falls(tmp_path: Path) -> None:
    calls: list[Progress] = []
    build_dataset(tiny_spec(), tmp_path / "out", num_workers=1, on_progress=calls.append)
    assert [progress.clips for progress in calls] == sorted(progress.clips for progress in calls)
    assert (calls[-1].clips, calls[-1].total) == (78, 78)


def test_shards_do_not_depend_on_the_others(built: BuildResult, tmp_path: Path) -> None:
    spec, folder = tiny_spec(), Folder(str(tmp_path))
    checkpoint = Checkpoint(folder, spec.as_json())
    checkpoint.start()
    last = list(plan_shards(spec, [("train", spec.open().clips("train"))], ()))[-1]
    report = ShardBuilder(spec, folder, checkpoint.records)(last)
    assert report.sha256 == built.manifest.splits["train"].shards[-1].sha256
