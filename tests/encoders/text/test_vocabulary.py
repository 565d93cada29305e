"""Tokens, vocabulary, unknown words."""

from __future__ import annotations

import pytest

from encoders.text.tokenizer import tokenize
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, UnknownWordsError, Vocabulary


@pytest.fixture
def vocabulary() -> Vocabulary:
    words = [
        "double",
        "bass",
        "double_bass",
        "guitar",
        "acoustic",
        "of",
        "dog",
        "hip",
        "hop",
        "hip_hop",
        "reggae",
        "berry",
    ]
    return Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *words])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Acoustic GUITAR", ["acoustic", "guitar"]),
        ("R&B", ["rnb"]),
        ("Drum & Bass / D'n'B", ["drum", "and", "bass", "drum", "and", "bass"]),
        ("Hip-Hop, hiphop", ["hip", "hop", "hip", "hop"]),
        ("Bossa-nova caf\u00e9\u2019s", ["bossa", "nova", "cafe"]),
        ("hi-hat", ["hi", "hat"]),
        ("\U0001f3b8\n", []),
    ],
)
def test_tokenize(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


def test_the_longest_group_is_looked_up_whole(vocabulary: Vocabulary) -> None:
    assert vocabulary.split("Double Bass guitar") == (["double_bass", "guitar"], [])
    assert vocabulary.split("hip-hop") == (["hip_hop"], [])


def test_singular_and_plural_serve_each_other(vocabulary: Vocabulary) -> None:
    assert vocabulary.split("acoustic guitars, dogs and berries") == (["acoustic", "guitar", "dog", "berry"], [])


def test_unknown_words_are_named_and_function_words_are_not(vocabulary: Vocabulary) -> None:
    assert vocabulary.split("the sound of a zzzx guitar") == (["guitar"], ["sound", "zzzx"])
    assert vocabulary.split("of") == (["of"], [])
    assert vocabulary.split("") == ([], [])


def test_the_error_suggests_near_spellings(vocabulary: Vocabulary) -> None:
    error = vocabulary.unknown_error(["regae"])
    assert isinstance(error, UnknownWordsError)
    assert error.words == ["regae"]
    assert error.suggestions == {"regae": ["reggae"]}
    assert "did you mean reggae?" in str(error)


def test_a_vocabulary_starts_with_its_special_tokens() -> None:
    with pytest.raises(ValueError, match="starts with"):
        Vocabulary(["guitar"])
