"""Tokenisers and vocabularies: captions as token ids, and back."""

from __future__ import annotations

import json
import string
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import t2vdata as run
from support import tiny_spec

import t2vdata
from t2vdata import Vocabulary
from t2vdata.build.run import BuildResult, build_dataset
from t2vdata.errors import DataError, RequestError, UnknownNameError
from t2vdata.text.tokenizer import Tokenizer
from t2vdata.text.tokenizers_file import TokenizersFile
from t2vdata.text.vocabulary import SPECIAL, coverage

NAMES = ("wordpunct", "treebank", "tweet", "whitespace", "characters")
SENTENCES = ["A man isn't slicing a tomato.", "the digit 9 is moving down and up", "Ça va, naïve café?", "I can't & won't!"]


# Tokenisers


def test_wordpunct_matches_nltk() -> None:
    from nltk.tokenize import WordPunctTokenizer

    for text in SENTENCES:
        assert Tokenizer("wordpunct", lower=False, unicode="none")(text) == WordPunctTokenizer().tokenize(text)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wordpunct", ["a", "man", "isn", "'", "t", "slicing", "a", "tomato", "."]),
        ("treebank", ["a", "man", "is", "n't", "slicing", "a", "tomato", "."]),
        ("tweet", ["a", "man", "isn't", "slicing", "a", "tomato", "."]),
        ("whitespace", ["a", "man", "isn't", "slicing", "a", "tomato."]),
        ("characters", list("a man isn't slicing a tomato.")),
    ],
)
def test_each_tokeniser_splits_as_documented(name: str, words: list[str]) -> None:
    assert Tokenizer(name)(SENTENCES[0]) == words


def test_case_unicode_and_punctuation_are_settings() -> None:
    assert Tokenizer(lower=False)("A Dog") == ["A", "Dog"]
    composed, typed = "caf\u00e9", "cafe\u0301"
    assert Tokenizer()(typed) == Tokenizer()(composed) == [composed]
    assert Tokenizer(unicode="none")(typed) != [composed]
    assert Tokenizer(unicode="NFKC")("\ufb01sh") == ["fish"]
    assert Tokenizer(punctuation="drop")("well, well!") == ["well", "well"]
    assert Tokenizer("characters", punctuation="drop")("a, b") == ["a", " ", "b"]


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no tokeniser 'treebnk'; did you mean 'treebank'"):
        Tokenizer("treebnk")
    with pytest.raises(UnknownNameError, match="no unicode setting of a tokeniser 'NFD'; did you mean 'NFC'"):
        Tokenizer(unicode="NFD")


# Building


def test_special_words_come_first_then_words_by_count_then_alphabetically() -> None:
    words = Vocabulary.build(["b a", "b c", "a b"])
    assert words.words == (*SPECIAL, "b", "a", "c")
    assert words.counts == (0, 0, 0, 0, 3, 2, 1)
    assert [words.ids[special] for special in SPECIAL] == [0, 1, 2, 3]


def test_the_order_of_captions_does_not_matter() -> None:
    captions = [*SENTENCES, "zebra apple", "apple zebra"]
    assert Vocabulary.build(captions).to_bytes() == Vocabulary.build(captions[::-1]).to_bytes()


def test_rare_words_and_words_over_the_limit_are_left_out() -> None:
    captions = ["a a a b b c"]
    assert Vocabulary.build(captions, min_count=2).words == (*SPECIAL, "a", "b")
    assert Vocabulary.build(captions, max_size=5).words == (*SPECIAL, "a")
    with pytest.raises(RequestError, match="--min-count 0: expected 1 or more"):
        Vocabulary.build(captions, min_count=0)
    with pytest.raises(RequestError, match="--max-size 4: expected more than 4"):
        Vocabulary.build(captions, max_size=4)
    with pytest.raises(RequestError, match="expected a list of captions"):
        Vocabulary.build("a caption")


