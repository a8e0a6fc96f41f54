from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from baselines.gan.text import Autoencoder, SentenceEncoder, Sentences, TextSpec, text_encoder
from t2vdata.errors import RequestError
from t2vdata.text.vocabulary import Vocabulary

CAPTIONS = [
    "the digit 9 is moving down and up",
    "the digit 3 is moving left and right then stops for a while",
    "a digit",
]
SMALL = {"embedding": 8, "size": 12}


def tokens_of(captions: list[str]) -> tuple[Vocabulary, torch.Tensor, torch.Tensor]:
    words = Vocabulary.build(CAPTIONS)
    encoded = words.encode_batch(captions)
    return words, torch.from_numpy(encoded.tokens), torch.from_numpy(encoded.lengths)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers": 2},
        {"bidirectional": True},
        {"bidirectional": True, "layers": 3},
        {"bidirectional": True, "summary": "lstm"},
    ],
)
def test_padding_does_not_change_the_vector_of_a_short_caption(options: dict[str, object]) -> None:
    words, tokens, lengths = tokens_of(CAPTIONS)
    encoder = SentenceEncoder(len(words), TextSpec(**SMALL, **options))  # type: ignore[arg-type]
    together = encoder(tokens, lengths)
    assert together.shape == (3, 12)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(tokens[row : row + 1, :length], lengths[row : row + 1])
        assert torch.allclose(together[row], alone[0], atol=1e-6)
        assert together[row].abs().max() > 1e-3


def test_an_encoding_depends_on_the_first_and_on_the_last_word() -> None:
    words, tokens, lengths = tokens_of([CAPTIONS[0]])
    encoder = SentenceEncoder(len(words), TextSpec(**SMALL))  # type: ignore[arg-type]
    for position in (1, int(lengths[0]) - 2):
        other = tokens.clone()
        other[0, position] = words.ids["left"]
        assert not torch.allclose(encoder(tokens, lengths), encoder(other, lengths))


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"layers": 2}, 921_600),
        ({"layers": 3}, 1_447_936),
        ({"layers": 4}, 1_974_272),
        ({"layers": 4, "bidirectional": True, "embedding": 256}, 1_581_056),
    ],
)
def test_the_lstm_has_the_published_numbers_of_parameters(options: dict[str, object], number: int) -> None:
    encoder = SentenceEncoder(1000, TextSpec(**options))  # type: ignore[arg-type]
    assert sum(parameter.numel() for parameter in encoder.lstm.parameters()) == number


