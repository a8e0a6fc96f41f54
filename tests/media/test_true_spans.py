"""The span that a clip says it shows is the one that its frames were taken from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media import video_files
from PIL import Image

from t2vdata.build.run import BuildSpec, build_dataset
from t2vdata.format.dataset import open_dataset
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest

FPS = 25


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots, of 20 and 30 frames."""
    path = tmp_path_factory.mktemp("video") / "cuts.mp4"
    pictures = np.concatenate([video_files.scene(seed, count) for seed, count in ((1, 20), (2, 30))])
    path.write_bytes(video_files.of_pictures(pictures))
    return path


def span(video: Path, **request: object) -> tuple[float, float]:
    frames = read_clip(str(video), ClipRequest(**request))
    return frames.about["start_seconds"], frames.about["end_seconds"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, (0.0, 2.0)),
        ({"num_frames": 10}, (0.0, 0.4)),
        ({"start_seconds": 0.4, "end_seconds": 1.0}, (0.4, 1.0)),
        ({"start_seconds": 1.0, "end_seconds": 99.0}, (1.0, 2.0)),
        ({"num_frames": 10, "window": 1, "num_windows": 3}, (0.8, 1.2)),
        ({"num_frames": 10, "window": 2, "num_windows": 3}, (1.6, 2.0)),
        ({"shot": "longest"}, (0.8, 2.0)),
        ({"shot": "longest", "num_frames": 10, "window": 1, "num_windows": 2}, (1.6, 2.0)),
        ({"fps": 5.0, "num_frames": 4}, (0.0, 0.8)),
        ({"fps": 5.0, "num_frames": 4, "window": 1, "num_windows": 2}, (1.2, 2.0)),
        ({"fps": 5.0, "num_frames": 4, "start_seconds": 0.5, "end_seconds": 1.2}, (0.5, 1.2)),
    ],
    ids=str,
)
def test_the_span_is_that_of_the_frames(video: Path, request_: dict[str, object], expected: tuple[float, float]) -> None:
    assert span(video, **request_) == pytest.approx(expected)


def test_the_frames_of_a_window_are_those_of_its_span(video: Path) -> None:
    window = read_clip(str(video), ClipRequest(num_frames=7, window=1, num_windows=4))
    again = read_clip(
        str(video), ClipRequest(start_seconds=window.about["start_seconds"], end_seconds=window.about["end_seconds"])
    )
    assert np.array_equal(window.data, again.data)


def test_samples_say_the_span_of_their_window_and_shot(video: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(video.parent / "red.png")
    (video.parent / "clips.csv").write_text("path,caption\ncuts.mp4,x\nred.png,y\n")
    options = {"table": video.parent / "clips.csv", "size": 16, "cuts": "longest", "frames": 10, "windows": 2}
    spec = BuildSpec("table", {**options, "val_share": 0.0, "test_share": 0.0})
    items = {item.key: item.meta for item in open_dataset(build_dataset(spec, tmp_path, num_workers=1).out)["train"]}
    spans = {key: (meta["start_seconds"], meta["end_seconds"]) for key, meta in items.items()}
    assert spans == {"cuts-w0": (0.8, 1.2), "cuts-w1": (1.6, 2.0), "red-w0": (None, None), "red-w1": (None, None)}


@pytest.mark.parametrize("seconds", [1e12, 1e15, 2.0**63, 1e300])
@pytest.mark.parametrize("kind", ["h264", "vp9", "h264-mpegts"])
def test_a_start_beyond_64_bits_is_beyond_the_end(kind: str, seconds: float) -> None:
    from t2vdata.errors import DecodeError

    for fps in (None, 5.0):
        with pytest.raises(DecodeError, match="no frame from"):
            read_clip(video_files.make(kind), ClipRequest(start_seconds=seconds, fps=fps))
