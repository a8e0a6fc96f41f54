"""Time a training step of our Glow and of normflows' Glow of equal size, in one run, each in its own process.

python tests/benchmarks/bench_glow.py [--side 32] [--channels 3] [--levels 3] [--steps 8] [--width 64] [--batch 16]
python tests/benchmarks/bench_glow.py --only plain checkpointed compiled --steps 2

A step is the forward pass, the backward pass and an update of Adam on the same noise, in CPU time, because other processes may
share the machine. Versions alternate in each round; the ratio is that of medians to the first version: normflows with plain
matrices, or the first one given to ``--only``. The first step is in wall-clock time, because compilers run in child processes.
Peak memory is the maximum of the process minus its memory before the first step; for a compiled version it includes
compilation. Both have affine couplings of three convolutions with ActNorm inside. Ours also has border channels and learned
priors. ``--profile`` prints where our time goes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

VERSIONS = {
    "normflows, plain 1x1": "normflows plain",
    "normflows, LU 1x1": "normflows lu",
    "ours, plain 1x1": "ours plain",
    "ours, LU 1x1": "ours lu",
    "ours, plain, checkpointed": "ours plain checkpoint",
    "ours, plain, compiled": "ours plain compile",
    "ours, plain, checkpointed and compiled": "ours plain checkpoint compile",
}
# Choices of --only: versions of ours with plain matrices.
OURS = {
    "plain": "ours, plain 1x1",
    "checkpointed": "ours, plain, checkpointed",
    "compiled": "ours, plain, compiled",
    "both": "ours, plain, checkpointed and compiled",
}


def ours(options: argparse.Namespace, words: list[str]) -> Callable[[torch.Tensor], torch.Tensor]:
    from baselines.glow.flow import Flow, FlowSpec
    from baselines.glow.layers import data_dependent_init

    spec = FlowSpec(
        coupling="affine", width=options.width, levels=options.levels, steps=options.steps, permutation=words[1],
        checkpoint="checkpoint" in words,
    )  # fmt: skip
    flow = Flow((options.channels, options.side, options.side), spec)
    with data_dependent_init(flow), torch.no_grad():
        flow(torch.randn(options.batch, options.channels, options.side, options.side))
    flow.forward = torch.compile(flow.forward) if "compile" in words else flow.forward
    return with_parameters(flow, flow.log_density)


def normflows(options: argparse.Namespace, words: list[str]) -> Callable[[torch.Tensor], torch.Tensor]:
    import normflows as peer

    levels, bases, merges = [], [], []
    channels, side = options.channels, options.side
    for level in range(options.levels):
        channels, side, is_last = channels * 4, side // 2, level == options.levels - 1
        block = peer.flows.GlowBlock
        blocks = [block(channels, options.width, use_lu=words[1] == "lu", net_actnorm=True) for _ in range(options.steps)]
        levels.append([*blocks, peer.flows.Squeeze()])
        bases.append(peer.distributions.GlowBase((channels if is_last else channels // 2, side, side)))
        merges.append(peer.flows.Merge())
        channels //= 2
    flow = peer.MultiscaleFlow(bases[::-1], levels[::-1], merges[1:], class_cond=False)
    return with_parameters(flow, lambda x: flow.log_prob(x, None))


def with_parameters(
    flow: torch.nn.Module, density: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the density function with the flow's parameters as an attribute, for the optimiser."""

    def log_density(x: torch.Tensor) -> torch.Tensor:
        return density(x)

    log_density.parameters = list(flow.parameters())
    return log_density


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(options: argparse.Namespace) -> None:
    """Print the seconds of each step and the peak memory of a version, as JSON."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    words = VERSIONS[options.version].split()
    log_density = {"ours": ours, "normflows": normflows}[words[0]](options, words)
    optimiser = torch.optim.Adam(log_density.parameters, lr=1e-4)
    x = torch.rand(options.batch, options.channels, options.side, options.side) - 0.5
    before, seconds = peak_mb(), []

    def step() -> None:
        started = time.process_time()
        (-log_density(x).mean()).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - started)

    started = time.perf_counter()
    step()
    first = time.perf_counter() - started
    for _ in range(options.updates):
        step()
    if options.profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            step()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=14), file=sys.stderr)
    num_parameters = sum(parameter.numel() for parameter in log_density.parameters)
    result = {"first": first, "seconds": seconds[1:], "peak_mb": peak_mb() - before, "parameters": num_parameters}
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {
        "side": 32,
        "channels": 3,
        "levels": 3,
        "steps": 8,
        "width": 64,
        "batch": 16,
        "rounds": 3,
        "updates": 4,
        "threads": 1,
    }
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", nargs="+", choices=OURS, help="versions of ours to measure; default: all, and normflows")
    parser.add_argument("--version", choices=VERSIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.version:
        measure(options)
        return
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    chosen = [OURS[word] for word in options.only] if options.only else [*VERSIONS]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for round_index in range(options.rounds):
        for name in chosen:
            command = [sys.executable, __file__, "--version", name, *(f"--{key}={getattr(options, key)}" for key in sizes)]
            command += ["--profile"] if options.profile and name == "ours, plain 1x1" and round_index == 0 else []
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[name].append(json.loads(done.stdout))
    median = {name: statistics.median(second for run in runs for second in run["seconds"]) for name, runs in results.items()}
    reference = chosen[0]
    print("| version | parameters | step, ms (min to max) | ratio | first step, s | peak memory, MB |\n|---|" + "--:|" * 5)
    for name, runs in results.items():
        seconds = [second for run in runs for second in run["seconds"]]
        print(
            f"| {name} | {runs[0]['parameters']:,} | {1000 * median[name]:.0f} ({1000 * min(seconds):.0f} to "
            f"{1000 * max(seconds):.0f}) | {median[name] / median[reference]:.2f} | "
            f"{statistics.median(run['first'] for run in runs):.1f} | {statistics.median(run['peak_mb'] for run in runs):.0f} |"
        )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "normflows"))
    shape = f"{options.batch} images of {options.channels}x{options.side}x{options.side}"
    print(f"\n{shape}, {options.levels} levels of {options.steps} steps, width {options.width}; {options.rounds} rounds of")
    print(f"{options.updates} steps; {options.threads} threads, {os.cpu_count()} cores, load before {load}; {versions},")
    print(f"Python {platform.python_version()}, {platform.machine()}")


if __name__ == "__main__":
    main()
