"""`t2vdata bench`: the report is complete and consistent. Nothing is asserted about how fast it is."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import servers
from support import TINY, patch_children, t2vdata

from t2vdata.bench import BenchReport, bench
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import NotADatasetError, RequestError, UnknownNameError
from t2vdata.format.dataset import open_dataset
from t2vdata.loading import CacheSpec, LoadSpec, Resources
from t2vdata.media.encode import H264, encoding

SECONDS = 0.2
SMALL = LoadSpec(batch_size=8, num_frames=4)
# Fields that are a speed, a duration or a size.
QUANTITIES = (
    "seconds", "clips_read", "batches_read", "clips_per_second", "clips_per_second_overall", "encoded_bytes_per_second",
    "pixel_bytes_per_second", "first_batch_seconds", "batch_milliseconds_p50", "batch_milliseconds_p95",
    "cpu_seconds_per_1000_clips", "peak_bytes", "waited_share", "floor_clips_per_second", "cores",
)  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """A few clips as h264."""
    spec = BuildSpec("mnist-motion", options={**TINY, "n": 20}, shard_size=20, encoding=H264())
    return build_dataset(spec, tmp_path_factory.mktemp("videos") / "out", num_workers=1)


def check(report: BenchReport) -> None:
    """Check that all quantities are positive and consistent."""
    for name in QUANTITIES:
        assert getattr(report, name) > 0, name
    assert len(report.clips_per_second_of_parts) == 5
    assert min(report.clips_per_second_of_parts) <= report.clips_per_second <= max(report.clips_per_second_of_parts)
    assert report.clips_per_second_overall == pytest.approx(report.clips_read / report.seconds)
    assert report.seconds >= SECONDS
    assert report.waited_share <= 1
    assert {"python", "t2vdata", "numpy", "torch", "av", "zstandard"} <= report.versions.keys()


def test_bench_measures_threads_that_load_lossless_arrays(built: BuildResult) -> None:
    report = bench(built.out, spec=SMALL, resources=Resources(workers=2), seconds=SECONDS)
    check(report)
    assert (report.dataset, report.split, report.clips) == ("mnist-motion", "train", 60)
    assert report.batch_shape == (8, 1, 4, 24, 24)
    assert report.has_tokens
    assert (report.workers, report.processes) == (2, False)
    assert report.backends == {"npy.zst": "lossless"}
    # Each clip becomes 4 frames of 24x24 pixels.
    assert report.pixel_bytes_per_second == pytest.approx(report.clips_per_second_overall * 4 * 24 * 24)
    assert report.share_of_floor == pytest.approx(report.clips_per_second / report.floor_clips_per_second)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="worker processes are found through /proc")
def test_bench_measures_processes_that_decode_videos(videos: BuildResult) -> None:
    report = bench(videos.out, spec=SMALL, resources=Resources(workers=2, processes=True), seconds=SECONDS)
    check(report)
    assert report.processes
    assert list(report.backends) == ["mp4"]
    assert report.batch_shape == (8, 1, 4, 24, 24)


def test_a_bug_in_a_bench_worker_is_raised_as_that_bug(
    videos: BuildResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_children(
        tmp_path,
        monkeypatch,
        "from t2vdata.bench import floor\n"
        "def decode_alone(job, wait):\n"
        "    raise ZeroDivisionError('a bug of the decoder')\n"
        "floor.decode_alone = decode_alone\n",
    )
    with pytest.raises(ZeroDivisionError, match="a bug of the decoder") as caught:
        bench(videos.out, spec=SMALL, resources=Resources(workers=2, processes=True), seconds=SECONDS)
    assert "sitecustomize.py" in caught.value.__notes__[-1]


def test_bench_measures_jpeg_sheets(tmp_path: Path) -> None:
    spec = BuildSpec("mnist-motion", options={**TINY, "n": 20}, shard_size=20, encoding=encoding("jpeg"))
    out = build_dataset(spec, tmp_path / "out", num_workers=1).out
    report = bench(out, spec=SMALL, resources=Resources(workers=1), seconds=SECONDS)
    check(report)
    assert report.backends == {"jpg": "sheet (Pillow)"}
    assert report.batch_shape == (8, 1, 4, 24, 24)


def test_bench_measures_videos_on_a_single_thread(videos: BuildResult) -> None:
    report = bench(videos.out, split="val", spec=SMALL, resources=Resources(workers=1), seconds=SECONDS)
    check(report)
    assert (report.split, report.workers) == ("val", 1)


@pytest.mark.parametrize("processes", [False, True])
def test_bench_measures_a_dataset_at_a_url(built: BuildResult, tmp_path: Path, processes: bool) -> None:
    resources = Resources(workers=2, processes=processes, cache=CacheSpec(folder=str(tmp_path / "cache")))
    with servers.nginx(Path(built.out), tmp_path / "nginx") as server:
        report = bench(server.url, spec=SMALL, resources=resources, seconds=SECONDS)
    check(report)
    assert report.path == server.url


def test_encoded_bytes_count_the_clips_in_the_batches(built: BuildResult) -> None:
    index = open_dataset(built.out).index
    sizes = index[index["split"] == "val"]["pixels_size"]
    # Each batch is the whole split.
    report = bench(
        built.out, split="val", spec=LoadSpec(batch_size=len(sizes)), resources=Resources(workers=1), seconds=SECONDS
    )
    assert report.encoded_bytes_per_second == pytest.approx(sizes.sum() * report.batches_read / report.seconds)


def test_a_simulated_step_sets_the_pace(built: BuildResult) -> None:
    report = bench(built.out, spec=SMALL, resources=Resources(workers=1), seconds=SECONDS, step_milliseconds=20)
    check(report)
    assert report.step_milliseconds == 20
    assert 0 < report.waited_share < 1
    assert report.batch_milliseconds_p50 >= 20
    # The step sets the pace, so a share of the floor would be meaningless.
    assert report.share_of_floor is None


def test_impossible_requests_raise_a_clear_error(built: BuildResult, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no split 'tain'; did you mean 'train'"):
        bench(built.out, split="tain", seconds=SECONDS)
    with pytest.raises(RequestError, match="--seconds 0: expected more than 0"):
        bench(built.out, seconds=0)
    with pytest.raises(RequestError, match="--step-ms -1: expected more than 0"):
        bench(built.out, seconds=SECONDS, step_milliseconds=-1)
    with pytest.raises(RequestError, match=r"no batch of 61 clips.*batch_size of at most 60"):
        bench(built.out, seconds=SECONDS, spec=LoadSpec(batch_size=61, drop_last=True))
    with pytest.raises(NotADatasetError, match="there is no such folder"):
        bench(tmp_path / "nowhere", seconds=SECONDS)


def test_without_torch_the_error_says_what_to_install(built: BuildResult, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dataloader", "batch"):
        monkeypatch.delitem(sys.modules, f"t2vdata.loading.{name}", raising=False)
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        RequestError, match=r"making batches needs torch, which is not installed: pip install 't2vdata\[torch\]'"
    ):
        bench(built.out, seconds=SECONDS)


def test_the_command_prints_the_measurements(built: BuildResult) -> None:
    words = ["--seconds", SECONDS, "--batch-size", 8, "--num-frames", 4, "--size", 12, "--workers", 1, "--step-ms", 5]
    result = t2vdata("bench", built.out, *map(str, words))
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for text in ("clips/s", "waited for data, with steps of 5 ms", "B/s", "floor", "(8, 1, 4, 12, 12)", "1 thread on", "torch"):
        assert text in result.stdout
    assert "of the floor" not in result.stdout


def test_json_output_has_the_fields_of_the_report(videos: BuildResult) -> None:
    result = t2vdata("bench", videos.out, "--seconds", str(SECONDS), "--workers", "2", "--processes", "--json")
    assert result.returncode == 0, result.stderr
    body = json.loads(result.stdout)
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
    report = BenchReport(**fields)
    check(report)
    assert asdict(report) == fields
    assert report.batch_shape == (20, 1, 8, 24, 24)


def test_the_command_suggests_the_nearest_split(built: BuildResult) -> None:
    result = t2vdata("bench", built.out, "--split", "vall")
    assert result.returncode == 1
    assert "no split 'vall'; did you mean 'val'?" in result.stderr
    assert "Traceback" not in result.stderr
