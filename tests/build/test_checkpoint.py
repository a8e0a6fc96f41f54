"""`Checkpoint`: the state of a build, under the same names on every system and in every store."""

from __future__ import annotations

import json
import ntpath
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from t2vdata.build.checkpoint import Checkpoint
from t2vdata.storage import Folder
from t2vdata.storage.archives import Contents, Member
from t2vdata.types import Clip, Reject, SavedPlan, ShardPlan, ShardReport

SPEC = {"dataset": "set"}
REJECT = Reject("clip-3", "train", "clip", "rejected", "too short", "0.4 s")
REPORT = ShardReport("set-train-000000.tar", "train", 2, 10240, "0" * 64, (REJECT,), (b'{"key":"a"}\n', b'{"key":"b"}\n'))


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://checkpoint/out"
    fsspec.filesystem("memory").rm("/checkpoint", recursive=True)


def fill(checkpoint: Checkpoint) -> None:
    checkpoint.start()
    checkpoint.records.write_plan(REPORT.name, ShardPlan("train", 0, [Clip("a", ("one",)), Clip("b", ("two",))], (REJECT,)))
    checkpoint.records.write_report(REPORT)
    checkpoint.records.write_archive_contents(Contents("a.tar", 100, members=[Member("a.mp4", 512, 3)]))
    checkpoint.records.write_archive_order(["a.tar"])


def test_urls_of_a_build_have_slashes_on_every_system(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "join", ntpath.join)
    checkpoint = Checkpoint(Folder(memory), SPEC)
    fill(checkpoint)
    paths = {path.removeprefix("/checkpoint/out/") for path in fsspec.filesystem("memory").find("/checkpoint/out")}
    assert {path for path in paths if "archives" not in path} == {
        ".t2vdata-build/spec.json",
        ".t2vdata-build/plans/set-train-000000.tar.jsonl",
        ".t2vdata-build/reports/set-train-000000.tar.jsonl",
    }
    assert sum(path.startswith(".t2vdata-build/archives/") for path in paths) == 2
    assert not any("\\" in path for path in paths)


def test_recorded_state_can_be_read_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(Folder(str(tmp_path)), SPEC)
    fill(checkpoint)
    assert checkpoint.exists()
    assert (checkpoint.records.report_names(), checkpoint.records.plan_names()) == ([REPORT.name], [REPORT.name])
    read = checkpoint.records.read_report(REPORT.name)
    assert read is not None
    assert (read.num_samples, read.num_bytes, read.rejects, read.rows) == (2, 10240, (REJECT,), ())
    assert checkpoint.records.read_rows(REPORT.name) == b"".join(REPORT.rows)
    assert checkpoint.records.read_plan(REPORT.name) == SavedPlan(3, (REJECT,))
    contents, is_complete = checkpoint.records.read_archive_contents()
    assert (list(contents), is_complete) == (["a.tar"], True)
    assert contents["a.tar"].members == [Member("a.mp4", 512, 3)]
    checkpoint.close()
    assert list(tmp_path.iterdir()) == []


def test_a_report_keeps_its_names_on_disk(tmp_path: Path) -> None:
    Checkpoint(Folder(str(tmp_path)), SPEC).start()
    Checkpoint(Folder(str(tmp_path)), SPEC).records.write_report(REPORT)
    first_line = (tmp_path / ".t2vdata-build" / "reports" / f"{REPORT.name}.jsonl").read_bytes().splitlines()[0]
    header = json.loads(first_line)
    assert list(header) == ["name", "split", "samples", "bytes", "sha256", "rejects"]
    assert (header["samples"], header["bytes"]) == (2, 10240)


def test_damaged_reports_and_plans_count_as_missing(tmp_path: Path) -> None:
    checkpoint = Checkpoint(Folder(str(tmp_path)), SPEC)
    checkpoint.start()
    for folder in ("reports", "plans"):
        for name, content in (("cut.tar", b'{"na'), ("other.tar", b'{"name": "other.tar"}'), ("list.tar", b"[]")):
            (tmp_path / ".t2vdata-build" / folder / f"{name}.jsonl").write_bytes(content)
    for name in ("cut.tar", "other.tar", "list.tar", "missing.tar"):
        assert checkpoint.records.read_report(name) is None
        assert checkpoint.records.read_plan(name) is None
