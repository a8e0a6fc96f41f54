"""A folder in an object store, held by one build at a time: a lock file whose owner keeps saying that it is alive.

The lock is made only where none is (on S3 by a conditional write, so that of two builds that start at once one has it), and
written anew every few seconds. One that is not written for ``LEASE_SECONDS``, by the watcher's clock, had an owner that was
killed, and is taken over; so is one at once whose owner was a process of this machine that is gone.

Should two builds hold one folder all the same, because the first was cut off for so long, nothing is lost: a shard is a pure
function of its plan, so both write the same bytes, and the first one stops when it sees that it lost the lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t2vdata import storage
from t2vdata.errors import OtherSpecError, StorageError

RENEW_SECONDS = 3.0
# Several renewals, so that a slow one costs nobody the lock.
LEASE_SECONDS = 20.0
# How long after a lock was taken over it must still be ours: two who took it over at once have both written it by then.
_SETTLE_SECONDS = 1.0
_LOOK_SECONDS = 0.2


class Lease:
    """The lock on a folder, held."""

    def __init__(self, path: str, holder: dict[str, Any]) -> None:
        self._path = path
        self._holder = holder
        self._lost_to: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="t2vdata-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise OtherSpecError when another build has taken the folder over meanwhile."""
        if self._lost_to is not None:
            raise OtherSpecError(
                f"{self._lost_to} took over {_folder(self._path)} while this build could not reach it, and goes on from "
                "what is there; run the same command again later"
            )

    def release(self) -> None:
        """Let another build have the folder."""
        self._ended.set()
        self._thread.join(timeout=LEASE_SECONDS)
        # A store that is away must not hide why the build ended, nor hold it up; the lock runs out by itself.
        with contextlib.suppress(StorageError):
            if self._lost_to is None:
                storage.remove(self._path, patient=False)

    def _renew(self) -> None:
        count = 0
        while not self._ended.wait(RENEW_SECONDS):
            count += 1
            # Away for a moment: the next renewal may go well.
            with contextlib.suppress(StorageError):
                found = _read(self._path)
                if found is not None and found["token"] != self._holder["token"]:
                    self._lost_to = found["owner"]
                    return
                storage.write_whole(self._path, json.dumps({**self._holder, "renewals": count}).encode(), patient=False)


@contextlib.contextmanager
def held(path: str) -> Iterator[Lease]:
    """Hold the lock file at ``path``. Raises OtherSpecError with its owner when another build does."""
    holder = {
        "owner": f"process {os.getpid()} on {platform.node()}",
        "token": secrets.token_hex(8),
        "machine": _machine(),
        "process": os.getpid(),
    }
    _take(path, holder)
    lease = Lease(path, holder)
    try:
        yield lease
    finally:
        lease.release()


def _take(path: str, holder: dict[str, Any]) -> None:
    while not storage.create(path, json.dumps(holder).encode()):
        found = storage.patiently(lambda: _read(path))
        if found is None:
            continue
        if found["token"] == holder["token"]:
            # Our own: its first answer was lost on the way.
            return
        if not _is_gone(found):
            later = _watched(path, found)
            if later is None:
                continue
            if later != found:
                raise OtherSpecError(f"{later['owner']} is building into {_folder(path)}; wait for it, or choose another --out")
        storage.write_whole(path, json.dumps(holder).encode())
        time.sleep(_SETTLE_SECONDS)
    # Also of stores that write without looking: the last one has it.
    found = storage.patiently(lambda: _read(path))
    if found is not None and found["token"] != holder["token"]:
        raise OtherSpecError(f"{found['owner']} began to build into the same folder; wait for it, or choose another --out")


def _watched(path: str, found: dict[str, Any]) -> dict[str, Any] | None:
    """Watch a lock until it is let go, its owner is heard of, or it runs out; return what it says then."""
    deadline = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < deadline:
        later = storage.patiently(lambda: _read(path))
        if later != found:
            return later
        time.sleep(_LOOK_SECONDS)
    return found


def _folder(path: str) -> str:
    """Return the dataset's folder, of a lock that lies in the build's own folder below it."""
    return os.path.dirname(os.path.dirname(path))


def _is_gone(found: dict[str, Any]) -> bool:
    """Return whether a lock's owner was a process of this machine that has ended."""
    if not found["machine"] or found["machine"] != _machine():
        return False
    try:
        os.kill(found["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _machine() -> str:
    """Return what tells this machine, and this container on it, from others until it is started again; else nothing."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _read(path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(storage.read_bytes(path))
    except FileNotFoundError:
        return None
    return found
