"""The process that ``workers.ProcessWorkers`` starts: jobs come through its channel, pixels go into shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.buffers import map_file, slot_view
from t2vdata.loading.cache import CacheSpec
from t2vdata.loading.decoding import Filler
from t2vdata.loading.reader import open_reader
from t2vdata.loading.transforms import job_type
from t2vdata.processes import Channel


def main(channel: Channel) -> None:
    """Decode the job of each message, until the parent ends."""
    message = channel.receive()
    if message is None:
        return
    setup = message.header
    memory = map_file(setup["memory_file"], setup["memory_bytes"])
    filler = _filler(setup)
    shape = tuple(setup["shape"])
    for request in channel:
        with channel.reporting_errors():
            job = np.frombuffer(request.payload, job_type(shape[0]))
            slot, first = request.header["slot"], request.header["first"]
            batch = slot_view(memory, slot, setup["slot_bytes"], (first + len(job), *shape))
            channel.send({"failures": filler.fill(batch[first:], job)})
    filler.reader.close()


def _filler(setup: dict[str, Any]) -> Filler:
    cache = CacheSpec(**setup["cache"]) if setup["cache"] is not None else None
    return Filler(
        open_reader(setup["folder"], [ShardEntry(**entry) for entry in setup["shards"]], cache=cache), setup["extensions"]
    )
