"""``t2vdata doctor``: list the video decoders that work here."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import click

from t2vdata import __version__
from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo
from t2vdata.processes import usable_cores

if TYPE_CHECKING:
    from t2vdata.media.decode import BackendReport


@click.command("doctor", context_settings=SETTINGS, epilog="Example: t2vdata doctor")
def command() -> None:
    """List the video decoders that work on this machine, their speed, and what to install.

    Each decodes a small clip that comes with t2vdata. The exit status is 1 if none works on the CPU.
    """
    from t2vdata.cli._console import console, table
    from t2vdata.media.decode import auto, pyav, torchcodec

    reports = [report for device in ("cpu", "cuda") for report in auto.survey(device)]
    versions = {
        "python": platform.python_version(),
        "t2vdata": __version__,
        "FFmpeg": f"{pyav.ffmpeg_version()} (bundled with PyAV)",
        **torchcodec.about_torch(),
        "cores": str(usable_cores()),
    }
    out = console()
    for name, value in versions.items():
        out.print(f"{name:8} {value}", markup=False)
    rows = [_row(report) for report in reports]
    out.print(table("backend", "device", "version", "works", "clips/s", rows=rows))
    for report in reports:
        if report.why_not:
            out.print(f"{report.backend} on {report.device}: {report.why_not}", markup=False, soft_wrap=True)
    video_decoders = [report for report in reports if report.device == "cpu" and report.backend != "lossless"]
    best = auto.fastest(video_decoders)
    if best is None:
        echo("no decoder works on the CPU; pip install --force-reinstall av")
        sys.exit(1)
    out.print(
        f"\nclips of {auto.NUM_PROBE_FRAMES} frames of 64x64 pixels, opened and decoded on one thread; "
        f"`auto` selects {best.backend}",
        markup=False,
        soft_wrap=True,
    )


def _row(report: BackendReport) -> list[str]:
    speed = f"{report.clips_per_second:,.0f}" if report.clips_per_second else "-"
    return [report.backend, report.device, report.version or "-", "no" if report.why_not else "yes", speed]
