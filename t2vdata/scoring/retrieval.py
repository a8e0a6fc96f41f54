"""The baseline that copies: for each caption, the training clip with the nearest caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t2vdata.errors import RequestError
from t2vdata.scoring import grammar


def nearest_training_clips(captions: Sequence[str], train_captions: Sequence[str]) -> list[int]:
    """Return, for each caption, the index of a training clip whose caption differs in the fewest words, position by position.

    Ties go in order: repeated captions take the next of the tied clips, and start over when all are used. Raises RequestError
    if there are no training clips.
    """
    if not train_captions:
        raise RequestError("no training clips to choose the nearest from; expected at least one")
    indices_of: dict[str, list[int]] = {}
    for index, caption in enumerate(train_captions):
        indices_of.setdefault(_normalized(caption), []).append(index)
    candidates: dict[str, list[int]] = {}
    num_used: dict[str, int] = {}
    nearest = []
    for caption in map(_normalized, captions):
        if caption not in candidates:
            differences = {known: _difference(caption, known) for known in indices_of}
            least = min(differences.values())
            candidates[caption] = sorted(
                index for known in indices_of if differences[known] == least for index in indices_of[known]
            )
        used = num_used.get(caption, 0)
        num_used[caption] = used + 1
        nearest.append(candidates[caption][used % len(candidates[caption])])
    return nearest


def _normalized(caption: str) -> str:
    # All captions of the grammar have the same number of words, so positions correspond.
    grammar.meaning_of(caption)
    return " ".join(caption.lower().rstrip(". ").split())


def _difference(caption: str, other: str) -> int:
    return int(np.sum([word != other_word for word, other_word in zip(caption.split(), other.split(), strict=True)]))
