"""What an interrupted build left: which shards, reports and plans exist, from one listing of the output folder."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from t2vdata.build.checkpoint import Checkpoint
from t2vdata.format.manifest import Manifest
from t2vdata.storage import Folder
from t2vdata.types import SavedPlan, ShardReport

# Reports requested from a store at once: with 20 ms of latency, a thousand shards then take about a second.
_READ_AHEAD = 16

Entry = TypeVar("Entry")


class ExistingShards:
    """The shards, reports and plans in an output folder, as of when it was listed.

    A store lists a thousand names per request; asking for each shard separately would take hours where there are many.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        is_remote = checkpoint.out.is_remote
        self._sizes = checkpoint.out.sizes()
        self._reports = _ReadAhead(checkpoint.report_names(), checkpoint.read_report, is_remote=is_remote)
        self._plans = _ReadAhead(checkpoint.plan_names(), checkpoint.read_plan, is_remote=is_remote)

    def report(self, name: str) -> ShardReport | None:
        """Return the report of a finished shard, without its rows, or None when the shard must be built."""
        report = self._reports.get(name)
        is_finished = report is not None and (report.num_samples == 0 or self._sizes.get(name) == report.num_bytes)
        return report if is_finished else None

    def plan(self, name: str) -> SavedPlan | None:
        """Return how a shard was first planned by this build, or None."""
        return self._plans.get(name)

    def reports(self) -> Iterator[ShardReport]:
        """Yield the reports of all finished shards, without their rows."""
        for name in self._reports.names:
            report = self.report(name)
            if report is not None:
                yield report


def is_complete(folder: Folder, finished: Manifest) -> bool:
    """Return whether a finished dataset still has all of its files, each with its size."""
    sizes = folder.sizes()
    return has_tables(sizes, finished) and not lost_shards(sizes, finished)


def has_tables(sizes: Mapping[str, int], finished: Manifest) -> bool:
    """Return whether ``sizes``, the files of its folder, include the index and the other tables of a finished dataset."""
    return all(sizes.get(file.name) == file.num_bytes for file in finished.files)


def lost_shards(sizes: Mapping[str, int], finished: Manifest) -> set[str]:
    """Return the shards of a finished dataset that ``sizes``, the files of its folder, lack or have with another size."""
    return {shard.name for _, shard in finished.shards() if sizes.get(shard.name) != shard.num_bytes}


class _ReadAhead(Generic[Entry]):
    """Entries that are read by name; in a store, the entries of the next names are read ahead."""

    def __init__(self, names: list[str], read: Callable[[str], Entry | None], *, is_remote: bool) -> None:
        self.names = names
        self._read = read
        self._pool = ThreadPoolExecutor(_READ_AHEAD) if is_remote and names else None
        self._pending: dict[str, Future[Entry | None]] = {}

    def get(self, name: str) -> Entry | None:
        """Return the entry of a shard, or None where there is none or it is damaged."""
        index = bisect.bisect_left(self.names, name)
        if self.names[index : index + 1] != [name]:
            return None
        if self._pool is None:
            return self._read(name)
        for next_name in self.names[index : index + _READ_AHEAD]:
            if next_name not in self._pending:
                self._pending[next_name] = self._pool.submit(self._read, next_name)
        return self._pending.pop(name).result()
