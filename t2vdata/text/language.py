"""In which language a sentence is, by py3langid, whose model comes with it: nothing is downloaded.

A sentence of a few words can be in several languages, so the question is not which one is likeliest, but whether the one that
is wanted is out of the question: below 2 % among seventy languages, below 0.1 % for one or two words. Of 6,000 real English
captions of MSVD two were, both in Indian languages, and the only ones; of 4,000 of COCO and of the 400 labels of Kinetics none;
of 49 short captions in fourteen other languages 48 were. Takes 0.07 ms a sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from t2vdata.errors import RequestError, unknown_name

_OUT_OF_THE_QUESTION, _OF_A_WORD_OR_TWO = 0.02, 0.001
# Without the rare ones that the model knows as well, with which it mixes up sentences of three words.
_LANGUAGES = (
    " af ar az bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk kn ko la lt lv mk "
    "ml mn mr ms mt ne nl no pa pl pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh "
)


def check(code: str) -> None:
    """Raise RequestError for a language that is not known, or when py3langid is not installed."""
    if code not in (known := _ranked()("")):
        raise unknown_name("language", code, sorted(known))


def is_in(text: str, code: str) -> bool:
    """Return whether a sentence may be in a language, by its ISO 639-1 code: ``en``."""
    return _ranked()(text)[code] >= (_OUT_OF_THE_QUESTION if len(text.split()) > 2 else _OF_A_WORD_OR_TWO)


def version() -> str:
    """Return the version of the model, which decides what is left out."""
    from importlib import metadata

    return metadata.version("py3langid")


@functools.cache
def _ranked() -> Callable[[str], Mapping[str, float]]:
    """Return the function that gives {code: probability} of a text."""
    try:
        from py3langid import langid
    except ImportError:
        raise RequestError("--language needs py3langid; pip install 't2vdata[language]'") from None
    found = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    found.set_languages([code for code in found.labels if f" {code} " in _LANGUAGES])

    def ranked(text: str) -> Mapping[str, float]:
        return dict(found.rank(text))

    return ranked
