"""What is left out of a phrase: other scripts, pictures, unknown words, and how it is said."""

from __future__ import annotations

import time

import pytest

from encoders.text.tower import TextEncoder
from encoders.text.unknown import LeftOut, UnknownWordsError
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.text.writing import ForeignPart, foreign_parts

GITARA = "\u0433\u0438\u0442\u0430\u0440\u0430"


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"{GITARA} sad", [(GITARA, "Cyrillic")]),
        (
            "\u30ae\u30bf\u30fc\u5409\u4ed6",
            [("\u30ae\u30bf\u30fc", "Japanese"), ("\u5409\u4ed6", "Chinese characters")],
        ),
        ("\uae30\ud0c0", [("\uae30\ud0c0", "Korean")]),
        ("\u062c\u064a\u062a\u0627\u0631", [("\u062c\u064a\u062a\u0627\u0631", "Arabic")]),
        ("\u03ba\u03b9\u03b8\u03ac\u03c1\u03b1", [("\u03ba\u03b9\u03b8\u03ac\u03c1\u03b1", "Greek")]),
        ("\u05d2\u05d9\u05d8\u05e8\u05d4", [("\u05d2\u05d9\u05d8\u05e8\u05d4", "Hebrew")]),
        ("\u0e01\u0e35\u0e15\u0e32\u0e23\u0e4c", [("\u0e01\u0e35\u0e15\u0e32\u0e23\u0e4c", "Thai")]),
        ("rock\u97f3\u697d", [("\u97f3\u697d", "Chinese characters")]),
        ("\U0001f3b8 guitar", [("\U0001f3b8", "a picture or symbol")]),
        # A singer of two characters, a skin tone and a joiner is one picture.
        ("\U0001f469\U0001f3fd\u200d\U0001f3a4", [("\U0001f469\U0001f3fd\u200d\U0001f3a4", "a picture or symbol")]),
        ("\u266a", [("\u266a", "a picture or symbol")]),
        ("Beyonc\u00e9 R\u00f6yksopp \u00f8\u0142\u0131\u00df \u0259\u014b", []),
        ("\uff27\uff35\uff29\uff34\uff21\uff32 \uff14\uff14 \ufb01ne \u2122", []),
        ("C\u266f B\u266d \u00bd don\u2019t \u2013 \u201cx\u201d \u20ac5", []),
    ],
)
def test_parts_in_other_scripts_are_named(text: str, parts: list[tuple[str, str]]) -> None:
    assert foreign_parts(text) == [ForeignPart(*part) for part in parts]


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        (GITARA, f"the model reads English words, not '{GITARA}' (Cyrillic): say in English"),
        ("\U0001f3b8", "the model reads English words, not '\U0001f3b8' (a picture or symbol): say in English"),
        ("Beyonc\u00e9", "the model knows none of these words: 'Beyonc\u00e9'"),
        ("C#", "the model knows none of these words: 'C#'"),
        ("xqqzzq \u97f3\u697d", "'xqqzzq'; it reads English words, not '\u97f3\u697d' (Chinese characters)"),
        ("***", "there is no word to search for in '***'"),
        ("", "there is no word to search for: give"),
        ("x" * 200_000, "none of these words: '" + "x" * 40 + "...'"),
    ],
)
def test_a_phrase_without_a_known_word_is_refused_with_the_reason(
    encoder: TextEncoder, phrase: str, message: str
) -> None:
    with pytest.raises(UnknownWordsError) as error:
        encoder.encode([phrase])
    assert message in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("phrase", "lost"),
    [
        ("acoustic guitar", {}),
        ("accoustic guitar", {"unknown": {"accoustic": ["acoustic", "acoustics", "acousitc"]}}),
        (f"sad {GITARA}", {"not_english": {GITARA: "Cyrillic"}}),
        ("guitar \U0001f3b8", {"not_english": {"\U0001f3b8": "a picture or symbol"}}),
        ("7/8 waltz, 303!", {"unknown": {"7/8": [], "303": []}}),
        ("R\u00f6yksopp-like synth", {"unknown": {"royksopp": []}}),
        ("Z-funk", {"unknown": {"z": []}}),
    ],
)
def test_what_a_phrase_loses_is_said(encoder: TextEncoder, phrase: str, lost: dict[str, object]) -> None:
    found = encoder.left_out(phrase)
    assert found.to_dict() == lost
    assert bool(found) == bool(lost) == bool(found.message())


def test_the_message_names_near_spellings_and_counts_what_it_does_not_show(encoder: TextEncoder) -> None:
    assert encoder.left_out("violinn solo").message() == (
        "the model does not know 'violinn' (did you mean violin, violins or violent?)"
    )
    many = encoder.left_out(" ".join(f"xq{i}z" for i in range(5000)) + " guitar")
    assert many.message().endswith("'xq7z' and 4992 more")
    assert len(many.words) == 5000


def test_a_vocabulary_in_another_script_knows_its_words_and_does_not_ask_for_english() -> None:
    vocabulary = Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, GITARA])
    assert vocabulary.split("\u0413\u0438\u0442\u0430\u0440\u0430") == ([GITARA], [])
    written = GITARA[:3] + GITARA[4:]
    assert vocabulary.left_out(written, vocabulary.split(written)[1]) == LeftOut((written,), (), {written: (GITARA,)})


def test_near_spellings_are_looked_up_only_for_a_message(encoder: TextEncoder) -> None:
    looked_up: list[str] = []

    def near(word: str) -> list[str]:
        looked_up.append(word)
        return [word + "s"]

    error = UnknownWordsError(["a1", "b1", "c1", "d1", "e1", "f1"], near)
    assert looked_up == []
    assert error.suggestions["a1"] == ["a1s"]
    assert "a1: did you mean a1s?" in str(error)
    assert looked_up == ["a1", "b1", "c1", "d1", "e1"]  # once, and of many words the first five


@pytest.mark.parametrize(
    "phrase",
    [
        "r" + " " * 200_000 + "x",
        "a." * 100_000,
        "guitar " * 30_000,
        "xyzzy " * 30_000,
        "e\u0301" * 100_000,
        "'" * 200_000,
    ],
)
def test_a_query_of_200000_characters_takes_linear_time(encoder: TextEncoder, phrase: str) -> None:
    start_s = time.perf_counter()
    encoder.left_out(phrase).message()
    assert time.perf_counter() - start_s < 10.0  # a spelling rule took minutes for a run of spaces
