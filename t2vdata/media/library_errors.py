"""What FFmpeg and Pillow raise about the content of a file, as DecodeError: one context manager for each library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from t2vdata.errors import DecodeError


@contextmanager
def ffmpeg_errors() -> Iterator[None]:
    """Turn FFmpeg's errors into DecodeError."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise DecodeError(f"{error.strerror or error} (FFmpeg)") from error


@contextmanager
def pillow_errors(kind: str) -> Iterator[None]:
    """Turn what Pillow raises about a picture of this format into DecodeError; only calls of Pillow belong inside.

    Pillow has no base class for such errors, and parsers of damaged bytes raise whatever Python does.
    """
    from PIL import Image

    try:
        yield
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        EOFError,
        AttributeError,
        NotImplementedError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise DecodeError(f"{error or type(error).__name__} ({kind})") from error
