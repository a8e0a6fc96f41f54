"""A rank of a training job under torchrun: reads from a store, records what it read, and resumes after a stop.

``rank.py URL CACHE NOTES STOP_AT DIES_AT``: NOTES/state.json is the checkpoint, NOTES/<epoch>-<position>-<rank> the keys of a
batch. Two epochs, or up to position STOP_AT of the first. The second rank kills itself at position DIES_AT of the first, once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

import t2vdata
from t2vdata.loading import CacheSpec, Loader, LoadSpec, Resources


def main(url: str, cache: str, notes: Path, stop_at: int, dies_at: int) -> None:
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    resources = Resources(workers=1, processes=False, cache=CacheSpec(folder=cache))
    reading = Loader(t2vdata.open_dataset(url)["train"], LoadSpec(batch_size=5, window=2), seed=5, resources=resources)
    state = notes / "state.json"
    if state.exists():
        reading.load_state_dict(json.loads(state.read_text()))
    while reading.epoch < 2 and not is_at(reading.state_dict(), stop_at):
        before = reading.state_dict()
        for batch in reading:
            if rank == 1 and is_at(before, dies_at) and not (notes / "died").exists():
                (notes / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            (notes / f"{before['epoch']}-{before['position']:03d}-{rank}").write_text(" ".join(batch.keys))
            # Every rank has reached what the checkpoint records.
            torch.distributed.barrier()
            before = reading.state_dict()
            if rank == 0:
                (notes / "state.new").write_text(json.dumps(before))
                (notes / "state.new").rename(state)
            torch.distributed.barrier()
            if is_at(before, stop_at):
                break
    reading.close()
    torch.distributed.destroy_process_group()


def is_at(state: dict[str, Any], position: int) -> bool:
    return state["epoch"] == 0 and state["position"] == position


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:6]))
