"""Tokens, vocabulary, unknown words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encoders.text.tokenizer import split_words, stem, tokenize
from encoders.text.tower import TextEncoder
from encoders.text.unknown import UnknownWordsError
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


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
        ("rhythm & blues", ["rnb"]),
        ("drum'n'bass", ["drum", "and", "bass"]),
        ("d&b", ["drum", "and", "bass"]),
        ("Drum & Bass / D'n'B", ["drum", "and", "bass", "drum", "and", "bass"]),
        ("Rock \u2019n\u2019 Roll", ["rock", "and", "roll"]),
        ("Hip-Hop, hiphop", ["hip", "hop", "hip", "hop"]),
        ("lo-fi", ["lofi"]),
        ("lo\u2011fi", ["lofi"]),
        ("hi-hat", ["hi", "hat"]),
        ("ragga-jungle", ["ragga", "jungle"]),
        ("double-bass", ["double", "bass"]),
        ("double_bass", ["double", "bass"]),
        ("8-bit", ["8", "bit"]),
        ("90s", ["90s"]),
        ("80's", ["80s"]),
        ("\u201980s", ["80s"]),
        ("AC/DC", ["ac", "dc"]),
        ("D.J. set", ["dj", "set"]),
        ("3/4", ["3/4"]),
        ("7/8 and \u00bd", ["7/8", "and", "1/2"]),
        ("C#", ["c#"]),
        ("C# minor", ["c#", "minor"]),
        ("F\u266f minor", ["f#", "minor"]),
        ("B\u266d", ["bb"]),
        ("C\u266fm7", ["c#m7"]),
        ("#chill", ["chill"]),
        ("Bossa-nova caf\u00e9\u2019s", ["bossa", "nova", "cafe"]),
        ("Beyonc\u00e9", ["beyonce"]),
        ("na\u00efve", ["naive"]),
        ("e\u0301tude", ["etude"]),
        ("Bj\u00f6rk", ["bjork"]),
        ("R\u00f8yksopp", ["royksopp"]),
        ("Stra\u00dfe", ["strasse"]),
        ("\u0141\u00f3d\u017a", ["lodz"]),
        ("\u6771\u4eac drums", ["\u6771\u4eac", "drums"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
        ("zero\u200bwidth", ["zerowidth"]),
        ("don\u2019t", ["don't"]),
        ("\U0001f3b8\n", []),
        ("\u0130stanbul \u0131\u015f\u0131k", ["istanbul", "isik"]),
        ("\uff21\uff23\uff2f\uff35\uff33\uff34\uff29\uff23", ["acoustic"]),
        ("\u0180eat \u0167echno", ["beat", "techno"]),
        ("m\u0259mm\u0259d", ["m\u0259mm\u0259d"]),
        ("lo\u2013fi, bass \u2013 drums", ["lofi", "bass", "drums"]),
        ("rock\u97f3\u697d 80\u5e74\u4ee3", ["rock", "\u97f3\u697d", "80", "\u5e74\u4ee3"]),
        ("drum  'n'   bass", ["drum", "and", "bass"]),
        ("a cappella", ["a", "cappella"]),
        ("P-funk", ["p", "funk"]),
        ("C\x00D", ["c", "d"]),
    ],
)
def test_tokenize(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens
    assert [word.text for word in split_words(text)] == tokens


def test_what_separates_words_is_kept() -> None:
    words = split_words("wah-wah guitar, bass - drums; 'loud' cafe_bar")
    assert [word.before for word in words] == [",", "-", " ", ",", ",", ",", " ", " "]


def test_forms_of_a_word_have_one_stem() -> None:
    assert {stem(word) for word in ("drum", "drums", "drumming", "drummed")} == {"drum"}
    assert stem("sneezing") == stem("sneeze") != stem("snoring")


def test_the_longest_group_is_looked_up_whole(vocabulary: Vocabulary) -> None:
    assert vocabulary.split("Double Bass guitar") == (["double_bass", "guitar"], [])
    assert vocabulary.split("hip-hop") == (["hip_hop"], [])


def test_singular_and_plural_serve_each_other(vocabulary: Vocabulary) -> None:
    assert vocabulary.split("acoustic guitars, dogs and berries") == (["acoustic", "guitar", "dog", "berry"], [])


@pytest.mark.parametrize(
    ("phrase", "known", "unknown"),
    [
        ("C# minor", ["minor"], ["c#"]),
        ("F\u266f minor", ["minor"], ["f#"]),
        ("c minor", ["minor"], ["c"]),
        ("beat b", ["beat"], ["b"]),
        ("3/4 beat", ["beat"], ["3/4"]),
        ("80 beat", ["beat"], ["80"]),
        ("3 4", [], ["3", "4"]),
        ("AC/DC", [], ["ac", "dc"]),
        ("double, bass", ["double", "bass"], []),
        ("Double (bass)", ["double", "bass"], []),
        ("a way", [], ["way"]),
        ("wood-block", ["woodblock"], []),
        ("wood block", ["woodblock"], []),
        ("a-way", ["away"], []),
        ("w oodblock", [], ["w", "oodblock"]),
    ],
)
def test_neighbours_are_joined_only_where_they_are_written_as_a_compound(
    phrase: str, known: list[str], unknown: list[str]
) -> None:
    words = [
        "cs",
        "fs",
        "34",
        "80s",
        "acdc",
        "double",
        "bass",
        "double_bass",
        "away",
        "woodblock",
        "minor",
        "beat",
        "b",
    ]
    assert Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *words]).split(phrase) == (known, unknown)


def test_the_tags_of_the_shipped_model_are_split_as_in_its_training() -> None:
    encoder = TextEncoder.load()
    tags = json.loads((GOLDEN / "tag_tokens.json").read_text(encoding="utf-8"))
    assert list(tags) == encoder.tag_names()
    assert {tag: encoder.vocabulary.split(tag)[0] for tag in tags} == tags


@pytest.mark.parametrize(
    ("written", "token"),
    [
        (("80's", "80s", "\u201980s"), "80s"),
        (("1980s", "1980's"), "1980s"),
        (("R&B", "r 'n' b", "RnB", "rhythm and blues"), "rnb"),
        (("drum'n'bass", "drum 'n' bass", "d&b", "DnB", "drum and bass", "drum\u2019n\u2019bass"), "drum_and_bass"),
        (("rock'n'roll", "rock & roll", "Rock n Roll"), "rock_and_roll"),
        (("lo-fi", "lofi", "lo fi", "lo\u2013fi"), "lofi"),
        (("hi-hat", "hihat", "high hat"), "hi_hat"),
        (("hip-hop", "hiphop"), "hip_hop"),
        (("k-pop", "kpop", "K Pop"), "k_pop"),
        (("8-bit", "8 bit"), "8_bit"),
        (("808",), "808"),
        (("a cappella", "a capella", "acapella", "acappella", "A Cappella"), "a_capella"),
        (("na\u00efve",), "naive"),
    ],
)
def test_spellings_of_one_name_have_one_vector(written: tuple[str, ...], token: str) -> None:
    encoder = TextEncoder.load()
    for spelling in written:
        assert encoder.vocabulary.split(spelling) == ([token], []), spelling
    assert len({row.tobytes() for row in encoder.encode(written)}) == 1


@pytest.mark.parametrize(
    ("phrase", "known", "unknown"),
    [
        ("C# minor", ["minor"], ["c#"]),
        ("F#m", [], ["f#m"]),
        ("Bb minor", ["minor"], ["bb"]),  # not a pellet gun
        ("B\u266d clarinet", ["clarinet"], ["bb"]),
        ("Ab major", ["major"], ["ab"]),
        ("in A minor", ["minor"], ["a"]),
        ("A minor, slow", ["minor", "slow"], ["a"]),
        ("a minor key", ["minor_key"], []),
        ("7/8", [], ["7/8"]),
        ("6/8 waltz", ["waltz"], ["6/8"]),
        ("4/4 beat", ["beat"], ["4/4"]),
        ("P-funk", ["p_funk"], []),
        ("Beyonc\u00e9", [], ["beyonce"]),
    ],
)
def test_notes_meters_and_names_are_unknown_and_not_taken_for_something_else(
    phrase: str, known: list[str], unknown: list[str]
) -> None:
    encoder = TextEncoder.load()
    assert encoder.vocabulary.split(phrase) == (known, unknown)
    assert encoder.unknown_words(phrase) == unknown
    if known:  # the numpy tower does not use the vectors of what it calls unknown
        assert (encoder.encode([phrase]) == encoder.encode([" ".join(known).replace("_", " ")])).all()


def test_unknown_words_are_named_and_function_words_are_not(vocabulary: Vocabulary) -> None:
    assert vocabulary.split("the sound of a zzzx guitar") == (["guitar"], ["sound", "zzzx"])
    assert vocabulary.split("of") == (["of"], [])
    assert vocabulary.split("") == ([], [])


def test_the_error_suggests_near_spellings(vocabulary: Vocabulary) -> None:
    error = vocabulary.unknown_error(["regae"])
    assert isinstance(error, UnknownWordsError)
    assert error.words == ["regae"]
    assert error.suggestions == {"regae": ["reggae"]}
    assert vocabulary.unknown_error(["x"]).suggestions == {"x": []}
    assert "did you mean reggae?" in str(error)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("saxophoone", "saxophone"),
        ("guitr", "guitar"),
        ("Acustic gitar", "acoustic guitar"),
        ("kymbal", "cymbal"),
        ("melancolic", "melancholic"),
    ],
)
def test_the_shipped_vocabulary_suggests_the_word_that_was_meant(word: str, near: str) -> None:
    assert near in TextEncoder.load().near_spellings(word)


def test_a_word_like_no_other_has_no_near_spelling(vocabulary: Vocabulary) -> None:
    assert [vocabulary.near_spellings(word) for word in ("zzzqqq", "x", "c#", "")] == [[], [], [], []]


def test_a_vocabulary_starts_with_its_special_tokens() -> None:
    with pytest.raises(ValueError, match="starts with"):
        Vocabulary(["guitar"])


@pytest.mark.parametrize(
    ("phrase", "known"),
    [
        ("striding", "stride"),
        ("druggy", "drug"),
        ("thuggish", "thug"),
        ("summery", "summer"),
        ("colourful", "colorful"),
        ("harmonised", "harmonize"),
        ("mellowness", "mellow"),
        ("dreamily", "dreamy"),
    ],
)
def test_a_derived_or_differently_spelled_word_is_read_as_its_base(phrase: str, known: str) -> None:
    words = ["stride", "drug", "thug", "summer", "colorful", "harmonize", "mellow", "dreamy"]
    assert Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *words]).split(phrase) == ([known], [])


def test_an_entry_of_its_own_is_never_read_as_its_base() -> None:
    vocabulary = Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, "drumming", "drum", "string", "str"])
    assert vocabulary.split("drumming string") == (["drumming", "string"], [])
    assert vocabulary.split("stred") == ([], ["stred"])  # a base of three letters is met by chance
