"""What of a build is there already: listed once, and read a few reports ahead where each takes a request."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import orjson

from t2vdata import storage
from t2vdata.build import checkpoint
from t2vdata.types import Reject, SavedPlan, ShardReport

# How many reports are asked for at once in a store: 20 ms of latency then cost a thousand shards about a second.
_AT_ONCE = 16

Entry = TypeVar("Entry")


class ExistingShards:
    """The shards, reports and plans in an output folder, as they were when it was listed.

    A listing brings a thousand names with each request; to ask for each shard by itself would take hours where there are many.
    """

    def __init__(self, out: str) -> None:
        self.out = out
        self._shards = storage.patiently(lambda: storage.sizes(out))
        """{name: bytes}"""
        self._reports = _Entries(out, checkpoint.REPORTS, self._read_report)
        self._plans = _Entries(out, checkpoint.PLANS, self._read_plan)

    def report(self, name: str) -> ShardReport | None:
        """Return the report of a shard that is whole, without its rows, or None when it must be built."""
        report = self._reports.get(name)
        is_there = report is not None and (report.num_samples == 0 or self._shards.get(name) == report.num_bytes)
        return report if is_there else None

    def plan(self, name: str) -> SavedPlan | None:
        """Return how a shard was planned when this build first came to it, or None."""
        return self._plans.get(name)

    def reports(self) -> Iterator[ShardReport]:
        """Yield the reports of all whole shards, without their rows."""
        for name in self._reports.names:
            report = self.report(name)
            if report is not None:
                yield report

    def _read_report(self, name: str) -> ShardReport | None:
        try:
            body = orjson.loads(storage.patiently(lambda: _first_line(checkpoint.path(self.out, checkpoint.REPORTS, name))))
            rejects = tuple(Reject(**reject) for reject in body["rejects"])
            return ShardReport(body["name"], body["split"], body["samples"], body["bytes"], body["sha256"], rejects)
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def _read_plan(self, name: str) -> SavedPlan | None:
        try:
            body = orjson.loads(
                storage.patiently(lambda: storage.read_bytes(checkpoint.path(self.out, checkpoint.PLANS, name)))
            )
            return SavedPlan(body["num_clips"], tuple(Reject(**reject) for reject in body["rejects"]))
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
            return None


class _Entries(Generic[Entry]):
    """The files of one folder; where they are in a store, those that come next by name are read ahead."""

    def __init__(self, out: str, folder: str, read: Callable[[str], Entry | None]) -> None:
        self.names: Sequence[str] = checkpoint.names(out, folder)
        self._read = read
        self._pool = ThreadPoolExecutor(_AT_ONCE) if storage.is_url(out) and self.names else None
        self._asked: dict[str, Future[Entry | None]] = {}

    def get(self, name: str) -> Entry | None:
        """Return what the entry of a shard holds, or None where there is none or a damaged one."""
        place = bisect.bisect_left(self.names, name)
        if self.names[place : place + 1] != [name]:
            return None
        if self._pool is None:
            return self._read(name)
        for near in self.names[place : place + _AT_ONCE]:
            if near not in self._asked:
                self._asked[near] = self._pool.submit(self._read, near)
        return self._asked.pop(name).result()


def _first_line(path: str) -> bytes:
    if storage.is_url(path):
        # One request; to open it would be two.
        return storage.read_bytes(path).split(b"\n", 1)[0]
    with storage.open_read(path) as file:
        return file.readline()
