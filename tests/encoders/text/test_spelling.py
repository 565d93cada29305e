"""Near spellings against a slow, obvious distance, and on misspellings of the shipped vocabulary."""

from __future__ import annotations

import random
import string

import pytest

from encoders.text.spelling import SpellingIndex
from encoders.text.tower import TextEncoder


def distance(a: str, b: str) -> int:
    """Return the optimal string alignment distance by its definition: one row for each letter."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


def misspelt(word: str, rng: random.Random) -> str:
    """Return a word after one or two random edits."""
    for _ in range(1 if len(word) < 7 else rng.choice((1, 1, 2))):
        at = rng.randrange(len(word))
        letter = rng.choice(string.ascii_lowercase)
        kind = rng.choice(("insert", "delete", "replace", "exchange"))
        if kind == "insert":
            word = word[:at] + letter + word[at:]
        elif kind == "delete":
            word = word[:at] + word[at + 1 :]
        elif kind == "replace":
            word = word[:at] + letter + word[at + 1 :]
        else:
            word = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
    return word


def test_all_words_within_the_distance_are_found_and_no_others() -> None:
    rng = random.Random(0)
    words = sorted({"".join(rng.choices("abcd\u00e9\u0434", k=rng.randrange(1, 12))) for _ in range(3000)})
    index = SpellingIndex(words)
    for _ in range(60):
        word = misspelt(rng.choice([word for word in words if len(word) > 2]), rng)
        if len(word) < 3:
            continue
        most = 1 if len(word) < 5 else 2 if len(word) < 9 else 3
        expected = {other for other in words if len(other) > 2 and 0 < distance(word, other) <= most}
        assert {words[place] for place in index.near(word, count=len(words))} == expected


def test_nearer_words_come_first_then_those_with_the_same_first_letter_then_frequent_ones() -> None:
    words = ["zounds", *["x" * 20] * 2000, "sounds", "founds", "sound", "soundly", "sbunds"]
    near = [words[place] for place in SpellingIndex(words).near("sounds", count=9)]
    assert near == ["sound", "sbunds", "zounds", "founds", "soundly"]


@pytest.mark.parametrize("word", ["", "ab", "303", "7/8", "a" * 64, "zzzqqqxxx"])
def test_what_has_no_near_spelling(word: str) -> None:
    assert SpellingIndex(["abc", "303s", "7/9", "a" * 63, "reggae"]).near(word, count=3) == []


def test_the_longest_word_that_is_compared() -> None:
    words = ["a" * 62, "b" * 63]
    assert SpellingIndex(words).near("a" * 63, count=3) == [0]


def test_misspellings_of_the_shipped_vocabulary_lead_back_to_the_word() -> None:
    """500 words: half from the model's tags, half from its 12,000 most frequent words."""
    encoder = TextEncoder.load()
    vocabulary, rng = encoder.vocabulary, random.Random(0)
    tags = sorted({token for tag in encoder.tag_names() for token in vocabulary.split(tag)[0] if len(token) > 4})
    frequent = [token for token in vocabulary.tokens[2:12000] if token.isalpha() and len(token) > 4]
    n_found = 0
    for _ in range(500):
        meant = rng.choice(tags if rng.random() < 0.5 else frequent)
        word = misspelt(meant, rng)
        while word in vocabulary.ids:
            word = misspelt(meant, rng)
        n_found += meant.replace("_", " ") in vocabulary.near_spellings(word)
    assert n_found >= 475, f"{n_found} of 500 among the first three"
