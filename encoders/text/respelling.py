"""Read misspelled words of a phrase as the words that they are clearly meant to be ("guiatr" as "guitar")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from encoders.text.tokenizer import join_words, split_words, tokenize

__all__ = ["respell"]

_MOST_WORDS = 8  # of a phrase are looked up, at about a millisecond each


def respell(phrase: str, unknown: Sequence[str], *, meant: Callable[[str], str | None]) -> tuple[str, dict[str, str]]:
    """Return a phrase in which misspelled words are replaced.

    Args:
        phrase: as it was given.
        unknown: its words without a vector, as `encoders.text.tokenizer` spells them; the first eight are looked up.
            Words that the phrase writes with accents are names or foreign words, and stay.
        meant: returns the known word that a word is a misspelling of, or None.

    Returns:
        The phrase, as it was given if nothing is replaced, and the words that are replaced with their replacements.
    """
    accented: set[str] = set()
    if unknown and not phrase.isascii():
        accented = {word for piece in phrase.split() if not piece.isascii() for word in tokenize(piece)}
    looked_up = {word: meant(word) for word in list(dict.fromkeys(unknown))[:_MOST_WORDS] if word not in accented}
    read_as = {word: known for word, known in looked_up.items() if known is not None}
    if not read_as:
        return phrase, {}
    words = [word._replace(text=read_as.get(word.text, word.text)) for word in split_words(phrase)]
    return join_words(words), read_as
