"""Words of a phrase that the model knows: a vocabulary with weights, numpy only.

A phrase is looked up whole ("double bass" has a vector of its own), then word by word; each word weighs
a / (a + p(word)) (smooth inverse frequency: Arora, Liang, Ma, "A simple but tough-to-beat baseline for sentence
embeddings", ICLR 2017, equation 3).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from encoders.text.tokenizer import tokenize

__all__ = ["PAD_TOKEN", "UNKNOWN_TOKEN", "UnknownWordsError", "Vocabulary"]

PAD_TOKEN, UNKNOWN_TOKEN = "[PAD]", "[UNK]"
_LONGEST_PHRASE_WORDS = 4
# Words that carry no sound; a query is never turned down for them and never searched by them alone.
_FUNCTION_WORDS = frozenset(
    (
        *(
            "a",
            "an",
            "and",
            "are",
            "as",
            "at",
            "be",
            "by",
            "for",
            "from",
            "in",
            "into",
            "is",
            "it",
            "its",
            "of",
            "on",
            "or",
        ),
        *(
            "some",
            "than",
            "that",
            "the",
            "their",
            "there",
            "these",
            "this",
            "to",
            "was",
            "were",
            "which",
            "who",
            "with",
        ),
    )
)


class UnknownWordsError(ValueError):
    """No word of a phrase is in the model's vocabulary.

    Attributes:
        words: the words, as they were written.
        suggestions: near spellings that the model knows, by word.
    """

    def __init__(self, words: Sequence[str], suggestions: dict[str, list[str]]) -> None:
        self.words = list(words)
        self.suggestions = suggestions
        near = "; ".join(f"{w}: did you mean {', '.join(s)}?" for w, s in suggestions.items() if s)
        listed = ", ".join(repr(w) for w in self.words)
        message = f"the model knows none of these words: {listed}" if self.words else "there is no word to search for"
        super().__init__(f"{message} ({near})" if near else message)


class Vocabulary:
    """The tokens that have vectors: words, and word groups written with underscores (``double_bass``)."""

    def __init__(self, tokens: Sequence[str]) -> None:
        if list(tokens[:2]) != [PAD_TOKEN, UNKNOWN_TOKEN]:
            raise ValueError(f"a vocabulary starts with {PAD_TOKEN} and {UNKNOWN_TOKEN}")
        self.tokens = list(tokens)
        self.ids = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def _known_form(self, word: str) -> str | None:
        """Return the word, or its singular or plural, whichever has a vector."""
        forms = [word, word + "s"]
        if word.endswith("s"):
            forms.append(word[:-1])
        if word.endswith("es"):
            forms.append(word[:-2])
        if word.endswith("ies"):
            forms.append(word[:-3] + "y")
        return next((form for form in forms if len(form) > 1 and form in self.ids), None)

    def _group(self, words: list[str], at: int) -> tuple[str, int] | None:
        """Return the longest word group that starts at ``at`` and its number of words."""
        for n in range(min(_LONGEST_PHRASE_WORDS, len(words) - at), 1, -1):
            group = words[at : at + n]
            last = self._known_form(group[-1]) or group[-1]
            for candidate in ("_".join(group), "_".join([*group[:-1], last]), "".join(group)):
                if candidate in self.ids:
                    return candidate, n
        return None

    def split(self, phrase: str) -> tuple[list[str], list[str]]:
        """Split a phrase.

        Returns:
            The tokens that have vectors, and the words that have none. Function words are in neither, unless the
            phrase has no other word.
        """
        words = tokenize(phrase)
        known: list[str] = []
        unknown: list[str] = []
        at = 0
        while at < len(words):
            found = self._group(words, at)
            if found is not None:
                token, n = found
                known.append(token)
                at += n
                continue
            word = words[at]
            form = self._known_form(word)
            if word not in _FUNCTION_WORDS:
                if form is None:
                    unknown.append(word)
                else:
                    known.append(form)
            at += 1
        if not known and not unknown:
            known = [w for w in words if w in self.ids]
        return known, unknown

    def near_spellings(self, word: str, *, count: int = 3) -> list[str]:
        """Return up to ``count`` known words that are spelt like ``word``, nearest first."""
        near = difflib.get_close_matches(word.lower(), self.tokens[2:], n=count, cutoff=0.75)
        return [token.replace("_", " ") for token in near]

    def unknown_error(self, words: Sequence[str]) -> UnknownWordsError:
        """Return the error for a phrase none of whose words is known."""
        return UnknownWordsError(words, {word: self.near_spellings(word) for word in words})
