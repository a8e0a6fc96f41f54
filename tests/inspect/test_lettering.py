"""Captions in a picture: letters of many scripts, and no character that stops the drawing."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from t2vdata.inspect.lettering import Lettering, missing_fonts


def drawn(text: str, lettering: Lettering) -> bytes:
    picture = Image.new("RGB", (round(lettering.length(text)) + 4, 20), "white")
    lettering.draw(ImageDraw.Draw(picture), 2, 2, text, fill=(0, 0, 0))
    return picture.tobytes()


TEXTS = {
    "ascii": "plain ASCII",
    "latin": "Bär, café, groß, łódź, ő, “so” … €, tiếng Việt, İstanbul",
    "cyrillic": "Кошка бежит, ґ, ђ",
    "greek": "\u0397 \u03b3άτ\u03b1 τρέχει",
    "symbols": "\u2013 → ∀ ★ ☺ ½ m²",
    "wide": "\uff21\uff22\uff23",
    "accent": "e\u0301",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_letters_of_european_scripts_are_drawn_on_every_machine(text: str) -> None:
    lettering = Lettering(with_system_fonts=False)
    drawn(text, lettering)
    assert not lettering.missing


def test_the_letters_differ_from_boxes_and_from_each_other() -> None:
    lettering = Lettering(with_system_fonts=False)
    assert len({drawn(letter, lettering) for letter in "aäжλ猫"}) == 5


def test_what_no_font_has_is_named() -> None:
    lettering = Lettering(with_system_fonts=False)
    drawn("a 猫 and 日本", lettering)
    assert list(lettering.missing) == ["猫", "日", "本"]
    assert missing_fonts(lettering.missing).startswith("no font here has 猫 日 本: drawn as boxes; install a font such as")


ODD_TEXTS = ["half \ud83d of a pair", "\x1b[31m\x00\x9b", "\u202eturned\u2066\u200d\ufeff", "\U0010ffff", ""]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_no_character_stops_the_drawing(text: str) -> None:
    for with_system_fonts in (False, True):
        assert drawn(text, Lettering(with_system_fonts=with_system_fonts))


def test_marks_of_the_writing_direction_draw_nothing() -> None:
    lettering = Lettering(with_system_fonts=False)
    assert drawn("\u202ecat\u202c", lettering) == drawn("cat", lettering)


def test_an_accent_of_its_own_is_drawn_as_part_of_its_letter() -> None:
    lettering = Lettering(with_system_fonts=False)
    assert drawn("cafe\u0301", lettering) == drawn("café", lettering)
