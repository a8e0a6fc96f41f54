"""The dialogues of a file of VisDial 0.9 or 1.0, kept small: turns are numbers into lists of texts."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2vdata.datasets import _json_items
from t2vdata.errors import RawDataError
from t2vdata.text import captions

URLS = {
    "0.9": "https://computing.ece.vt.edu/~abhshkdz/data/visdial/visdial_0.9_{train,val}.zip",
    "1.0": "visdial_1.0_{train,val,test}.zip from https://visualdialog.org/data",
}
_NONE = -1


@dataclass
class Dialogues:
    """The dialogues of one file. Its questions and answers are its own: another file's have other numbers."""

    path: Path
    questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    image_ids: array[int] = field(default_factory=lambda: array("q"))
    captions: list[str] = field(default_factory=list)
    """VisDial's own caption of each image."""
    _rounds: array[int] = field(default_factory=lambda: array("i"))
    _ends: array[int] = field(default_factory=lambda: array("l"))

    @property
    def version(self) -> str:
        return self.path.stem.split("_")[1]

    @property
    def split(self) -> str:
        return self.path.stem.split("_")[2]

    @property
    def is_coco(self) -> bool:
        """Whether the images are COCO's: those of 1.0's val and test are Flickr's, and their ids mean something else."""
        return self.version == "0.9" or self.split == "train"

    def add(self, dialog: Any) -> None:
        """Take a dialogue as the file has it. Raises KeyError, TypeError or ValueError for what is none."""
        rounds = array("i")
        for turn in dialog["dialog"]:
            answer = turn.get("answer")
            rounds.extend((turn["question"], _NONE if answer is None else answer))
        self.image_ids.append(dialog["image_id"])
        self.captions.append(captions.clean(dialog.get("caption") or ""))
        self._rounds.extend(rounds)
        self._ends.append(len(self._rounds))

    def turns(self, number: int) -> list[dict[str, str | None]] | None:
        """Return question and answer of each turn, None for an answer that is not there; None when a text is not there."""
        start = self._ends[number - 1] if number else 0
        rounds = self._rounds[start : self._ends[number]]
        made: list[dict[str, str | None]] = []
        for question, answer in zip(rounds[::2], rounds[1::2], strict=True):
            if not 0 <= question < len(self.questions) or not _NONE <= answer < len(self.answers):
                return None
            made.append({"question": self.questions[question], "answer": self.answers[answer] if answer >= 0 else None})
        return made


def read(path: Path) -> Dialogues:
    """Return the dialogues of a file named as in the release. Raises RawDataError for what is none, or another release's."""
    found = Dialogues(path)
    for name, item in _json_items.items(path):
        match name:
            case "questions":
                found.questions.append(captions.clean(str(item)))
            case "answers":
                found.answers.append(captions.clean(str(item)))
            case "dialogs":
                try:
                    found.add(item)
                except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                    where = f"{path}, dialog {len(found.image_ids) + 1}"
                    raise RawDataError(f"{where}: {error!r}; expected image_id, caption, and a dialog of numbers") from None
            case "version" if str(item) != found.version:
                raise RawDataError(f"{path} calls itself version {item}; expected {found.version}: was it renamed?")
            case "split" if not str(item).startswith(found.split):
                raise RawDataError(f"{path} calls itself split {item!r}; expected {found.split!r}: was it renamed?")
    if not found.image_ids:
        raise RawDataError(f"{path} has no dialogs; expected a JSON file of VisDial, see {URLS[found.version]}")
    return found


def flat(turns: list[dict[str, str | None]]) -> str:
    """Return a dialogue as one string: each question with a ``?`` unless it has one, its answer, all apart by a blank.

    The ``?`` is that of VisDial's own code (batra-mlp-lab/visdial, data/prepro.py); joining by blanks is ours.
    """
    parts = []
    for turn in turns:
        question = turn["question"] or ""
        parts += [question if question.endswith("?") else f"{question}?", turn["answer"] or ""]
    return " ".join(part for part in parts if part)
