"""The device of a run and torch's process-wide numerics."""

from __future__ import annotations

import torch

from baselines.distributed import ProcessGroup
from baselines.recipe import RunSpec


def choose_device(name: str, group: ProcessGroup) -> torch.device:
    """Return the named device; ``auto`` picks CUDA, then MPS, then the CPU. Ranks get one GPU each."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name, group.local_rank) if name == "cuda" else torch.device(name)


def configure_torch(spec: RunSpec) -> None:
    """Set the number of threads of this process, and flush denormal numbers to 0."""
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    # Averages and moments hold denormal numbers for a long time, and a CPU takes a hundred times as long for them as for 0.
    torch.set_flush_denormal(True)
