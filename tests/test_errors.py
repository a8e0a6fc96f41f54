"""Errors have a common base class, cross process borders, and suggest similar names."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys

import pytest

from t2vdata import errors
from t2vdata.errors import T2VError, UnknownNameError, nearest, unknown_name

EVERY = sorted((value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)), key=str)


def drawn_parents(text: str) -> dict[str, str | None]:
    """Return {error: its parent} of the tree in a docstring."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in text.splitlines():
        if match := re.match(r"    ((?:[|`]   |    |\|-- |`-- )*)(\w+Error)\b", line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            parents[match[2]] = path[depth - 1] if depth else None
    return parents


def test_everything_raised_on_purpose_is_one_family() -> None:
    assert len(EVERY) == 24
    assert all(issubclass(error, T2VError) for error in EVERY)


def test_every_error_of_the_package_is_in_errors() -> None:
    code = (
        "import importlib, pkgutil, t2vdata\n"
        "from t2vdata.errors import T2VError\n"
        "for module in pkgutil.walk_packages(t2vdata.__path__, 't2vdata.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "pending = [T2VError]\n"
        "while pending:\n"
        "    error = pending.pop()\n"
        "    print(error.__module__, error.__name__)\n"
        "    pending += error.__subclasses__()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {f"t2vdata.errors {error.__name__}" for error in EVERY}


@pytest.mark.parametrize("error", EVERY)
def test_an_error_crosses_process_borders_with_its_sentence(error: type[T2VError]) -> None:
    copy = pickle.loads(pickle.dumps(error("a sentence")))
    assert type(copy) is error
    assert str(copy) == "a sentence"


def test_the_tree_in_the_docstring_shows_every_error_under_its_parent() -> None:
    real = {error.__name__: error.__bases__[0].__name__ if error is not T2VError else None for error in EVERY}
    assert drawn_parents(errors.__doc__ or "") == real


@pytest.mark.parametrize("parent", [ValueError, OSError])
def test_standard_handlers_catch_them_too(parent: type[Exception]) -> None:
    caught = {error.__name__ for error in EVERY if issubclass(error, parent)}
    expected = {
        ValueError: {
            "RequestError",
            "MissingPackageError",
            "UnknownNameError",
            "OtherSpecError",
            "RawDataError",
            "StoppedError",
        },
        OSError: {"StorageError", "ScratchError", "StoreAwayError", "TransientError"},
    }
    assert caught == expected[parent]


@pytest.mark.parametrize(
    ("name", "expected"), [("tran", "train"), ("tset", "test"), ("validation", None), ("", None), ("val", "val")]
)
def test_the_nearest_name_is_similar(name: str, expected: str | None) -> None:
    assert nearest(name, ["train", "val", "test"]) == expected


def test_part_of_a_name_is_enough() -> None:
    assert nearest("motion", ["kinetics", "mnist-motion", "motion-of-mine"]) == "mnist-motion"
    assert nearest("mo", ["kinetics", "mnist-motion"]) is None


def test_an_unknown_name_suggests_the_nearest() -> None:
    error = unknown_name("dataset", "mnist-moton", ["kinetics", "mnist-motion"])
    assert isinstance(error, UnknownNameError)
    assert str(error) == "no dataset 'mnist-moton'; did you mean 'mnist-motion'?"


def test_an_unknown_name_unlike_all_lists_all_in_order() -> None:
    assert str(unknown_name("split", "xyz", ["val", "train"])) == "no split 'xyz'; expected one of train, val"


def test_of_many_names_twelve_are_shown() -> None:
    many = [f"{number:02d}" for number in range(20)]
    assert str(unknown_name("key", "xyz", many)).endswith("expected one of " + ", ".join(many[:12]) + ", ...")
    assert str(unknown_name("key", "xyz", many[:12])).endswith("10, 11")


def test_without_names_there_is_nothing_to_suggest() -> None:
    assert str(unknown_name("split", "train", [])) == "no split 'train'; there is none"
