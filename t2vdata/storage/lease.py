"""A lock on a folder in an object store: a lock file that its owner renews every few seconds.

The lock is created only where there is none; on S3 by a conditional write, so that of two builds that start at once only one
gets it. A lock that was not renewed for ``LEASE_SECONDS``, by the observer's clock, belonged to a killed process and is taken
over; at once if its owner was a process of this machine that has ended.

If two builds write to one folder anyway, because the first was cut off for that long, no data is lost: a shard is a pure
function of its plan, so both write the same bytes, and the first one stops when it notices that it lost the lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t2vdata.errors import OtherSpecError, StorageError
from t2vdata.storage.folder import Folder

RENEW_SECONDS = 3.0
# Several renewals, so that a slow one does not lose the lock.
LEASE_SECONDS = 20.0
# After taking over a lock, wait this long and check that it is still ours: of two that took it over at once, both have written
# it by then.
SETTLE_SECONDS = 1.0
_POLL_SECONDS = 0.2


class Lease:
    """A lock on a folder that this process holds."""

    def __init__(self, folder: Folder, name: str, holder: dict[str, Any]) -> None:
        # No retry if the store is briefly unavailable: the next renewal may succeed.
        self._folder = folder.impatient()
        self._name = name
        self._holder = holder
        self._lost_to: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="t2vdata-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise OtherSpecError if another build has taken over the folder."""
        if self._lost_to is not None:
            raise OtherSpecError(
                f"{self._lost_to} took over {self._folder} while this build could not reach it, and continues from the "
                "finished shards; run the same command again later"
            )

    def release(self) -> None:
        """Release the lock, so that another build may take it."""
        self._ended.set()
        self._thread.join(timeout=LEASE_SECONDS)
        # An unavailable store must not hide why the build ended, nor delay its end; the lock expires by itself.
        with contextlib.suppress(StorageError):
            if self._lost_to is None:
                self._folder.remove(self._name)

    def _renew(self) -> None:
        num_renewals = 0
        while not self._ended.wait(RENEW_SECONDS):
            num_renewals += 1
            with contextlib.suppress(StorageError):
                current = _read(self._folder, self._name)
                if current is not None and current["token"] != self._holder["token"]:
                    self._lost_to = current["owner"]
                    return
                self._folder.write(self._name, json.dumps({**self._holder, "renewals": num_renewals}).encode())


@contextlib.contextmanager
def held(folder: Folder, name: str) -> Iterator[Lease]:
    """Hold the lock file ``name`` below a folder. Raises OtherSpecError, with the owner, when another build holds it."""
    holder = {
        "owner": f"process {os.getpid()} on {platform.node()}",
        "token": secrets.token_hex(8),
        "machine": _machine(),
        "process": os.getpid(),
    }
    _take(folder, name, holder)
    lease = Lease(folder, name, holder)
    try:
        yield lease
    finally:
        lease.release()


def _take(folder: Folder, name: str, holder: dict[str, Any]) -> None:
    while not folder.create(name, json.dumps(holder).encode()):
        current = _read(folder, name)
        if current is None:
            continue
        if current["token"] == holder["token"]:
            # The lock is ours: the answer to our first attempt was lost.
            return
        if not _is_dead(current):
            later = _watch(folder, name, current)
            if later is None:
                continue
            if later != current:
                raise OtherSpecError(f"{later['owner']} is building into {folder}; wait for it, or choose another --out")
        folder.write(name, json.dumps(holder).encode())
        time.sleep(SETTLE_SECONDS)
    # Also works for stores without conditional writes: the last writer holds the lock.
    current = _read(folder, name)
    if current is not None and current["token"] != holder["token"]:
        raise OtherSpecError(f"{current['owner']} began to build into the same folder; wait for it, or choose another --out")


def _watch(folder: Folder, name: str, current: dict[str, Any]) -> dict[str, Any] | None:
    """Watch a lock until it is released, renewed or expired; return its content then."""
    deadline = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < deadline:
        later = _read(folder, name)
        if later != current:
            return later
        time.sleep(_POLL_SECONDS)
    return current


def _is_dead(holder: dict[str, Any]) -> bool:
    """Return whether a lock's owner was a process of this machine that has ended."""
    if not holder["machine"] or holder["machine"] != _machine():
        return False
    try:
        os.kill(holder["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _machine() -> str:
    """Return an identifier of this machine, or container, and its current boot; empty where there is none."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _read(folder: Folder, name: str) -> dict[str, Any] | None:
    try:
        content = folder.read_bytes(name)
    except FileNotFoundError:
        return None
    try:
        holder = json.loads(content)
        owner, token, machine = (str(holder[key]) for key in ("owner", "token", "machine"))
        return {**holder, "owner": owner, "token": token, "machine": machine, "process": int(holder["process"])}
    except (ValueError, KeyError, TypeError):
        # Damaged: nobody renews it, so that it expires.
        token = hashlib.sha256(content).hexdigest()
        return {"owner": "an unknown process", "token": token, "machine": "", "process": 0}
