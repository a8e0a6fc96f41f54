"""`--retry-failed` appends clips whose files have arrived, loses nothing and touches no finished shard."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from media import video_files
from support import hashes, t2vdata

from t2vdata.build.append import retry_failed
from t2vdata.build.run import Progress, build_dataset
from t2vdata.build.spec import BuildSpec
from t2vdata.errors import OtherSpecError, RequestError, StorageError
from t2vdata.format import tables
from t2vdata.format.dataset import open_dataset
from t2vdata.inspect.verify import verify
from t2vdata.loading import Loader, LoadSpec
from t2vdata.media.encode import encoding

NUM_CLIPS = 12
# Files that are missing at first, damaged, or too short.
LOST, BROKEN, STILL = ("clip-02.mp4", "clip-03.mp4", "clip-09.mp4"), "clip-05.mp4", "clip-07.mp4"


@pytest.fixture(scope="module")
def video() -> bytes:
    return video_files.make("h264")


@pytest.fixture
def media(tmp_path: Path, video: bytes) -> Path:
    """Twelve clips in a table: the files of three are missing, one is damaged and one too short."""
    folder = tmp_path / "media"
    folder.mkdir()
    rows = ["path,caption,split"]
    for number in range(NUM_CLIPS):
        name = f"clip-{number:02d}.mp4"
        rows.append(f"{name},clip number {number},{'val' if number >= 8 else 'train'}")
        if name not in LOST:
            (folder / name).write_bytes(video)
    (folder / BROKEN).write_bytes(b"not a video")
    (folder / STILL).write_bytes(video_files.make("one-frame"))
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder


def spec(media: Path, **options: object) -> BuildSpec:
    chosen = {"table": media / "clips.csv", "size": 16, "frames": 4, **options}
    return BuildSpec("table", options=chosen, encoding=encoding("jpeg"), shard_size=3)


def build(media: Path, out: Path) -> None:
    build_dataset(spec(media), out, num_workers=1, max_failures=1)


def keys(out: Path) -> dict[str, list[str]]:
    return {split: [item.key for item in open_dataset(out)[split]] for split in open_dataset(out).splits}


def arrive(media: Path, video: bytes, *names: str) -> None:
    for name in names:
        (media / name).write_bytes(video)


def test_clips_whose_files_arrived_are_appended_and_the_old_shards_stay(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    before = hashes(out)
    assert keys(out) == {"train": ["clip-00", "clip-01", "clip-04", "clip-06"], "val": ["clip-08", "clip-10", "clip-11"]}
    arrive(media, video, "clip-02.mp4", "clip-09.mp4", BROKEN)
    result = retry_failed(spec(media), out, num_workers=1)
    assert result.clips_built == 4
    after = hashes(out)
    assert {name: after[name] for name in before if name.endswith(".tar")} == {
        name: sha256 for name, sha256 in before.items() if name.endswith(".tar")
    }
    assert keys(out) == {
        "train": ["clip-00", "clip-01", "clip-04", "clip-06", "clip-02", "clip-05"],
        "val": ["clip-08", "clip-10", "clip-11", "clip-09"],
    }
    assert verify(str(out), deep=True).is_sound
    assert not (out / ".t2vdata-build").exists()


def test_kept_rejected_and_failed_clips_are_still_all_requested_clips(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    arrive(media, video, "clip-02.mp4")
    tally = retry_failed(spec(media), out, num_workers=1).manifest.tally
    assert (tally.kept, tally.seen) == (8, NUM_CLIPS)
    assert dict(tally.rejected) == {"no media file": 2, "fewer than 4 frames": 1}
    assert dict(tally.failed) == {"DecodeError": 1}
    rejected = {reject.key: reject.reason for reject in tables.read_rejects(str(out))}
    assert rejected == {
        "clip-03": "no media file",
        "clip-05": "DecodeError",
        "clip-07": "fewer than 4 frames",
        "clip-09": "no media file",
    }


def test_a_clip_rejected_by_a_frame_filter_is_not_decoded_again(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    # Long enough now, but the clip was rejected for its frames, not for a missing file.
    arrive(media, video, STILL, *LOST, BROKEN)
    retry_failed(spec(media), out, num_workers=1)
    assert "clip-07" not in keys(out)["train"]


def test_retrying_twice_appends_further_shards(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    arrive(media, video, "clip-02.mp4")
    first = retry_failed(spec(media), out, num_workers=1).manifest
    arrive(media, video, "clip-03.mp4")
    second = retry_failed(spec(media), out, num_workers=1).manifest
    names = [shard.name for shard in second.splits["train"].shards]
    assert names == [f"table-train-{number:06d}.tar" for number in range(4)]
    assert second.fingerprint != first.fingerprint
    assert list(second.spec["appended"]) == names[2:]
    assert keys(out)["train"][-2:] == ["clip-02", "clip-03"]


def test_retrying_with_nothing_new_changes_no_byte(media: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(media, out)
    before = hashes(out)
    assert retry_failed(spec(media), out, num_workers=1).manifest.tally.kept == 7
    changed = {name for name, sha256 in hashes(out).items() if before.get(name) != sha256}
    # The rejects that are not retried come first.
    assert changed <= {"rejects.parquet", "manifest.json"}


def test_a_build_with_the_same_command_keeps_appended_shards(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    arrive(media, video, *LOST)
    retry_failed(spec(media), out, num_workers=1)
    before = hashes(out)
    assert build_dataset(spec(media), out, num_workers=1).clips_built == 0
    assert hashes(out) == before


def test_a_lost_appended_shard_is_restored(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    arrive(media, video, *LOST)
    retry_failed(spec(media), out, num_workers=1)
    before = hashes(out)
    (out / "table-train-000002.tar").unlink()
    with pytest.raises(RequestError, match="lost files; run the command without --retry-failed first"):
        retry_failed(spec(media), out, num_workers=1)
    assert build_dataset(spec(media), out, num_workers=1).clips_built == 2
    assert hashes(out) == before


def test_a_lost_shard_is_restored_unchanged_although_other_files_arrived(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    before = hashes(out)
    (out / "table-train-000000.tar").unlink()
    arrive(media, video, *LOST)
    build_dataset(spec(media), out, num_workers=1)
    assert hashes(out) == before


def test_a_file_that_arrives_while_a_build_is_interrupted_moves_no_clip(media: Path, tmp_path: Path, video: bytes) -> None:
    build(media, tmp_path / "undisturbed")
    out = tmp_path / "out"
    calls: list[Progress] = []

    def interrupt_after_two_shards(progress: Progress) -> None:
        calls.append(progress)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(spec(media), out, num_workers=1, max_failures=1, on_progress=interrupt_after_two_shards)
    assert len(list((out / ".t2vdata-build" / "reports").glob("*.jsonl"))) == 2
    arrive(media, video, "clip-02.mp4", "clip-03.mp4")
    build(media, out)
    assert keys(out) == keys(tmp_path / "undisturbed")
    rejects = {reject.key for reject in tables.read_rejects(str(out))}
    assert len(rejects) + sum(map(len, keys(out).values())) == NUM_CLIPS


@pytest.mark.parametrize("shares", [(0.7,), pytest.param((0.4, 0.6, 0.8, 0.9), marks=pytest.mark.long)], ids=["once", "often"])
def test_a_retry_killed_at_any_moment_gives_the_same_bytes(
    media: Path, tmp_path: Path, video: bytes, shares: tuple[float, ...]
) -> None:
    out = tmp_path / "out"
    build(media, out)
    arrive(media, video, *LOST, BROKEN)
    flags = ["--table", media / "clips.csv", "--size", "16", "--frames", "4", "--encoding", "jpeg", "--shard-size", "3"]
    command = [sys.executable, "-m", "t2vdata", "build", "table", *map(str, flags), "--retry-failed", "--out"]
    undisturbed = Path(shutil.copytree(out, tmp_path / "undisturbed"))
    start = time.monotonic()
    subprocess.run([*command, str(undisturbed)], check=True, capture_output=True)
    seconds = time.monotonic() - start
    for share in shares:
        killed = Path(shutil.copytree(out, tmp_path / f"killed-{share}"))
        process = subprocess.Popen([*command, str(killed)], start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(seconds * share)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run([*command, str(killed)], check=True, capture_output=True)
        assert hashes(killed) == hashes(undisturbed)


def test_what_was_damaged_during_an_interrupted_retry_is_made_again(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    arrive(media, video, *LOST, BROKEN)
    expected = Path(shutil.copytree(out, tmp_path / "expected"))
    retry_failed(spec(media), expected, num_workers=1)

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retry_failed(spec(media), out, num_workers=1, on_progress=stop)
    kinds = ("before/index.parquet", "before/rejects.parquet", "before/manifest.json", "reports/*", "plans/*", "spec.json")
    for number, kind in enumerate(kinds):
        damaged = Path(shutil.copytree(out, tmp_path / str(number)))
        path = next((damaged / ".t2vdata-build").glob(kind))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        retry_failed(spec(media), damaged, num_workers=1)
        assert hashes(damaged) == hashes(expected), kind


@pytest.mark.parametrize("refused", ["rejects.parquet", "manifest.json"])
def test_stopped_between_its_tables_and_its_manifest_it_resumes(
    media: Path, tmp_path: Path, video: bytes, refused: str
) -> None:
    out = tmp_path / "out"
    build(media, out)
    arrive(media, video, *LOST)
    expected = Path(shutil.copytree(out, tmp_path / "expected"))
    retry_failed(spec(media), expected, num_workers=1)
    old_index, old_content = (out / "index.parquet").read_bytes(), (out / refused).read_bytes()

    def put_a_folder_in_its_place(_: Progress) -> None:
        # No file can be renamed over a folder: the build stops right before it would replace this file.
        if (out / refused).is_file():
            (out / refused).unlink()
            (out / refused).mkdir()

    with pytest.raises(StorageError, match=rf"{refused} is a folder; expected a file"):
        retry_failed(spec(media), out, num_workers=1, on_progress=put_a_folder_in_its_place)
    assert (out / "index.parquet").read_bytes() != old_index
    (out / refused).rmdir()
    (out / refused).write_bytes(old_content)
    with pytest.raises(RequestError, match="run the same command again with --retry-failed"):
        build(media, out)
    retry_failed(spec(media), out, num_workers=1)
    assert hashes(out) == hashes(expected)


def test_a_loader_reads_the_appended_clips_with_the_old_ones(media: Path, tmp_path: Path, video: bytes) -> None:
    out = tmp_path / "out"
    build(media, out)
    arrive(media, video, *LOST)
    retry_failed(spec(media), out, num_workers=1)
    batches = list(Loader(open_dataset(out)["train"], LoadSpec(batch_size=4, num_frames=4)))
    assert sorted(key for batch in batches for key in batch.keys) == [f"clip-{number:02d}" for number in (0, 1, 2, 3, 4, 6)]


def test_retrying_needs_a_finished_dataset_of_the_same_command(media: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="so there is nothing to retry; run the command without --retry-failed first"):
        retry_failed(spec(media), tmp_path / "none")
    build(media, tmp_path / "out")
    with pytest.raises(OtherSpecError, match=r"options\.size is 16 there, 24 here"):
        retry_failed(spec(media, size=24), tmp_path / "out")


def test_the_command_line_reports_the_appended_clips(media: Path, tmp_path: Path, video: bytes) -> None:
    words = ["build", "table", "--table", media / "clips.csv", "--size", "16", "--encoding", "jpeg", "--max-failures", "1"]
    assert t2vdata(*words, "--out", tmp_path / "out").returncode == 0
    arrive(media, video, *LOST)
    done = t2vdata(*words, "--out", tmp_path / "out", "--retry-failed")
    assert done.returncode == 0, done.stderr
    assert "4 clips in" in done.stdout
    assert "--retry-failed" in (tmp_path / "out" / "README.md").read_text()
    assert "--table clips.csv" in (tmp_path / "out" / "README.md").read_text()
