"""What the system, FFmpeg and Pillow raise about one media file, as DecodeError: a context manager for each of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from t2vdata.errors import DecodeError


@contextmanager
def file_errors() -> Iterator[None]:
    """Turn the system's errors about a media file, such as those of a failing disk, into DecodeError."""
    try:
        yield
    except OSError as error:
        raise DecodeError(f"the file cannot be read: {error.strerror or error}") from error


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
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except UnidentifiedImageError as error:
        # Its text has a path or an address in memory, which differ from run to run.
        raise DecodeError(f"its header is damaged or of an unknown kind ({kind})") from error
    except (
        OSError,
        RuntimeError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        EOFError,
        AttributeError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise DecodeError(f"{error or type(error).__name__} ({kind})") from error
