"""What of a build is already on disk: its spec, the plan and the report of each shard, and who is writing.

Kept in ``.t2vdata-build`` inside the output folder while a build goes on, and removed when the manifest is written. The folder
may be in an object store.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from t2vdata import storage
from t2vdata.errors import NotADatasetError, OtherSpecError, StorageError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import Manifest
from t2vdata.storage import lease
from t2vdata.storage.archives import Contents, Member
from t2vdata.types import ShardPlan, ShardReport

FOLDER = manifest.BUILD_FOLDER
REPORTS, PLANS = "reports", "plans"
_ARCHIVES, _ORDER = "archives", "order.json"
_SPEC, _LOCK, _BEFORE, _ENDING = "spec.json", "lock", "before", ".jsonl"
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
        there = storage.patiently(lambda: storage.list_names(out))
        others = [name for name in there if name not in _NOT_OURS and name != FOLDER]
        if others:
            raise OtherSpecError(f"{out} is not empty and not a build of ours: it holds {others[0]}; choose another --out")
    return None


def is_open(out: str) -> bool:
    """Return whether a build into the folder is going on, or was stopped."""
    # In a store a folder is a name, which some go on listing when it is empty.
    return storage.patiently(lambda: storage.exists(_path(out, _SPEC) if storage.is_url(out) else _path(out)))


def start(out: str, spec: Mapping[str, Any]) -> None:
    """Say which spec is being built; a build that goes on finds it."""
    storage.make_folder(_path(out, REPORTS))
    storage.make_folder(_path(out, PLANS))
    if _started(out) is None:
        storage.write_whole(_path(out, _SPEC), json.dumps(spec, indent=2).encode())


@contextlib.contextmanager
def locked(out: str) -> Iterator[Callable[[], None]]:
    """Hold the output folder against a second build at the same time; it is let go when this process ends, however it ends.

    Gives a function that raises OtherSpecError when the folder was lost meanwhile, which only one in a store can be: see
    ``lease``.
    """
    lock = _path(out, _LOCK)
    if storage.is_url(out):
        with lease.held(lock) as mine:
            yield mine.check
        return
    storage.make_folder(_path(out))
    with open(lock, "a+b") as file:
        try:
            import fcntl
        except ImportError:  # Windows has no flock; two builds into one folder are the user's to avoid there.
            yield lambda: None
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
        yield lambda: None


def write_report(out: str, report: ShardReport) -> None:
    """Say that a shard is whole, after it has its name: one line of JSON for the report, and one for each row of the index."""
    # The names of the manifest's entries.
    head = {
        "name": report.name,
        "split": report.split,
        "samples": report.num_samples,
        "bytes": report.num_bytes,
        "sha256": report.sha256,
        "rejects": report.rejects,
    }
    storage.write_whole(path(out, REPORTS, report.name), b"".join((line(head), *report.rows)))


def names(out: str, folder: str) -> list[str]:
    """Return the names of the shards that have an entry in a folder of the build, sorted."""
    found = storage.patiently(lambda: storage.list_names(_path(out, folder)))
    return [name.removesuffix(_ENDING) for name in found if name.endswith(_ENDING)]


def path(out: str, folder: str, name: str) -> str:
    """Return where the entry of a shard is in a folder of the build, or would be."""
    return _path(out, folder, name + _ENDING)


def read_rows(out: str, name: str) -> bytes:
    """Return the index rows of a whole shard, as lines of JSON."""
    place = path(out, REPORTS, name)
    try:
        return storage.patiently(lambda: storage.read_bytes(place)).split(b"\n", 1)[1]
    except FileNotFoundError:
        raise StorageError(
            f"{name} was built, but its report is not at {place}; where workers are on other machines, --out must be a folder "
            "that all of them share, or a URL"
        ) from None


def write_plan(out: str, name: str, plan: ShardPlan) -> None:
    """Say how a shard was planned: a build that goes on plans it so again, whatever files have come or gone."""
    planned = {"num_clips": len(plan.clips) + len(plan.rejects), "rejects": plan.rejects}
    storage.write_whole(path(out, PLANS, name), line(planned))


def write_contents(out: str, contents: Contents) -> None:
    """Keep what is in an archive: a build that goes on reads it no second time for that."""
    name = hashlib.sha256(contents.name.encode()).hexdigest()[:16] + _ENDING
    told = {**vars(contents), "members": [tuple(member) for member in contents.members]}
    storage.make_folder(_path(out, _ARCHIVES))
    storage.write_whole(_path(out, _ARCHIVES, name), line(told))


def write_order(out: str, names: Sequence[str]) -> None:
    """Say that these are all archives of the build, in this order."""
    storage.write_whole(_path(out, _ARCHIVES, _ORDER), line(names))


def read_contents(out: str) -> tuple[dict[str, Contents], bool]:
    """Return {archive: what is in it} of the archives that this build has read, and whether these are all, in their order."""
    found: dict[str, Contents] = {}
    names = storage.patiently(lambda: storage.list_names(_path(out, _ARCHIVES)))
    told = {name: orjson.loads(_read(_path(out, _ARCHIVES, name))) for name in names if not name.startswith(".")}
    order = told.pop(_ORDER, None)
    for one in told.values():
        found[one["name"]] = Contents(**{**one, "members": [Member(*member) for member in one["members"]]})
    return ({name: found[name] for name in order}, True) if order is not None else (found, False)


def _read(place: str) -> bytes:
    return storage.patiently(lambda: storage.read_bytes(place))


def keep_before(out: str) -> str:
    """Return a folder with the dataset's tables and manifest as they were before this build changes them."""
    before = _path(out, _BEFORE)
    if not is_appending(out):
        storage.make_folder(before)
        # The manifest last: with it, all are there.
        for name in (tables.INDEX, tables.REJECTS, manifest.MANIFEST):
            content = storage.patiently(functools.partial(storage.read_bytes, storage.join(out, name)))
            storage.write_whole(storage.join(before, name), content)
    return before


def is_appending(out: str) -> bool:
    """Return whether clips are being appended to the finished dataset in the folder, or were when that was stopped."""
    return storage.patiently(lambda: storage.exists(_path(out, _BEFORE, manifest.MANIFEST)))


def close_folder(out: str) -> None:
    """Remove what only a build in progress needs: files of ours, by name."""
    for folder in (REPORTS, PLANS, _ARCHIVES, _BEFORE):
        names = storage.patiently(functools.partial(storage.list_names, _path(out, folder)))
        storage.remove_all([_path(out, folder, name) for name in names])
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
    if storage.is_url(out):
        storage.sweep(out)
        return
    for folder in (out, _path(out), *(_path(out, name) for name in (REPORTS, PLANS, _ARCHIVES, _BEFORE))):
        storage.sweep(folder)


def _path(out: str, *names: str) -> str:
    return os.path.join(out, FOLDER, *names)


def _finished(out: str) -> Manifest | None:
    place = storage.join(out, manifest.MANIFEST)
    try:
        return Manifest.from_bytes(storage.patiently(lambda: storage.read_bytes(place)), place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NotADatasetError as error:
        raise OtherSpecError(f"{error}; choose another --out, nothing here was touched") from error


def _started(out: str) -> dict[str, Any] | None:
    try:
        started: dict[str, Any] = orjson.loads(storage.patiently(lambda: storage.read_bytes(_path(out, _SPEC))))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return started


def _same_or_raise(out: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differences = [f"{name} is {one} there, {other} here" for name, one, other in manifest.spec_differences(there, wanted)]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise OtherSpecError(f"{out} holds another build: {'; '.join(differences[:3])}{more}; choose another --out")
