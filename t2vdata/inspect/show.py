"""Pictures of clips with their captions: contact sheets and animated GIFs."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2vdata import storage
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Dataset, Item, Split
from t2vdata.inspect.lettering import SIZE, Lettering, missing_fonts, shown_characters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SHEET_FRAMES = 8
# Small frames are enlarged to about this size by an integer factor, so that pixels stay sharp.
_TILE, _GAP, _FONT_SIZE = 96, 4, SIZE
_PAPER, _INK = (255, 255, 255), (40, 40, 40)
_MAX_CLIPS = 100
# Maximum number of lines of a caption, and of a turn of a dialogue.
_CAPTION_LINES, _TURN_LINES, _MAX_TURNS = 4, 2, 20
# More characters than that never fit the lines.
_MAX_CHARACTERS = 2000


def choose(dataset: Dataset, *, keys: Sequence[str] = (), split: str | None = None, num_random: int | None = None,
           seed: int = 0) -> list[Item]:  # fmt: skip
    """Return the clips with ``keys``, or ``num_random`` random clips of a split, or its first four.

    ``split`` defaults to the first split with clips. Raises UnknownNameError for an unknown key or split, RequestError where
    there is no clip to show.
    """
    if keys and num_random is not None:
        raise RequestError("expected keys or --random, not both")
    if keys:
        return [dataset.find(key) for key in keys]
    clips = dataset[_first_split(dataset) if split is None else split]
    if not len(clips):
        raise RequestError(
            f"split {clips.name!r} of {dataset.path} has no clip to show; `t2vdata stats` says what became of them"
        )
    if num_random is None:
        return clips[:4]
    max_random = min(len(clips), _MAX_CLIPS)
    if not 1 <= num_random <= max_random:
        raise RequestError(f"--random {num_random}: expected 1 to {max_random} clips of split {clips.name!r}")
    import numpy as np

    order = np.argsort(np.random.PCG64([seed]).random_raw(len(clips)), kind="stable")
    return [clips[int(index)] for index in order[:num_random]]


def _first_split(dataset: Dataset) -> str:
    """Return the first split with clips: filters may have rejected all clips of a split. The first where none has."""
    return next((name for name, entry in dataset.manifest.splits.items() if entry.shards), next(iter(dataset.splits), "train"))


def write(items: Sequence[Item], out: str) -> str | None:
    """Write a contact sheet (``.png``) or an animation (``.gif``) of clips; return which characters no font has, if any.

    Raises RequestError for other file names.
    """
    lettering = Lettering(with_system_fonts=True)
    match os.path.splitext(out)[1].lower():
        case ".png":
            picture = contact_sheet(items, lettering=lettering)
        case ".gif":
            picture = animation(items, lettering=lettering)
        case _:
            raise RequestError(f"--out {out}: expected a name that ends in .png (contact sheet) or .gif (animation)")
    storage.write_whole(out, picture)
    return missing_fonts(lettering.missing) if lettering.missing else None


def preview(dataset: Dataset) -> tuple[bytes, str | None]:
    """Return a contact sheet of a dataset's first clips, and which characters its font lacks, if any.

    Only the index rows of their shard are read.
    """
    name = _first_split(dataset)
    first = dataset.manifest.splits[name].shards[0]
    split = Split(dataset.path, name, (first,), dataset.manifest.shard_range(name)[:1], dataset.fingerprint)
    # The same on every machine, whatever fonts it has.
    lettering = Lettering(with_system_fonts=False)
    picture = contact_sheet(split[:4], lettering=lettering)
    return picture, f"no letters for {shown_characters(lettering.missing)}" if lettering.missing else None


def contact_sheet(items: Sequence[Item], *, num_frames: int = SHEET_FRAMES, lettering: Lettering | None = None) -> bytes:
    """Return a PNG with a row per clip: ``num_frames`` frames from first to last, left to right, and the caption below."""
    import numpy as np
    from PIL import Image

    lettering = Lettering(with_system_fonts=True) if lettering is None else lettering
    rows = []
    for item in items:
        data = item.frames.data
        shown = np.linspace(0, len(data) - 1, min(num_frames, len(data))).round().astype(int)
        rows.append(_with_caption(_strip([_enlarged(frame) for frame in data[shown]]), item, lettering))
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), _PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def animation(items: Sequence[Item], *, num_columns: int = 4, lettering: Lettering | None = None) -> bytes:
    """Return a GIF of clips side by side with their captions, at the rate of the first and as long as the longest."""
    from PIL import Image

    lettering = Lettering(with_system_fonts=True) if lettering is None else lettering
    pictures = []
    for index in range(max(item.frames.num_frames for item in items)):
        tiles = []
        for item in items:
            data = item.frames.data
            # A shorter clip holds its last frame.
            tiles.append(_with_caption(_enlarged(data[min(index, len(data) - 1)], 2 * _TILE), item, lettering))
        pictures.append(_grid(tiles, num_columns))
    file = io.BytesIO()
    # GIF delays are 16 bits of hundredths of a second, and viewers play delays under two hundredths slower.
    milliseconds = min(max(20, round(100 / items[0].frames.fps) * 10), 0xFFFF * 10)
    if all(item.frames.data.shape[3] == 1 for item in items):
        # The 256 colours of a GIF suffice for all grey levels.
        frames = [picture.convert("L") for picture in pictures]
    else:
        frames = [picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for picture in pictures]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return file.getvalue()


def _enlarged(frame: NDArray[np.uint8], tile: int = _TILE) -> Image.Image:
    """Return a frame, (H, W, 1 or 3), as a picture of about ``tile`` pixels."""
    from PIL import Image

    picture = Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame).convert("RGB")
    longest = max(picture.size)
    if longest > 2 * tile:
        scale = 2 * tile / longest
        return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    factor = max(1, round(tile / longest))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _strip(pictures: Sequence[Image.Image]) -> Image.Image:
    from PIL import Image

    width = sum(picture.width + _GAP for picture in pictures) - _GAP
    strip = Image.new("RGB", (width, max(picture.height for picture in pictures)), _PAPER)
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + _GAP
    return strip


def _with_caption(picture: Image.Image, item: Item, lettering: Lettering) -> Image.Image:
    """Return a picture with the first caption below it, followed by the dialogue if there is one."""
    from PIL import Image, ImageDraw

    lines = _wrapped(item.captions[0], picture.width, lettering, _CAPTION_LINES)
    for question, answer in _dialogue(item):
        lines += _wrapped(f"- {question.rstrip('?')}? {answer}", picture.width, lettering, _TURN_LINES)
    height = picture.height + len(lines) * (_FONT_SIZE + 3) + 2 * _GAP
    framed = Image.new("RGB", (picture.width + 2 * _GAP, height + _GAP), _PAPER)
    framed.paste(picture, (_GAP, _GAP))
    text = ImageDraw.Draw(framed)
    for index, line in enumerate(lines):
        lettering.draw(text, _GAP, picture.height + _GAP + 1 + index * (_FONT_SIZE + 3), line, fill=_INK)
    return framed


def _dialogue(item: Item) -> list[tuple[str, str]]:
    """Return the questions and answers of a clip; other values under that name, which any dataset may have, are left out."""
    dialogue = item.meta.get("dialogue")
    turns = [turn for turn in dialogue if isinstance(turn, dict)] if isinstance(dialogue, list) else []
    texts = [(turn.get("question"), turn.get("answer") or "") for turn in turns[:_MAX_TURNS]]
    return [(question, answer) for question, answer in texts if isinstance(question, str) and isinstance(answer, str)]


def _wrapped(text: str, width: int, lettering: Lettering, max_lines: int) -> list[str]:
    """Return a text as at most ``max_lines`` lines that fit the width."""
    # No character is narrower than a pixel, and Pillow draws no text of a million.
    text = text[: (max_lines + 1) * width]
    lines = [""]
    for word in text[:_MAX_CHARACTERS].split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and lettering.length(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines if len(lines) <= max_lines else [*lines[: max_lines - 1], lines[max_lines - 1] + " ..."]


def _grid(tiles: Sequence[Image.Image], num_columns: int) -> Image.Image:
    from PIL import Image

    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    columns = min(num_columns, len(tiles))
    grid = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), _PAPER)
    for index, tile in enumerate(tiles):
        grid.paste(tile, (index % columns * width, index // columns * height))
    return grid