def learned(spec: TextSpec, steps: int) -> tuple[Autoencoder, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    words, tokens, lengths = tokens_of(["the digit 9 is moving down", "the digit 3 is moving left", "a digit"])
    autoencoder = Autoencoder(SentenceEncoder(len(words), spec), len(words), spec)
    optimiser = torch.optim.Adam(autoencoder.parameters(), 2e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        autoencoder.loss(tokens, lengths, torch.rand(tokens.shape) < spec.teacher_forcing).backward()
        optimiser.step()
    return autoencoder, tokens, lengths


@pytest.fixture(scope="module")
def skilled() -> tuple[Autoencoder, torch.Tensor, torch.Tensor]:
    return learned(TextSpec(embedding=16, size=32), 200)


Learned = tuple[Autoencoder, torch.Tensor, torch.Tensor]


def test_the_autoencoder_learns_to_rebuild_captions_from_their_vectors_alone(skilled: Learned) -> None:
    before, *_ = learned(TextSpec(embedding=16, size=32), 0)
    after, tokens, lengths = skilled
    assert float(before.reconstruction(tokens, lengths).words) < 0.5
    assert float(after.reconstruction(tokens, lengths).words) == 1.0
    assert float(after.reconstruction(tokens, lengths).sentences) == 1.0


def test_reconstruction_counts_words_and_entire_sentences(skilled: Learned) -> None:
    autoencoder, tokens, lengths = skilled
    # Two unchanged captions, and one whose third word is replaced: the decoder gets that word wrong, and perhaps others.
    other = tokens.clone()
    other[1, 3] = 3
    rebuilt = autoencoder(other, lengths, torch.zeros_like(tokens, dtype=torch.bool)).argmax(2)
    there = torch.arange(1, tokens.shape[1]) < lengths[:, None]
    right = (rebuilt == other[:, 1:])[there]
    rates = autoencoder.reconstruction(other, lengths)
    assert float(rates.words) == pytest.approx(float(right.float().mean()))
    assert float(rates.words) < 1
    assert float(rates.sentences) == pytest.approx(2 / 3)


def test_padding_changes_neither_loss_nor_reconstruction(skilled: Learned) -> None:
    autoencoder, tokens, lengths = skilled
    wider = nn.functional.pad(tokens, (0, 4))
    nothing, more = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(wider, dtype=torch.bool)
    narrow, wide = autoencoder.loss(tokens, lengths, nothing), autoencoder.loss(wider, lengths, more)
    assert float(wide.detach()) == pytest.approx(float(narrow.detach()), rel=1e-5)
    assert autoencoder.reconstruction(wider, lengths) == autoencoder.reconstruction(tokens, lengths)


def test_teacher_forcing_gives_the_decoder_the_true_word() -> None:
    autoencoder, tokens, lengths = learned(TextSpec(embedding=16, size=32), 0)
    free, forced = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens, dtype=torch.bool)
    forced[:, 2] = True
    free_running, with_forcing = autoencoder(tokens, lengths, free), autoencoder(tokens, lengths, forced)
    # Logits of tokens 1 and 2 are made before token 2 is given.
    assert torch.equal(free_running[:, :2], with_forcing[:, :2])
    assert not torch.allclose(free_running[:, 2], with_forcing[:, 2])


def test_a_custom_encoder_is_imported_by_its_dotted_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from torch import nn

class Bag(nn.Module):
    def __init__(self, size, num_words):
        super().__init__()
        self.size, self.words = size, nn.EmbeddingBag(num_words, size)

    def forward(self, tokens, lengths):
        return self.words(tokens)

def bag(spec, num_words):
    return Bag(spec.size, num_words)

def number(spec, num_words):
    return 3
"""
    (tmp_path / "my_encoders_of_words.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    words, tokens, lengths = tokens_of(CAPTIONS)
    encoder = text_encoder(TextSpec(encoder="my_encoders_of_words.bag", size=6), len(words))
    assert encoder is not None
    assert encoder(tokens, lengths).shape == (3, 6)
    with pytest.raises(RequestError, match=r"returned a int; expected an nn.Module with an integer `size`"):
        text_encoder(TextSpec(encoder="my_encoders_of_words.number"), len(words))


@pytest.mark.parametrize("name", ["lstn", "no_such_package.encoder", "torch.no_such_encoder"])
def test_an_unknown_encoder_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(RequestError, match=f"encoder '{name}': .*expected lstm, none, or the dotted path"):
        text_encoder(TextSpec(encoder=name), 10)


def test_sentences_are_standardised_and_scaled_to_length_one() -> None:
    words, tokens, lengths = tokens_of(CAPTIONS)
    spec = TextSpec(**SMALL, scale="standard", pretrain_steps=1)  # type: ignore[arg-type]
    encoder = SentenceEncoder(len(words), spec)
    sentences = Sentences(encoder, spec)
    assert sentences.size == 12
    sentences.measure(tokens, lengths, 1.0)
    plain, scaled = encoder(tokens, lengths).detach(), sentences(tokens, lengths).detach()
    standard = (plain - plain.mean(0)) / plain.std(0, correction=0)
    assert torch.allclose(scaled, nn.functional.normalize(standard, dim=1), atol=1e-3)
    assert torch.allclose(scaled.norm(dim=1), torch.ones(3))
    as_it_is = Sentences(encoder, TextSpec(**SMALL))  # type: ignore[arg-type]
    assert torch.equal(as_it_is(tokens, lengths), encoder(tokens, lengths))


def test_encoder_none_gives_no_encoder() -> None:
    assert text_encoder(TextSpec(encoder="none"), 10) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "size 0: expected 1 or more"),
        ({"size": 5, "bidirectional": True}, "size 5: expected an even number"),
        ({"pretrain_steps": -1}, "pretrain_steps -1"),
        ({"teacher_forcing": 2.0}, "teacher_forcing 2.0: expected a probability"),
        ({"encoder": "none", "pretrain_steps": 5}, "encoder 'none' cannot be trained"),
        ({"remember": True, "taught_by": "generator"}, "vectors that change cannot be cached"),
        ({"scale": "standard"}, "scale 'standard' is measured in pre-training, but pretrain_steps is 0"),
    ],
)
def test_invalid_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        TextSpec(**values)  # type: ignore[arg-type]
