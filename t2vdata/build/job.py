"""``Job``: what all build flows share: the request, the output folder, and the engine that builds shards."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from t2vdata.build import planning
from t2vdata.build.checkpoint import Checkpoint
from t2vdata.build.planning import Splits
from t2vdata.build.records import Records
from t2vdata.build.shard import ShardBuilder
from t2vdata.build.spec import BuildSpec, check_can_build, default_folder
from t2vdata.datasets import Dataset
from t2vdata.engines import local
from t2vdata.format.manifest import Manifest
from t2vdata.storage import Folder, archives, retry
from t2vdata.types import ShardPlan, ShardReport

Task = TypeVar("Task")
Answer = TypeVar("Answer")


class Engine(Protocol):
    """Runs the work: yields the report of each plan, in any order."""

    def __call__(
        self, work: Callable[[Task], Answer], plans: Iterable[Task], /, *, num_workers: int
    ) -> Generator[Answer, None, None]: ...


@dataclass(frozen=True)
class Progress:
    """How far a build is."""

    clips: int
    """Clips done: kept, rejected or failed."""
    total: int


@dataclass(frozen=True)
class BuildResult:
    """What a build has done."""

    out: str
    manifest: Manifest
    clips_built: int
    """Clips in the shards that this call built; 0 when the dataset was already complete."""
    kept_files: tuple[str, ...] = ()
    """Files that were found edited and are kept: README.md, preview.png, and vocabulary.edited.json with a copy of theirs."""


@dataclass(frozen=True)
class Job:
    """A build to be done: what, where to, and by which engine."""

    spec: BuildSpec
    spec_json: dict[str, Any]
    """The spec as the manifest has it, with the hashes of the raw data."""
    dataset: Dataset
    """Opened for this job; holds the listing of the raw files, the annotations, and the contents of archives."""
    folder: Folder
    engine: Engine
    num_workers: int

    @classmethod
    def prepare(cls, spec: BuildSpec, out: str | os.PathLike[str] | None, engine: Engine, num_workers: int | None) -> Job:
        """Return the job after checking the request. Raises RequestError for what cannot be built."""
        folder = Folder(os.fspath(out) if out is not None else default_folder(spec), retry.PATIENCE_SECONDS)
        num_workers = local.resolve_num_workers(num_workers)
        dataset = spec.open()
        check_can_build(spec, dataset)
        return cls(spec, spec.as_json(dataset), dataset, folder, engine, num_workers)

    @functools.cached_property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.folder, self.spec_json)

    def build_shards(
        self, plans: Iterable[ShardPlan], records: Records | None = None
    ) -> contextlib.closing[Generator[ShardReport, None, None]]:
        """Return the reports of shards, in any order, in a context: no worker survives an error or Ctrl-C in its block.

        Workers write them to ``records``. Default: those of the build.
        """
        builder = ShardBuilder(self.spec, self.folder, records or self.checkpoint.records)
        return contextlib.closing(self.engine(builder, plans, num_workers=self.num_workers))

    def start(self, splits: Splits) -> Splits:
        """Record that the build has started; return ``splits``, or the splits with the files in the dataset's archives."""
        self.checkpoint.start()
        return self._splits_with_archives() or splits

    def _splits_with_archives(self) -> Splits | None:
        """List the dataset's archives and return its splits with their files; None for a dataset without archives.

        Each archive is listed once per build. A resumed build uses the listings of the interrupted one: archives added or
        changed since then would move clips between shards.
        """
        dataset_archives = self.dataset.archives()
        if not dataset_archives:
            return None
        contents, is_complete = self.checkpoint.records.read_archive_contents()
        if not is_complete:
            unread = [archive for archive in dataset_archives if archive.name not in contents]
            if unread:
                with contextlib.closing(self.engine(archives.contents, unread, num_workers=self.num_workers)) as listings:
                    for listing in listings:
                        self.checkpoint.records.write_archive_contents(listing)
                        contents[listing.name] = listing
            contents = {archive.name: contents[archive.name] for archive in dataset_archives}
            self.checkpoint.records.write_archive_order(list(contents))
        self.dataset.learn(list(contents.values()))
        return planning.splits(self.dataset)
