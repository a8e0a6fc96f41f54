"""``t2vdata vocab``"""

from __future__ import annotations

import click

from t2vdata.cli import SETTINGS


@click.command(
    "vocab", context_settings=SETTINGS, epilog="Example: t2vdata vocab data/mnist-motion --min-count 5 --out words.json"
)
@click.argument("path")
@click.option("--min-count", type=int, default=1, show_default=True, help="Leave out words seen fewer times in training.")
@click.option("--max-size", type=int, help="Words at most, the four special ones among them; all unless told.")
@click.option("--tokenizer", default="wordpunct", show_default=True, help="wordpunct, treebank, tweet, whitespace, characters.")
@click.option("--lower/--keep-case", default=True, show_default=True, help="Whether capitals become small letters.")
@click.option("--unicode", default="NFC", show_default=True, help="Unicode normal form: NFC, NFKC or none.")
@click.option("--punctuation", default="keep", show_default=True, help="keep or drop words without a letter or digit.")
@click.option("--out", type=click.Path(), help="File to write; nothing is written unless told.")
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
    """Make a vocabulary of the training captions of the dataset at PATH, and say how much of each split it knows.

    The build has already written one with all words, vocabulary.json, into the folder.
    """
    from t2vdata.cli import _tables
    from t2vdata.format.dataset import open_dataset
    from t2vdata.text.vocabulary import Tokenizer, Vocabulary, coverage

    chosen = Tokenizer(name=tokenizer, lower=lower, unicode=unicode, punctuation=punctuation)  # type: ignore[arg-type]  # checked
    dataset = open_dataset(path)
    made = Vocabulary.build(dataset["train"], min_count=min_count, max_size=max_size, tokenizer=chosen)
    known = {split: coverage(made, dataset[split].count_captions()) for split in dataset.splits}
    console = _tables.console()
    console.print(f"{len(made):,} words, the four special ones among them", markup=False)
    rows = [
        [split, f"{one.captions:,}", f"{one.tokens:,}", f"{one.unknown:,}", f"{one.rate:.2%}", f"{one.captions_with_unknown:,}"]
        for split, one in known.items()
    ]
    columns = ("split", "captions", "tokens", "unknown", "unknown rate", "captions with any")
    console.print(_tables.table(*columns, rows=rows))
    for split, one in known.items():
        if one.commonest_unknown:
            console.print(f"most frequent unknown in {split}: {_tables.ranked(one.commonest_unknown)}", markup=False)
    if out is not None:
        made.save(out)
        click.echo(f"vocabulary: {out}")
