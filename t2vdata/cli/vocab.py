"""``t2vdata vocab``: make a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo

if TYPE_CHECKING:
    from t2vdata.text.vocabulary import Coverage, Vocabulary


@click.command(
    "vocab", context_settings=SETTINGS, epilog="Example: t2vdata vocab data/mnist-motion --min-count 5 --out words.json"
)
@click.argument("path")
@click.option(
    "--min-count", type=int, default=1, show_default=True, help="Leave out words that occur fewer times in training captions."
)
@click.option("--max-size", type=int, help="Maximum number of words, including four special ones.  [default: no limit]")
@click.option("--tokenizer", default="wordpunct", show_default=True, help="wordpunct, treebank, tweet, whitespace, characters.")
@click.option("--lower/--keep-case", default=True, show_default=True, help="Convert captions to lower case.")
@click.option("--unicode", default="NFC", show_default=True, help="Unicode normal form: NFC, NFKC or none.")
@click.option("--punctuation", default="keep", show_default=True, help="keep or drop words without a letter or a digit.")
@click.option("--out", type=click.Path(), help="Write the vocabulary to this file.")
def command(
    path: str,
    min_count: int,
    max_size: int | None,
    tokenizer: str,
    lower: bool,
    unicode: str,
    punctuation: str,
    out: str | None,
) -> None:
    """Make a vocabulary from the training captions of the dataset at PATH, and count the unknown words of each split.

    The build already wrote a vocabulary of all words into the folder: vocabulary.json.
    """
    from t2vdata.format.dataset import open_dataset
    from t2vdata.text.tokenizer import Tokenizer
    from t2vdata.text.vocabulary import Vocabulary, coverage

    settings = Tokenizer(name=tokenizer, lower=lower, unicode=unicode, punctuation=punctuation)  # type: ignore[arg-type]  # checked
    dataset = open_dataset(path)
    vocabulary = Vocabulary.build(dataset["train"], min_count=min_count, max_size=max_size, tokenizer=settings)
    _print(vocabulary, {split: coverage(vocabulary, dataset[split].count_captions()) for split in dataset.splits})
    if out is not None:
        vocabulary.save(out)
        echo(f"vocabulary: {out}")


def _print(vocabulary: Vocabulary, coverages: Mapping[str, Coverage]) -> None:
    from t2vdata.cli._console import console, format_ranking, table

    out = console()
    out.print(f"{len(vocabulary):,} words, including four special ones", markup=False)
    columns = ("split", "captions", "tokens", "unknown", "unknown rate", "captions with any")
    out.print(table(*columns, rows=[_row(split, counts) for split, counts in coverages.items()]))
    for split, counts in coverages.items():
        if counts.commonest_unknown:
            out.print(f"most frequent unknown in {split}: {format_ranking(counts.commonest_unknown)}", markup=False)


def _row(split: str, counts: Coverage) -> list[str]:
    numbers = (f"{number:,}" for number in (counts.captions, counts.tokens, counts.unknown))
    return [split, *numbers, f"{counts.rate:.2%}", f"{counts.captions_with_unknown:,}"]
