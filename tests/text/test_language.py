"""Captions that cannot be in a language are excluded."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from t2vdata.errors import RequestError, UnknownNameError
from t2vdata.text import language

ENGLISH = [
    "a man plays the guitar",
    "the digit 9 is moving down and up",
    "A dog.",
    "two kids run",
    "someone is slicing an onion",
]
OTHERS = [
    "Ein Mann spielt Gitarre", "Un homme joue de la guitare", "Un hombre toca la guitarra", "Un uomo suona la chitarra",
    "Een man speelt gitaar", "Moški igra kitaro", "Un bărbat cântă la chitară", "Bir adam gitar çalıyor",  # noqa: RUF001
    "Seorang pria bermain gitar", "एक आदमी गिटार बजा रहा है", "一个男人在弹吉他", "Мужчина играет на гитаре",
    "En man spelar gitarr på scenen",
]  # fmt: skip


@pytest.mark.parametrize("text", ENGLISH)
def test_english_may_be_english(text: str) -> None:
    assert language.is_in(text, "en")


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_cannot_be(text: str) -> None:
    assert not language.is_in(text, "en")


def test_a_caption_may_be_in_several_languages() -> None:
    assert language.is_in("Ein Mann spielt Gitarre", "de")
    assert language.is_in("Ein Hund", "de")
    assert language.is_in("Ein Hund", "en")


@pytest.mark.real
def test_hardly_any_real_english_caption_is_excluded(shared: Path) -> None:
    annotations = json.loads((shared / "data/real/coco/annotations/captions_val2017_half.json").read_text())
    texts = random.Random(0).sample([annotation["caption"] for annotation in annotations["annotations"]], 2000)
    assert sum(not language.is_in(text, "en") for text in texts) <= 2


def test_an_unknown_language_is_named() -> None:
    language.check("en")
    with pytest.raises(UnknownNameError, match="no language 'english'; expected one of af, ar"):
        language.check("english")


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    language.load_model.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(
        RequestError, match=r"--language needs py3langid, which is not installed: pip install 't2vdata\[language\]'"
    ):
        language.check("en")
    language.load_model.cache_clear()
