"""The vocabulary of a text encoder: the words of a phrase that have vectors. Imports neither numpy nor torch.

A phrase is looked up group by group ("double bass" has a vector of its own), then word by word. Each word has the
weight a / (a + p(word)) (smooth inverse frequency: Arora, Liang, Ma, "A simple but tough-to-beat baseline for sentence
embeddings", ICLR 2017, equation 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from encoders.text.tokenizer import Word, split_words, tokenize
from encoders.text.unknown import LeftOut, UnknownWordsError, left_out

if TYPE_CHECKING:
    from encoders.text.spelling import SpellingIndex

__all__ = ["FUNCTION_WORDS", "PAD_TOKEN", "UNKNOWN_TOKEN", "Vocabulary"]

PAD_TOKEN, UNKNOWN_TOKEN = "[PAD]", "[UNK]"
_LONGEST_GROUP_WORDS = 4
# They describe no sound: not reported when they are unknown, and used only where a phrase has no other word.
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "into", "is", "it", "its", "of", "on"),
        *("or", "some", "than", "that", "the", "their", "there", "these", "this", "to", "was", "were", "which", "who"),
        "with",
    )
)


# Spellings of one name, the first of them in the vocabulary serves all. The tokenizer leaves them as they are, because
# the shipped vectors were trained on them.
_ONE_NAME = (
    ("a_capella", "a_cappella", "acapella", "acappella"),  # the first is the tag that the shipped model has learned
    ("k_pop", "kpop"),
)
_SPELLED = (
    ("our", "or"),
    ("ise", "ize"),
    ("isi", "izi"),
    ("yse", "yze"),
    ("ogue", "og"),
    ("lled", "led"),
    ("lling", "ling"),
)
_SUFFIXES = ("ing", "ed", "y", "ish", "ly", "ness", "ies", "est")
_FEW = 0.001  # the share of letters beyond ASCII that a vocabulary of English may have, in loan words
_SHORTEST_BASE = 4  # letters; shorter bases are met by chance
# "Bb" is a note, but where text has "bb" it is a pellet gun; the other flats may be meant otherwise ("ab" in a gym).
_NOTES = frozenset({"bb"})
_FLATS = frozenset({"ab", "bb", "cb", "db", "eb", "fb", "gb"})
_MODES = frozenset({"major", "minor"})


class Vocabulary:
    """The tokens that have vectors: words, and word groups joined by underscores (`double_bass`)."""

    def __init__(self, tokens: Sequence[str]) -> None:
        if list(tokens[:2]) != [PAD_TOKEN, UNKNOWN_TOKEN]:
            raise ValueError(f"a vocabulary starts with {PAD_TOKEN} and {UNKNOWN_TOKEN}")
        self.tokens = list(tokens)
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self._same: dict[str, str] = {}
        for spellings in _ONE_NAME:
            served = next((token for token in spellings if token in self.ids), None)
            self._same |= {token: served for token in spellings if served is not None}

    def __len__(self) -> int:
        return len(self.tokens)

    def split(self, phrase: str) -> tuple[list[str], list[str]]:
        """Split a phrase into known and unknown words.

        Returns:
            The tokens that have vectors, and the words that have none, among them names of notes and keys. Function
            words are in neither, unless the phrase has no other word.
        """
        words = split_words(phrase)
        known: list[str] = []
        unknown: list[str] = []
        at = 0
        while at < len(words):
            group = self._group(words, at)
            if group is not None:
                token, n_words = group
                known.append(token)
                at += n_words
                continue
            word = words[at].text
            if _is_note(words, at):
                unknown.append(word)
            elif word not in FUNCTION_WORDS:
                form = self._known_form(word)
                if form is None:
                    unknown.append(word)
                else:
                    known.append(form)
            at += 1
        if not known and not unknown:
            known = [word.text for word in words if word.text in self.ids]
        return known, unknown

    def _known_form(self, word: str) -> str | None:
        """Return the word, or its singular, plural, other spelling or base form, whichever has a vector.

        A single letter or digit carries no meaning alone ("piano B"), and no vector hears a metre ("6/8"). Notes and
        numbers have no other form: "c" is not "cs", and "80" is not "80s".
        """
        if len(word) < 2 or "/" in word:
            return None
        if word in self._same:
            return self._same[word]
        if word in self.ids:
            return word
        if not word.isalpha():
            return None
        forms = [word + "s"]
        if word.endswith("s"):
            forms.append(word[:-1])
        if word.endswith("es"):
            forms.append(word[:-2])
        if word.endswith("ies"):
            forms.append(word[:-3] + "y")
        spellings = _other_spellings(word)
        forms += [*spellings, *(base for spelling in (word, *spellings) for base in _base_forms(spelling))]
        return next((form for form in forms if len(form) > 1 and form in self.ids), None)

    def _group(self, words: list[Word], at: int) -> tuple[str, int] | None:
        """Return the longest word group that starts at `at` and its number of words.

        Words that punctuation other than a hyphen separates are never a group.
        """
        longest = 1
        while longest < min(_LONGEST_GROUP_WORDS, len(words) - at) and words[at + longest].before != ",":
            longest += 1
        for n_words in range(longest, 1, -1):
            group = words[at : at + n_words]
            texts = [word.text for word in group]
            last = self._known_form(texts[-1]) or texts[-1]
            candidates = ["_".join(texts), "_".join([*texts[:-1], last])]
            if _is_compound(group):
                candidates.append("".join(texts))
            for candidate in candidates:
                if candidate in self._same or candidate in self.ids:
                    return self._same.get(candidate, candidate), n_words
        return None

    def near_spellings(self, word: str, *, count: int = 3) -> list[str]:
        """Return up to `count` known words that are spelled like `word`, nearest first.

        The first call reads the whole vocabulary; each call takes about 2 ms among 136,000 words.
        """
        wanted = "_".join(tokenize(word)) or word.lower()
        near = self._spelling.near(wanted, count=count) if len(self) > 2 else []
        return [self.tokens[2 + place].replace("_", " ") for place in near]

    def meant(self, word: str) -> str | None:
        """Return the known word that an unknown one is a misspelling of; None: none, or it is ambiguous.

        The first call reads the most frequent words, however large the vocabulary is (1 ms); each call takes 0.2 ms.
        """
        place = self._common_spelling.meant(word) if len(self) > 2 else None
        return None if place is None else self.tokens[2 + place]

    @cached_property
    def _common_spelling(self) -> SpellingIndex:
        from encoders.text.spelling import CONSIDERED, SpellingIndex  # imports numpy, which known words do not need

        return SpellingIndex(self.tokens[2 : 2 + CONSIDERED])

    @cached_property
    def _spelling(self) -> SpellingIndex:
        from encoders.text.spelling import SpellingIndex  # imports numpy, which known words do not need

        return SpellingIndex(self.tokens[2:])

    @cached_property
    def _is_latin(self) -> bool:
        text = "".join(self.tokens)
        return len(text.encode("utf-8", errors="surrogatepass")) < (1 + _FEW) * len(text)

    def left_out(self, phrase: str, unknown: Sequence[str]) -> LeftOut:
        """Return what a phrase loses by its unknown words, with near spellings, and by what is not in English."""
        return left_out(phrase, unknown, near=self.near_spellings, english=self._is_latin)

    def unknown_error(self, words: Sequence[str], *, phrase: str = "") -> UnknownWordsError:
        """Return the error for a phrase without a known word, with near spellings."""
        lost = left_out(phrase or " ".join(words), words, near=lambda word: (), english=self._is_latin)
        return UnknownWordsError(lost.words, self.near_spellings, foreign=lost.foreign, phrase=phrase)


def _other_spellings(word: str) -> list[str]:
    """Return a word in American spelling if it may be British, and the other way round: "colour", "color"."""
    found = []
    for one, other in _SPELLED:
        for ours, theirs in ((one, other), (other, one)):
            at = word.find(ours, _SHORTEST_BASE - 1)
            if at > 0:
                found.append(word[:at] + theirs + word[at + len(ours) :])
    return found


def _base_forms(word: str) -> list[str]:
    """Return words from which a word may be derived: "striding" from "stride", "thuggish" from "thug"."""
    found = []
    for suffix in _SUFFIXES:
        base = word.removesuffix(suffix)
        if base == word or len(base) < _SHORTEST_BASE:
            continue
        found += [base, base + "e"]
        if base[-1] == base[-2] and len(base) > _SHORTEST_BASE:
            found.append(base[:-1])
        if base.endswith("i"):
            found.append(base[:-1] + "y")
    return found


def _is_note(words: list[Word], at: int) -> bool:
    """Return whether a word is the name of a note that is also another word: "Bb", "Ab minor", "in A minor"."""
    word = words[at].text
    if word in _NOTES:
        return True
    mode = words[at + 1].text if at + 1 < len(words) and words[at + 1].before == " " else ""
    ends = at + 2 >= len(words) or words[at + 2].before == ","
    return mode in _MODES and (word in _FLATS or (word == "a" and ends))


def _is_compound(group: list[Word]) -> bool:
    """Return whether words may be one word spelled as several: "wood block", "sub-bass", but not "a way" or "3-4"."""
    for left, right in pairwise(group):
        if left.text[-1].isdigit() and right.text[0].isdigit():
            return False
        if right.before == " " and any(len(w.text) < 2 or w.text in FUNCTION_WORDS for w in (left, right)):
            return False
    return True
