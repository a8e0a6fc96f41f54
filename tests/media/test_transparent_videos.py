"""Hidden colours of videos are white, whichever codec has the transparency."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image

from t2vdata.errors import DecodeError
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video
from t2vdata.media.decode.backends import load

# Container, encoder, pixel format, options.
KINDS = {
    "VP9": ("webm", "libvpx-vp9", "yuva420p", {"auto-alt-ref": "0", "crf": "4"}),
    "VP8": ("webm", "libvpx", "yuva420p", {"auto-alt-ref": "0", "b": "2M"}),
    "ProRes 4444": ("mov", "prores_ks", "yuva444p10le", {}),
    "PNG": ("mov", "png", "rgba", {}),
    "Animation": ("mov", "qtrle", "argb", {}),
    "FFV1": ("matroska", "ffv1", "bgra", {}),
}
NUM_FRAMES = 3


def half_hidden(*, opaque: bool = False) -> np.ndarray:
    """Return a picture whose left half is shown and red, and whose right half is green and, unless ``opaque``, hidden."""
    pixels = np.full((48, 64, 4), 255, np.uint8)
    pixels[:, :32, :3] = (200, 40, 40)
    pixels[:, 32:, :3] = (20, 120, 20)
    pixels[:, 32:, 3] = 255 if opaque else 0
    return pixels


def encoded(name: str) -> bytes:
    container, codec, pixel_format, options = KINDS[name]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(half_hidden(), format="rgba").reformat(format=pixel_format)
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def gif(*, opaque: bool = False) -> bytes:
    file = io.BytesIO()
    pictures = [Image.fromarray(half_hidden(opaque=opaque)).rotate(180 * number) for number in range(2)]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=100, disposal=2)
    return file.getvalue()


@pytest.mark.parametrize("name", KINDS)
def test_hidden_colours_are_white(name: str) -> None:
    data = encoded(name)
    frames = read_clip(data, ClipRequest()).data
    assert len(frames) == NUM_FRAMES
    assert np.abs(frames[:, 24, 8].astype(int) - (200, 40, 40)).max() < 12
    assert frames[:, 24, 56].min() > 250
    assert (read_clip(data, ClipRequest(start_seconds=0.1, num_frames=1)).data == frames[1:2]).all()
    with open_video(data, backend="pyav") as video:
        assert np.array_equal(video.frames_at(range(NUM_FRAMES)), frames)
    for backend in ("torchcodec", "opencv", "decord"):
        if load(backend).why_not("cpu") is None:
            with pytest.raises(DecodeError, match="it is transparent; use backend='pyav'"):
                open_video(data, backend=backend)


def test_the_hidden_parts_of_a_gif_are_white_in_every_backend() -> None:
    frames = read_clip(gif(), ClipRequest()).data
    assert frames[0, 24, 56].min() == frames[1, 24, 8].min() == 255
    assert frames[0, 24, 8].max() < 210
    for backend in ("pyav", "torchcodec", "opencv"):
        if load(backend).why_not("cpu") is None:
            with open_video(gif(), backend=backend) as video:
                assert np.array_equal(video.frames_at(range(2)), frames), backend
