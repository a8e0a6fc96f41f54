"""Draw captions in any script, as far as fonts go: the font in Pillow, the font in this package, then fonts of the system.

Pillow's font has little beyond ASCII; that of the package, a part of DejaVu Sans, has Latin, Greek, Cyrillic, Armenian and
Georgian letters and many symbols. What no font has is written without its accent or as its plain form if it has one; else,
such as Japanese without a font for it, it is a box, and is named in ``missing``.
"""

from __future__ import annotations

import importlib.resources
import io
import os
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import ImageDraw

SIZE = 13
# Files of widespread fonts: other alphabets; Chinese, Japanese and Korean; other scripts; symbols and emoji.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Regular.otf", "unifont.ttf",
    "unifont.otf", "Symbola.ttf", "NotoEmoji-Regular.ttf", "Arial Unicode.ttf", "seguisym.ttf", "msgothic.ttc",
)  # fmt: skip
_PACKAGED_FONT = "DejaVuSans-subset.ttf"
_NO_CHARACTER = "\U0010ffff"


class Lettering:
    """Measures and draws text with the first font that has each of its characters."""

    def __init__(self, *, with_system_fonts: bool) -> None:
        """Without system fonts, a text looks the same on every machine."""
        from PIL import ImageFont

        packaged = importlib.resources.files("t2vdata.inspect").joinpath(_PACKAGED_FONT).read_bytes()
        self._fonts: list[Any] = [ImageFont.load_default(size=SIZE), ImageFont.truetype(io.BytesIO(packaged), SIZE)]
        # Fonts differ in the height above it.
        self._baseline = self._fonts[0].getmetrics()[0]
        self._names = list(_SYSTEM_FONTS) if with_system_fonts else []
        self._font_of: dict[str, int | None] = {}
        self.missing: dict[str, None] = {}
        """The characters that were drawn as boxes, in order."""

    def length(self, text: str) -> float:
        """Return the width of a text in pixels."""
        return float(sum(font.getlength(run) for font, run in self._runs(text)))

    def draw(self, drawing: ImageDraw.ImageDraw, left: float, top: float, text: str, *, fill: tuple[int, int, int]) -> None:
        """Draw a line of text."""
        for font, run in self._runs(text):
            drawing.text((left, top + self._baseline), run, fill=fill, font=font, anchor="ls")
            left += font.getlength(run)

    def _runs(self, text: str) -> Iterator[tuple[Any, str]]:
        """Yield (font, text) of adjacent characters that share a font."""
        run, current = "", self._fonts[0]
        for character in unicodedata.normalize("NFC", text):
            font, drawn = self._choose(character)
            if run and font is not current:
                yield current, run
                run = ""
            run, current = run + drawn, font
        if run:
            yield current, run

    def _choose(self, character: str) -> tuple[Any, str]:
        match unicodedata.category(character):
            case "Cf":
                # Joiners, and marks that would turn the direction of what follows.
                return self._fonts[0], ""
            case "Cc" | "Cs" if not character.isspace():
                # Control characters and halves of surrogate pairs, which Pillow cannot draw.
                character = "\ufffd"
        font = self._font_with(character)
        if font is not None:
            return font, character
        plain = _without_accents(character)
        if not plain and unicodedata.combining(character):
            return self._fonts[0], ""
        if not plain:
            self.missing[character] = None
        return self._fonts[0], plain or character

    def _font_with(self, character: str) -> Any:
        if character not in self._font_of:
            self._font_of[character] = next((i for i, font in self._all_fonts() if _has(font, character)), None)
        index = self._font_of[character]
        return None if index is None else self._fonts[index]

    def _all_fonts(self) -> Iterator[tuple[int, Any]]:
        """Yield the fonts, opening those of the system when they are needed."""
        from PIL import ImageFont

        yield from enumerate(self._fonts)
        while self._names:
            try:
                font = ImageFont.truetype(self._names.pop(0), SIZE)
            except OSError:
                continue
            self._fonts.append(font)
            yield len(self._fonts) - 1, font


def _has(font: Any, character: str) -> bool:
    if character.isspace():
        return True
    return bytes(font.getmask(character)) != bytes(font.getmask(_NO_CHARACTER))


def _without_accents(character: str) -> str:
    letters = unicodedata.normalize("NFKD", character)
    return "".join(letter for letter in letters if letter.isascii() and letter.isprintable())


def missing_fonts(missing: dict[str, None]) -> str:
    """Return what to say about characters that no font has."""
    kind = "Arial Unicode" if os.name == "nt" else "Noto Sans CJK or Noto Emoji"
    return f"no font here has {shown_characters(missing)}: drawn as boxes; install a font such as {kind}"


def shown_characters(missing: dict[str, None]) -> str:
    """Return some characters for a message."""
    return " ".join(list(missing)[:12]) + (" ..." if len(missing) > 12 else "")
