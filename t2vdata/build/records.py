"""`Records`: what a build has noted so far: the report and plan of each shard, and what its archives contain.

Each record ends with a seal: the fingerprint of its build, and a hash of that, of its name and of its content. A record whose
seal does not match counts as missing: it was damaged, cut short, or belongs to another build.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Sequence

import orjson

from t2vdata.errors import StorageError
from t2vdata.storage import Folder
from t2vdata.storage.archives import Contents, Member
from t2vdata.types import Reject, SavedPlan, ShardPlan, ShardReport

_ORDER, _JSONL = "order.json", ".jsonl"
# Names of records; in a folder of ours, whatever has another name is not ours.
_SHARD_RECORD = re.compile(r".+-\d{6,}\.tar\.jsonl")
_ARCHIVE_RECORD = re.compile(r"[0-9a-f]{16}\.jsonl|order\.json")


class Records:
    """The records of one build, in its state folder."""

    def __init__(self, folder: Folder, fingerprint: str) -> None:
        """``fingerprint`` identifies the spec of the build, see ``manifest.fingerprint``."""
        self._fingerprint = fingerprint
        self._reports = folder.below("reports")
        self._plans = folder.below("plans")
        self._archives = folder.below("archives")

    @property
    def folders(self) -> tuple[Folder, ...]:
        return self._reports, self._plans, self._archives

    def make(self) -> None:
        self._reports.make()
        self._plans.make()

    def remove(self) -> None:
        """Remove all records, and their folders if nothing else is in them."""
        for folder in self.folders:
            folder.remove(*(name for name in folder.list_names() if self._pattern(folder).fullmatch(name)))
            folder.remove_itself()

    def owner(self) -> str | None:
        """Return the fingerprint of the build that wrote the records, from the first that is sound; None where none is."""
        for folder in self.folders:
            for name in _names(folder, self._pattern(folder)):
                record = _read_record(folder, name)
                fingerprint = None if record is None else sealed_by(record, name)
                if fingerprint is not None:
                    return fingerprint
        return None

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
        self._write(self._reports, report.name + _JSONL, b"".join((json_line(header), *report.rows)))

    def report_names(self) -> list[str]:
        """Return the names of the shards that have a report, sorted."""
        return _shard_names(self._reports)

    def read_report(self, name: str) -> ShardReport | None:
        """Return the report of a shard, without its rows, or None where there is none or it is damaged."""
        content = self._read(self._reports, name + _JSONL)
        if content is None:
            return None
        header = orjson.loads(content.split(b"\n", 1)[0])
        rejects = tuple(Reject(**reject) for reject in header["rejects"])
        return ShardReport(header["name"], header["split"], header["samples"], header["bytes"], header["sha256"], rejects)

    def read_rows(self, name: str) -> bytes:
        """Return the index rows of a finished shard, as lines of JSON."""
        content = self._read(self._reports, name + _JSONL)
        if content is None:
            path = self._reports.join(name + _JSONL)
            if self._reports.exists(name + _JSONL):
                raise StorageError(f"{path} was damaged while this build ran; run the same command again to rebuild {name}")
            raise StorageError(
                f"{name} was built, but its report is not at {path}; where workers are on other machines, --out must be a "
                "folder that all of them share, or a URL"
            )
        return content.split(b"\n", 1)[1]

    def write_plan(self, name: str, plan: ShardPlan) -> None:
        """Record how a shard was planned: a resumed build plans it the same way, whatever files were added or removed."""
        saved = {"num_clips": len(plan.clips) + len(plan.rejects), "rejects": plan.rejects}
        self._write(self._plans, name + _JSONL, json_line(saved))

    def plan_names(self) -> list[str]:
        """Return the names of the shards that have a saved plan, sorted."""
        return _shard_names(self._plans)

    def read_plan(self, name: str) -> SavedPlan | None:
        """Return the saved plan of a shard, or None where there is none or it is damaged."""
        content = self._read(self._plans, name + _JSONL)
        if content is None:
            return None
        saved = orjson.loads(content)
        return SavedPlan(saved["num_clips"], tuple(Reject(**reject) for reject in saved["rejects"]))

    # Archives

    def write_archive_contents(self, contents: Contents) -> None:
        """Record what an archive contains, so that a resumed build does not read it again for that."""
        name = hashlib.sha256(contents.name.encode()).hexdigest()[:16] + _JSONL
        self._archives.make()
        line = json_line({**vars(contents), "members": [tuple(member) for member in contents.members]})
        self._write(self._archives, name, line)

    def write_archive_order(self, names: Sequence[str]) -> None:
        """Record that these are all archives of the build, in this order."""
        self._write(self._archives, _ORDER, json_line(names))

    def read_archive_contents(self) -> tuple[dict[str, Contents], bool]:
        """Return {archive: its recorded contents}, and whether these are all archives of the build, in order."""
        contents: dict[str, Contents] = {}
        order: list[str] | None = None
        for name in _names(self._archives, _ARCHIVE_RECORD):
            content = self._read(self._archives, name)
            if content is None:
                continue
            record = orjson.loads(content)
            if name == _ORDER:
                order = record
            else:
                members = [Member(*member) for member in record["members"]]
                contents[record["name"]] = Contents(**{**record, "members": members})
        if order is None or not set(order) <= set(contents):
            return contents, False
        return {name: contents[name] for name in order}, True

    def _pattern(self, folder: Folder) -> re.Pattern[str]:
        return _ARCHIVE_RECORD if folder is self._archives else _SHARD_RECORD

    def _write(self, folder: Folder, name: str, content: bytes) -> None:
        folder.write(name, sealed(content, name, self._fingerprint))

    def _read(self, folder: Folder, name: str) -> bytes | None:
        record = _read_record(folder, name)
        return None if record is None else unsealed(record, name, self._fingerprint)


def is_bad_block(error: StorageError) -> bool:
    """Return whether a disk cannot read what it holds: what is there is lost, as if it were damaged."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO


