"""Choose FFmpeg's decoder for a stream: the one that decodes transparency too."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from t2vdata.errors import DecodeError

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

# FFmpeg's own decoders of VP8 and VP9 leave out the transparency, which is beside the frames in Matroska and WebM.
_WITH_TRANSPARENCY = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """Return the decoder of a stream, on one thread. Raises DecodeError if its transparency cannot be decoded."""
    import av

    is_transparent = any(name.lower() == "alpha_mode" and value == "1" for name, value in stream.metadata.items())
    name = _WITH_TRANSPARENCY.get(stream.codec_context.name) if is_transparent else None
    if name is None:
        return stream.codec_context
    try:
        decoder = cast("VideoCodecContext", av.CodecContext.create(name, "r"))
    except ValueError as error:
        raise DecodeError(f"it is transparent, and this FFmpeg has no {name} to decode that") from error
    decoder.thread_count, decoder.thread_type = 1, "NONE"
    return decoder
