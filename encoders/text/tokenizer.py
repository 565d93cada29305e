"""Words of a query, caption or tag: one normalisation for training and for search."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["tokenize"]

_SPELLINGS = (
    (re.compile(r"\b(?:r\s*&\s*b|r\s*'?\s*n\s*'?\s*b|r\s+and\s+b|rhythm and blues)\b"), "rnb"),
    (re.compile(r"\bdrum\s*(?:&|'?n'?)\s*bass\b|\bd\s*(?:&|'?n'?)\s*b\b|\bdnb\b"), "drum and bass"),
    (re.compile(r"\brock\s*(?:&|'?n'?)\s*roll\b"), "rock and roll"),
    (re.compile(r"\bhip[\s-]?hop\b"), "hip hop"),
    (re.compile(r"\b(?:lo[\s-]?fi)\b"), "lofi"),
    (re.compile(r"\bsynth[\s-]pop\b"), "synthpop"),
    (re.compile(r"\btrip[\s-]?hop\b"), "trip hop"),
    (re.compile(r"\b(?:hi|high)[\s-]?hat(s?)\b"), r"hi hat\1"),
    (re.compile(r"&"), " and "),
)
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def tokenize(text: str) -> list[str]:
    """Return the words of a text: lower case, accents dropped, common spellings of genres made one.

    >>> tokenize("Café R&B, hip-hop")
    ['cafe', 'rnb', 'hip', 'hop']
    """
    text = unicodedata.normalize("NFKD", text.replace("\u2019", "'")).lower()
    text = "".join(c for c in text if not unicodedata.combining(c))
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return [word.removesuffix("'s").removesuffix("'") for word in _WORD.findall(text)]
