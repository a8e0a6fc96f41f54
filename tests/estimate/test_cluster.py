"""Estimates of the time of a build on a cluster, and of what limits it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from media import video_files
from support import t2vdata, tiny_spec

from t2vdata.build.run import BuildResult, BuildSpec
from t2vdata.errors import RawDataError, RequestError
from t2vdata.estimate.cluster import ClipCosts, ClusterEstimate, estimate, parse_bandwidth
from t2vdata.media.encode import encoding
from t2vdata.types import Tally

ROOMY = {"cores": 1, "bytes_per_second": 1e9}
FLAGS = ["--frames", "8", "--size", "24", "--digit-size", "12"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10Gbit", 1.25e9), ("800 Mbit/s", 1e8), ("1.25GB", 1.25e9), ("9600bit", 1200.0), ("3MB/s", 3e6), ("10Gbps", 1.25e9)],
)
def test_a_bandwidth_is_in_bits_or_bytes_per_second(text: str, expected: float) -> None:
    assert parse_bandwidth(text) == expected


@pytest.mark.parametrize("text", ["fast", "0Gbit", "-1Gbit", "10"])
def test_a_text_that_is_not_a_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=f"--bandwidth {text!r}: expected a rate"):
        parse_bandwidth(text)


def test_the_estimate_is_close_to_the_build(built: BuildResult) -> None:
    result = estimate(tiny_spec(), **ROOMY)
    assert (result.num_clips, result.num_kept) == (78, 78)
    # The estimate leaves out the end of each tar, and takes the last shard of each split as full.
    assert 0.6 * built.manifest.num_bytes < result.written_bytes < 1.1 * built.manifest.num_bytes
    assert 0.5 < result.index_bytes / next(file.num_bytes for file in built.manifest.files if file.name == "index.parquet") < 2
    assert result.read_bytes == 0
    assert result.costs.render_seconds > 0
    assert result.costs.encode_seconds > 0
    assert result.costs.index_seconds > 0


def test_raw_files_are_read_over_the_network(tmp_path: Path) -> None:
    video = video_files.make("h264")
    (tmp_path / "a.mp4").write_bytes(video)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    (tmp_path / "clips.csv").write_text("path,caption\na.mp4,one\nb.mp4,two\n")
    spec = BuildSpec("table", options={"table": tmp_path / "clips.csv", "size": 16, "frames": 4}, encoding=encoding("jpeg"))
    result = estimate(spec, num_clips=1_000_000, **ROOMY)
    assert result.costs.sampled == Tally(1, {}, {"DecodeError": 1})
    assert result.num_kept == 500_000
    assert result.read_bytes == pytest.approx(1_000_000 * (len(video) + 8) / 2)
    assert result.seconds["network"] == pytest.approx((result.read_bytes + result.written_bytes) / 1e9)
    assert result.num_read_requests == 1000 + 1_000_000


def estimate_with(**seconds: float) -> ClusterEstimate:
    costs = ClipCosts(Tally(20), *[0.0] * 7)
    every_resource = {"decode": 1.0, "encode": 1.0, "network": 1.0, "store requests": 1.0, "index": 1.0, **seconds}
    return ClusterEstimate(1000, 1000, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 1, costs, every_resource)


@pytest.mark.parametrize("limit", ["decode", "encode", "network", "store requests", "index"])
def test_the_slowest_resource_limits_the_build(limit: str) -> None:
    assert estimate_with(**{limit: 7.0}).limit == limit


def test_decoding_and_encoding_share_the_cores_and_the_rest_is_parallel() -> None:
    assert estimate_with(decode=5.0, encode=4.0, network=8.0).total_seconds == 9.0
    assert estimate_with(decode=5.0, encode=4.0, network=8.0).limit == "decode"
    assert estimate_with(decode=5.0, encode=4.0, network=10.0).total_seconds == 10.0


def test_more_cores_save_time_and_a_slower_store_costs_time() -> None:
    few = estimate(tiny_spec(), num_clips=10**6, **ROOMY)
    assert few.num_shards == 50_000
    assert few.num_list_requests == 100
    # Costs are measured again each time; counts stay.
    many = estimate(tiny_spec(), num_clips=10**6, cores=64, bytes_per_second=1e9, writes_per_second=10.0)
    assert many.seconds["store requests"] > 10 * few.seconds["store requests"]
    assert many.seconds["decode"] == pytest.approx(10**6 * many.costs.render_seconds / 64)
    assert many.written_bytes == pytest.approx(few.written_bytes)


def test_large_shards_are_uploaded_in_parts() -> None:
    spec = dataclasses.replace(tiny_spec(), shard_size=20_000)
    result = estimate(spec, num_clips=10**6, **ROOMY)
    parts = result.written_bytes / 50 / (16 << 20)
    assert parts > 1
    assert result.num_write_requests == pytest.approx(50 * (parts + 3))


@pytest.mark.parametrize(
    ("settings", "message"), [({"cores": 0}, "--cores 0: expected 1"), ({"num_clips": 0}, "--clips 0: expected 1")]
)
def test_no_cores_or_no_clips_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        estimate(tiny_spec(), **{**ROOMY, **settings})


def test_missing_raw_files_are_named() -> None:
    with pytest.raises(RawDataError, match="kinetics"):
        estimate(BuildSpec("kinetics", root="nowhere"), **ROOMY)


def test_the_command_names_the_limit_and_writes_nothing(tmp_path: Path) -> None:
    words = [
        "estimate",
        "mnist-motion",
        "--n",
        "1000",
        "--cores",
        "256",
        "--bandwidth",
        "10Gbit",
        "--clips",
        "100000000",
        *FLAGS,
    ]
    done = t2vdata(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "100,000,000 clips" in done.stdout
    assert "core-hours on 256 cores" in done.stdout
    assert "100,000 shards of" in done.stdout
    assert "limited by" in done.stdout
    assert list(tmp_path.iterdir()) == []
    refused = t2vdata("estimate", "mnist-motion", "--bandwidth", "fast")
    assert refused.returncode == 1
    assert "expected a rate such as 10Gbit" in refused.stderr
