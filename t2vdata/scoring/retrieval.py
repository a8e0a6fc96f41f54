"""What copying gets: for each wanted caption a training clip whose caption is nearest, without a look at any other clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t2vdata.errors import RequestError
from t2vdata.scoring import grammar


def nearest_training_clips(captions: Sequence[str], train_captions: Sequence[str]) -> list[int]:
    """Return, for each caption, the number of a training clip.

    Its caption differs from the wanted one in the fewest words, counted place by place; of those it is the first that was not
    taken for the same caption before, and from the first again when all were. Raises RequestError without training clips.
    """
    if not train_captions:
        raise RequestError("no training clips to take the nearest of; expected one or more")
    meanings: dict[str, list[int]] = {}
    for number, caption in enumerate(train_captions):
        meanings.setdefault(_plain(caption), []).append(number)
    choices: dict[str, list[int]] = {}
    times: dict[str, int] = {}
    found = []
    for caption in map(_plain, captions):
        if caption not in choices:
            apart = {known: _difference(caption, known) for known in meanings}
            least = min(apart.values())
            choices[caption] = sorted(number for known in meanings if apart[known] == least for number in meanings[known])
        turn = times.get(caption, 0)
        times[caption] = turn + 1
        found.append(choices[caption][turn % len(choices[caption])])
    return found


def _plain(caption: str) -> str:
    # All of the grammar's captions have as many words, so that places answer each other.
    grammar.meaning_of(caption)
    return " ".join(caption.lower().rstrip(". ").split())


def _difference(one: str, other: str) -> int:
    return int(np.sum([a != b for a, b in zip(one.split(), other.split(), strict=True)]))
