"""What of a build is already on disk: its spec, the plan and the report of each shard, and who is writing.

Kept in ``.t2vdata-build`` inside the output folder while a build goes on, and removed when the manifest is written.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from t2vdata import manifest, storage
from t2vdata.errors import NotADatasetError, OtherSpecError
from t2vdata.manifest import Manifest
from t2vdata.types import Planned, Reject, ShardPlan, ShardReport

FOLDER = manifest.BUILD_FOLDER
_SPEC, _LOCK, _REPORTS, _PLANS, _BEFORE, _ENDING = "spec.json", "lock", "reports", "plans", "before", ".jsonl"
_HEAD = ("name", "split", "samples", "bytes", "sha256", "rejects")
# What a disk puts into its own root; a folder with only these is empty.
_NOT_OURS = ("lost+found",)


def open_folder(out: str, spec: Mapping[str, Any]) -> Manifest | None:
    """Make the output folder where there is none; return its manifest when ``spec`` is already built there.

    Raises OtherSpecError when the folder holds a build of another spec, or anything else: nothing in it is touched.
    """
    storage.make_folder(out)
    finished = _finished(out)
    if finished is not None:
        # What --retry-failed has appended is none of the request.
        _same_or_raise(out, {name: value for name, value in finished.spec.items() if name != manifest.APPENDED}, spec)
        return finished
    started = _started(out)
    if started is not None:
        _same_or_raise(out, started, spec)
    else:
        others = [name for name in storage.list_names(out) if name not in _NOT_OURS and name != FOLDER]
        if others:
            raise OtherSpecError(f"{out} is not empty and not a build of ours: it holds {others[0]}; choose another --out")
    return None


def is_open(out: str) -> bool:
    """Return whether a build into the folder is going on, or was stopped."""
    return storage.exists(_path(out))


def start(out: str, spec: Mapping[str, Any]) -> None:
    """Say which spec is being built; a build that goes on finds it."""
    storage.make_folder(_path(out, _REPORTS))
    storage.make_folder(_path(out, _PLANS))
    if _started(out) is None:
        storage.write_whole(_path(out, _SPEC), json.dumps(spec, indent=2).encode())


@contextlib.contextmanager
def locked(out: str) -> Iterator[None]:
    """Hold the output folder against a second build at the same time; it is let go when this process ends, however it ends."""
    storage.make_folder(_path(out))
    path = _path(out, _LOCK)
    with open(path, "a+b") as file:
        try:
            import fcntl
        except ImportError:  # Windows has no flock; two builds into one folder are the user's to avoid there.
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().decode() or "another process"
            raise OtherSpecError(f"{owner} is building into {out}; wait for it, or choose another --out") from None
        file.truncate(0)
        file.write(f"process {os.getpid()}".encode())
        file.flush()
        yield


def write_report(out: str, report: ShardReport) -> None:
    """Say that a shard is whole, after it has its name: one line of JSON for the report, and one for each row of the index."""
    head = {name: getattr(report, name) for name in _HEAD}
    storage.write_whole(_path(out, _REPORTS, report.name + _ENDING), b"".join((line(head), *report.rows)))


def read_report(out: str, name: str) -> ShardReport | None:
    """Return the report of a shard that is whole on disk, without its rows, or None when it must be built."""
    try:
        with storage.open_read(_path(out, _REPORTS, name + _ENDING)) as file:
            body = orjson.loads(file.readline())
        report = ShardReport(**{**body, "rejects": tuple(Reject(**reject) for reject in body["rejects"])})
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return None
    is_there = report.samples == 0 or storage.size(storage.join(out, name)) == report.bytes
    return report if is_there else None


def reports(out: str) -> Iterator[ShardReport]:
    """Yield the reports of all whole shards, one at a time, without their rows."""
    for name in storage.list_names(_path(out, _REPORTS)):
        report = read_report(out, name.removesuffix(_ENDING)) if name.endswith(_ENDING) else None
        if report is not None:
            yield report


def read_rows(out: str, name: str) -> bytes:
    """Return the index rows of a whole shard, as lines of JSON."""
    return storage.read_bytes(_path(out, _REPORTS, name + _ENDING)).split(b"\n", 1)[1]


def write_plan(out: str, name: str, plan: ShardPlan) -> None:
    """Say how a shard was planned: a build that goes on plans it so again, whatever files have come or gone."""
    planned = {"num_clips": len(plan.clips) + len(plan.rejects), "rejects": plan.rejects}
    storage.write_whole(_path(out, _PLANS, name + _ENDING), line(planned))


def read_plan(out: str, name: str) -> Planned | None:
    """Return how a shard was planned when this build first came to it, or None."""
    try:
        body = orjson.loads(storage.read_bytes(_path(out, _PLANS, name + _ENDING)))
        return Planned(body["num_clips"], tuple(Reject(**reject) for reject in body["rejects"]))
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return None


def keep_before(out: str) -> str:
    """Return a folder with the dataset's tables and manifest as they were before this build changes them."""
    before = _path(out, _BEFORE)
    if not storage.exists(storage.join(before, manifest.MANIFEST)):
        storage.make_folder(before)
        # The manifest last: with it, all are there.
        for name in (manifest.INDEX, manifest.REJECTS, manifest.MANIFEST):
            storage.write_whole(storage.join(before, name), storage.read_bytes(storage.join(out, name)))
    return before


def is_appending(out: str) -> bool:
    """Return whether clips are being appended to the finished dataset in the folder, or were when that was stopped."""
    return storage.exists(_path(out, _BEFORE))


def close_folder(out: str) -> None:
    """Remove what only a build in progress needs: files of ours, by name."""
    for folder in (_REPORTS, _PLANS, _BEFORE):
        if storage.exists(_path(out, folder)):
            for name in storage.list_names(_path(out, folder)):
                storage.remove(_path(out, folder, name))
            storage.remove_folder(_path(out, folder))
    storage.remove(_path(out, _SPEC))
    storage.remove(_path(out, _LOCK))
    storage.remove_folder(_path(out))


@contextlib.contextmanager
def swept(out: str) -> Iterator[None]:
    """Remove what killed writers left aside: those of an earlier build at the start, this one's workers when it fails."""
    _sweep(out)
    try:
        yield
    except BaseException:
        _sweep(out)
        raise


def line(value: object) -> bytes:
    """Return a value as a line of JSON, as reports hold them."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _sweep(out: str) -> None:
    for folder in (out, _path(out), *(_path(out, name) for name in (_REPORTS, _PLANS, _BEFORE))):
        storage.sweep(folder)


def _path(out: str, *names: str) -> str:
    return os.path.join(out, FOLDER, *names)


def _finished(out: str) -> Manifest | None:
    if not storage.exists(storage.join(out, manifest.MANIFEST)):
        return None
    try:
        return manifest.read(out)
    except NotADatasetError as error:
        raise OtherSpecError(f"{error}; choose another --out, nothing here was touched") from error


def _started(out: str) -> dict[str, Any] | None:
    try:
        started: dict[str, Any] = orjson.loads(storage.read_bytes(_path(out, _SPEC)))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return started


def _same_or_raise(out: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differences = [f"{name} is {one} there, {other} here" for name, one, other in manifest.spec_differences(there, wanted)]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise OtherSpecError(f"{out} holds another build: {'; '.join(differences[:3])}{more}; choose another --out")
