"""The torchcodec backend: the machine's FFmpeg on the CPU, NVDEC on CUDA. The only backend that imports torch."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from t2vdata.errors import DecodeError, NvdecError, RequestError
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.installed import installed_version
from t2vdata.media.decode.probe import Probe
from t2vdata.media.decode.remux import Readable, readable
from t2vdata.media.decode.video import Reader, Video, VideoInfo
from t2vdata.media.display_geometry import UPRIGHT

# Decoding sessions of this process on the GPU at once. Cards have 1 to 7 NVDEC engines, and each session takes GPU memory.
MAX_SESSIONS = 4
_sessions = threading.BoundedSemaphore(MAX_SESSIONS)


def why_not(device: str) -> str | None:
    """Return why torchcodec cannot decode on ``device``, or None."""
    on_cuda = device == "cuda" or device.startswith("cuda:")
    if device != "cpu" and not on_cuda:
        return f"no device {device!r}; expected cpu or cuda"
    for name in ("torch", "torchcodec"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed; pip install torch torchcodec"
    try:
        _decoders()
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        return f"does not load: {reason}; install FFmpeg's shared libraries and a torchcodec made for this torch"
    return _no_cuda(device) if on_cuda else None


def version() -> str | None:
    return installed_version("torchcodec")


def about_torch() -> dict[str, str]:
    """Return torch's version and its GPUs, as text for `t2vdata doctor`."""
    if importlib.util.find_spec("torch") is None:
        return {"torch": "not installed", "CUDA": "unknown without torch"}
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    built = f"torch is built for {torch.version.cuda}" if torch.version.cuda else "torch is built for the CPU"
    return {"torch": str(torch.__version__), "CUDA": f"{', '.join(names) or 'no device'} ({built})"}


def open(source: bytes | str, device: str) -> Video:
    """Open a video file with torchcodec; on CUDA, frames are decoded there and stay there, as a tensor.

    On CUDA frames are counted by their packets, without decoding them on the CPU first, so damage inside a packet goes
    unnoticed. Raises DecodeError if NVDEC cannot decode the file, where torchcodec alone would silently use the CPU.
    """
    on_cuda = device != "cpu"
    probe = probing.probe(source, decodes=not on_cuda)
    reader: Reader = _CudaReader(probe, device) if on_cuda else _CpuReader(readable(probe))
    return Video(reader, VideoInfo.of(probe), backend="torchcodec", device=device)


class _CpuReader:
    def __init__(self, file: Readable) -> None:
        self._file = file
        with _decode_errors():
            self._decoder: Any = _decoders().VideoDecoder(
                file.source, dimension_order="NHWC", num_ffmpeg_threads=1, device="cpu"
            )
        if len(self._decoder) != file.num_frames:
            raise DecodeError(f"torchcodec counts {len(self._decoder)} frames of {file.num_frames}; use backend='pyav'")

    def frames_at(self, indices: Sequence[int]) -> Any:
        with _decode_errors():
            frames = self._decoder.get_frames_at([index + self._file.first for index in indices]).data
        return self._file.orientation.upright(frames.numpy())

    def close(self) -> None:
        self._decoder = None


class _CudaReader:
    """Holds no session between requests, so any number of videos may be open; at most MAX_SESSIONS decode at once."""

    def __init__(self, probe: Probe, device: str) -> None:
        if probe.geometry.orientation != UPRIGHT:
            raise NvdecError("rotated: NVDEC does not turn frames; use device='cpu'")
        self._file = readable(probe)
        self._device = device
        with self._session():
            pass

    def frames_at(self, indices: Sequence[int]) -> Any:
        with self._session() as decoder:
            frames = decoder.get_frames_at([index + self._file.first for index in indices]).data
            # FFmpeg's own CUDA path reports a fallback only after the first frame.
            _check_nvdec(decoder)
            if frames.device.type != "cuda":
                raise NvdecError(f"torchcodec gave frames on {frames.device}, expected {self._device}; use device='cpu'")
            return frames

    def close(self) -> None:
        """Do nothing: no session is held between requests."""

    @contextmanager
    def _session(self) -> Iterator[Any]:
        with _sessions, _decode_errors():
            decoder = _decoders().VideoDecoder(self._file.source, dimension_order="NHWC", device=self._device)
            _check_nvdec(decoder)
            if len(decoder) != self._file.num_frames:
                raise DecodeError(f"torchcodec counts {len(decoder)} frames of {self._file.num_frames}; use device='cpu'")
            yield decoder


def uploading(video: Video, device: str) -> Video:
    """Return ``video`` so that its frames, decoded on the CPU, are copied to ``device`` asynchronously from pinned memory."""
    inner = video._reader
    if inner is None:
        raise RequestError("the video is closed; open it again")
    return Video(_Uploading(inner, device), VideoInfo.of(video), backend=video.backend, device="cpu")


class _Uploading:
    def __init__(self, inner: Reader, device: str) -> None:
        self._inner = inner
        self._device = device

    def frames_at(self, indices: Sequence[int]) -> Any:
        return _copied(self._inner.frames_at(indices), self._device)

    def close(self) -> None:
        self._inner.close()


def _copied(frames: Any, device: str) -> Any:
    import torch

    # Torch keeps pinned memory until the copy is done.
    return torch.from_numpy(frames).pin_memory().to(device, non_blocking=True)


def _decoders() -> Any:
    from torchcodec import decoders

    return decoders


def _no_cuda(device: str) -> str | None:
    import torch

    if not torch.cuda.is_available():
        return "torch sees no CUDA device; use device='cpu', or install a driver and a torch built for CUDA"
    number = device.partition(":")[2]
    if number and not (number.isdigit() and int(number) < torch.cuda.device_count()):
        return f"torch sees {torch.cuda.device_count()} CUDA devices; use cuda:0 to cuda:{torch.cuda.device_count() - 1}"
    return None


def _check_nvdec(decoder: Any) -> None:
    if decoder.cpu_fallback:
        raise NvdecError(f"NVDEC cannot decode it ({decoder.cpu_fallback}); use device='cpu'")


@contextmanager
def _decode_errors() -> Iterator[None]:
    """Turn torchcodec's errors about a file into DecodeError."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        raise DecodeError(f"torchcodec: {str(error).strip().split(chr(10))[0]}; use backend='pyav'") from error
