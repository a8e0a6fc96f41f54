"""`Checkpoint`: the state of a build on disk: its spec, its records, and the lock of its writer.

It is kept in ``.t2vdata-build`` inside the output folder during a build and removed once the manifest is written. The output
folder may be in an object store. Nothing in it is believed without its hash, no link in it is followed, and only files that a
build wrote are removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import IO, Any

import orjson

from t2vdata.build.records import Records, is_bad_block, sealed, unsealed
from t2vdata.errors import NotADatasetError, OtherSpecError, StorageError
from t2vdata.format import card, manifest, tables
from t2vdata.format.manifest import Manifest
from t2vdata.storage import ASIDE, Folder, lease
from t2vdata.storage.error_messages import storage_error

FOLDER = manifest.BUILD_FOLDER
_SPEC, _LOCK = "spec.json", "lock"
# What file systems put into the root of a disk; a folder with only these is empty.
_NOT_OURS = ("lost+found",)
_KEPT_BEFORE = (tables.INDEX, tables.REJECTS, manifest.MANIFEST)
# What a build writes into its output folder.
_OURS = (*_KEPT_BEFORE, manifest.VOCABULARY, card.NAME, card.PICTURE)


class Checkpoint:
    """The state of the build of a spec into an output folder."""

    def __init__(self, out: Folder, spec: Mapping[str, Any]) -> None:
        self.out = out
        self._spec = spec
        self._folder = out.below(FOLDER)
        self._before = self._folder.below("before")
        self.records = Records(self._folder, manifest.fingerprint(spec))
        self.records_of_restoring = Records(self._folder, f"{manifest.fingerprint(spec)} restoring")
        """Restored shards have reports without rejects, which a build must not take for its own."""

    def open_folder(self) -> Manifest | None:
        """Create the output folder if needed; return its manifest when the spec is already built there.

        Raises OtherSpecError, and changes nothing, when the folder holds a build of another spec or anything else.
        """
        self.out.make()
        self._refuse_links()
        finished = self._read_manifest()
        if finished is not None:
            # Clips that --retry-failed has appended are not part of the request.
            requested = {name: value for name, value in finished.spec.items() if name != manifest.APPENDED}
            self._check_same(requested)
            return finished
        started = self._read_spec()
        if started is not None:
            self._check_same(started)
            return None
        # Only what a build of this dataset writes may be here: its spec was damaged or lost.
        is_started = self._was_started()
        others = [name for name in self.out.list_names() if name not in _NOT_OURS and name != FOLDER]
        foreign = [name for name in others if not (is_started and self._may_be_ours(name))]
        if foreign:
            raise OtherSpecError(
                f"{self.out} is not empty and not a t2vdata build: it holds {foreign[0]}; choose another --out"
            )
        return None

    def exists(self) -> bool:
        """Return whether a build into the folder is running or was interrupted."""
        # In a store a folder is only a prefix, which some stores list even when it is empty.
        return self._folder.exists(_SPEC) if self.out.is_remote else self._folder.exists()

    def start(self) -> None:
        """Record which spec is being built, unless the interrupted build already did."""
        self.records.make()
        self._folder.remove(manifest.STOPPED)
        if self._read_spec() is None:
            content = json.dumps(self._spec, indent=2).encode() + b"\n"
            self._folder.write(_SPEC, sealed(content, _SPEC, ""))

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
        with self._open_lock() as file:
            self._lock(file)
            yield lambda: None

    @contextlib.contextmanager
    def swept(self) -> Iterator[None]:
        """Remove unfinished files of killed writers: of an earlier build at the start, of our own workers at the end."""
        self._sweep()
        try:
            yield
        finally:
            self._sweep()

    def close(self) -> None:
        """Remove the state of the build: our own files, by name. What else is there stays."""
        self.records.remove()
        self._before.remove(*_KEPT_BEFORE)
        self._before.remove_itself()
        self._folder.remove(_SPEC)
        self._folder.remove(_LOCK)
        self._folder.remove(manifest.STOPPED)
        self._folder.remove_itself()

    def note_too_many_failures(self) -> None:
        """Record why the build stops: whoever opens the folder is told."""
        self._folder.write(manifest.STOPPED, b"")

    # The dataset before clips are appended

    def keep_before(self) -> Folder:
        """Return a folder with the dataset's tables and manifest as they were before this build changes them."""
        if not _is_sound(self._before):
            if not _is_sound(self.out):
                raise StorageError(
                    f"{self.out}: a table is damaged, and so is its copy in {self._before}; restore it from a backup, or build "
                    "into another --out"
                )
            self._before.make()
            # The manifest is last: once it exists, all exist.
            for name in _KEPT_BEFORE:
                self._before.write(name, self.out.read_bytes(name))
        return self._before

    def is_appending(self) -> bool:
        """Return whether appending clips to a finished dataset is in progress, or was interrupted."""
        return self._before.exists(manifest.MANIFEST)

    def _sweep(self) -> None:
        self.out.sweep()
        if not self.out.is_remote:
            for folder in (self._folder, *self.records.folders, self._before):
                folder.sweep()

    def _refuse_links(self) -> None:
        """Raise OtherSpecError where something else is in the place of a file or folder of ours: it is not ours to change."""
        if self.out.is_remote:
            return
        folders = [folder.url for folder in (self._folder, *self.records.folders, self._before)]
        for path in (*folders, self._folder.join(_SPEC), self._folder.join(_LOCK)):
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise storage_error(error, path) from error
            is_ours = stat.S_ISDIR(status.st_mode) if path in folders else stat.S_ISREG(status.st_mode) and status.st_nlink == 1
            if not is_ours:
                kind = "folder" if path in folders else "file"
                raise OtherSpecError(
                    f"{path} is a link, or no {kind}; a build keeps its state there, in {kind}s of its own: remove it, or "
                    "choose another --out"
                )

    def _open_lock(self) -> IO[bytes]:
        path = self._folder.join(_LOCK)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        try:
            # Unbuffered: closing must not write.
            return os.fdopen(os.open(path, flags, 0o666), "a+b", buffering=0)
        except OSError as error:
            raise storage_error(error, path) from error

    def _lock(self, file: IO[bytes]) -> None:
        """Lock the open lock file, and write who holds it."""
        try:
            import fcntl
        except ImportError:  # Windows has no flock; there, avoiding two builds into one folder is up to the user.
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"process {os.getpid()}".encode())
        except BlockingIOError:
            file.seek(0)
            owner = file.read().decode("ascii", "replace") or "another process"
            raise OtherSpecError(f"{owner} is building into {self.out}; wait for it, or choose another --out") from None
        except OSError as error:
            raise storage_error(error, self._folder.join(_LOCK)) from error

    def _was_started(self) -> bool:
        """Return whether a build whose spec cannot be read was started here, as far as can be seen: this one.

        Raises OtherSpecError if its records are those of another one. An empty state folder says nothing.
        """
        owner = self.records.owner()
        if owner is None:
            return self._folder.exists(_SPEC)
        # Restoring has a word more.
        if owner.split()[0] != manifest.fingerprint(self._spec):
            raise OtherSpecError(
                f"{self.out} holds another build, which was interrupted, and whose {_SPEC} is damaged; choose another --out"
            )
        return True

    def refuse_other_shards(self, shards: Collection[str]) -> None:
        """Raise OtherSpecError if the folder has other shards: of a build all of whose state was damaged."""
        other = next((name for name in self.out.list_names() if self._is_shard(name) and name not in shards), None)
        if other is not None:
            raise OtherSpecError(
                f"{self.out.join(other)} is no shard of this build; remove it and run the same command again, finished shards "
                "are kept, or choose another --out"
            )

    def _is_shard(self, name: str) -> bool:
        """Return whether a shard of the dataset may have that name."""
        return re.fullmatch(rf"{re.escape(str(self._spec.get('dataset')))}-\w+-\d{{6,}}\.tar", name) is not None

    def _may_be_ours(self, name: str) -> bool:
        """Return whether a build of this dataset writes a file of that name."""
        return name in _OURS or self._is_shard(name) or (name.startswith(".") and name.endswith(ASIDE))

    def _read_manifest(self) -> Manifest | None:
        try:
            return Manifest.of_folder(self.out)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except NotADatasetError as error:
            raise OtherSpecError(f"{error}; choose another --out; nothing here was changed") from error

    def _read_spec(self) -> dict[str, Any] | None:
        """Return the spec of the build in the folder; None where there is none or it is damaged."""
        try:
            content = unsealed(self._folder.read_bytes(_SPEC), _SPEC, "")
        except FileNotFoundError:
            return None
        except StorageError as error:
            if not is_bad_block(error):
                raise
            return None
        if content is None:
            return None
        spec: dict[str, Any] = orjson.loads(content)
        return spec

    def _check_same(self, existing: Mapping[str, Any]) -> None:
        differences = [
            f"{name} is {theirs} there, {ours} here" for name, theirs, ours in manifest.spec_differences(existing, self._spec)
        ]
        if differences:
            more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
            raise OtherSpecError(f"{self.out} holds another build: {'; '.join(differences[:3])}{more}; choose another --out")


def _is_sound(folder: Folder) -> bool:
    """Return whether a folder has a manifest, and the tables that it describes."""
    try:
        entries = Manifest.of_folder(folder).files
        return all(folder.sha256(entry.name) == entry.sha256 for entry in entries if entry.name in _KEPT_BEFORE)
    except (FileNotFoundError, NotADirectoryError, NotADatasetError):
        return False
