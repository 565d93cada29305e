"""Name the parts of a text that a model of English words cannot read: other scripts, emoji and other pictures.

Python has no table of scripts; the Unicode name of a letter begins with its script ("CYRILLIC SMALL LETTER A").
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

__all__ = ["ForeignPart", "foreign_parts"]

_SCRIPTS = {
    "CJK": "Chinese characters",
    "KANGXI": "Chinese characters",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "KATAKANA-HIRAGANA": "Japanese",
    "HANGUL": "Korean",
}
# They change the picture before them, or join two: variation selectors, zero-width joiner, skin tones, keycap.
_MODIFIERS = frozenset({"\u200d", "\ufe0e", "\ufe0f", "\u20e3", *map(chr, range(0x1F3FB, 0x1F400))})
_PICTURE = "a picture or symbol"
_SIGNS = frozenset("\u266d\u266e\u266f")  # flat, natural and sharp belong to notes


class ForeignPart(NamedTuple):
    """A part of a text that cannot be read.

    Attributes:
        text: the part as it is written.
        kind: the script ("Cyrillic"), or "a picture or symbol".
    """

    text: str
    kind: str


def foreign_parts(text: str) -> list[ForeignPart]:
    """Return the runs of letters of other scripts than Latin, and of pictures, in the order of the text.

    >>> foreign_parts("sad \u0433\u0438\u0442\u0430\u0440\u0430")
    [ForeignPart(text='\u0433\u0438\u0442\u0430\u0440\u0430', kind='Cyrillic')]
    """
    if text.isascii():
        return []
    parts: list[ForeignPart] = []
    run, kind = "", ""
    for char in text:
        found = _kind(char)
        if run and (char in _MODIFIERS or (found is None and _continues(char))):
            run += char  # marks belong to the letter before them
        elif found is not None and found == kind:
            run += char
        else:
            if run:
                parts.append(ForeignPart(run, kind))
            run, kind = (char, found) if found is not None else ("", "")
    return [*parts, ForeignPart(run, kind)] if run else parts


def _continues(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _kind(char: str) -> str | None:
    """Return the script of a letter or number, or the kind of a picture; None: Latin, a mark, punctuation, space."""
    if char.isascii() or char in _SIGNS or char in _MODIFIERS:
        return None
    category = unicodedata.category(char)
    if category in {"So", "Cn", "Co"} and not unicodedata.normalize("NFKC", char).isascii():
        return _PICTURE
    if category[0] != "L" and category != "Nd":
        return None
    first = unicodedata.name(unicodedata.normalize("NFKC", char)[0], "UNNAMED").split(" ")[0]
    if first in {"LATIN", "MODIFIER", "DIGIT"} or unicodedata.normalize("NFKC", char).isascii():
        return None
    return _SCRIPTS.get(first, first.title())
