"""What the commands print: text from data as it is, and nothing that a terminal obeys."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from pathlib import Path

import hostile
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from t2vdata.build.run import BuildResult
from t2vdata.cli import _console, main
from t2vdata.format import manifest
from t2vdata.text import escapes

# Clears the screen, turns the writing direction, begins another line.
EVIL = "\x1b[2Jcat\u202e\x9b31m\rdog"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def edit(folder: Path, change: dict[str, object]) -> None:
    body = {**json.loads((folder / "manifest.json").read_bytes()), **change}
    (folder / "manifest.json").write_bytes(hostile.sealed(body))


def assert_harmless(text: str) -> None:
    assert not {character for character in text if character != "\n" and not character.isprintable()}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[bold]x[/bold] :smile: [/x]", "[bold]x[/bold] :smile: [/x]"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb\u2066c\x9bd\x7f", "a\\u202eb\\u2066c\\x9bd\\x7f"),
        ("half \ud83d", "half \\ud83d"),
        ("Bär 日本 😀", "Bär 日本 😀"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ],
)
def test_text_is_shown_as_it_is_without_what_a_terminal_obeys(text: str, shown: str) -> None:
    assert escapes.printable(text) == shown
    assert "\n" not in escapes.one_line(text)


def test_tables_and_lines_show_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console = _console.console()
    console.print("out of [red]a[/b]\x1b[2J")
    console.print(_console.table("split", "[/x]", rows=[["[/y]", ":smile:"], ["\x1b[1m", "a\nb"]]))
    text = capsys.readouterr().out
    assert "out of [red]a[/b]\\x1b[2J" in text
    for shown in ("[/x]", "[/y]", ":smile:", "\\x1b[1m", "a\\nb"):
        assert shown in text


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_under_standard_output_is_one_line(
    built: BuildResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["stats", built.out], ["stats", built.out, "--json"], ["vocab", built.out], ["datasets"]):
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", FullDisk())
            with pytest.raises(SystemExit, match="1"):
                main(words)
        assert capsys.readouterr().err == "t2vdata: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("width", [20, 80])
def test_headings_break_between_words_in_a_narrow_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    columns = ("split", "clips", "shards", "size", "frames", "fps", "size in pixels", "duration", "groups")
    row = ("train", "40,000", "40", "143.8 MB", "32", "30", "64x64", "1.07 s", "40,000")
    _console.console().print(_console.table(*columns, rows=[row]))
    text = re.sub(r"\x1b\[\d*m", "", terminal.getvalue())
    assert all(word in text for column in columns for word in column.split())
    assert all(cell in text for cell in row)


def test_captions_labels_and_reasons_reach_the_terminal_escaped(copy: Path) -> None:
    def change(rows: pa.Table) -> pa.Table:
        columns = rows.to_pydict()
        columns["captions"] = [[EVIL]] * len(rows)
        columns["group"] = [EVIL] * len(rows)
        return pa.Table.from_pydict(columns, schema=rows.schema)

    hostile.rewrite_index(copy, change)
    body = json.loads((copy / "manifest.json").read_bytes())
    body["splits"]["train"]["tally"]["rejected"] = {EVIL: 3}
    body["splits"] = {"[/x]" if name == "val" else name: split for name, split in body["splits"].items()}
    edit(copy, body)
    for words in (
        ["stats"],
        ["stats", "--json"],
        ["verify"],
        ["verify", "--deep"],
        ["show", "--out", copy / "x.png"],
        ["vocab"],
    ):
        done = run(words[0], copy, *words[1:])
        assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)
        assert_harmless(done.output)
        assert "[/x]" in done.output or words[0] == "show"
    assert json.loads(run("stats", copy, "--json").stdout)["rejected"] == {EVIL: 3}


def test_a_message_about_a_strangers_value_is_one_harmless_line(copy: Path) -> None:
    edit(copy, {"dataset": EVIL})
    done = run("stats", copy)
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert_harmless(done.output)


def test_the_page_has_no_element_that_a_dataset_names(copy: Path) -> None:
    element = "<img src=x onerror=alert(1)>"
    body = json.loads((copy / "manifest.json").read_bytes())
    body |= {"dataset": element, "licence": f"{element}\"'"}
    body["splits"] = {f"{element}{name}": split for name, split in body["splits"].items()}
    edit(copy, body)
    done = run("stats", copy, "--html", copy / "page.html")
    assert done.exit_code == 0, done.output
    page = (copy / "page.html").read_text()
    assert "<img" not in page
    assert "&lt;img src=x" in page
    edit(copy, {"fingerprint": element})
    assert "expected the SHA-256 of the spec" in run("stats", copy, "--html", copy / "page.html").output


def test_show_writes_under_a_plain_name(copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    edit(copy, {"dataset": ".. my [clips]\u00e9"})
    assert "picture: my-clips.png" in run("show", copy).output
    edit(copy, {"dataset": "../evil"})
    assert run("show", copy).exit_code == 1
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["my-clips.png"]


def test_rates_below_ten_are_not_rounded_to_zero() -> None:
    assert [_console.format_rate(rate) for rate in (0.04, 0.4, 3.14, 22.4, 1250)] == ["0.04", "0.4", "3.1", "22", "1,250"]


def test_every_problem_is_listed(copy: Path, built: BuildResult) -> None:
    for _, shard in built.manifest.shards():
        (copy / shard.name).write_bytes(b"no tar")
    done = run("verify", copy)
    assert done.exit_code == 1
    assert all(shard.name in done.output for _, shard in built.manifest.shards())
    assert manifest.MANIFEST not in done.output


def test_usage_errors_quote_arguments_escaped() -> None:
    for words in (["stats"], [EVIL], ["show", "x", f"--{EVIL}"], ["stats", "x", EVIL], ["bench", "x", "--batch", EVIL]):
        done = run(*words)
        assert done.exit_code == 2, done.output
        assert_harmless(done.output)
