"""How long a build would take on a cluster, and what limits it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from media import video_files
from support import t2vdata, tiny_spec

from t2vdata.build.run import BuildResult, BuildSpec
from t2vdata.errors import RawDataError, RequestError
from t2vdata.estimate.cluster import Capacity, ClipCosts, capacity, parse_bandwidth
from t2vdata.media.encode import encoding
from t2vdata.types import Tally

ROOMY = {"cores": 1, "bytes_per_second": 1e9}
FLAGS = ["--frames", "8", "--size", "24", "--digit-size", "12"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10Gbit", 1.25e9), ("800 Mbit/s", 1e8), ("1.25GB", 1.25e9), ("9600bit", 1200.0), ("3MB/s", 3e6), ("10Gbps", 1.25e9)],
)
def test_a_bandwidth_is_bits_or_bytes_a_second(text: str, expected: float) -> None:
    assert parse_bandwidth(text) == expected


@pytest.mark.parametrize("text", ["fast", "0Gbit", "-1Gbit", "10"])
def test_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=f"--bandwidth {text!r}: expected a rate"):
        parse_bandwidth(text)


def test_it_is_near_to_what_the_build_has_given(built: BuildResult) -> None:
    found = capacity(tiny_spec(), **ROOMY)
    assert (found.clips, found.kept) == (78, 78)
    # The end of each tar, and the splits' last shards, which are not full, are not counted.
    assert 0.6 * built.manifest.num_bytes < found.written_bytes < 1.1 * built.manifest.num_bytes
    assert 0.5 < found.index_bytes / next(file.num_bytes for file in built.manifest.files if file.name == "index.parquet") < 2
    assert found.read_bytes == 0
    assert found.costs.render_seconds > 0
    assert found.costs.encode_seconds > 0
    assert found.costs.index_seconds > 0


def test_raw_files_are_read_over_the_network(tmp_path: Path) -> None:
    video = video_files.make("h264")
    (tmp_path / "a.mp4").write_bytes(video)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    (tmp_path / "clips.csv").write_text("path,caption\na.mp4,one\nb.mp4,two\n")
    spec = BuildSpec("table", options={"table": tmp_path / "clips.csv", "size": 16, "frames": 4}, encoding=encoding("jpeg"))
    found = capacity(spec, clips=1_000_000, **ROOMY)
    assert found.costs.sampled == Tally(1, {}, {"DecodeError": 1})
    assert found.kept == 500_000
    assert found.read_bytes == pytest.approx(1_000_000 * (len(video) + 8) / 2)
    assert found.seconds["network"] == pytest.approx((found.read_bytes + found.written_bytes) / 1e9)
    assert found.reads == 1000 + 1_000_000


def a_capacity(**seconds: float) -> Capacity:
    costs = ClipCosts(Tally(20), *[0.0] * 7)
    every = {"decode": 1.0, "encode": 1.0, "network": 1.0, "store requests": 1.0, "index": 1.0, **seconds}
    return Capacity(1000, 1000, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 1, costs, every)


@pytest.mark.parametrize("limit", ["decode", "encode", "network", "store requests", "index"])
def test_the_slowest_limits_the_build(limit: str) -> None:
    assert a_capacity(**{limit: 7.0}).limit == limit


def test_decoding_and_encoding_share_the_cores_and_all_else_goes_on_beside_them() -> None:
    assert a_capacity(decode=5.0, encode=4.0, network=8.0).total_seconds == 9.0
    assert a_capacity(decode=5.0, encode=4.0, network=8.0).limit == "decode"
    assert a_capacity(decode=5.0, encode=4.0, network=10.0).total_seconds == 10.0


def test_more_cores_and_a_faster_store_take_less() -> None:
    one = capacity(tiny_spec(), clips=10**6, **ROOMY)
    assert one.shards == 50_000
    assert one.lists == 100
    # The costs are measured anew each time; the counts are not.
    many = capacity(tiny_spec(), clips=10**6, cores=64, bytes_per_second=1e9, writes_per_second=10.0)
    assert many.seconds["store requests"] > 10 * one.seconds["store requests"]
    assert many.seconds["decode"] == pytest.approx(10**6 * many.costs.render_seconds / 64)
    assert many.written_bytes == pytest.approx(one.written_bytes)


def test_large_shards_go_up_in_parts() -> None:
    spec = dataclasses.replace(tiny_spec(), shard_size=20_000)
    found = capacity(spec, clips=10**6, **ROOMY)
    parts = found.written_bytes / 50 / (16 << 20)
    assert parts > 1
    assert found.writes == pytest.approx(50 * (parts + 3))


@pytest.mark.parametrize(
    ("settings", "message"), [({"cores": 0}, "--cores 0: expected 1"), ({"clips": 0}, "--clips 0: expected 1")]
)
def test_nothing_to_build_with_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        capacity(tiny_spec(), **{**ROOMY, **settings})


def test_missing_raw_files_are_said() -> None:
    with pytest.raises(RawDataError, match="kinetics"):
        capacity(BuildSpec("kinetics", root="nowhere"), **ROOMY)


def test_the_command_says_what_limits_and_writes_nothing(tmp_path: Path) -> None:
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
