"""`Checkpoint`: the state of a build on disk: its spec, the plan and report of each shard, and the lock of its writer.

It is kept in ``.t2vdata-build`` inside the output folder during a build and removed once the manifest is written. The output
folder may be in an object store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from t2vdata.errors import NotADatasetError, OtherSpecError, StorageError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import Manifest
from t2vdata.storage import Folder, lease
from t2vdata.storage.archives import Contents, Member
from t2vdata.types import Reject, SavedPlan, ShardPlan, ShardReport

FOLDER = manifest.BUILD_FOLDER
_SPEC, _LOCK, _ORDER, _JSONL = "spec.json", "lock", "order.json", ".jsonl"
# What file systems put into the root of a disk; a folder with only these is empty.
_NOT_OURS = ("lost+found",)


class Checkpoint:
    """The state of the build into an output folder."""

    def __init__(self, out: Folder) -> None:
        self.out = out
        self._folder = out.below(FOLDER)
        self._reports = self._folder.below("reports")
        self._plans = self._folder.below("plans")
        self._archives = self._folder.below("archives")
        self._before = self._folder.below("before")

    def open_folder(self, spec: Mapping[str, Any]) -> Manifest | None:
        """Create the output folder if needed; return its manifest when ``spec`` is already built there.

        Raises OtherSpecError, and changes nothing, when the folder holds a build of another spec or anything else.
        """
        self.out.make()
        finished = self._read_manifest()
        if finished is not None:
            # Clips that --retry-failed has appended are not part of the request.
            requested = {name: value for name, value in finished.spec.items() if name != manifest.APPENDED}
            self._check_same(requested, spec)
            return finished
        started = self._read_spec()
        if started is not None:
            self._check_same(started, spec)
            return None
        others = [name for name in self.out.list_names() if name not in _NOT_OURS and name != FOLDER]
        if others:
            raise OtherSpecError(f"{self.out} is not empty and not a t2vdata build: it holds {others[0]}; choose another --out")
        return None

    def exists(self) -> bool:
        """Return whether a build into the folder is running or was interrupted."""
        # In a store a folder is only a prefix, which some stores list even when it is empty.
        return self._folder.exists(_SPEC) if self.out.is_remote else self._folder.exists()

    def start(self, spec: Mapping[str, Any]) -> None:
        """Record which spec is being built, unless the interrupted build already did."""
        self._reports.make()
        self._plans.make()
        if self._read_spec() is None:
            self._folder.write(_SPEC, json.dumps(spec, indent=2).encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[Callable[[], None]]:
        """Lock the output folder against a second build; the lock ends with this process, however it ends.

        Yields a function that raises OtherSpecError if the lock has been lost, which can only happen in a store: see
        ``lease``.
        """
        if self.out.is_remote:
            with lease.held(self.out, f"{FOLDER}/{_LOCK}") as lock:
                yield lock.check
            return
        self._folder.make()
        with open(self._folder.join(_LOCK), "a+b") as file:
            try:
                import fcntl
            except ImportError:  # Windows has no flock; there, avoiding two builds into one folder is up to the user.
                yield lambda: None
                return
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().decode() or "another process"
                raise OtherSpecError(f"{owner} is building into {self.out}; wait for it, or choose another --out") from None
            file.truncate(0)
            file.write(f"process {os.getpid()}".encode())
            file.flush()
            yield lambda: None

    @contextlib.contextmanager
    def swept(self) -> Iterator[None]:
        """Remove unfinished files of killed writers: of an earlier build at the start, of our own workers on an error."""
        self._sweep()
        try:
            yield
        except BaseException:
            self._sweep()
            raise

    def close(self) -> None:
        """Remove the state of the build: our own files, by name."""
        for folder in (self._reports, self._plans, self._archives, self._before):
            folder.remove(*folder.list_names())
            folder.remove_itself()
        self._folder.remove(_SPEC)
        self._folder.remove(_LOCK)
        self._folder.remove_itself()

    # Shards

    def write_report(self, report: ShardReport) -> None:
        """Record that a shard is finished: one line of JSON for the report, and one for each row of the index.

        Called after the shard has been written.
        """
        header = {
            "name": report.name,
            "split": report.split,
            "samples": report.num_samples,
            "bytes": report.num_bytes,
            "sha256": report.sha256,
            "rejects": report.rejects,
        }
        self._reports.write(report.name + _JSONL, b"".join((json_line(header), *report.rows)))

    def report_names(self) -> list[str]:
        """Return the names of the shards that have a report, sorted."""
        return _shard_names(self._reports)

    def read_report(self, name: str) -> ShardReport | None:
        """Return the report of a shard, without its rows, or None where there is none or it is damaged."""
        try:
            header = orjson.loads(self._reports.read_first_line(name + _JSONL))
            rejects = tuple(Reject(**reject) for reject in header["rejects"])
            return ShardReport(header["name"], header["split"], header["samples"], header["bytes"], header["sha256"], rejects)
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def read_rows(self, name: str) -> bytes:
        """Return the index rows of a finished shard, as lines of JSON."""
        try:
            return self._reports.read_bytes(name + _JSONL).split(b"\n", 1)[1]
        except FileNotFoundError:
            raise StorageError(
                f"{name} was built, but its report is not at {self._reports.join(name + _JSONL)}; where workers are on other "
                "machines, --out must be a folder that all of them share, or a URL"
            ) from None

    def write_plan(self, name: str, plan: ShardPlan) -> None:
        """Record how a shard was planned: a resumed build plans it the same way, whatever files were added or removed."""
        saved = {"num_clips": len(plan.clips) + len(plan.rejects), "rejects": plan.rejects}
        self._plans.write(name + _JSONL, json_line(saved))

    def plan_names(self) -> list[str]:
        """Return the names of the shards that have a saved plan, sorted."""
        return _shard_names(self._plans)

    def read_plan(self, name: str) -> SavedPlan | None:
        """Return the saved plan of a shard, or None where there is none or it is damaged."""
        try:
            saved = orjson.loads(self._plans.read_bytes(name + _JSONL))
            return SavedPlan(saved["num_clips"], tuple(Reject(**reject) for reject in saved["rejects"]))
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    # Archives

    def write_archive_contents(self, contents: Contents) -> None:
        """Record what an archive contains, so that a resumed build does not read it again for that."""
        name = hashlib.sha256(contents.name.encode()).hexdigest()[:16] + _JSONL
        self._archives.make()
        self._archives.write(name, json_line({**vars(contents), "members": [tuple(member) for member in contents.members]}))

    def write_archive_order(self, names: Sequence[str]) -> None:
        """Record that these are all archives of the build, in this order."""
        self._archives.write(_ORDER, json_line(names))

    def read_archive_contents(self) -> tuple[dict[str, Contents], bool]:
        """Return {archive: its recorded contents}, and whether these are all archives of the build, in order."""
        names = [name for name in self._archives.list_names() if not name.startswith(".")]
        records = {name: orjson.loads(self._archives.read_bytes(name)) for name in names}
        order = records.pop(_ORDER, None)
        contents = {
            record["name"]: Contents(**{**record, "members": [Member(*member) for member in record["members"]]})
            for record in records.values()
        }
        return ({name: contents[name] for name in order}, True) if order is not None else (contents, False)

    # The dataset before clips are appended

    def keep_before(self) -> Folder:
        """Return a folder with the dataset's tables and manifest as they were before this build changes them."""
        if not self.is_appending():
            self._before.make()
            # The manifest is last: once it exists, all exist.
            for name in (tables.INDEX, tables.REJECTS, manifest.MANIFEST):
                self._before.write(name, self.out.read_bytes(name))
        return self._before

    def is_appending(self) -> bool:
        """Return whether appending clips to a finished dataset is in progress, or was interrupted."""
        return self._before.exists(manifest.MANIFEST)

    def _sweep(self) -> None:
        self.out.sweep()
        if not self.out.is_remote:
            for folder in (self._folder, self._reports, self._plans, self._archives, self._before):
                folder.sweep()

    def _read_manifest(self) -> Manifest | None:
        try:
            return Manifest.of_folder(self.out)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except NotADatasetError as error:
            raise OtherSpecError(f"{error}; choose another --out; nothing here was changed") from error

    def _read_spec(self) -> dict[str, Any] | None:
        try:
            spec: dict[str, Any] = orjson.loads(self._folder.read_bytes(_SPEC))
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        return spec

    def _check_same(self, existing: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
        differences = [
            f"{name} is {theirs} there, {ours} here" for name, theirs, ours in manifest.spec_differences(existing, requested)
        ]
        if differences:
            more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
            raise OtherSpecError(f"{self.out} holds another build: {'; '.join(differences[:3])}{more}; choose another --out")


def json_line(value: object) -> bytes:
    """Return a value as a line of JSON, as reports contain them."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _shard_names(folder: Folder) -> list[str]:
    return [name.removesuffix(_JSONL) for name in folder.list_names() if name.endswith(_JSONL)]
