"""Decoding on CUDA: against a layer that stands for the device, and on a real one where there is one."""

from __future__ import annotations

import io
import logging
import threading
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
from media import video_files
from support import skip_or_fail

from t2vdata.errors import DecodeError, RequestError
from t2vdata.media.decode import auto, open_video, torchcodec


class FakeFrames:
    """What of a tensor is asked for."""

    def __init__(self, data: np.ndarray, device: str) -> None:
        self.data = data
        self.shape = data.shape
        self.device = SimpleNamespace(type=device)


class FakeDevice:
    """Stands for ``torchcodec.decoders`` and the card: decodes on the CPU and says that it was the GPU."""

    def __init__(self) -> None:
        self.falls_back = "no"
        self.born_on = "cuda"
        self.at_work = self.most_at_work = self.num_created = 0
        self.lock = threading.Lock()

    def VideoDecoder(self, source: bytes, **options: object) -> FakeDecoder:  # noqa: N802
        assert options == {"dimension_order": "NHWC", "device": "cuda"}
        return FakeDecoder(self, source)


class FakeDecoder:
    def __init__(self, device: FakeDevice, source: bytes) -> None:
        self.device = device
        with av.open(io.BytesIO(source)) as container:
            frames = [
                frame.reformat(format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
                for frame in container.decode(video=0)
            ]
        self.frames = np.stack(frames)
        self.has_decoded = False
        with device.lock:
            device.num_created += 1

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def cpu_fallback(self) -> object:
        falls_back = self.device.falls_back == "at once" or (self.device.falls_back == "later" and self.has_decoded)
        return "Falling back due to: NVcuvid unavailable" if falls_back else None

    def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
        with self.device.lock:
            self.device.at_work += 1
            self.device.most_at_work = max(self.device.most_at_work, self.device.at_work)
        time.sleep(0.005)
        with self.device.lock:
            self.device.at_work -= 1
        self.has_decoded = True
        if self.device.falls_back == "breaks":
            raise RuntimeError("Could not push packet to decoder: card on fire\nand more")
        return SimpleNamespace(data=FakeFrames(self.frames[indices], self.device.born_on))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    reason = torchcodec.why_not("cpu")
    if reason:
        skip_or_fail(f"torchcodec: {reason}")
    fake = FakeDevice()
    monkeypatch.setattr(torchcodec, "_decoders", lambda: fake)
    monkeypatch.setattr(torchcodec, "_no_cuda", lambda device: None)
    return fake


@pytest.fixture(scope="module")
def clip() -> bytes:
    return video_files.make("h264-b-frames")


def test_frames_are_born_on_the_device(device: FakeDevice, clip: bytes) -> None:
    with open_video(clip, backend="torchcodec", device="cuda") as video, open_video(clip, backend="pyav") as same:
        assert (video.backend, video.device, video.num_frames, video.seconds) == ("torchcodec", "cuda", 24, same.seconds)
        frames = video.frames_at([3, 0, 3])
        assert isinstance(frames, FakeFrames)
        assert np.array_equal(frames.data, same.frames_at([3, 0, 3]))


@pytest.mark.parametrize("when", ["at once", "later"])
def test_decoding_on_the_cpu_unsaid_is_refused(device: FakeDevice, clip: bytes, when: str) -> None:
    device.falls_back = when
    with pytest.raises(DecodeError, match=r"NVDEC cannot decode it \(.*NVcuvid unavailable\); use device='cpu'"):  # noqa: SIM117
        with open_video(clip, backend="torchcodec", device="cuda") as video:
            video.frames_at([0])


def test_frames_that_are_not_on_the_device_are_refused(device: FakeDevice, clip: bytes) -> None:
    device.born_on = "cpu"
    with (
        open_video(clip, backend="torchcodec", device="cuda") as video,
        pytest.raises(DecodeError, match=r"gave frames on .*, expected cuda; use device='cpu'"),
    ):
        video.frames_at([0])


def test_rotated_files_are_refused_as_nvdec_does_not_turn(device: FakeDevice) -> None:
    with pytest.raises(DecodeError, match="rotated: NVDEC does not turn frames"):
        open_video(video_files.make("rotated-90"), backend="torchcodec", device="cuda")


@pytest.mark.parametrize("name", ["mpeg4-avi", "h264-mpegts", "gif"])
def test_files_whose_frame_order_only_decoding_shows_are_copied(device: FakeDevice, name: str) -> None:
    data = video_files.make(name)
    with open_video(data, backend="torchcodec", device="cuda") as video, open_video(data, backend="pyav") as same:
        assert video.seconds == same.seconds
        assert np.array_equal(video.frames_at(range(24)).data, same.frames_at(range(24)))


def test_no_more_sessions_than_allowed_decode_at_once(device: FakeDevice, clip: bytes) -> None:
    videos = [open_video(clip, backend="torchcodec", device="cuda") for _ in range(3 * torchcodec.MAX_SESSIONS)]
    threads = [threading.Thread(target=video.frames_at, args=([0, 5],)) for video in videos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert 1 < device.most_at_work <= torchcodec.MAX_SESSIONS


def test_a_session_is_given_back_after_an_error(device: FakeDevice, clip: bytes) -> None:
    with open_video(clip, backend="torchcodec", device="cuda") as video:
        device.falls_back = "breaks"
        for _ in range(2 * torchcodec.MAX_SESSIONS):
            with pytest.raises(DecodeError, match="torchcodec: Could not push packet to decoder: card on fire; use"):
                video.frames_at([0])
        device.falls_back = "no"
        assert video.frames_at([0]).shape == (1, 48, 64, 3)


def test_auto_decodes_on_the_cpu_and_copies_and_says_so(
    device: FakeDevice, clip: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchcodec, "_copied", lambda frames, device: FakeFrames(frames, device))
    monkeypatch.setattr(auto, "_choose", lambda device: "pyav" if device == "cpu" else "torchcodec")
    device.falls_back = "at once"
    with caplog.at_level(logging.WARNING, "t2vdata"), open_video(clip, device="cuda") as video:
        assert (video.backend, video.device) == ("pyav", "cpu")
        assert (video.frames_at([1]).device.type, video.frames_at([1]).shape) == ("cuda", (1, 48, 64, 3))
    assert "NVcuvid unavailable" in caplog.text
    assert "frames are decoded on the CPU and copied" in caplog.text


def test_without_a_cuda_device_the_request_is_refused(clip: bytes) -> None:
    if torchcodec.why_not("cuda") is None:
        pytest.skip("there is a CUDA device")
    for backend in ("auto", "torchcodec"):
        with pytest.raises(RequestError, match=r"torch sees no CUDA device; use device='cpu'|not installed"):
            open_video(clip, backend=backend, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["h264", "h264-b-frames", "variable-rate", "large"])
def test_a_real_gpu_gives_nearly_the_frames_of_the_cpu(name: str) -> None:
    reason = torchcodec.why_not("cuda")
    if reason:
        pytest.skip(reason)
    data = video_files.make(name)
    with open_video(data, backend="torchcodec", device="cuda") as video, open_video(data, backend="pyav") as same:
        assert (video.device, video.seconds) == ("cuda", same.seconds)
        indices = [same.num_frames - 1, 0, same.num_frames // 2]
        frames = video.frames_at(indices)
        assert frames.device.type == "cuda"
        # NVIDIA's colour conversion rounds in its own way.
        assert np.abs(frames.cpu().numpy().astype(int) - same.frames_at(indices)).mean() < 3
