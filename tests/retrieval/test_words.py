"""How the words of a query are read: negations, names that look like one, and what is said."""

from __future__ import annotations

import time

import pytest

from encoders.text.tower import TextEncoder
from retrieval.query import QueryError
from retrieval.words import QueryReading, find_negations, read_query


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load()


@pytest.mark.parametrize(
    ("query", "text", "exclude"),
    [
        ("guitar without drums", "guitar", ("drums",)),
        ("Guitar, No Drums", "guitar", ("drums",)),
        ("piano w/o strings", "piano", ("strings",)),
        ("instrumental without voice", "instrumental", ("voice",)),
        ("piano, no drums or bass, slow", "piano, slow", ("drums", "bass")),
        ("guitar but no vocals and no drums", "guitar", ("vocals", "drums")),
        ("no vocals, piano", "piano", ("vocals",)),
        ("no piano and guitar", "guitar", ("piano",)),
        ("ambient without drums and bass", "ambient", ("drums", "bass")),
        ("ambient without drum and bass", "ambient", ("drum and bass",)),
        ("jazz with no singing", "jazz", ("singing",)),
        ("techno, not too loud", "techno", ("loud",)),
        ("not too loud piano", "piano", ("loud",)),
        ("no drums acoustic guitar", "acoustic guitar", ("drums",)),
        ("guitar without any electric guitar solo", "guitar", ("electric guitar solo",)),
        ("non-vocal jazz", "jazz", ("vocal",)),
        ("no-vocals techno", "techno", ("vocals",)),
        ("vocal-free jazz", "jazz", ("vocal",)),
        ("drumless hip-hop", "hip hop", ("drum",)),
        ("drums without snares", "drums", ("snares",)),
        ("something without drums", "music", ("drums",)),
        ("no wave guitar without drums", "no wave guitar", ("drums",)),
        # Music without voice has a tag of its own.
        ("non-vocal", "instrumental", ("vocal",)),
        ("nonvocal", "instrumental", ("vocal",)),
        ("no voices", "instrumental", ("voices",)),
        ("songs without lyrics", "instrumental", ("lyrics",)),
    ],
)
def test_a_negation_of_a_tag_is_read_as_not(
    encoder: TextEncoder, query: str, text: str, exclude: tuple[str, ...]
) -> None:
    reading = read_query(query, encoder=encoder)
    assert (reading.text, reading.exclude) == (text, exclude)
    assert all(f"--not {phrase!r}" in " ".join(reading.notes) for phrase in exclude)
    again = read_query(reading.text, exclude=reading.exclude, encoder=encoder)
    assert (again.text, again.exclude, again.notes) == (text, exclude, ())


@pytest.mark.parametrize(
    "query",
    [
        "no vocals",  # tags of the model
        "no voice",
        "without snares",
        "non vibrato",
        "no wave",  # names
        "no woman no cry",
        "no man's land",
        "without you",
        "fretless bass",
        "royalty-free music",
        "free jazz",
        "non-stop techno",
        "no",
        "guitar no",
        "nonet",
        "nocturne",
    ],
)
def test_what_is_no_negation_is_searched_as_it_is(encoder: TextEncoder, query: str) -> None:
    assert read_query(query, encoder=encoder, explain=False) == QueryReading(query)


@pytest.mark.parametrize(
    ("query", "part"), [("no doubt", "no doubt"), ("not dead yet", "not dead"), ("techno without 4/4", "without 4/4")]
)
def test_a_negation_of_another_word_changes_nothing_and_is_said(encoder: TextEncoder, query: str, part: str) -> None:
    reading = read_query(query, encoder=encoder)
    assert (reading.text, reading.exclude) == (query, ())
    assert reading.notes == (f"'{part}': a negation has no effect in a query; to leave something out, use --not",)


@pytest.mark.parametrize(
    ("query", "advice"),
    [
        ("not sad", "'not sad' says only what to leave out: add what to find, as in: retrieve music --not 'sad'"),
        ("no drums, no bass", "retrieve music --not 'drums' --not 'bass'"),
        ("without drum and bass", "--not 'drum and bass'"),
    ],
)
def test_a_query_that_says_only_what_to_leave_out_is_refused_with_the_fix(
    encoder: TextEncoder, query: str, advice: str
) -> None:
    with pytest.raises(QueryError) as error:
        read_query(query, encoder=encoder)
    assert advice in str(error.value)
    with_sound = read_query(query, encoder=encoder, has_sound=True)  # the sound says what to find
    assert with_sound.text == ""
    assert with_sound.exclude


