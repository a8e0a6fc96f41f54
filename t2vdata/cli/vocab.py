"""``t2vdata vocab``"""

from __future__ import annotations

import click

from t2vdata.cli import SETTINGS


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
    from t2vdata.cli._console import console, format_ranking, table
    from t2vdata.format.dataset import open_dataset
    from t2vdata.text.tokenizer import Tokenizer
    from t2vdata.text.vocabulary import Vocabulary, coverage

    settings = Tokenizer(name=tokenizer, lower=lower, unicode=unicode, punctuation=punctuation)  # type: ignore[arg-type]  # checked
    dataset = open_dataset(path)
    vocabulary = Vocabulary.build(dataset["train"], min_count=min_count, max_size=max_size, tokenizer=settings)
    coverages = {split: coverage(vocabulary, dataset[split].count_captions()) for split in dataset.splits}
    terminal = console()
    terminal.print(f"{len(vocabulary):,} words, including four special ones", markup=False)
    rows = [
        [
            split,
            f"{counts.captions:,}",
            f"{counts.tokens:,}",
            f"{counts.unknown:,}",
            f"{counts.rate:.2%}",
            f"{counts.captions_with_unknown:,}",
        ]
        for split, counts in coverages.items()
    ]
    columns = ("split", "captions", "tokens", "unknown", "unknown rate", "captions with any")
    terminal.print(table(*columns, rows=rows))
    for split, counts in coverages.items():
        if counts.commonest_unknown:
            terminal.print(f"most frequent unknown in {split}: {format_ranking(counts.commonest_unknown)}", markup=False)
    if out is not None:
        vocabulary.save(out)
        click.echo(f"vocabulary: {out}")
