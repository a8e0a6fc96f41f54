"""The bytes of a spec, recorded before the redesign of November 2026: no refactoring changes a shard, index or manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import skip_or_fail

from t2vdata import BuildSpec, build_dataset
from t2vdata.media.encode import encoding

RECORDED = json.loads(Path(__file__).with_name("digests.json").read_text())
TABLES = ("index.parquet", "manifest.json", "rejects.parquet", "vocabulary.json")
MNIST_MOTION: Mapping[str, Mapping[str, Any]] = {
    "mnist-motion": {"n": 120, "holdout": 4},
    "mnist-motion two digits": {"n": 60, "digits": 2, "frames": 8, "size": 48},
    "mnist-motion h264": {"n": 40, "frames": 8, "size": 32, "digit_size": 14},
}
CLIPS = """path,caption,start,end
kinetics/torchvision/R6llTwEh07w.mp4,a man talks to a camera,2,4
misc-torchvision/basketball.mp4,people play basketball,0,2
msvd/YouTubeClips/WTf5EgVY5uU_124_128.avi,somebody slices something,1,3
torchcodec/nasa_13013.mp4,a rocket and an astronaut,3,5
torchcodec/testsrc2_mpeg4.avi,a test picture,,
missing.mp4,a file that is not there,,
"""


def digests(folder: Path) -> dict[str, str]:
    """Return {name: SHA-256} of the shards and tables of a dataset, the manifest without the versions that built it."""
    names = [*(path.name for path in folder.glob("*.tar")), *(name for name in TABLES if (folder / name).exists())]
    contents = {name: (folder / name).read_bytes() for name in sorted(names)}
    manifest = json.loads(contents["manifest.json"])
    check_versions(manifest.pop("built_with"))
    contents["manifest.json"] = json.dumps(manifest, sort_keys=True).encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def check_versions(built_with: Mapping[str, str]) -> None:
    """Skip unless the libraries that make the bytes are those of the recording: another FFmpeg gives other pixels."""
    versions = {name: version for name, version in built_with.items() if name not in ("python", "t2vdata")}
    if versions != RECORDED["built_with"]:
        skip_or_fail(f"recorded with {RECORDED['built_with']}, this is {versions}")


@pytest.mark.parametrize("name", MNIST_MOTION)
def test_mnist_motion_has_the_bytes_it_always_had(name: str, tmp_path: Path) -> None:
    spec = BuildSpec(
        "mnist-motion", MNIST_MOTION[name], encoding=encoding("h264" if "h264" in name else "lossless"), shard_size=50
    )
    build_dataset(spec, tmp_path / "out", num_workers=1)
    assert digests(tmp_path / "out") == RECORDED[name]


@pytest.mark.real
@pytest.mark.parametrize("name", ["lossless", "jpeg", "h264"])
def test_five_real_clips_have_the_bytes_they_always_had(name: str, tmp_path: Path, shared: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(CLIPS)
    options = {"table": table, "frames": 12, "size": 64}
    spec = BuildSpec("table", options, encoding=encoding(name), shard_size=3, root=str(shared / "data" / "real"))
    build_dataset(spec, tmp_path / "out", num_workers=1)
    assert digests(tmp_path / "out") == RECORDED[f"real clips, {name}"]
