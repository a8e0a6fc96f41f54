"""Test whether a sentence may be in a language, by py3langid. Its model is part of the package: nothing is downloaded.

A sentence of a few words can be in several languages. So the test is not which language is the most probable, but whether
the requested language can be excluded: a probability below 2 % among seventy languages, or below 0.1 % for one or two words.
English was excluded for 2 of 6,000 captions of MSVD (the only two in Indian languages), for none of 4,000 captions of COCO or
of the 400 labels of Kinetics, and for 48 of 49 short captions in fourteen other languages. 0.07 ms per sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from t2vdata import extras
from t2vdata.errors import unknown_name

# Minimum probability of a sentence, and of one or two words.
_MIN_PROBABILITY, _MIN_PROBABILITY_SHORT = 0.02, 0.001
# The rare languages of the model are left out: it confuses sentences of three words with them.
_LANGUAGES = (
    " af ar az bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk kn ko la lt lv mk "
    "ml mn mr ms mt ne nl no pa pl pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh "
)


def check(code: str) -> None:
    """Raise RequestError for an unknown language, or if py3langid is not installed."""
    if code not in (known := load_model()("")):
        raise unknown_name("language", code, sorted(known))


def is_in(text: str, code: str) -> bool:
    """Return whether a sentence may be in a language, given by its ISO 639-1 code such as ``en``."""
    return load_model()(text)[code] >= (_MIN_PROBABILITY if len(text.split()) > 2 else _MIN_PROBABILITY_SHORT)


def version() -> str:
    """Return the version of the model, which affects which captions are excluded."""
    from importlib import metadata

    return metadata.version("py3langid")


@functools.cache
def load_model() -> Callable[[str], Mapping[str, float]]:
    """Return a function from a text to {code: probability}."""
    langid = extras.load("py3langid", "--language").langid
    model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    model.set_languages([code for code in model.labels if f" {code} " in _LANGUAGES])

    def probabilities(text: str) -> Mapping[str, float]:
        return dict(model.rank(text))

    return probabilities
