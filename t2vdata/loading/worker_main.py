"""The process that ``crew.Processes`` starts: jobs come through one pipe, pixels go into shared memory, answers back.

``python -m t2vdata.loading.worker_main JOBS ANSWERS MEMORY`` with three open file descriptors; not for people.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from t2vdata.errors import T2VError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.buffers import map_file, slot_view
from t2vdata.loading.cache import CacheSpec
from t2vdata.loading.decoding import Filler
from t2vdata.loading.reader import open_reader
from t2vdata.loading.transforms import job_type
from t2vdata.loading.workers import JOB, receive, send


def main(jobs_end: int, answers_end: int, memory_file: int) -> None:
    import numpy as np

    with os.fdopen(jobs_end, "rb") as jobs, os.fdopen(answers_end, "wb") as answers:
        setup = receive(jobs)
        if setup is None:
            return
        memory = map_file(memory_file, setup["memory_bytes"])
        filler = _filler(setup)
        shape = tuple(setup["shape"])
        while len(head := jobs.read(JOB.size)) == JOB.size:
            slot, first, clips, size = JOB.unpack(head)
            job = np.frombuffer(jobs.read(size), job_type(shape[0]))
            batch = slot_view(memory, slot, setup["slot_bytes"], (first + clips, *shape))
            send(answers, _answer(filler, batch[first:], job))
        filler.reader.close()


def _filler(setup: dict[str, Any]) -> Filler:
    cache = CacheSpec(**setup["cache"]) if setup["cache"] is not None else None
    return Filler(
        open_reader(setup["folder"], [ShardEntry(**entry) for entry in setup["shards"]], cache=cache), setup["extensions"]
    )


def _answer(filler: Filler, batch: Any, job: Any) -> dict[str, Any]:
    try:
        return {"failures": filler.fill(batch, job)}
    except T2VError as error:
        return {"error": type(error).__name__, "message": str(error)}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
