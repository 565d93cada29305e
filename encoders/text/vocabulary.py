"""The vocabulary of a text encoder: the words of a phrase that have vectors. Imports neither numpy nor torch.

A phrase is looked up group by group ("double bass" has a vector of its own), then word by word. Each word has the
weight a / (a + p(word)) (smooth inverse frequency: Arora, Liang, Ma, "A simple but tough-to-beat baseline for sentence
embeddings", ICLR 2017, equation 3).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import pairwise

from encoders.text.tokenizer import Word, split_words, tokenize

__all__ = ["FUNCTION_WORDS", "PAD_TOKEN", "UNKNOWN_TOKEN", "UnknownWordsError", "Vocabulary"]

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


class UnknownWordsError(ValueError):
    """No word of a phrase is in the model's vocabulary.

    Attributes:
        words: the unknown words.
        suggestions: known words of similar spelling, by unknown word.
    """

    def __init__(self, words: Sequence[str], suggestions: dict[str, list[str]]) -> None:
        self.words = list(words)
        self.suggestions = suggestions
        near = "; ".join(f"{w}: did you mean {', '.join(s)}?" for w, s in suggestions.items() if s)
        listed = ", ".join(repr(w) for w in self.words)
        message = f"the model knows none of these words: {listed}" if self.words else "there is no word to search for"
        super().__init__(f"{message} ({near})" if near else message)


class Vocabulary:
    """The tokens that have vectors: words, and word groups joined by underscores (`double_bass`)."""

    def __init__(self, tokens: Sequence[str]) -> None:
        if list(tokens[:2]) != [PAD_TOKEN, UNKNOWN_TOKEN]:
            raise ValueError(f"a vocabulary starts with {PAD_TOKEN} and {UNKNOWN_TOKEN}")
        self.tokens = list(tokens)
        self.ids = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def split(self, phrase: str) -> tuple[list[str], list[str]]:
        """Split a phrase into known and unknown words.

        Returns:
            The tokens that have vectors, and the words that have none. Function words are in neither, unless the
            phrase has no other word.
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
            if word not in FUNCTION_WORDS:
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
        """Return the word, or its singular or plural, whichever has a vector.

        A single letter or digit carries no meaning alone ("piano B"). Notes and numbers have no other form: "c" is not
        "cs", and "80" is not "80s".
        """
        if len(word) < 2:
            return None
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
                if candidate in self.ids:
                    return candidate, n_words
        return None

    def near_spellings(self, word: str, *, count: int = 3) -> list[str]:
        """Return up to `count` known words that are spelled like `word`, nearest first.

        A candidate has a similar length, the same first letter or the same two letters after it, and two fifths of the
        letter pairs. Without this selection the comparison takes ten times as long.
        """
        wanted = "_".join(tokenize(word)) or word.lower()
        start, rest, pairs = wanted[:1], wanted[1:3], _letter_pairs(wanted)
        shortest, longest = len(wanted) - 3, len(wanted) + 3
        candidates = [
            token
            for token in self.tokens[2:]
            if shortest <= len(token) <= longest and (token[:1] == start or token[1:3] == rest)
        ]
        candidates = [token for token in candidates if len(pairs & _letter_pairs(token)) >= 0.4 * len(pairs)]
        near = difflib.get_close_matches(wanted, candidates, n=count, cutoff=0.75)
        return [token.replace("_", " ") for token in near]

    def unknown_error(self, words: Sequence[str]) -> UnknownWordsError:
        """Return the error for a phrase without a known word, with near spellings."""
        return UnknownWordsError(words, {word: self.near_spellings(word) for word in words})


def _is_compound(group: list[Word]) -> bool:
    """Return whether words may be one word spelled as several: "wood block", "sub-bass", but not "a way" or "3-4"."""
    for left, right in pairwise(group):
        if left.text[-1].isdigit() and right.text[0].isdigit():
            return False
        if right.before == " " and any(len(w.text) < 2 or w.text in FUNCTION_WORDS for w in (left, right)):
            return False
    return True


def _letter_pairs(word: str) -> set[str]:
    return {word[at : at + 2] for at in range(len(word) - 1)}
