"""Names of media files: their endings, and the name of a clip without them."""

from __future__ import annotations

VIDEO_ENDINGS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".ogv", ".ogg", ".flv", ".wmv",
    ".asf", ".ivf", ".gif",
)  # fmt: skip
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".apng", ".webp", ".avif", ".heic", ".heif")


def split_ending(name: str, endings: tuple[str, ...] = VIDEO_ENDINGS) -> tuple[str, str]:
    """Return (name without its endings, endings): ``a.b.MP4`` gives ``a.b`` and ``.MP4``, ``a.mp4.mkv`` gives ``a``.

    Downloaders that merge streams into another container write two endings. The second part is empty for another file.
    """
    stem = name
    while (ending := next((ending for ending in endings if stem.lower().endswith(ending)), None)) and len(stem) > len(ending):
        stem = stem[: -len(ending)]
    return stem, name[len(stem) :]
