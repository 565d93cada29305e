"""Read the words of a query: what to search for, what to leave out, and what is said about it.

The vector of a phrase is a mean of word vectors, in which a negation does nothing ("not sad" is as near to "sad" as
"sad" itself) or worse ("non-vocal" is nearest to "cutlery"). So "guitar without drums" is read as "guitar" without
"drums", as `--not drums` says it. Only what the model has learned as a tag is negated: "no doubt" and "not dead yet"
are names, or mean something that the model cannot leave out, and are searched as they are. The tags that contain a
negation themselves ("no vocals") are searched as the model has learned them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from encoders.text.tokenizer import Word, join_words, split_words
from encoders.text.unknown import LeftOut, UnknownWordsError
from retrieval.query import QueryError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Negations", "QueryReading", "TextTower", "find_negations", "read_query"]

_NEGATORS = frozenset({"no", "not", "non", "without"})
_MAY_NEGATE = re.compile(r"\b(?:no|not|without|w/o)\b|\bnon|free\b|less\b", re.IGNORECASE)
_ABBREVIATION = re.compile(r"\bw/o\b", re.IGNORECASE)
# Between the negation and what it negates: "without any drums", "not too loud".
_FILLERS = frozenset(["a", "all", "an", "any", "much", "many", "overly", "really", "so", "that", "the", "too", "very"])
_ENDS = (
    frozenset(["and", "but", "by", "for", "from", "in", "just", "like", "of", "only", "or", "nor", "with"]) | _NEGATORS
)
_JOINTS = frozenset(["and", "but", "or", "with"])  # of no use before or after what is taken out
_LONGEST_WORDS = 4
_MOST_NOTES = 3
# Names and titles whose words are tags too.
_NAMES = frozenset({("no", "wave"), ("no", "woman", "no", "cry"), ("no", "man", "land")})
_PRONOUNS = frozenset(["her", "him", "it", "me", "us", "them", "you"])  # as in titles: "without you"
# What one may say without saying what to search for: "something without drums".
_ANYTHING = frozenset(["anything", "everything", "music", "something", "song", "songs", "stuff", "track", "tracks"])
_VOICE = frozenset(
    ["lyrics", "singer", "singers", "singing", "vocal", "vocalist", "vocalists", "vocals", "voice", "voices"]
)
_WITHOUT_VOICE = "instrumental"  # a tag of the model


class TextTower(Protocol):
    """What is asked of a text tower; `encoders.TextEncoder` is one."""

    def encode(self, phrases: Sequence[str]) -> np.ndarray: ...

    def tag_names(self) -> list[str]: ...

    def left_out(self, phrase: str) -> LeftOut: ...

    def unknown_words(self, phrase: str) -> list[str]: ...

    def respelled(self, phrase: str) -> tuple[str, dict[str, str]]: ...


@dataclass(frozen=True)
class Negations:
    """A phrase and what it negates.

    Attributes:
        text: the phrase without the negated parts; the phrase itself if there are none.
        read: each part that can be excluded: as written, with its negation, and the phrases that it excludes.
        unread: negations of other words, which have no effect.
    """

    text: str
    read: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def excluded(self) -> tuple[str, ...]:
        """What is negated and can be excluded."""
        return tuple(phrase for _, phrases in self.read for phrase in phrases)


class _Tags:
    """What the model has learned as a tag, for phrases in any number."""

    def __init__(self, names: Sequence[str]) -> None:
        exact = {tuple(_texts(split_words(name))) for name in names}
        # "without snares" is a tag: so snares can be excluded.
        exact |= {tag[1:] for tag in exact if len(tag) > 1 and tag[0] in _NEGATORS}
        self._exact = exact
        self._folded = {_folded(tag) for tag in exact if not _ENDS & set(tag)}

    def has(self, texts: Sequence[str]) -> bool:
        """Return whether words are a tag as it is spelled."""
        return tuple(texts) in self._exact

    def cover(self, texts: Sequence[str]) -> int:
        """Return the number of words of the first tag if words are tags one after another, else 0.

        "electric guitar solo" is "electric guitar" and "solo". Singular and plural are equal.
        """
        for n in range(len(texts), 0, -1):
            first = tuple(texts[:n])
            known = _folded(first) in self._folded or (n == 1 and texts[0] in _VOICE)
            if known and (n == len(texts) or self.cover(texts[n:])):
                return n
        return 0


@dataclass(frozen=True)
class QueryReading:
    """How a query is read.

    Attributes:
        text: what is searched for; it may be empty where a sound is the query.
        exclude: the phrases to leave out that have a known word: those that were given, then those of negations.
        notes: what was read in another way than it was written, and what has no effect, one sentence each.
        left_out: words that the model does not know.
        read_as: misspelled words, with the words that they are read as; `text` and `exclude` have the latter.
    """

    text: str
    exclude: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)
    read_as: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether there is something to say about the query."""
        return bool(self.notes or self.left_out)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON: text, exclude; where there are some: notes, read_as, unknown, not_english."""
        said: dict[str, object] = {"notes": list(self.notes)} if self.notes else {}
        if self.read_as:
            said["read_as"] = dict(self.read_as)
        return {"text": self.text, "exclude": list(self.exclude), **said, **self.left_out.to_dict()}


def read_query(
    text: str,
    *,
    exclude: Sequence[str] = (),
    encoder: TextTower,
    has_sound: bool = False,
    explain: bool = True,
    literal: bool = False,
) -> QueryReading:
    """Read a query.

    Args:
        text: as it was typed.
        exclude: phrases to exclude, as they were typed.
        encoder: the text tower.
        has_sound: the query has a sound too, and may say in words only what to leave out.
        explain: look for what is left out, and for near spellings; without it `left_out` stays empty.
        literal: take misspelled words as they are written, which leaves them out.

    Raises:
        QueryError: the words say only what to leave out.
        UnknownWordsError: a phrase to exclude is longer than the model reads.
    """
    read_as: dict[str, str] = {}
    if not literal:
        (text, read_as), *others = [encoder.respelled(phrase) for phrase in (text, *exclude)]
        exclude = [phrase for phrase, _ in others]
        for _, more in others:
            read_as |= more
    found = find_negations(text, encoder=encoder)
    notes = [f"{word!r} is read as {known!r}; --literal takes it as it is written" for word, known in read_as.items()]
    notes += list(dict.fromkeys(f"{written!r} is read as {_options(excluded)}" for written, excluded in found.read))
    wanted = found.text
    if found.read and not has_sound:
        wanted, said = _something_wanted(found, encoder=encoder)
        notes += said
    phrases: list[str] = []
    for phrase in exclude:
        negated = find_negations(phrase, encoder=encoder)
        phrases += [part for part in (negated.text, *negated.excluded) if part.strip()]
        notes += [f"--not {written!r} is read as {_options(parts)}" for written, parts in negated.read]
    phrases += found.excluded
    for part in list(dict.fromkeys(found.unread))[:_MOST_NOTES]:
        notes.append(f"{part!r}: a negation has no effect in a query; to leave something out, use --not")
    lost = _left_out([wanted, *phrases], encoder=encoder) if explain else LeftOut()
    excluded = [phrase for phrase in dict.fromkeys(phrases) if not _is_unknown(phrase, encoder=encoder)]
    for phrase in list(dict.fromkeys(phrase for phrase in phrases if phrase not in excluded))[:_MOST_NOTES]:
        notes.append(f"--not {phrase!r} has no effect: the model knows no word of it")
    if has_sound and wanted.strip() and _is_unknown(wanted, encoder=encoder):
        wanted = ""  # the sound is left
    return QueryReading(wanted, tuple(excluded), tuple(notes), lost, read_as)


def find_negations(phrase: str, *, encoder: TextTower) -> Negations:
    """Return the negated parts of a phrase.

    >>> find_negations("guitar without drums", encoder=encoder)  # doctest: +SKIP
    Negations(text='guitar', read=(('without drums', ('drums',)),), unread=())
    """
    if not _MAY_NEGATE.search(phrase):
        return Negations(phrase)
    words = split_words(_ABBREVIATION.sub("without", phrase))
    tags = _tags_of(tuple(encoder.tag_names()))
    if tags.has(_texts(words)):  # of these the model has learned what they mean
        return Negations(phrase)
    kept: list[Word] = []
    read: list[tuple[str, tuple[str, ...]]] = []
    unread = []
    at = 0
    while at < len(words):
        name = next((len(name) for name in _NAMES if tuple(_texts(words[at : at + len(name)])) == name), 0)
        end, parts = (at + name, []) if name else _negated(words, at, tags=tags, encoder=encoder)
        if parts:
            read.append((join_words(words[at:end]), tuple(parts)))
            while kept and kept[-1].text in _JOINTS:
                kept.pop()
            while not kept and end < len(words) and words[end].text in _JOINTS:
                end += 1
        else:
            following = words[at + 1].text if at + 1 < len(words) else ""
            if not name and words[at].text in _NEGATORS - {"non"} and following not in {"", *_PRONOUNS}:
                unread.append(join_words(words[at : at + 2]))
            end = max(end, at + 1)
            kept += words[at:end]
        at = end
    return Negations(join_words(kept) if read else phrase, tuple(read), tuple(unread))


def _negated(words: Sequence[Word], at: int, *, tags: _Tags, encoder: TextTower) -> tuple[int, list[str]]:
    """Return the end of the negated part that begins at a word, and what it excludes; nothing: it is none."""
    negator = words[at].text
    if negator not in _NEGATORS:
        return _negated_by_form(words, at, tags=tags, encoder=encoder)
    joins = {"or", "nor", "and"} if negator == "without" else {"or", "nor"}
    parts: list[str] = []
    at, start = at, at + 1
    while True:
        while start < len(words) and words[start].text in _FILLERS and words[start].before != ",":
            start += 1
        end = _end_of_phrase(words, start, tags=tags, n_words=1 if negator == "non" else _LONGEST_WORDS)
        if end == start:
            return at, parts
        if not parts and at == 0 and end == len(words):  # "no drums acoustic guitar": the rest is what is wanted
            end = start + (tags.cover(_texts(words[start:end])) or end - start)
        parts.append(join_words(words[start:end]))
        if end >= len(words) or words[end].text not in joins or words[end].before == ",":
            return end, parts
        at, start = end, end + 1


def _end_of_phrase(words: Sequence[Word], start: int, *, tags: _Tags, n_words: int) -> int:
    """Return the end of the phrase at `start` if it consists of tags; else `start`.

    "drum and bass" is one tag; otherwise a phrase ends before a conjunction, a negation or punctuation, and after a
    hyphen before a space ("no-vocals techno").
    """
    for end in range(min(len(words), start + n_words), start + 1, -1):
        texts = _texts(words[start:end])
        if _ENDS & set(texts) and tags.has(texts) and all(word.before != "," for word in words[start + 1 : end]):
            return end
    end = start
    while end < len(words) and words[end].text not in _ENDS and end - start <= n_words:
        hyphenated = start > 0 and words[start].before == "-"
        if words[end].before == "," or (hyphenated and end > start and words[end].before == " "):
            break
        end += 1
    if n_words == 1:
        end = min(end, start + 1)
    return end if start < end <= start + n_words and tags.cover(_texts(words[start:end])) else start


def _negated_by_form(words: Sequence[Word], at: int, *, tags: _Tags, encoder: TextTower) -> tuple[int, list[str]]:
    """Find "vocal-free", "drumless" and "nonvocal"; the latter two only where the model does not know the word."""
    word = words[at].text
    if at + 1 < len(words) and words[at + 1].text == "free" and words[at + 1].before == "-" and tags.cover([word]):
        return at + 2, [word]
    for stem in (word.removeprefix("non"), word.removesuffix("less")):
        if stem not in {word, ""} and tags.cover([stem]) and encoder.unknown_words(word):
            return at + 1, [stem]
    return at, []


def _something_wanted(found: Negations, *, encoder: TextTower) -> tuple[str, list[str]]:
    """Return what to search for beside what is left out, and what is to be said about it."""
    rest = {word.text for word in split_words(found.text)} - _FILLERS - _JOINTS
    if rest - _ANYTHING:
        return found.text, []
    without_voice = all(_VOICE & set(phrase.split()) for phrase in found.excluded)
    if without_voice and not encoder.unknown_words(_WITHOUT_VOICE):
        return _WITHOUT_VOICE, [f"music without voice is searched as {_WITHOUT_VOICE!r}"]
    if rest:
        return "music", []
    phrase = " ".join([written for written, _ in found.read][:_MOST_NOTES])
    options = _options(list(dict.fromkeys(found.excluded))[:_MOST_NOTES])
    raise QueryError(f"{phrase!r} says only what to leave out: add what to find, as in: retrieve music {options}")


def _is_unknown(phrase: str, *, encoder: TextTower) -> bool:
    """Return whether a phrase has words and the model knows none of them. Raises UnknownWordsError: it is too long."""
    try:
        encoder.encode([phrase])
    except UnknownWordsError as error:
        if error.words or error.foreign:
            return True
        raise
    return False


def _left_out(phrases: Iterable[str], *, encoder: TextTower) -> LeftOut:
    lost = [encoder.left_out(phrase) for phrase in phrases]
    return LeftOut(
        tuple(dict.fromkeys(word for part in lost for word in part.words)),
        tuple(dict.fromkeys(foreign for part in lost for foreign in part.foreign)),
        {word: near for part in lost for word, near in (part.near or {}).items()},
    )


def _options(phrases: Sequence[str]) -> str:
    return " ".join(f"--not {phrase!r}" for phrase in phrases)


@lru_cache(maxsize=4)
def _tags_of(names: tuple[str, ...]) -> _Tags:
    return _Tags(names)


def _texts(words: Sequence[Word]) -> list[str]:
    return [word.text for word in words]


def _folded(texts: Sequence[str]) -> tuple[str, ...]:
    """Return words in a form in which singular and plural are equal."""
    return tuple(text.removesuffix("s") for text in texts)