def test_a_vocabulary_is_counted_from_training_captions_only(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    words = Vocabulary.build(dataset["train"])
    assert words.fingerprint == built.manifest.fingerprint
    assert words.counts[words.ids["moving"]] == 60
    with pytest.raises(RequestError, match="a vocabulary of split 'val'; expected 'train'"):
        Vocabulary.build(dataset["val"])


def test_the_build_writes_one_into_the_folder(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    words = Vocabulary.load(dataset.vocabulary_path, fingerprint=dataset.fingerprint)
    assert words == Vocabulary.build(dataset["train"])
    assert len(words) == 4 + 19
    counts = Counter(word for caption in dataset.index.query("split == 'train'").captions for word in caption[0].split())
    assert {word: words.counts[number] for word, number in words.ids.items() if number > 3} == counts


# Encoding


def test_ids_of_a_caption_are_between_start_and_end() -> None:
    words = Vocabulary.build(["a b"])
    assert words.encode("b a z") == [1, words.ids["b"], words.ids["a"], 3, 2]
    assert words.encode("") == [1, 2]


def test_a_special_word_in_a_caption_is_an_unknown_word() -> None:
    words = Vocabulary.build(["a <end> b"], tokenizer=Tokenizer("whitespace"))
    assert words.encode("a <end> b") == [1, words.ids["a"], 3, words.ids["b"], 2]


def test_max_length_keeps_the_end() -> None:
    words = Vocabulary.build(["a b c d e"])
    for length in range(2, 9):
        ids = words.encode("a b c d e", max_length=length)
        assert len(ids) == min(length, 7)
        assert (ids[0], ids[-1]) == (1, 2)
    with pytest.raises(RequestError, match="max_length 1: expected 2 or more"):
        words.encode("a", max_length=1)


def test_a_batch_is_padded_to_its_longest() -> None:
    words = Vocabulary.build(["a b c"])
    batch = words.encode_batch(["a", "a b c", ""])
    assert batch.tokens.dtype == batch.lengths.dtype == np.int64
    assert batch.lengths.tolist() == [3, 5, 2]
    assert batch.tokens.tolist() == [[1, 4, 2, 0, 0], [1, 4, 5, 6, 2], [1, 2, 0, 0, 0]]
    assert words.encode_batch([]).tokens.shape == (0, 0)


def test_an_id_out_of_range_is_an_error() -> None:
    with pytest.raises(RequestError, match="id 99 is not in a vocabulary of 5 words"):
        Vocabulary.build(["a"]).decode([1, 99])


@given(st.lists(st.text(string.ascii_letters + string.digits + " .,'!?-éß中", max_size=40), min_size=1, max_size=8))
@pytest.mark.parametrize("name", NAMES)
def test_encoded_captions_decode_to_their_words(name: str, captions: list[str]) -> None:
    tokenizer = Tokenizer(name)
    words = Vocabulary.build(captions, tokenizer=tokenizer)
    for caption in captions:
        ids = words.encode(caption)
        assert 3 not in ids
        assert words.decode(ids) == tokenizer.join(tokenizer(caption))
        # A second round trip changes nothing: decoded text is in the form of the vocabulary.
        if name in ("whitespace", "characters", "wordpunct"):
            assert words.decode(words.encode(words.decode(ids))) == words.decode(ids)


@given(st.lists(st.text(max_size=30), max_size=6))
def test_a_file_round_trip_keeps_everything(captions: list[str]) -> None:
    words = Vocabulary.build(captions, tokenizer=Tokenizer("characters", lower=False, unicode="none"))
    body = json.loads(words.to_bytes())
    assert [tuple(row) for row in body["words"]] == list(zip(words.words, words.counts, strict=True))


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_real_captions_survive_a_round_trip(shared: Path, name: str) -> None:
    clips = json.loads((shared / "data/real/msvd/annotations/english_captions_half.json").read_text())
    captions = [caption for clip in clips for caption in clip["caption"]][:3000]
    assert len(captions) == 3000
    tokenizer = Tokenizer(name)
    words = Vocabulary.build(captions, tokenizer=tokenizer)
    assert all(words.decode(words.encode(caption)) == tokenizer.join(tokenizer(caption)) for caption in captions)
    rare = Vocabulary.build(captions, min_count=5, tokenizer=tokenizer)
    covered = coverage(rare, Counter(captions))
    assert covered.tokens == sum(len(tokenizer(caption)) for caption in captions)
    assert covered.unknown == sum(words.counts) - sum(rare.counts)


# Files


def test_a_vocabulary_is_read_as_it_was_saved(tmp_path: Path) -> None:
    words = Vocabulary.build(SENTENCES, tokenizer=Tokenizer("tweet", lower=False, punctuation="drop"))
    words.save(tmp_path / "words.json")
    assert Vocabulary.load(tmp_path / "words.json") == words


def test_a_vocabulary_of_another_dataset_is_refused_with_a_fingerprint(built: BuildResult, tmp_path: Path) -> None:
    other = build_dataset(tiny_spec(n=10), tmp_path / "other", num_workers=1)
    path = t2vdata.open_dataset(built.out).vocabulary_path
    with pytest.raises(RequestError, match=r"was counted from another dataset .* its ids stand for other words"):
        Vocabulary.load(path, fingerprint=other.manifest.fingerprint)
    Vocabulary.build(["a"]).save(tmp_path / "bare.json")
    with pytest.raises(RequestError, match="was counted from bare captions"):
        Vocabulary.load(tmp_path / "bare.json", fingerprint=other.manifest.fingerprint)
    assert len(Vocabulary.load(path)) == 23


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "x"}', '{"format": "t2vdata-vocabulary/1", "words": []}'])
def test_a_file_that_is_not_a_vocabulary_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "words.json").write_text(content)
    with pytest.raises((DataError, RequestError)):
        Vocabulary.load(tmp_path / "words.json")


