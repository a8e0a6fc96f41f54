"""`auto` measures the backends and takes the fastest; `t2vdata doctor` shows the measurements."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from media import video_files
from support import ROOT, t2vdata

from t2vdata.cli import main
from t2vdata.errors import DecodeError
from t2vdata.media.decode import auto, decord, open_video, pyav, survey
from t2vdata.media.decode.auto import BackendReport
from t2vdata.media.decode.backends import BACKENDS


@pytest.fixture(autouse=True)
def _forget_measurements() -> None:
    auto._choose.cache_clear()


def report(backend: str, speed: float | None, why_not: str | None = None) -> BackendReport:
    return BackendReport(backend, "cpu", "1.0", why_not, speed)


def test_the_clip_is_small_and_what_its_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "tools"))
    import make_clip

    assert auto.PROBE_CLIP.stat().st_size < 20_000
    drawn = make_clip.draw()
    with open_video(auto.PROBE_CLIP, backend="pyav") as video:
        frames = video.frames_at(range(auto.NUM_PROBE_FRAMES))
        assert (video.num_frames, video.fps) == (drawn.num_frames, drawn.fps)
    assert np.abs(frames.astype(int) - drawn.data).mean() < 8


def test_the_survey_tries_every_backend() -> None:
    reports = survey("cpu")
    assert tuple(report.backend for report in reports) == BACKENDS
    for report in reports:
        assert (report.why_not is None) == (report.clips_per_second is not None)
        assert report.version
    assert {report.backend for report in reports if report.why_not is None} >= {"pyav", "lossless"}


def test_a_backend_that_loads_but_cannot_decode_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: object, device: str) -> None:
        raise DecodeError("no H.264 here")

    monkeypatch.setattr(decord, "open", broken)
    (decord_report,) = (report for report in survey("cpu") if report.backend == "decord")
    assert decord_report.why_not == "cannot decode the clip that comes with t2vdata: no H.264 here"


def test_the_fastest_is_taken_when_it_is_clearly_faster() -> None:
    slow, near, fast = report("pyav", 100), report("decord", 120), report("opencv", 130)
    broken = report("torchcodec", None, "not installed")
    assert auto.fastest([broken, slow, near]) is slow
    assert auto.fastest([slow, near, fast]) is fast
    assert auto.fastest([broken]) is None


def test_auto_logs_its_choice_once_with_the_reasons(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    speeds = {"pyav": 500.0, "torchcodec": 100.0, "opencv": 50.0}
    monkeypatch.setattr(auto, "_measure", lambda backend, device: speeds[backend])
    monkeypatch.setattr(decord, "why_not", lambda device: "not installed; pip install decord")
    data = video_files.make("h264")
    with caplog.at_level(logging.INFO, "t2vdata"):
        for _ in range(3):
            with open_video(data) as video:
                assert (video.backend, video.device) == ("pyav", "cpu")
    (record,) = caplog.records
    assert record.message.startswith("decoding on cpu with pyav: pyav 500 clips/s; ")
    assert "decord not installed; pip install decord" in record.message
    assert "opencv 50 clips/s" in record.message


def test_measuring_the_backends_does_not_load_torch() -> None:
    code = (
        f"import sys; from t2vdata.media.decode import open_video; open_video({str(auto.PROBE_CLIP)!r})\n"
        "print('torch' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"


def test_pyav_decodes_what_the_fastest_backend_cannot(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auto, "_choose", lambda device: "decord")
    with open_video(video_files.make("h264")) as video:
        assert video.backend == "decord"
    with caplog.at_level(logging.WARNING, "t2vdata"), open_video(video_files.make("gif")) as video:
        assert video.backend == "pyav"
    assert "decord: decord does not decode gif; use backend='pyav'; PyAV decodes it instead" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "t2vdata"), pytest.raises(DecodeError, match="no video container"):
        open_video(b"text " * 99)
    assert caplog.text == ""


def test_doctor_shows_what_works_and_what_to_install() -> None:
    done = t2vdata("doctor")
    assert done.returncode == 0, done.stderr
    for line in ("python", "t2vdata", "FFmpeg", "torch", "CUDA", "cores"):
        assert any(text.startswith(line) for text in done.stdout.splitlines()), line
    assert all(done.stdout.count(f" {backend} ") >= 2 for backend in BACKENDS)
    assert "pyav on cuda: decodes on the CPU only; use device='cpu', or backend='torchcodec'" in done.stdout
    assert "`auto` selects" in done.stdout


def test_doctor_fails_when_nothing_decodes_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "survey", lambda device: [BackendReport("pyav", device, None, "does not load", None)])
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert "no decoder works on the CPU; pip install --force-reinstall av" in done.output


def test_versions_are_the_installed_ones() -> None:
    import av

    assert pyav.version() == av.__version__
    assert pyav.ffmpeg_version()
