"""What a text encoder leaves out of a phrase: unknown words, with near spellings, and what is not in English."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from encoders.text.tokenizer import tokenize
from encoders.text.writing import ForeignPart, foreign_parts

__all__ = ["LeftOut", "UnknownWordsError", "left_out"]

_MOST_NAMED = 8  # of a phrase; the rest is counted
_MOST_SUGGESTED = 5  # words for which near spellings are looked up
_LONGEST_SHOWN = 40

_Near = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class LeftOut:
    """The parts of a phrase that its vector does not contain; false if there are none.

    Attributes:
        words: unknown words as the phrase writes them.
        foreign: parts in another script, and pictures.
        near: known words of similar spelling, by unknown word, for the first five that have some.
    """

    words: tuple[str, ...] = ()
    foreign: tuple[ForeignPart, ...] = ()
    near: Mapping[str, tuple[str, ...]] | None = None

    def __bool__(self) -> bool:
        return bool(self.words or self.foreign)

    def message(self) -> str:
        """Return one line that names what is left out and why; empty if there is nothing."""
        parts = []
        if self.words:
            near = self.near or {}
            named = [f"{_quoted(w)} (did you mean {_either(near[w])}?)" if w in near else _quoted(w)
                     for w in self.words[:_MOST_NAMED]]  # fmt: skip
            parts.append(f"the model does not know {_listed(named, n=len(self.words))}")
        if self.foreign:
            parts.append(f"the model reads English words, not {_foreign(self.foreign)}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON: unknown {word: near spellings}, not_english {part: kind}, where not empty."""
        found: dict[str, object] = {}
        if self.words:
            found["unknown"] = {word: list((self.near or {}).get(word, ())) for word in self.words}
        if self.foreign:
            found["not_english"] = {part.text: part.kind for part in self.foreign}
        return found


class UnknownWordsError(ValueError):
    """No word of a phrase is in the model's vocabulary.

    The message and `suggestions` are made when they are asked for, since near spellings take milliseconds and callers
    that try many phrases do not need them.

    Attributes:
        words: the unknown words.
        foreign: parts of the phrase in another script, and pictures.
    """

    def __init__(
        self,
        words: Sequence[str],
        near: Mapping[str, Sequence[str]] | _Near | None = None,
        *,
        foreign: Sequence[ForeignPart] = (),
        phrase: str = "",
    ) -> None:
        super().__init__()
        self.words = list(words)
        self.foreign = list(foreign)
        self._near = near
        self._phrase = phrase

    @cached_property
    def suggestions(self) -> Mapping[str, list[str]]:
        """Return known words of similar spelling, by unknown word, for the first five."""
        if self._near is None:
            return {}
        if isinstance(self._near, Mapping):
            return {word: list(found) for word, found in self._near.items()}
        return {word: list(self._near(word)) for word in self.words[:_MOST_SUGGESTED]}

    def __str__(self) -> str:
        foreign = _foreign(self.foreign) if self.foreign else ""
        if self.words:
            named = _listed([_quoted(word) for word in self.words[:_MOST_NAMED]], n=len(self.words))
            message = f"the model knows none of these words: {named}"
            found = {word: near for word, near in self.suggestions.items() if near}
            asked = "; ".join(f"{_cut(word)}: did you mean {_either(near)}?" for word, near in found.items())
            message += f" ({asked})" if asked else ""
            return f"{message}; it reads English words, not {foreign}" if foreign else message
        if foreign:
            return f"the model reads English words, not {foreign}: say in English what to search for"
        if self._phrase.strip():
            return f"there is no word to search for in {_quoted(self._phrase)}: give English words"
        return "there is no word to search for: give English words"


def left_out(phrase: str, unknown: Sequence[str], *, near: _Near, english: bool) -> LeftOut:
    """Return what a phrase loses.

    Args:
        phrase: as it was given.
        unknown: its words without a vector, as `encoders.text.tokenizer` spells them.
        near: returns the near spellings of a word.
        english: whether the vocabulary is in Latin letters only, so that other scripts cannot be known.
    """
    foreign = foreign_parts(phrase) if english else []
    words = _as_written(phrase, [word for word in unknown if not (english and foreign_parts(word))])
    suggested = {word: tuple(near(word)) for word in words[:_MOST_SUGGESTED]}
    return LeftOut(words, tuple(dict.fromkeys(foreign)), {word: found for word, found in suggested.items() if found})


def _as_written(phrase: str, words: Sequence[str]) -> tuple[str, ...]:
    """Return words in the spelling of the phrase ("Beyoncé" for "beyonce"), each once."""
    if not words:
        return ()
    spellings: dict[str, str] = {}
    for piece in phrase.split():
        tokens = tokenize(piece)
        if len(tokens) == 1:
            spellings.setdefault(tokens[0], _trimmed(piece))
    return tuple(dict.fromkeys(spellings.get(word, word) for word in words))


def _trimmed(piece: str) -> str:
    """Return a piece of a phrase without the punctuation around it; a sharp after a note stays."""
    start = next((at for at, char in enumerate(piece) if char.isalnum()), 0)
    end = len(piece)
    while end > start and not (piece[end - 1].isalnum() or piece[end - 1] in "#\u266f\u266d"):
        end -= 1
    return piece[start:end]


def _either(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]


def _foreign(parts: Sequence[ForeignPart]) -> str:
    return _listed([f"{_quoted(part.text)} ({part.kind})" for part in parts[:_MOST_NAMED]], n=len(parts))


def _listed(named: Sequence[str], *, n: int) -> str:
    return ", ".join(named) + (f" and {n - len(named)} more" if n > len(named) else "")


def _quoted(word: str) -> str:
    return f"'{_cut(word)}'"


def _cut(word: str) -> str:
    return word if len(word) <= _LONGEST_SHOWN else word[:_LONGEST_SHOWN] + "..."
