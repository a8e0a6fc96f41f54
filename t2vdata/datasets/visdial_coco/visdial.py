"""Read the dialogues of a VisDial 0.9 or 1.0 file compactly: turns are indices into lists of texts."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2vdata.datasets import _cells, _json_items
from t2vdata.datasets._cells import CellError
from t2vdata.errors import RawDataError
from t2vdata.text import captions

URLS = {
    "0.9": "https://computing.ece.vt.edu/~abhshkdz/data/visdial/visdial_0.9_{train,val}.zip",
    "1.0": "visdial_1.0_{train,val,test}.zip from https://visualdialog.org/data",
}
_NO_ANSWER = -1


@dataclass
class Dialogues:
    """The dialogues of one file, with its questions and answers: indices differ between files."""

    path: Path
    questions: list[str | None] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    """None stands for what is not text."""
    image_ids: array[int] = field(default_factory=lambda: array("q"))
    captions: list[str] = field(default_factory=list)
    """VisDial's own caption of each image."""
    problems: dict[int, str] = field(default_factory=dict)
    """{index: the caption that is not text}"""
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
        """Return whether the images are COCO's: those of 1.0's val and test come from Flickr, with ids of their own."""
        return self.version == "0.9" or self.split == "train"

    def add(self, dialog: Any) -> None:
        """Add a dialogue, as the file has it. Raises KeyError, TypeError or ValueError for anything else."""
        rounds = array("i")
        for turn in dialog["dialog"]:
            answer = turn.get("answer")
            rounds.extend((turn["question"], _NO_ANSWER if answer is None else answer))
        image_id = dialog["image_id"]
        if not 0 <= image_id < 1 << 63:
            raise ValueError(image_id)
        caption = _text(dialog.get("caption"))
        if caption is None:
            self.problems[len(self.image_ids)] = f"caption {_cells.shown(dialog['caption'])}"
        self.image_ids.append(image_id)
        self.captions.append(caption or "")
        self._rounds.extend(rounds)
        self._ends.append(len(self._rounds))

    def turns(self, index: int) -> list[dict[str, str | None]] | None:
        """Return the question and answer of each turn; an answer may be None. Returns None if the file lacks a text."""
        start = self._ends[index - 1] if index else 0
        rounds = self._rounds[start : self._ends[index]]
        turns: list[dict[str, str | None]] = []
        for question, answer in zip(rounds[::2], rounds[1::2], strict=True):
            if not 0 <= question < len(self.questions) or not _NO_ANSWER <= answer < len(self.answers):
                return None
            texts = self.questions[question], self.answers[answer] if answer >= 0 else ""
            if None in texts:
                return None
            turns.append({"question": texts[0], "answer": texts[1] if answer >= 0 else None})
        return turns


def read_dialogues(path: Path) -> Dialogues:
    """Read a file named as in the release. Raises RawDataError for a file that is not of that release."""
    result = Dialogues(path)
    for name, item in _json_items.iter_items(path):
        match name:
            case "questions":
                result.questions.append(_text(item))
            case "answers":
                result.answers.append(_text(item))
            case "dialogs":
                try:
                    result.add(item)
                except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                    where = f"{path}, dialog {len(result.image_ids) + 1}"
                    problem = captions.printable(repr(error))[:200]
                    raise RawDataError(f"{where}: {problem}; expected image_id, caption, and a dialog of numbers") from None
            case "version" if not isinstance(item, str | float) or str(item) != result.version:
                version = captions.printable(item)[:20] if isinstance(item, str) else _cells.shown(item)
                raise RawDataError(f"{path} calls itself version {version}; expected {result.version}: was it renamed?")
            case "split" if not isinstance(item, str) or not item.startswith(result.split):
                split = _cells.shown(item)
                raise RawDataError(f"{path} calls itself split {split}; expected {result.split!r}: was it renamed?")
    if not result.image_ids:
        raise RawDataError(f"{path} has no dialogs; expected a JSON file of VisDial, see {URLS[result.version]}")
    return result


def _text(value: Any) -> str | None:
    """Return a text, cleaned; None for what is not text."""
    try:
        return captions.clean(_cells.text(value))
    except CellError:
        return None


def dialogue_text(turns: list[dict[str, str | None]]) -> str:
    """Return a dialogue as one string, joined by spaces: each question, ending in ``?``, and its answer.

    Adding ``?`` follows VisDial's own code (batra-mlp-lab/visdial, data/prepro.py); joining by spaces is our choice.
    """
    parts = []
    for turn in turns:
        question = turn["question"] or ""
        parts += [question if question.endswith("?") else f"{question}?", turn["answer"] or ""]
    return " ".join(part for part in parts if part)
