"""Builds from the archives of Kinetics: read in place, as few times as possible, with the bytes of an unpacked release."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from layouts import kinetics
from media import video_files
from support import hashes

from t2vdata import storage
from t2vdata.build import checkpoint
from t2vdata.build.append import retry_failed
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.estimate import cluster, dry_run
from t2vdata.format import tables
from t2vdata.format.dataset import open_dataset
from t2vdata.media.encode import encoding
from t2vdata.storage import archive_stream, archives, prefetch
from t2vdata.storage.archive_stream import ArchiveStream

NAMES = [f"clip{number:07d}_000010_000020" for number in range(12)]
HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


def pack(path: Path, files: dict[str, bytes], compress: Callable[[bytes], bytes] = gzip.compress) -> None:
    """Write an archive like CVDF's: members without a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}.mp4")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compress(buffer.getvalue()))


@pytest.fixture(scope="module")
def videos() -> dict[str, bytes]:
    """Twelve different clips."""
    files = {name: video_files.of_pictures(video_files.scene(seed, 10)) for seed, name in enumerate(NAMES)}
    assert len(set(files.values())) == len(NAMES)
    return files


def annotate(root: Path, names: list[str] = NAMES) -> None:
    (root / "annotations").mkdir(parents=True)
    rows = "".join(f"golf putting,{name[:11]},10,20,{'val' if name in NAMES[9:] else 'train'},0\n" for name in names)
    (root / "annotations" / "train.csv").write_text(HEADER + rows)


