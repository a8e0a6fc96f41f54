"""What an interrupted build left: which shards, reports and plans exist, from one listing of the output folder."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from t2vdata.build.checkpoint import Checkpoint
from t2vdata.build.records import is_bad_block
from t2vdata.errors import StorageError
from t2vdata.format.manifest import Manifest
from t2vdata.processes import usable_cores
from t2vdata.storage import Folder
from t2vdata.types import SavedPlan, ShardReport

# Reports requested from a store at once: with 20 ms of latency, a thousand shards then take about a second.
_NUM_REQUESTS = 16

Entry = TypeVar("Entry")


class ExistingShards:
    """The shards, reports and plans in an output folder, as of when it was listed.

    A store lists a thousand names per request; asking for each shard separately would take hours where there are many. A shard
    on a disk is read, to see whether it still has the bytes that its report says; in a store its size must suffice.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._out, self._records = checkpoint.out, checkpoint.records
        self._sizes = checkpoint.out.sizes()
        # Hashing takes all cores; of a store's answers, many are under way at once.
        num_threads = _NUM_REQUESTS if self._out.is_remote else usable_cores()
        self._reports = _ReadAhead(self._records.report_names(), self._read_report, num_threads)
        self._plans = _ReadAhead(self._records.plan_names(), self._records.read_plan, num_threads)

    def report(self, name: str) -> ShardReport | None:
        """Return the report of a finished shard, without its rows, or None when the shard must be built."""
        return self._reports.get(name)

    def plan(self, name: str) -> SavedPlan | None:
        """Return how a shard was first planned by this build, or None."""
        saved = self._plans.get(name)
        report = self.report(name) if saved is None else None
        if report is None:
            return saved
        # Its plan was damaged, or it has none: the report has the same clips.
        return SavedPlan(report.tally.seen, tuple(reject for reject in report.rejects if reject.stage == "clip"))

    def _read_report(self, name: str) -> ShardReport | None:
        report = self._records.read_report(name)
        if report is None or report.num_samples == 0:
            return report
        if self._sizes.get(name) != report.num_bytes:
            return None
        return report if self._out.is_remote or self._sha256(name) == report.sha256 else None

    def _sha256(self, name: str) -> str | None:
        try:
            return self._out.sha256(name)
        except FileNotFoundError:
            return None
        except StorageError as error:
            if is_bad_block(error):
                return None
            raise

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
    """Entries that are read by name, by threads that read the entries of the next names ahead."""

    def __init__(self, names: list[str], read: Callable[[str], Entry | None], num_threads: int) -> None:
        self.names = names
        self._read = read
        self._num_ahead = num_threads
        self._pool = ThreadPoolExecutor(num_threads) if names else None
        self._pending: dict[str, Future[Entry | None]] = {}
        self._last: tuple[str, Entry | None] | None = None

    def get(self, name: str) -> Entry | None:
        """Return the entry of a shard, or None where there is none or it is damaged."""
        if self._last is not None and self._last[0] == name:
            return self._last[1]
        index = bisect.bisect_left(self.names, name)
        if self._pool is None or self.names[index : index + 1] != [name]:
            return None
        for next_name in self.names[index : index + self._num_ahead]:
            if next_name not in self._pending:
                self._pending[next_name] = self._pool.submit(self._read, next_name)
        self._last = name, self._pending.pop(name).result()
        return self._last[1]
