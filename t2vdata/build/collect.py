"""`ReportCollector`: gathers the reports of shards and writes the tables, in the order of the plans."""

from __future__ import annotations

import collections
from collections.abc import Callable

from t2vdata.build.checkpoint import Checkpoint
from t2vdata.build.job import Progress
from t2vdata.build.resume import ExistingShards
from t2vdata.errors import TooManyFailuresError
from t2vdata.format import tables
from t2vdata.format.manifest import ShardEntry, SplitEntry
from t2vdata.types import ShardReport, Tally

# The failure rate is checked from this many clips on: one bad clip in the first ten says little.
_MIN_CLIPS_FOR_RATE = 100


class ReportCollector:
    """The shards of a build so far.

    Engines return reports in any order. The rows of a shard are added to the index as soon as all earlier shards have been
    added, while workers are still building.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        writer: tables.TableWriter,
        *,
        num_clips: int,
        max_failures: float,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.num_clips = num_clips
        self.tally = Tally()
        self._checkpoint = checkpoint
        self._writer = writer
        self._max_failures = max_failures
        self._on_progress = on_progress
        self._shards: dict[str, list[ShardEntry]] = {}
        self._tallies: dict[str, Tally] = {}
        self._expected = collections.deque[str]()
        self._waiting: dict[str, ShardReport] = {}

    def expect(self, name: str) -> None:
        """Note that this shard is the next one in the order of the plans."""
        self._expected.append(name)

    def add(self, report: ShardReport) -> None:
        """Add a finished shard. Raises TooManyFailuresError when more clips failed than allowed."""
        self.tally += report.tally
        self._on_progress(Progress(self.tally.seen, self.num_clips))
        self._check_failure_rate()
        self._waiting[report.name] = report
        while self._expected and self._expected[0] in self._waiting:
            self._append(self._waiting.pop(self._expected.popleft()))

    def splits(self) -> dict[str, SplitEntry]:
        """Return the entries of all splits for the manifest."""
        return {split: SplitEntry(tuple(shards), self._tallies[split]) for split, shards in self._shards.items()}

    def _append(self, report: ShardReport) -> None:
        self._tallies[report.split] = self._tallies.get(report.split, Tally()) + report.tally
        shards = self._shards.setdefault(report.split, [])
        if report.num_samples:
            shards.append(ShardEntry(report.name, report.num_samples, report.num_bytes, report.sha256))
        self._writer.add(self._checkpoint.records.read_rows(report.name), report.rejects)

    def _check_failure_rate(self) -> None:
        tally, folder = self.tally, self._checkpoint.out
        if tally.seen < _MIN_CLIPS_FOR_RATE or tally.num_failed <= self._max_failures * tally.seen:
            return
        reports = ExistingShards(self._checkpoint).reports()
        tables.write_rejects(folder, [reject for report in reports for reject in report.rejects])
        self._checkpoint.note_too_many_failures()
        counts = ", ".join(f"{error} {count}" for error, count in sorted(tally.failed.items(), key=lambda item: -item[1]))
        raise TooManyFailuresError(
            f"{tally.num_failed} of {tally.seen} clips failed, more than {self._max_failures:.0%}: {counts}; "
            f"see {folder.join(tables.REJECTS)}, or allow more with --max-failures; then --retry-failed builds clips whose "
            "files are repaired later"
        )
