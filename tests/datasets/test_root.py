"""Raw files behind URLs: the bytes of a build from a local copy, with few requests, and errors that say what to do."""

from __future__ import annotations

import shutil
import struct
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
import servers
from layouts import LAYOUTS, Layout
from media import video_files
from support import hashes

from t2vdata import storage
from t2vdata.build.append import retry_failed
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.datasets.root import Root
from t2vdata.errors import RawDataError, ScratchError, StorageError
from t2vdata.estimate import cluster, dry_run
from t2vdata.format import manifest, tables
from t2vdata.media.encode import encoding
from t2vdata.storage import prefetch
from t2vdata.types import Clip

OF_MEDIA = sorted(LAYOUTS.keys() - {"mnist-motion"})


def spec(name: str, layout: Layout, root: str | None = None, **change: object) -> BuildSpec:
    location = root or (None if layout.root is None else str(layout.root))
    return BuildSpec(name, {**layout.options, **change}, root=location, encoding=encoding("jpeg"), shard_size=5)


def build(build_spec: BuildSpec, out: Path, num_workers: int = 1) -> BuildResult:
    return build_dataset(build_spec, out, num_workers=num_workers, max_failures=1)


@pytest.fixture
def bucket(s3_settings: str) -> str:
    """A folder in a bucket, where nothing is yet."""
    fsspec.filesystem("s3").makedirs("raw", exist_ok=True)
    return f"s3://raw/{uuid.uuid4().hex}"


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://raw/files"
    fsspec.filesystem("memory").rm("/raw", recursive=True)


def upload(folder: Path, url: str) -> str:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.write_whole(f"{url}/{path.relative_to(folder)}", path.read_bytes())
    return url


# The same bytes


@pytest.mark.parametrize("name", OF_MEDIA)
def test_a_build_from_s3_has_the_bytes_of_one_from_a_local_copy(name: str, bucket: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name](tmp_path / "raw")
    build(spec(name, layout), tmp_path / "local")
    build(spec(name, layout, upload(tmp_path / "raw", bucket)), tmp_path / "remote")
    expected, hashes_of_remote = hashes(tmp_path / "local"), hashes(tmp_path / "remote")
    # The card has the command, in which a table needs no --root.
    assert {path: hashes_of_remote[path] for path in expected if path != "README.md"} == {
        path: digest for path, digest in expected.items() if path != "README.md"
    }
    assert len([path for path in hashes_of_remote if path.endswith(".tar")]) >= 1
    assert manifest.read(str(tmp_path / "remote")).tally.kept == layout.num_kept


def test_processes_build_from_a_url_too(bucket: str, tmp_path: Path) -> None:
    layout = LAYOUTS["msvd"](tmp_path / "raw")
    build(spec("msvd", layout), tmp_path / "local")
    build(spec("msvd", layout, upload(tmp_path / "raw", bucket)), tmp_path / "remote", num_workers=2)
    assert hashes(tmp_path / "remote") == hashes(tmp_path / "local")


def test_originals_are_kept_from_a_url_too(memory: str, tmp_path: Path) -> None:
    layout = LAYOUTS["visdial-coco"](tmp_path / "raw")
    layout.options.clear()
    build(spec("visdial-coco", layout, keep_original=True), tmp_path / "local")
    build(spec("visdial-coco", layout, upload(tmp_path / "raw", memory), keep_original=True), tmp_path / "remote")
    assert hashes(tmp_path / "remote") == hashes(tmp_path / "local")