def test_a_negated_exclusion_excludes_once(encoder: TextEncoder) -> None:
    reading = read_query("guitar without bass", exclude=["no drums", "bass", ""], encoder=encoder)
    assert reading.exclude == ("drums", "bass")
    assert "--not 'no drums' is read as --not 'drums'" in reading.notes


def test_a_reading_names_what_is_left_out_of_words_and_exclusions(encoder: TextEncoder) -> None:
    reading = read_query("soft guitarr without drums", exclude=["solo violine \u97f3"], encoder=encoder, literal=True)
    assert reading.left_out.near is not None
    assert {word: near[0] for word, near in reading.left_out.near.items()} == {"guitarr": "guitar", "violine": "violin"}
    assert reading.to_dict() == {
        "text": "soft guitarr",
        "exclude": ["solo violine \u97f3", "drums"],
        "notes": ["'without drums' is read as --not 'drums'"],
        "unknown": {word: list(near) for word, near in reading.left_out.near.items()},
        "not_english": {"\u97f3": "Chinese characters"},
    }
    assert reading
    assert not read_query("acoustic guitar", exclude=["drums"], encoder=encoder)


def test_misspelled_words_are_read_as_the_words_that_are_meant_and_this_is_said(encoder: TextEncoder) -> None:
    reading = read_query("Soft guiatr wihtout drmus", exclude=["violinn xqzzyv"], encoder=encoder)
    assert reading.to_dict() == {
        "text": "soft guitar",
        "exclude": ["violin xqzzyv", "drums"],
        "notes": [
            "'guiatr' is read as 'guitar'; --literal takes it as it is written",
            "'wihtout' is read as 'without'; --literal takes it as it is written",
            "'drmus' is read as 'drums'; --literal takes it as it is written",
            "'violinn' is read as 'violin'; --literal takes it as it is written",
            "'without drums' is read as --not 'drums'",
        ],
        "read_as": {"guiatr": "guitar", "wihtout": "without", "drmus": "drums", "violinn": "violin"},
        "unknown": {"xqzzyv": []},
    }
    assert reading
    again = read_query(reading.text, exclude=reading.exclude, encoder=encoder)
    assert (again.text, again.exclude, again.notes) == (reading.text, reading.exclude, ())


def test_a_literal_query_leaves_misspelled_words_out(encoder: TextEncoder) -> None:
    reading = read_query("soft guiatr", encoder=encoder, literal=True)
    assert (reading.text, reading.notes, reading.left_out.words) == ("soft guiatr", (), ("guiatr",))


def test_parts_of_a_query_without_a_known_word_have_no_effect_where_others_are_left(encoder: TextEncoder) -> None:
    reading = read_query("xqzzyv", exclude=["wvvqk", "drums", "\u97f3"], encoder=encoder, has_sound=True)
    assert (reading.text, reading.exclude) == ("", ("drums",))
    assert reading.notes == tuple(
        f"--not {phrase!r} has no effect: the model knows no word of it" for phrase in ("wvvqk", "\u97f3")
    )
    assert reading.left_out.words == ("xqzzyv", "wvvqk")
    assert read_query("xqzzyv", encoder=encoder).text == "xqzzyv"  # the search says that nothing is left


@pytest.mark.parametrize("query", ["no " * 60_000, "piano no drums " * 15_000, "drumless " * 25_000, "no a " * 40_000])
def test_a_query_of_200000_characters_is_read_in_linear_time(encoder: TextEncoder, query: str) -> None:
    start_s = time.perf_counter()
    reading = read_query(query, encoder=encoder, has_sound=True)
    assert time.perf_counter() - start_s < 15.0
    assert sum(map(len, reading.notes)) < 1000


def test_negations_have_no_cost_for_a_query_without_one(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "tag_names", lambda: pytest.fail("looked up for nothing"))
    assert find_negations("acoustic guitar", encoder=encoder).text == "acoustic guitar"
