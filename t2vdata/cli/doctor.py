"""``t2vdata doctor``"""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import click

from t2vdata import __version__
from t2vdata.cli import SETTINGS
from t2vdata.processes import usable_cores

if TYPE_CHECKING:
    from t2vdata.media.decode import BackendReport


@click.command("doctor", context_settings=SETTINGS, epilog="Example: t2vdata doctor")
def command() -> None:
    """Say which video decoders work on this machine, how fast they are, and what to install.

    Each one decodes a small clip that comes with t2vdata. The exit status is 1 when none works on the CPU.
    """
    from t2vdata.cli._tables import console, table
    from t2vdata.media.decode import auto, pyav, torchcodec

    verdicts = [verdict for device in ("cpu", "cuda") for verdict in auto.survey(device)]
    about = {
        "python": platform.python_version(),
        "t2vdata": __version__,
        "FFmpeg": f"{pyav.ffmpeg_version()} (PyAV's own)",
        **torchcodec.about_torch(),
        "cores": str(usable_cores()),
    }
    out = console()
    for name, value in about.items():
        out.print(f"{name:8} {value}", markup=False)
    rows = [_row(one) for one in verdicts]
    out.print(table("backend", "device", "version", "works", "clips/s", rows=rows))
    for one in verdicts:
        if one.why_not:
            out.print(f"{one.backend} on {one.device}: {one.why_not}", markup=False, soft_wrap=True)
    readers = [one for one in verdicts if one.device == "cpu" and one.backend != "lossless"]
    best = auto.fastest(readers)
    if best is None:
        click.echo("no decoder works on the CPU; pip install --force-reinstall av")
        sys.exit(1)
    out.print(
        f"\nclips of {auto.NUM_PROBE_FRAMES} frames of 64x64 pixels, opened and decoded on one thread; "
        f"`auto` takes {best.backend}",
        markup=False,
        soft_wrap=True,
    )


def _row(one: BackendReport) -> list[str]:
    speed = f"{one.clips_per_second:,.0f}" if one.clips_per_second else "-"
    return [one.backend, one.device, one.version or "-", "no" if one.why_not else "yes", speed]
