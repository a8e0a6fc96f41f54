"""Batches on another device: a fake device, or a GPU if the machine has one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import ROOT

import t2vdata
from t2vdata.build.run import BuildSpec, build_dataset
from t2vdata.errors import DataError, DecodeError, RequestError
from t2vdata.format.dataset import Dataset
from t2vdata.loading import Batch, Loader, LoadSpec, Resources, device, pipeline
from t2vdata.media import decode
from t2vdata.media.decode import torchcodec
from t2vdata.media.encode import H264


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """RGB clips in H.264, 12 frames of 40x32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tests" / "examples")
        spec = BuildSpec("mydata.mixed", options={"same": True}, encoding=H264())
        return t2vdata.open_dataset(build_dataset(spec, tmp_path_factory.mktemp("films") / "out", num_workers=1).out)


class FakeGpu:
    """Decodes like NVDEC: torch tensors come out. It lies in this machine's memory, and counts who uses it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[str] = []
        self.broken: set[int] = set()
        monkeypatch.setattr(device, "why_not_on_device", lambda name, extensions, pixels: None)
        monkeypatch.setattr(device, "open_video", self.open)
        # A device of torch that is not the CPU, and yet in this machine's memory.
        monkeypatch.setattr(torch, "device", lambda name: FakeDevice())
        monkeypatch.setattr(pipeline, "DeviceBuffers", lambda name: device.DeviceBuffers("cpu"))

    def open(self, data: bytes, *, backend: str, device: str) -> Any:
        assert backend == "torchcodec"
        self.opened.append(device)
        if len(self.opened) in self.broken:
            raise DecodeError("NVDEC cannot decode it")
        return FakeVideo(decode.open_video(data, backend="pyav"))


class FakeDevice:
    type = "fake"


class FakeVideo:
    def __init__(self, inner: decode.Video) -> None:
        self._inner, self.num_frames = inner, inner.num_frames

    def frames_at(self, indices: list[int]) -> torch.Tensor:
        return torch.from_numpy(self._inner.frames_at(indices))

    def __enter__(self) -> FakeVideo:
        return self

    def __exit__(self, *error: object) -> None:
        self._inner.close()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    monkeypatch.setattr(Batch, "to", lambda batch, where, non_blocking: batch)
    return FakeGpu(monkeypatch)


def read(dataset: Dataset, where: str, **settings: Any) -> list[Batch]:
    spec = LoadSpec(batch_size=5, **settings)
    return list(Loader(dataset["train"], spec, seed=1, resources=Resources(workers=2, device=where)))


@pytest.mark.parametrize(
    "settings",
    [{}, {"num_frames": 4}, {"crop": (20, 16), "crop_at": "random", "flip": True}, {"channels": 1}, {"dtype": "float32"}],
)
def test_a_device_decodes_the_batches_of_the_cpu(films: Dataset, settings: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = read(films, "cpu", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "to", lambda batch, where, non_blocking: batch)
        gpu = FakeGpu(patch)
        on_device = read(films, "cuda:1", **settings)
    assert gpu.opened == ["cuda:1"] * 24
    for actual, expected in zip(on_device, on_cpu, strict=True):
        assert actual.keys == expected.keys
        assert torch.equal(actual.video, expected.video)


def test_resizing_on_a_device_is_close_to_resizing_on_the_cpu(films: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, tolerance in [((16, 20), 12), ((64, 80), 4)]:
        on_cpu = read(films, "cpu", resize=size)
        with monkeypatch.context() as patch:
            patch.setattr(Batch, "to", lambda batch, where, non_blocking: batch)
            FakeGpu(patch)
            on_device = read(films, "cuda", resize=size)
        for actual, expected in zip(on_device, on_cpu, strict=True):
            difference = (actual.video.int() - expected.video.int()).abs()
            assert difference.max() <= tolerance
            assert difference.float().mean() < 1


def test_a_clip_that_a_device_cannot_decode_is_a_bad_sample(films: Dataset, gpu: FakeGpu) -> None:
    gpu.broken = {3}
    with pytest.raises(DataError, match=r"train-00.. cannot be loaded: DecodeError: NVDEC cannot decode it"):
        read(films, "cuda")
    gpu.opened.clear()
    reading = Loader(films["train"], LoadSpec(batch_size=5, on_error="count"), resources=Resources(device="cuda"))
    assert sum(len(batch) for batch in reading) == 23
    assert reading.tally.failed == {"DecodeError": 1}


def test_small_clips_and_lossless_arrays_are_decoded_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchcodec, "why_not", lambda name: None)
    large = device.MIN_PIXELS
    assert device.why_not_on_device("cuda", ("mp4",), large) is None
    assert "below 1,048,576" in str(device.why_not_on_device("cuda", ("mp4",), large - 1))
    assert device.why_not_on_device("cuda", ("npy.zst",), large) == "npy.zst is not a video that a GPU decodes"
    assert device.why_not_on_device("cuda", ("mp4", "npy.zst"), large) == "mp4, npy.zst is not a video that a GPU decodes"


def test_the_log_says_where_clips_are_decoded(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchcodec, "why_not", lambda name: None)
    with caplog.at_level(logging.INFO, "t2vdata"):
        assert device.decodes_on_device("cuda", ("mp4",), 1 << 21, None)
        assert not device.decodes_on_device("cuda", ("mp4",), 100, None)
        assert not device.decodes_on_device("cuda", ("mp4",), 1 << 21, requested=False)
    messages = [record.message for record in caplog.records]
    assert messages[0] == "clips are decoded on cuda, by NVDEC"
    assert messages[1].startswith("clips are decoded on the CPU and copied to cuda (clips of 100 pixels")
    assert messages[2] == "clips are decoded on the CPU and copied to cuda (as requested)"


def test_requesting_decoding_on_a_device_raises_if_it_is_impossible(films: Dataset) -> None:
    resources = Resources(device="cuda", decode_on_device=True)
    with pytest.raises(RequestError, match="cannot decode on cuda: clips of 15,360 pixels are decoded faster on the CPU"):
        Loader(films["train"], resources=resources)


def test_batches_decoded_on_the_cpu_are_copied_asynchronously(films: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = []
    monkeypatch.setattr(Batch, "to", lambda batch, where, *, non_blocking: moves.append((str(where), non_blocking)) or batch)
    batches = list(Loader(films["train"], LoadSpec(batch_size=12), resources=Resources(device="meta")))
    assert moves == [("meta", True)] * 2
    assert np.array_equal(sorted(key for batch in batches for key in batch.keys), sorted(films["train"].keys))


@pytest.mark.gpu
def test_batches_on_a_gpu_equal_those_of_the_cpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tests" / "examples")
        spec = BuildSpec("mydata.mixed", options={"same": True}, encoding=H264())
        dataset = t2vdata.open_dataset(build_dataset(spec, tmp_path / "out", num_workers=1).out)
    on_cpu = read(dataset, "cpu")
    for actual, expected in zip(read(dataset, "cuda"), on_cpu, strict=True):
        assert actual.video.device.type == "cuda"
        assert torch.equal(actual.video.cpu(), expected.video)
    patch = pytest.MonkeyPatch()
    patch.setattr(device, "MIN_PIXELS", 1)
    try:
        for actual, expected in zip(read(dataset, "cuda"), on_cpu, strict=True):
            assert (actual.video.cpu().float() - expected.video.float()).abs().mean() < 4
    finally:
        patch.undo()
