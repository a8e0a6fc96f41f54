"""The worker process of ``workers.ProcessWorkers``: receives jobs, writes pixels into shared memory."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import numpy as np

from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.buffers import buffer_view
from t2vdata.loading.decoding import BatchDecoder
from t2vdata.loading.memory import map_memory
from t2vdata.loading.reader import Reader, open_reader
from t2vdata.loading.spec import CacheSpec
from t2vdata.loading.transforms import job_type
from t2vdata.processes import Channel

_POLL_SECONDS = 1.0


def main(channel: Channel) -> None:
    """Decode the job of each message, until the parent ends."""
    message = channel.receive()
    if message is None:
        return
    setup = message.header
    buffers = map_memory(setup["buffers_file"], setup["buffers_bytes"])
    decoder = _open_decoder(setup)
    threading.Thread(target=_close_with_parent, args=(decoder.reader, os.getppid()), daemon=True).start()
    shape = tuple(setup["shape"])
    for request in channel:
        with channel.reporting_errors():
            job = np.frombuffer(request.payload, job_type(shape[0]))
            slot, first = request.header["slot"], request.header["first"]
            batch = buffer_view(buffers, slot, setup["slot_bytes"], (first + len(job), *shape))
            channel.send({"failures": decoder.decode(batch[first:], job)})
    decoder.reader.close()


def _open_decoder(setup: dict[str, Any]) -> BatchDecoder:
    cache = CacheSpec(**setup["cache"]) if setup["cache"] is not None else None
    shards = [ShardEntry(**entry) for entry in setup["shards"]]
    return BatchDecoder(open_reader(setup["folder"], shards, cache=cache, since=setup["since"]), setup["extensions"])


def _close_with_parent(reader: Reader, parent: int) -> None:
    """Close the reader when the parent has ended, however it ended: a read may be waiting for a server."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    reader.close()
