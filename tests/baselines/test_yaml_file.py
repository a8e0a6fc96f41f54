"""Recipes are plain data within limits; what is not is refused with its file and line, at once."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from support import ROOT

from baselines import recipe_file, table, yaml_file
from t2vdata.errors import RequestError

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{number}: &a{number} [*a{number - 1}]\n" for number in range(1, 2000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(LAUGHS, r"line 4: more than 10,000 values or 32 levels, with each alias written out", id="laughs"),
        pytest.param(MERGED, r"line \d: more than 10,000 values or 32 levels", id="merged"),
        pytest.param(CHAIN, r"line 32: more than 10,000 values or 32 levels", id="chain"),
        pytest.param("a: &a [*a]", "line 1: an anchor that contains itself", id="loop"),
        pytest.param("a:\n " + "[" * 100_000, "line 2: nested more than 32 deep", id="lists"),
        pytest.param("\n".join(" " * level + "a:" for level in range(100)), "line 32: nested more than 32 deep", id="mappings"),
        pytest.param("a: 1\nb: 2\na: 3", "line 3: the key 'a' is on line 1 already; remove one", id="twice"),
        pytest.param("a: 1\n2: b", "line 2: the key '2' is not text; write it in quotes", id="number"),
        pytest.param("on: 1", "line 1: the key 'on' is not text; write it in quotes", id="boolean"),
        pytest.param("[a]: 1", "line 1: the key .* is not text", id="list"),
        pytest.param("a: !!python/object/apply:os.system [ls]", "line 1: the tag 'python/object/apply:os.system'", id="object"),
        pytest.param("\na: !!binary aGVsbG8=", "line 2: the tag 'binary'; expected text, numbers, lists", id="binary"),
        pytest.param("a: !secret b", "line 1: the tag '!secret'", id="own"),
        pytest.param(f"a: {'9' * 5000}", "line 1: the integer 9{40} has more than 64 bits", id="digits"),
        pytest.param(f"a: -0x{'f' * 17}", "line 1: the integer -0xf{17} has more than 64 bits", id="hex"),
        pytest.param("a: *b", "line 1: found undefined alias 'b'", id="undefined"),
        pytest.param("a: 1\n b: 2", "line 2: mapping values are not allowed", id="indent"),
        pytest.param("a: [1", "line 1: while parsing a flow sequence, expected", id="open"),
        pytest.param("a: 1\n---\nb: 2", "line 2: expected a single document", id="two"),
        pytest.param('a: "\x1b"\nb: 1', r"line 1: the character '\\x1b' is not allowed in YAML", id="escape"),
    ],
)
def test_hostile_or_wrong_yaml_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    for read in (yaml_file.read, recipe_file.read, table.read):
        with pytest.raises(RequestError, match=rf"recipe\.yaml, {message}") as raised:
            read(str(path))
        assert "\n" not in str(raised.value)


def test_bytes_that_are_no_text_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(RequestError, match=r"recipe\.yaml, line 2: not UTF-8; save the file as UTF-8"):
        recipe_file.read(str(path))
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RequestError, match=r"recipe\.yaml has more than 1,048,576 bytes"):
        recipe_file.read(str(path))
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("pipe.yaml", "/dev/zero", "."):
        with pytest.raises(RequestError, match=r"is not a regular file; expected a YAML file|Is a directory"):
            recipe_file.read(str(tmp_path / name))
    with pytest.raises(RequestError, match=r"no recipe .*none\.yaml; did you mean .*pipe\.yaml"):
        recipe_file.read(str(tmp_path / "none.yaml"))


def test_overrides_are_read_as_safely(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("family: mymodel.regression\n")
    with pytest.raises(RequestError, match=r"'run\.steps=\[1', line 1: while parsing a flow sequence"):
        recipe_file.read(str(path), ["run.steps=[1"])


def test_aliases_merge_keys_and_dates_are_read_as_they_are_meant() -> None:
    text = """
first: &shared {lr: 0.1, betas: [0, 1]}
second: *shared
third: {<<: *shared, lr: 0.2}
fourth: &nested
  inner: &inner {<<: *shared, ema: 0.5}
fifth: {<<: *inner, ema: 0.6}
day: 2024-01-31
"""
    shared = {"lr": 0.1, "betas": [0, 1]}
    assert yaml_file.parse(text, "text") == {
        "first": shared,
        "second": shared,
        "third": {**shared, "lr": 0.2},
        "fourth": {"inner": {**shared, "ema": 0.5}},
        "fifth": {**shared, "ema": 0.6},
        "day": "2024-01-31",
    }


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_the_repository_read_as_any_yaml_reader_reads_them(path: Path) -> None:
    assert yaml_file.read(path) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("inf"), "optimiser.lr: expected a number, got inf"),
        (float("nan"), "optimiser.lr: expected a number, got nan"),
        (b"bytes", "optimiser.lr: expected a number, got b'bytes'"),
        ("x" * 10_000, r"optimiser.lr: expected a number, got 'x+ \.\.\.$"),
    ],
)
def test_a_wrong_value_is_reported_with_its_name_in_a_short_line(value: object, message: str) -> None:
    values = {"family": "mymodel.regression", "data": {"path": "x"}, "run": {"steps": 1000}, "optimiser": {"lr": value}}
    with pytest.raises(RequestError, match=f"small.yaml: {message}") as raised:
        recipe_file.parse(values, path="small.yaml")
    assert len(str(raised.value)) < 300


def test_numpy_numbers_are_numbers_of_a_recipe() -> None:
    run = {"steps": np.int64(1000), "compile": np.bool_(True)}
    values = {"family": "mymodel.regression", "seed": np.int32(7), "data": {"path": "x"}, "run": run}
    recipe = recipe_file.parse({**values, "optimiser": {"lr": np.float32(0.5)}})
    assert (recipe.seed, recipe.run.steps, recipe.run.compile, recipe.sections["optimiser"].lr) == (7, 1000, True, 0.5)
    assert recipe_file.parse(recipe.as_values()) == recipe


@pytest.mark.long
def test_no_mutated_recipe_ends_with_another_error_or_takes_long() -> None:
    numbers = random.Random(0)
    texts = [path.read_bytes() for path in sorted((ROOT / "recipes").rglob("*.yaml"))]
    tokens = [
        b"&a ",
        b"*a",
        b"<<: *a\n",
        b"!!set ",
        b"[" * 40,
        b"{",
        b"\xff",
        b"\x00",
        b"9" * 30,
        b": ",
        b"- ",
        b"\t",
        b"? ",
        b"%",
    ]
    num_refused = 0
    for _ in range(3000):
        text = bytearray(numbers.choice(texts))
        for _ in range(numbers.randint(1, 6)):
            start = numbers.randrange(len(text))
            text[start : start + numbers.choice((0, 0, 1, 20))] = numbers.choice([*tokens, bytes([numbers.randrange(256)])])
        started = time.process_time()
        try:
            recipe_file.parse(yaml_file.parse(text.decode("utf-8", "surrogateescape"), "text"))
        except RequestError:
            num_refused += 1
        assert time.process_time() - started < 60
    assert num_refused > 1000
