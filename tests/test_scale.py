"""Planning, merging and opening millions of clips takes memory that does not grow with their number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import synthetic_index
from support import ROOT

from t2vdata import open_dataset, storage
from t2vdata.errors import DataError
from t2vdata.format import tables
from t2vdata.loading.index import SplitIndex
from t2vdata.types import Reject

MB = 1e6


def peak_bytes(code: str, *words: str | Path) -> int:
    """Return the peak memory of Python code in its own process, including interpreter and libraries."""
    # Not ru_maxrss, which includes the peak of the parent process.
    peak = "next(1024 * int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM:'))"
    measured = f"import sys\n{code}\nprint({peak})\n"
    command = [sys.executable, "-c", measured, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "million"
    # In its own process, which frees the memory.
    subprocess.run([sys.executable, ROOT / "tests" / "synthetic_index.py", folder, "1000000"], check=True)
    return folder


def test_the_plan_of_a_million_clips_is_streamed() -> None:
    code = """
from t2vdata.build.planning import plan_shards, splits
from t2vdata.build.spec import BuildSpec
spec = BuildSpec("mnist-motion", options={"n": int(sys.argv[1])})
shards = clips = 0
dataset = spec.open()
for plan in plan_shards(spec, splits(dataset), dataset.clip_filters()):
    shards += 1
    clips += len(plan.clips)
assert clips == 12 * int(sys.argv[1]) // 10, clips
"""
    assert peak_bytes(code, "1000000") - peak_bytes(code, "10000") < 10 * MB


@pytest.mark.long
def test_a_million_rows_are_opened_for_loading_in_300_mb(million: Path) -> None:
    code = """
from t2vdata import open_dataset
from t2vdata.loading.index import SplitIndex
table = SplitIndex.read(open_dataset(sys.argv[1])["train"])
assert len(table) == 1_000_000
"""
    assert peak_bytes(code, million) < 300 * MB


def test_rows_of_a_large_index_are_read_as_written(million: Path) -> None:
    table = SplitIndex.read(open_dataset(str(million))["train"])
    rows = [0, 999, 1000, 65_535, 65_536, 999_999]
    assert table.keys(rows) == [f"clip-{row:09d}" for row in rows]
    assert [table.caption(number) for number in table.first_captions(rows)] == [
        f"a person is number {row} doing thing {row % 700}" for row in rows
    ]
    assert [table.labels[number] for number in table.label[rows]] == [f"thing {row % 700}" for row in rows]
    assert table.shard[rows].tolist() == [row // 1000 for row in rows]
    assert table.numbers["pixels_size"][rows].tolist() == [20_000 + row % 5000 for row in rows]
    assert table.common_value("num_frames") == 32


def test_rows_of_single_shards_can_be_read(tmp_path: Path) -> None:
    synthetic_index.write(tmp_path / "set", 5000)
    assert tables.read_index(str(tmp_path / "set"), ["key"], shards=range(3, 4))["key"][0].as_py() == "clip-000003000"


def test_an_index_that_lost_rows_is_refused(tmp_path: Path) -> None:
    synthetic_index.write(tmp_path / "set", 3000)
    rows = pq.read_table(tmp_path / "set" / "index.parquet")
    with pq.ParquetWriter(tmp_path / "set" / "index.parquet", rows.schema) as writer:
        for first in (0, 1000, 2000):
            writer.write_table(rows.slice(first, 999))
    with pytest.raises(DataError, match=r"999 rows of synthetic-train-000000.tar; expected 1,000; check with `t2vdata verify"):
        SplitIndex.read(open_dataset(str(tmp_path / "set"))["train"])


def test_merging_reports_takes_constant_memory(tmp_path: Path) -> None:
    synthetic_index.write(tmp_path / "set", 1000)
    code = """
import json
from pathlib import Path
from t2vdata.format import tables
from t2vdata.storage import Folder
from t2vdata.types import Reject
rows = tables.read_index(sys.argv[1]).to_pylist()
lines = "\\n".join(json.dumps(row) for row in rows).encode()
rejects = [Reject(f"clip-{number}", "train", "clip", "rejected", "too short", f"number {number}") for number in range(1000)]
with tables.TableWriter(Folder(sys.argv[2]), rejects_per_group=5000) as writer:
    for _ in range(int(sys.argv[3])):
        writer.add(lines, rejects)
"""
    folders = {count: tmp_path / str(count) for count in (20, 120)}
    for folder in folders.values():
        folder.mkdir()
    few, many = (peak_bytes(code, tmp_path / "set", folder, str(count)) for count, folder in folders.items())
    # Only the footer of the table grows, by 20 kB per shard.
    assert many - few < 20 * MB
    merged = pq.ParquetFile(folders[120] / "index.parquet")
    assert (merged.num_row_groups, merged.metadata.num_rows) == (120, 120_000)
    assert len(tables.read_rejects(str(folders[120]))) == 120_000


def test_rejects_in_several_row_groups_stay_complete_and_in_order(tmp_path: Path) -> None:
    rejects = [Reject(f"clip-{number}", "train", "clip", "rejected", "too short", "") for number in range(10)]
    with tables.TableWriter(storage.Folder(str(tmp_path)), rejects_per_group=3) as writer:
        for first in range(0, 10, 2):
            writer.add(b"", rejects[first : first + 2])
    assert tables.read_rejects(str(tmp_path)) == rejects
    assert {file.name for file in writer.files} == {"index.parquet", "rejects.parquet"}
    assert storage.size(str(tmp_path / "index.parquet"))