def test_names_on_a_web_server_may_have_any_characters(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "100% #1"
    folder.mkdir(parents=True)
    (folder / "what? now.txt").write_text("a text")
    with servers.nginx(tmp_path / "raw", tmp_path / "nginx", "autoindex on;") as server:
        root = Root(server.url)
        assert list(root.files()) == [("100% #1", "what? now.txt")]
        assert root.local("100% #1/what? now.txt").read_text() == "a text"


@pytest.mark.parametrize("name", ["kinetics", "msvd"])
def test_a_web_server_that_lists_its_folders_is_a_root(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name](tmp_path / "raw")
    build(spec(name, layout), tmp_path / "local")
    with servers.nginx(tmp_path / "raw", tmp_path / "nginx", "autoindex on;") as server:
        build(spec(name, layout, server.url), tmp_path / "remote")
    assert hashes(tmp_path / "remote") == hashes(tmp_path / "local")


def test_a_web_server_that_lists_nothing_is_a_root_if_names_are_known(tmp_path: Path) -> None:
    layout = LAYOUTS["moments"](tmp_path / "raw")
    build(spec("moments", layout), tmp_path / "local")
    kinetics = LAYOUTS["kinetics"](tmp_path / "raw" / "k400")
    with servers.nginx(tmp_path / "raw", tmp_path / "nginx") as server:
        build(spec("moments", layout, server.url), tmp_path / "remote")
        with pytest.raises(RawDataError, match=r"no annotations in http://.*/k400 \(which cannot be listed: .*40[34]"):
            build(spec("kinetics", kinetics, f"{server.url}/k400"), tmp_path / "none")
    assert hashes(tmp_path / "remote") == hashes(tmp_path / "local")


# Requests


def test_a_root_is_listed_by_folder_and_each_file_is_one_request(
    s3: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = LAYOUTS["kinetics"](tmp_path / "raw")
    rows = "".join(f"golf putting,manymanym{number:02d},10,20,train,0\n" for number in range(40))
    table = tmp_path / "raw" / "annotations" / "train.csv"
    table.write_text(table.read_text() + rows)
    for number in range(30):
        shutil.copy(
            tmp_path / "raw" / "train" / "-olfgolfgo0_000010_000020.mp4",
            tmp_path / "raw" / "train" / f"manymanym{number:02d}_000010_000020.mp4",
        )
    url = upload(tmp_path / "raw", bucket)
    with servers.unreliable_proxy(s3, refuse=lambda _: False) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fsspec.filesystem("s3").clear_instance_cache()
        result = build(spec("kinetics", layout, url), tmp_path / "out")
        fsspec.filesystem("s3").clear_instance_cache()
    tally = result.manifest.tally
    assert (tally.kept, dict(tally.rejected)) == (33, {"no media file": 11})
    listings = [path for _, path in proxy.requests if path.strip("/") == "raw"]
    videos = [path for _, path in proxy.requests if path.endswith(".mp4")]
    # The root, then annotations, train and val; there is no request for each of the 44 clips.
    assert len(listings) == 4
    assert sorted(videos) == sorted(set(videos))
    assert len(videos) == 34
    assert len(proxy.requests) == len(listings) + len(videos) + 3  # and the annotations


# What is missing


def test_a_missing_root_is_reported_with_the_next_step(s3_settings: str, bucket: str, tmp_path: Path) -> None:
    layout = LAYOUTS["moments"](tmp_path / "raw")
    for location in ("s3://no-such-bucket-here/moments", f"{bucket}/nowhere"):
        with pytest.raises(
            RawDataError, match=rf"moments: no folder {location} \(--root\), or nothing is in it; check the bucket"
        ):
            build(spec("moments", layout, location), tmp_path / "out")
    upload(tmp_path / "raw", f"{bucket}/deep")
    with pytest.raises(RawDataError, match=rf"{bucket} holds deep; give --root {bucket}/deep"):
        build(spec("moments", layout, bucket), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_permissions_are_reported_with_how_to_give_credentials(
    s3_settings: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = LAYOUTS["moments"](tmp_path / "raw")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(StorageError, match=rf"no permission for {bucket}.*; give fsspec your credentials \(S3: AWS_ACCESS_KEY"):
        build(spec("moments", layout, bucket), tmp_path / "out")


def test_files_that_come_later_are_appended(memory: str, tmp_path: Path) -> None:
    layout = LAYOUTS["kinetics"](tmp_path / "raw")
    lost = tmp_path / "raw" / "train" / "_ailsailsa0_000010_000020.mp4"
    content = lost.read_bytes()
    lost.unlink()
    build_spec = spec("kinetics", layout, upload(tmp_path / "raw", memory))
    assert build(build_spec, tmp_path / "out").manifest.tally.rejected == {"no media file": 2}
    storage.write_whole(f"{memory}/train/{lost.name}", content)
    assert retry_failed(build_spec, tmp_path / "out", num_workers=1).manifest.tally.rejected == {"no media file": 1}


def test_clips_of_a_file_deleted_during_the_build_fail(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = LAYOUTS["moments"](tmp_path / "raw")
    build_spec = spec("moments", layout, upload(tmp_path / "raw", memory))
    gone = f"{memory}/training/clapping/flickr-5-9_1.mp4"
    real = prefetch.fetch

    def fetch(clip: Clip, max_megabytes: int) -> object:
        storage.remove(gone)
        return real(clip, max_megabytes)

    monkeypatch.setattr(prefetch, "fetch", fetch)
    # Both windows of it.
    assert build(build_spec, tmp_path / "out").manifest.tally.failed == {"DecodeError": 2}
    messages = {reject.message for reject in tables.read_rejects(str(tmp_path / "out"))}
    assert messages == {f"trainingSet.csv, line 2: no file {gone}"}


# Fetching


def test_a_missing_scratch_folder_stops_the_build(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = LAYOUTS["moments"](tmp_path / "raw")
    # More than is kept in memory; MP4's boxes may be of any kind.
    for path in (tmp_path / "raw").rglob("*.mp4"):
        path.write_bytes(path.read_bytes() + struct.pack(">I4s", 9 << 20, b"free") + bytes((9 << 20) - 8))
    build_spec = spec("moments", layout, upload(tmp_path / "raw", memory))
    with pytest.raises(ScratchError, match=r"cannot keep memory://.*mp4 in /dev/full-of-nothing .*set TMPDIR"):
        build_without_scratch(build_spec, tmp_path / "out", monkeypatch)


def build_without_scratch(build_spec: BuildSpec, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = prefetch.fetch

    def fetch(clip: Clip, max_megabytes: int) -> object:
        # Only now: the annotations have been fetched.
        monkeypatch.setattr("tempfile.tempdir", "/dev/full-of-nothing")
        return real(clip, max_megabytes)

    monkeypatch.setattr(prefetch, "fetch", fetch)
    build(build_spec, out)


@pytest.fixture(scope="module")
def film() -> bytes:
    """A minute of pictures, and then 40 MB that nobody needs: MP4's boxes may be of any kind."""
    video = video_files.of_pictures(video_files.scene(1, 200, width=160, height=120))
    return video + struct.pack(">I4s", 40 << 20, b"free") + bytes((40 << 20) - 8)


def a_span(tmp_path: Path, name: str = "clips.csv") -> Path:
    path = tmp_path / name
    path.write_text("path,caption,start,end,split\nfilm.mp4,a scene,2,4,train\n")
    return path


def test_only_the_span_of_a_long_film_is_downloaded(film: bytes, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "film.mp4").write_bytes(film)
    table = a_span(tmp_path)
    options = {"table": table, "size": 16, "windows": 2, "frames": 8}
    build(BuildSpec("table", options, root=str(tmp_path / "raw")), tmp_path / "local")
    with servers.nginx(tmp_path / "raw", tmp_path / "nginx") as server:
        build(BuildSpec("table", {**options, "max_file_mb": 30}, root=server.url), tmp_path / "remote")
        requests = [line for line in server.requests("film.mp4", at_least=2) if line.startswith("GET")]
    sent = sum(int(line.split()[-1]) for line in requests)
    assert all(line.split()[2] == "206" for line in requests)
    assert 0 < sent < len(film) // 2
    shard = "table-train-000000.tar"
    assert hashes(tmp_path / "remote")[shard] == hashes(tmp_path / "local")[shard]


def test_a_span_that_needs_too_many_bytes_fails(film: bytes, memory: str, tmp_path: Path) -> None:
    storage.write_whole(f"{memory}/film.mp4", film)
    options = {"table": a_span(tmp_path), "size": 16, "frames": 8, "max_file_mb": 1}
    build(BuildSpec("table", options, root=memory), tmp_path / "out")
    (reject,) = tables.read_rejects(str(tmp_path / "out"))
    assert f"over 1 MB of {memory}/film.mp4 for one clip; allow more with --max-file-mb" in reject.message


# Before a build


@pytest.mark.parametrize("ask", [dry_run.dry_run, cluster.estimate], ids=["dry run", "estimate"])
def test_a_build_from_a_url_is_planned(ask: Callable[..., object], memory: str, tmp_path: Path) -> None:
    layout = LAYOUTS["kinetics"](tmp_path / "raw")
    build_spec = spec("kinetics", layout, upload(tmp_path / "raw", memory))
    settings = {"num_workers": 1} if ask is dry_run.dry_run else {"cores": 8, "bytes_per_second": 1e9}
    report = ask(build_spec, **settings)
    assert (report.num_clips, report.num_kept) == (4, 3)  # type: ignore[attr-defined]