def sealed(content: bytes, name: str, fingerprint: str) -> bytes:
    """Return a record: ``content``, which ends a line, and a line with its seal."""
    return content + _seal(content, name, fingerprint)


def unsealed(record: bytes, name: str, fingerprint: str) -> bytes | None:
    """Return the content of a record, or None if its seal does not match."""
    content, seal = _parts(record)
    return content if seal == _seal(content, name, fingerprint) else None


def sealed_by(record: bytes, name: str) -> str | None:
    """Return the fingerprint of the build that sealed a record, or None if it was damaged since."""
    try:
        fingerprint = str(orjson.loads(_parts(record)[1])["build"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return None if unsealed(record, name, fingerprint) is None else fingerprint


def json_line(value: object) -> bytes:
    """Return a value as a line of JSON, as reports contain them."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _seal(content: bytes, name: str, fingerprint: str) -> bytes:
    digest = hashlib.sha256(f"{fingerprint}\n{name}\n".encode())
    digest.update(content)
    return json_line({"build": fingerprint, "sha256": digest.hexdigest()})


def _parts(record: bytes) -> tuple[bytes, bytes]:
    """Return the content of a record, and its last line."""
    end = record.rfind(b"\n", 0, -1) + 1
    return record[:end], record[end:]


def _read_record(folder: Folder, name: str) -> bytes | None:
    """Return a record with its seal, or None where there is none, or the disk cannot read it."""
    try:
        return folder.read_bytes(name)
    except FileNotFoundError:
        return None
    except StorageError as error:
        if is_bad_block(error):
            return None
        raise


def _shard_names(folder: Folder) -> list[str]:
    return [name.removesuffix(_JSONL) for name in _names(folder, _SHARD_RECORD)]


def _names(folder: Folder, pattern: re.Pattern[str]) -> list[str]:
    """Return the names of records in a folder, sorted; of plain files only: reading a pipe might never end."""
    return sorted(name for name in folder.sizes() if pattern.fullmatch(name))