def test_the_error_for_a_missing_file_says_how_to_make_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no vocabulary at .*make one with `t2vdata vocab"):
        Vocabulary.load(tmp_path / "words.json")


def test_a_vocabulary_with_a_word_twice_is_refused() -> None:
    with pytest.raises(RequestError, match="each word of a vocabulary once"):
        Vocabulary((*SPECIAL, "a", "a"), (0, 0, 0, 0, 1, 1))
    with pytest.raises(RequestError, match="expected a vocabulary that begins with <pad> <start> <end> <unk>"):
        Vocabulary(("a",), (1,))


# Hugging Face files, created here


@pytest.fixture(scope="module", params=["bpe", "wordpiece"])
def hub_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if request.param == "bpe":
        tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
        trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    else:
        tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
        tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(["the digit 9 is moving down and up", "the digit 3 is moving left and right"] * 5, trainer)
    around = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    path = tmp_path_factory.mktemp("hub") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_a_tokenizers_file_has_the_same_methods(hub_file: Path) -> None:
    words = TokenizersFile(hub_file)
    ids = words.encode("the digit 9 is moving")
    assert (ids[0], ids[-1]) == (2, 3)
    assert words.decode(ids).replace(" ", "") == "thedigit9ismoving"
    batch = words.encode_batch(["the digit", "the digit 9 is moving down"])
    assert batch.lengths[0] < batch.lengths[1] == batch.tokens.shape[1]
    assert (batch.tokens[0, batch.lengths[0] :] == words.pad_id).all()
    assert words.pad_id == 0
    assert len(words) <= 120


def test_a_tokenizers_file_keeps_its_end_at_max_length(hub_file: Path) -> None:
    words = TokenizersFile(hub_file)
    for length in (2, 3, 5):
        ids = words.encode("the digit 9 is moving down and up", max_length=length)
        assert len(ids) == length
        assert (ids[0], ids[-1]) == (2, 3)
    with pytest.raises(RequestError, match="max_length 1: expected 2 or more"):
        words.encode("the digit", max_length=1)


def test_a_bad_tokenizers_file_is_an_error(tmp_path: Path, hub_file: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokenizers file"):
        TokenizersFile(tmp_path / "x.json")
    with pytest.raises(DataError, match="no tokenizers file at"):
        TokenizersFile(tmp_path / "nothing.json")
    with pytest.raises(RequestError, match=r"has none of the padding tokens <none>; name its padding token with pad="):
        TokenizersFile(hub_file, pad="<none>")


# The command


def test_the_command_prints_coverage_and_writes_with_out(built: BuildResult, tmp_path: Path) -> None:
    done = run("vocab", built.out, "--min-count", "7", "--out", tmp_path / "words.json")
    assert done.returncode == 0, done.stderr
    words = Vocabulary.load(tmp_path / "words.json")
    assert f"{len(words)} words" in done.stdout
    for split in ("train", "val", "test", "compositional"):
        assert split in done.stdout
    assert "most frequent unknown in train: " in done.stdout
    assert run("vocab", built.out, "--tokenizer", "treebnk").stderr.count("did you mean 'treebank'") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["words.json"]


def test_coverage_counts_every_caption(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    captions = dataset["train"].count_captions()
    assert sum(captions.values()) == 60
    words = Vocabulary.build(["the digit is moving"])
    covered = coverage(words, captions)
    assert (covered.captions, covered.tokens, covered.unknown) == (60, 60 * 8, 60 * 4)
    assert covered.captions_with_unknown == 60
    assert covered.commonest_unknown[0] == ("and", 60)
    assert covered.rate == 0.5
    assert coverage(words, {}).rate == 0.0