@pytest.fixture(scope="module")
def unpacked(videos: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked release that tests only read."""
    root = tmp_path_factory.mktemp("unpacked") / "k400"
    annotate(root)
    for name, content in videos.items():
        path = root / ("val" if name in NAMES[9:] else "train") / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return root


@pytest.fixture(scope="module")
def pristine(videos: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips, in order of the annotations, in three archives of train, one of them not gzipped, and one of val."""
    root = tmp_path_factory.mktemp("packed") / "k400"
    annotate(root)
    parts = {"part_2": NAMES[:4], "part_3": NAMES[4:5], "part_10": NAMES[5:9]}
    for part, names in parts.items():
        compress = bytes if part == "part_3" else gzip.compress
        pack(root / "k400_targz" / "train" / f"{part}.tar.gz", {name: videos[name] for name in names}, compress)
    pack(root / "k400_targz" / "val" / "part_0.tar.gz", {name: videos[name] for name in NAMES[9:]})
    return root


@pytest.fixture
def packed(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the archives that a test may change."""
    return Path(shutil.copytree(pristine, tmp_path / "packed"))


@pytest.fixture(scope="module")
def expected(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build from the archives."""
    return Path(build(pristine, tmp_path_factory.mktemp("expected") / "out").out)


@pytest.fixture(scope="module")
def built_unpacked(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build from the unpacked release."""
    return Path(build(unpacked, tmp_path_factory.mktemp("built-unpacked") / "out").out)


def spec(root: object, shard_size: int = 3, **options: object) -> BuildSpec:
    values = {"size": 16, "frames": 8, **options}
    return BuildSpec("kinetics", values, root=str(root), encoding=encoding("jpeg"), shard_size=shard_size)


def build(root: object, out: Path, num_workers: int = 1, **options: object) -> BuildResult:
    return build_dataset(spec(root, **options), out, num_workers=num_workers, max_failures=1)


def shards(out: Path) -> dict[str, str]:
    return {name: digest for name, digest in hashes(out).items() if name.endswith(".tar")}


def table_hashes(out: Path) -> dict[str, str]:
    return {name: digest for name, digest in hashes(out).items() if name in ("index.parquet", "rejects.parquet")}


def keys(out: Path, split: str = "train") -> list[str]:
    return [item.key for item in open_dataset(out)[split]]


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archives that were streamed, in order."""
    opened: list[str] = []
    real = ArchiveStream

    def stream(path: str) -> ArchiveStream:
        opened.append(path.rpartition("/")[2])
        return real(path)

    for module in (archives, archive_stream):
        monkeypatch.setattr(module, "ArchiveStream", stream)
    return opened


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://packed/files"
    fsspec.filesystem("memory").rm("/packed", recursive=True)


def upload(folder: Path, url: str) -> str:
    for path in filter(Path.is_file, sorted(folder.rglob("*"))):
        storage.write_whole(f"{url}/{path.relative_to(folder)}", path.read_bytes())
    return url


# Same bytes


@pytest.mark.parametrize("num_workers", [1, 2])
def test_archives_give_the_same_bytes_as_the_unpacked_folder(
    pristine: Path, built_unpacked: Path, tmp_path: Path, num_workers: int
) -> None:
    build(pristine, tmp_path / "out", num_workers)
    assert len(shards(built_unpacked)) == 4
    assert shards(tmp_path / "out") == shards(built_unpacked)
    assert table_hashes(tmp_path / "out") == table_hashes(built_unpacked)
    assert not (tmp_path / "out" / checkpoint.FOLDER).exists()


def test_clips_follow_the_order_of_the_archives(packed: Path, videos: dict[str, bytes], tmp_path: Path) -> None:
    shuffled = [NAMES[number] for number in (8, 3, 5, 0, 7, 2, 6, 1, 4)]
    (packed / "annotations" / "train.csv").write_text(
        HEADER + "".join(f"golf putting,{name[:11]},10,20,train,0\n" for name in shuffled)
    )
    build(packed, tmp_path / "out")
    # part_2 before part_10, regardless of the order of the annotations.
    assert keys(tmp_path / "out") == NAMES[:9]


def test_archives_in_a_store_give_the_same_bytes(pristine: Path, expected: Path, memory: str, tmp_path: Path) -> None:
    build(upload(pristine, memory), tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(expected)


def test_two_processes_give_the_same_bytes_from_s3(pristine: Path, expected: Path, s3_settings: str, tmp_path: Path) -> None:
    fsspec.filesystem("s3").makedirs("packed", exist_ok=True)
    build(upload(pristine, "s3://packed/k400"), tmp_path / "out", 2)
    assert hashes(tmp_path / "out") == hashes(expected)


def test_an_unpacked_copy_takes_precedence_over_the_archive(
    packed: Path, expected: Path, videos: dict[str, bytes], tmp_path: Path
) -> None:
    (packed / "train").mkdir()
    (packed / "train" / f"{NAMES[1]}.mp4").write_bytes(videos[NAMES[1]])
    build(packed, tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(expected)
    # Other bytes show which copy is read.
    (packed / "train" / f"{NAMES[1]}.mp4").write_bytes(b"not a video")
    assert build(packed, tmp_path / "broken").manifest.tally.failed == {"DecodeError": 1}


def test_an_archive_of_replacements_takes_precedence_over_the_folder(
    packed: Path, videos: dict[str, bytes], tmp_path: Path
) -> None:
    (packed / "train").mkdir()
    (packed / "train" / f"{NAMES[1]}.mp4").write_bytes(b"")
    pack(packed / "replacement" / "replacement_for_corrupted_k400.tgz", {NAMES[1]: videos[NAMES[1]]})
    build(packed, tmp_path / "out")
    items = {item.key: item for item in open_dataset(tmp_path / "out")["train"]}
    assert items[NAMES[1]].meta["media"] == f"replacement/{NAMES[1]}.mp4"


# Number of reads


def test_one_process_streams_an_archive_once_to_list_it_and_once_for_its_clips(
    packed: Path, tmp_path: Path, streams: list[str]
) -> None:
    build(packed, tmp_path / "out")
    listed, read = streams[:4], streams[4:]
    assert listed == ["part_2.tar.gz", "part_3.tar.gz", "part_10.tar.gz", "part_0.tar.gz"]
    # part_3 is not gzipped, so its clips are read at their offsets.
    assert read == ["part_2.tar.gz", "part_10.tar.gz", "part_0.tar.gz"]


def test_a_resumed_build_does_not_list_archives_again(packed: Path, expected: Path, tmp_path: Path, streams: list[str]) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(spec(packed), tmp_path / "out", num_workers=1, on_progress=stop)
    assert len(streams) == 4 + 1
    streams.clear()
    build(packed, tmp_path / "out")
    # This process still has part_2 open, at the first clip that is not in the first shard.
    assert streams == ["part_10.tar.gz", "part_0.tar.gz"]
    assert shards(tmp_path / "out") == shards(expected)


def test_a_finished_build_reads_nothing(packed: Path, tmp_path: Path, streams: list[str]) -> None:
    build(packed, tmp_path / "out")
    streams.clear()
    assert build(packed, tmp_path / "out").clips_built == 0
    assert streams == []


def test_a_killed_and_resumed_build_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    build(packed, tmp_path / "expected", shard_size=1)
    command = [sys.executable, "-m", "t2vdata", "build", "kinetics", "--root", str(packed), "--out", str(tmp_path / "out"),
               "--size", "16", "--frames", "8", "--encoding", "jpeg", "--shard-size", "1", "--workers", "1"]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("*.tar"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "out" / checkpoint.FOLDER / "archives").exists()
    build(packed, tmp_path / "out", shard_size=1)
    assert shards(tmp_path / "out") == shards(tmp_path / "expected")


# Faulty archives


def test_clips_after_the_damage_of_an_archive_are_rejected_with_its_name(packed: Path, tmp_path: Path) -> None:
    path = packed / "k400_targz" / "train" / "part_10.tar.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = build(packed, tmp_path / "out")
    why = "no media file, and k400_targz/train/part_10.tar.gz is damaged"
    assert 1 <= result.manifest.tally.rejected[why] <= 3
    assert result.manifest.tally.kept == 12 - result.manifest.tally.rejected[why]
    message = tables.read_rejects(str(tmp_path / "out"))[0].message
    assert message.startswith("train.csv, line ")
    assert message.endswith(why)


def test_clips_of_a_repaired_archive_are_appended(packed: Path, tmp_path: Path) -> None:
    path = packed / "k400_targz" / "train" / "part_10.tar.gz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    first = build(packed, tmp_path / "out").manifest.tally
    assert first.kept < 12
    path.write_bytes(content)
    assert retry_failed(spec(packed), tmp_path / "out", num_workers=1).manifest.tally.kept == 12


def test_a_part_that_arrives_during_a_build_waits_for_a_retry(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed / "k400_targz" / "train" / "part_2.tar.gz"
    later = path.rename(tmp_path / "later")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(spec(packed), tmp_path / "out", num_workers=1, on_progress=stop)
    later.rename(path)
    # Using it now would move clips between shards.
    assert build(packed, tmp_path / "out").manifest.tally.rejected == {"no media file": 4}
    assert keys(tmp_path / "out") == NAMES[4:9]
    retry_failed(spec(packed), tmp_path / "out", num_workers=1)
    assert keys(tmp_path / "out") == NAMES[4:9] + NAMES[:4]


def test_an_archive_that_changes_during_a_build_fails_its_clips(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed / "k400_targz" / "train" / "part_2.tar.gz"
    real = prefetch.fetch

    def fetch(*arguments: object) -> object:
        path.write_bytes(gzip.compress(b"short"))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(prefetch, "fetch", fetch)
    tally = build(packed, tmp_path / "out").manifest.tally
    assert tally.failed == {"DecodeError": 4}
    assert "part_2.tar.gz ends before byte " in tables.read_rejects(str(tmp_path / "out"))[0].message


def test_a_member_over_the_size_limit_fails(packed: Path, videos: dict[str, bytes], tmp_path: Path) -> None:
    pack(packed / "k400_targz" / "train" / "part_3.tar.gz", {NAMES[4]: videos[NAMES[4]].ljust(1_000_001, b"\0")})
    assert build(packed, tmp_path / "out", max_file_mb=1).manifest.tally.failed == {"DecodeError": 1}
    (reject,) = tables.read_rejects(str(tmp_path / "out"))
    assert f"train/{NAMES[4]}.mp4 in " in reject.message
    assert "part_3.tar.gz has over 1 MB; allow more with --max-file-mb" in reject.message


def test_large_archives_need_little_memory(videos: dict[str, bytes], tmp_path: Path) -> None:
    root = tmp_path / "large"
    annotate(root, NAMES[:2])
    # 120 MB of unrelated, compressible data between two clips.
    pack(root / "train" / "part_0.tar.gz", {NAMES[0]: videos[NAMES[0]], "other": bytes(120 << 20), NAMES[1]: videos[NAMES[1]]})
    code = (
        "import sys; from t2vdata.build.run import BuildSpec, build_dataset; from t2vdata.media.encode import encoding\n"
        "spec = BuildSpec('kinetics', {'size': 16, 'frames': 8}, root=sys.argv[1], encoding=encoding('jpeg'))\n"
        "assert build_dataset(spec, sys.argv[2], num_workers=1).manifest.tally.kept == 2\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    )
    done = subprocess.run([sys.executable, "-c", code, root, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Most of it is Python with its libraries.
    assert int(done.stdout) < 220_000


# Estimates before a build


@pytest.mark.parametrize("ask", [dry_run.dry_run, cluster.estimate], ids=["dry run", "estimate"])
def test_an_estimate_reads_only_the_first_clips_of_the_archives(ask: Callable[..., object], packed: Path) -> None:
    path = packed / "k400_targz" / "train" / "part_10.tar.gz"
    # Damage after the first clips is not noticed.
    path.write_bytes(path.read_bytes()[:-200])
    arguments = {"num_workers": 1} if ask is dry_run.dry_run else {"cores": 8, "bytes_per_second": 1e9}
    result = ask(spec(packed), num_sampled=4, **arguments)
    assert result.num_clips == 12  # type: ignore[attr-defined]
    tally = result.sampled if ask is dry_run.dry_run else result.costs.sampled  # type: ignore[attr-defined]
    assert (tally.kept, tally.seen) == (4, 4)


def test_a_release_in_archives_is_complete(packed: Path) -> None:
    from t2vdata import datasets

    assert datasets.open("kinetics", str(packed)).missing() is None


def test_an_unpacked_release_has_no_archive_order_in_its_source(tmp_path: Path) -> None:
    layout = kinetics(tmp_path / "raw")
    (tmp_path / "raw" / "kinetics700_2020.tar.gz").write_bytes(b"annotations that have been unpacked")
    assert "order" not in spec(layout.root).as_json()["source"]
