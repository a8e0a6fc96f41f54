"""Cleaning captions and splitting them into words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2vdata.text.captions import clean, join_clauses, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  the digit\t9 \n is moving ", "the digit 9 is moving"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\u00a0b\u2003c", "a b c"),
        ("", ""),
        ("\n", ""),
    ],
)
def test_clean_text_has_single_spaces_and_composed_letters(text: str, expected: str) -> None:
    assert clean(text) == expected


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.text())
def test_clean_text_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert once == once.strip()
    assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The digit 9 is moving down, and up.", ["the", "digit", "9", "is", "moving", "down", "and", "up"]),
        ("a man's well-known dog", ["a", "man's", "well-known", "dog"]),
        ("it\N{RIGHT SINGLE QUOTATION MARK}s here", ["it\N{RIGHT SINGLE QUOTATION MARK}s", "here"]),
        ("'quoted' - dash--dash", ["quoted", "dash", "dash"]),
        ("\u00dcber \u65e5\u672c", ["\u00fcber", "\u65e5\u672c"]),
        ("... !", []),
    ],
)
def test_words_are_letters_and_digits_with_inner_apostrophes_and_hyphens(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_clauses_are_joined_by_and() -> None:
    assert join_clauses(["a"]) == "a"
    assert join_clauses(["a", "b"]) == "a and b"
