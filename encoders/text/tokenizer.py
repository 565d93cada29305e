"""Split phrases into words: one set of rules for training text, imported vectors, labels and queries.

The rules, in this order:

1. Case is folded. Accents and letters that extend the Latin alphabet are replaced (`é` by `e`, `ø` by `o`, `ŧ` by `t`,
   `ß` by `ss`). Letters of other scripts stay as they are.
2. Typographic quotes, hyphens, fraction bars and signs become ASCII (`♯` becomes `#`, `½` becomes `1/2`, an en dash
   between letters is a hyphen); invisible characters are removed; `♭` after a note becomes `b`.
3. Initials lose their full stops (`D.J.` is `dj`), `&` is `and`, and genres with several common spellings get one
   (`R&B`, `r'n'b` and `rhythm and blues` are `rnb`).
4. A word is a run of letters and digits, with at most one apostrophe inside. A note with a sharp is one word (`c#`), as
   is a number with a slash (`3/4`). All other characters separate words, and so does a change between Latin letters
   and those of another script (`rock音楽`).
5. A possessive `'s` is removed (`guitar's` is `guitar`), but a decade keeps its plural (`80's` is `80s`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

__all__ = ["Word", "join_words", "split_words", "stem", "tokenize"]

_REPLACEMENTS = {
    "æ": "ae",
    "œ": "oe",
    "ß": "ss",
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "ð": "d",
    "þ": "th",
    "ı": "i",
    "ħ": "h",
    **dict.fromkeys("\u2018\u2019\u201b\u02bb\u02bc\u2032\u00b4", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
    "\u2044": "/",
    "\u2215": "/",
    "\u266f": "#",
}
_FLAT = re.compile("(?<![a-z0-9])([a-g])\u266d")
_INITIALS = re.compile(r"\b(?:[a-z]\.){2,}(?:[a-z]\b)?")
_SPELLINGS = (
    (re.compile(r"\b(?:r\s*&\s*b|r\s*'?\s*n\s*'?\s*b|r\s+and\s+b|rhythm\s*(?:&|and)\s*blues)\b"), "rnb"),
    (re.compile(r"\bdrum\s*(?:&|'?n'?)\s*bass\b|\bd\s*(?:&|'?n'?)\s*b\b|\bdnb\b"), "drum and bass"),
    (re.compile(r"\brock\s*(?:&|'?n'?)\s*roll\b"), "rock and roll"),
    (re.compile(r"\bhip[\s-]?hop\b"), "hip hop"),
    (re.compile(r"\blo[\s-]?fi\b"), "lofi"),
    (re.compile(r"\bsynth[\s-]pop\b"), "synthpop"),
    (re.compile(r"\btrip[\s-]?hop\b"), "trip hop"),
    (re.compile(r"\b(?:hi|high)[\s-]?hat(s?)\b"), r"hi hat\1"),
    (re.compile(r"&"), " and "),
)
# Of the folded text, which beyond ASCII has letters, digits and marks only: Latin ones, and those of other scripts.
_LATIN_BLOCKS = r"\x80-\u02af\u1d00-\u1dbf\u1e00-\u1eff\u2c60-\u2c7f\ua720-\ua7ff\uab30-\uab6f"
_LATIN, _OTHER = rf"[a-z0-9{_LATIN_BLOCKS}]", rf"[^\x00-\x7f{_LATIN_BLOCKS}]"
_WORD = re.compile(rf"[0-9]+(?:/[0-9]+)+|[a-g]#{_LATIN}*|(?:{_LATIN}+|{_OTHER}+)(?:'(?:{_LATIN}+|{_OTHER}+))?")
_DECADE = re.compile(r"\d+'s")
_LATIN_NAME = re.compile(r"LATIN (?:SMALL|CAPITAL) LETTER ([A-Z]) WITH ")  # Unicode's name of a letter with a stroke


class Word(NamedTuple):
    """One word of a phrase.

    Attributes:
        text: the normalised word.
        before: what separates it from the word before it: " " for space, "-" for a hyphen, "," for other
            punctuation and for the first word.
    """

    text: str
    before: str


def tokenize(text: str) -> list[str]:
    """Return the words of a text by the rules of this module.

    >>> tokenize("Café R&B, hip-hop in C♯")
    ['cafe', 'rnb', 'hip', 'hop', 'in', 'c#']
    """
    return [_stripped(word) for word in _WORD.findall(_normalised(text))]


def split_words(text: str) -> list[Word]:
    """Return the words of a text and what separates them.

    >>> split_words("double-bass solo, loud")
    [Word(text='double', before=','), Word(text='bass', before='-'), Word(text='solo', before=' '), \
Word(text='loud', before=',')]
    """
    text = _normalised(text)
    words: list[Word] = []
    end = 0
    for match in _WORD.finditer(text):
        words.append(Word(_stripped(match[0]), _separator(text[end : match.start()]) if words else ","))
        end = match.end()
    return words


def join_words(words: Sequence[Word]) -> str:
    """Return words as text that `split_words` splits in the same way."""
    signs = {" ": " ", "-": "-", ",": ", "}
    return "".join((signs[word.before] if at else "") + word.text for at, word in enumerate(words))


def stem(word: str) -> str:
    """Return the stem of an English word: "drums" and "drumming" give "drum" (the Snowball English stemmer)."""
    return str(_stemmer().stemWord(word))


@cache
def _stemmer() -> Any:
    import snowballstemmer  # not on the path of a query

    return snowballstemmer.stemmer("english")


def _separator(between: str) -> str:
    """Classify the characters between two words; see `Word.before`."""
    between = between.replace("_", " ").strip("'")
    if between == "-":
        return "-"
    return "," if between.strip() else " "


def _stripped(word: str) -> str:
    if _DECADE.fullmatch(word):
        return word.replace("'", "")
    return word.removesuffix("'s")


def _normalised(text: str) -> str:
    """Apply rules 1 to 3."""
    text = text.lower() if text.isascii() else _folded(text)
    text = " ".join(text.split())  # the patterns below would try each way to share a long run of spaces
    text = _INITIALS.sub(lambda match: match[0].replace(".", "") + " ", text)
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text


def _folded(text: str) -> str:
    """Apply rules 1 and 2: beyond ASCII the result has letters, digits and the marks of other scripts only."""
    text = _FLAT.sub(r"\1b", text.lower()).translate({ord(char): new for char, new in _REPLACEMENTS.items()})
    text = unicodedata.normalize("NFKC", text).lower()
    folded: list[str] = []
    for char in text:
        base = "".join(c for c in unicodedata.normalize("NFKD", char) if not unicodedata.combining(c))
        if char in _REPLACEMENTS or base in _REPLACEMENTS:
            folded.append(_REPLACEMENTS.get(char) or _REPLACEMENTS[base])
        elif base and base.isascii():
            folded.append(base)
        elif (named := _LATIN_NAME.match(unicodedata.name(char, ""))) is not None:
            folded.append(named[1].lower())
        elif unicodedata.category(char)[0] in "LN" or (_is_mark(char) and folded and not folded[-1].isascii()):
            folded.append(char)
        elif not _is_mark(char) and unicodedata.category(char) != "Cf":
            folded.append(",")
    return "".join(folded)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"
