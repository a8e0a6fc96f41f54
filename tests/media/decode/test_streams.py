"""Of several video streams, the one marked as default is read."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from media import numbered_files
from media.numbered_files import numbers_in

from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video


def two_streams(*dispositions: Disposition) -> bytes:
    """Return a Matroska file of streams numbered from 0, from 10, and so on."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        streams = []
        for disposition in dispositions:
            stream = out.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for number in range(4):
            for offset, stream in enumerate(streams):
                picture = np.ascontiguousarray(numbered_files.pictures([10 * offset + number])[0])
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("dispositions", "first"),
    [
        ((Disposition(0), Disposition.default), 10),
        ((Disposition.default, Disposition(0)), 0),
        ((Disposition.default, Disposition.default), 0),
        ((Disposition(0), Disposition(0)), 0),
    ],
)
def test_the_default_stream_is_read_else_the_first(dispositions: tuple[Disposition, ...], first: int) -> None:
    data = two_streams(*dispositions)
    assert numbers_in(read_clip(data, ClipRequest()).data) == list(range(first, first + 4))
    assert numbers_in(read_clip(data, ClipRequest(start_seconds=0.08)).data) == [first + 2, first + 3]
    with open_video(data, backend="pyav") as video:
        assert numbers_in(video.frames_at(range(4))) == list(range(first, first + 4))
