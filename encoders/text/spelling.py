"""Near spellings of a word in a vocabulary of tens of thousands of words, without an index that a query would pay for.

The distance is that of optimal string alignment: insertions, deletions, substitutions and exchanges of neighbouring
letters, each at cost 1. The bit-parallel recurrence of Hyyrö ("A bit-vector algorithm for computing Levenshtein and
Damerau edit distances", Nordic Journal of Computing 10, 2003, figure 7) holds a column of the alignment in the bits of
one integer; here numpy runs it over all candidates at once. Imports numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["CONSIDERED", "SpellingIndex"]

_LONGEST = 63  # letters: a column of the alignment is one 64-bit integer
_SHORTEST = 3  # a shorter word is one edit away from hundreds of others, and is none of the suggestions
_FIRST_LETTER_COST = 0.5  # few misspellings change the first letter
_COST_PER_DECADE = 0.25  # of two words at one distance, the ten times as frequent one is nearer by this much
# A misspelling is read as a word only where hardly anything else can be meant. The numbers were chosen on one half of
# tests/encoders/text/misspellings.csv; of the half that was held out, 45 of 50 misspellings are read as the word that
# is meant, and 1 of 50 names and foreign words is changed.
_SHORTEST_READ = 5
_FREQUENT = 1500  # the first words of a vocabulary; names and foreign words are near rarer words as often as not
_TIMES_AS_FREQUENT = 3.5  # as the next word at one edit; the ratio of the places
_HEAD = 100  # places of nearly equal frequency at the start of a vocabulary
CONSIDERED = int(_TIMES_AS_FREQUENT * (_FREQUENT + _HEAD))
"""How many words of a vocabulary, the most frequent ones, `SpellingIndex.meant` depends on."""


class SpellingIndex:
    """Letters of the words of a vocabulary, for comparisons with all of them at once.

    Args:
        words: the vocabulary, the most frequent word first.
    """

    def __init__(self, words: Sequence[str]) -> None:
        text = "\0".join(words) + "\0"
        if text.isascii():  # a quarter of the memory
            self._codes = np.frombuffer(text.encode(), dtype=np.uint8)
        else:
            self._codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        ends = np.flatnonzero(self._codes == 0)
        if len(ends) != len(words):
            raise ValueError("a word of the vocabulary has a NUL character")
        self._starts = np.zeros_like(ends)
        np.add(ends[:-1], 1, out=self._starts[1:])
        self._lengths = ends - self._starts
        self._masks = np.bitwise_or.reduceat(_letter_bits(self._codes), self._starts) & ~np.uint32(1)

    def near(self, word: str, *, count: int) -> list[int]:
        """Return the places of up to `count` words that are spelled like `word`, nearest first.

        A word of three or four letters may differ by one edit, one of five to eight letters by two, a longer one by
        three. Shorter words, words of more than 63 letters and words without a letter have no near spelling.
        """
        length = len(word)
        if not _SHORTEST <= length <= _LONGEST or not any(letter.isalpha() for letter in word):
            return []
        most = 1 if length < 5 else 2 if length < 9 else 3
        places = self._candidates(word, most=most)
        distances = self._distances(word, places)
        is_near = (distances <= most) & (distances > 0)
        places, distances = places[is_near], distances[is_near]
        first_differs = self._codes[self._starts[places]] != ord(word[0])
        cost = distances + _FIRST_LETTER_COST * first_differs + _COST_PER_DECADE * np.log10(places + _HEAD)
        return [int(place) for place in places[np.argsort(cost, kind="stable")[:count]]]

    def meant(self, word: str) -> int | None:
        """Return the place of the only word that `word` can be a misspelling of, by one edit; None: there is none.

        Both words have at least five letters and the same first letter. The last letter is the same, or the two last
        are exchanged: "metallica" and "musica" are words of their own. The word that is meant is among the 1,500 most
        frequent ones, and much more frequent than others at one edit, its own plural or singular aside.
        """
        if not _SHORTEST_READ <= len(word) <= _LONGEST or not (word.isascii() and word.isalpha()):
            return None
        places = self._candidates(word, most=1)
        near = sorted(int(place) for place in places[self._distances(word, places) == 1])
        if not near or near[0] >= _FREQUENT:
            return None
        best = self._word(near[0])
        others = [place for place in near[1:] if self._word(place) not in {best + "s", best.removesuffix("s")}]
        if others and others[0] + _HEAD < _TIMES_AS_FREQUENT * (near[0] + _HEAD):
            return None
        exchanged = best[-2:] == word[:-3:-1] and best[:-2] == word[:-2]
        same_end = best[-1] == word[-1] or exchanged
        return near[0] if len(best) >= _SHORTEST_READ and best[0] == word[0] and same_end else None

    def _word(self, place: int) -> str:
        start = int(self._starts[place])
        return "".join(map(chr, self._codes[start : start + int(self._lengths[place])]))

    def _candidates(self, word: str, *, most: int) -> np.ndarray:
        """Return the places of the words that can be within `most` edits, by rising length.

        An edit changes the length by at most one, and adds and removes at most one letter each.
        """
        shortest, longest = max(_SHORTEST, len(word) - most), len(word) + most
        places = np.flatnonzero((self._lengths >= shortest) & (self._lengths <= longest))
        mask = np.bitwise_or.reduce(_letter_bits(np.array([ord(letter) for letter in word], np.uint32)))
        masks = self._masks[places]
        few = (_n_bits(masks & ~mask) <= most) & (_n_bits(mask & ~masks) <= most)
        places = places[few]
        return places[np.argsort(self._lengths[places], kind="stable")]

    def _distances(self, word: str, places: np.ndarray) -> np.ndarray:
        """Return the edit distance of `word` to the words at `places`, which are sorted by length [shape=(n,)]."""
        one, last = np.uint64(1), np.uint64(len(word) - 1)
        rows_of: dict[int, int] = {}
        for row, letter in enumerate(word):
            rows_of[ord(letter)] = rows_of.get(ord(letter), 0) | 1 << row
        letters = np.array(sorted(rows_of), dtype=np.uint32)
        bits = np.array([rows_of[int(letter)] for letter in letters], dtype=np.uint64)

        starts, lengths = self._starts[places], self._lengths[places]
        distance = np.full(len(places), len(word), dtype=np.int64)
        # Hyyrö's names: vertical and horizontal differences that are +1 (p) or -1 (n); diagonal ones that are 0.
        vp: np.ndarray = np.full(len(places), ~np.uint64(0))
        vn: np.ndarray = np.zeros(len(places), np.uint64)
        d0, pm_before = vn, vn
        for column in range(int(lengths[-1]) if len(places) else 0):
            longer = int(np.searchsorted(lengths, column, side="right"))  # these words still have a letter here
            at = longer - len(places)  # as a negative offset: earlier rounds have cut the arrays
            vp, vn, d0, pm_before = vp[at:], vn[at:], d0[at:], pm_before[at:]
            codes = self._codes[starts[longer:] + column]
            found = np.minimum(np.searchsorted(letters, codes), len(letters) - 1)
            pm: np.ndarray = np.where(letters[found] == codes, bits[found], np.uint64(0))
            exchanged = ((~d0 & pm) << one) & pm_before
            d0 = (((pm & vp) + vp) ^ vp) | pm | vn | exchanged
            hp, hn = vn | ~(d0 | vp), d0 & vp
            distance[longer:] += ((hp >> last) & one).astype(np.int64) - ((hn >> last) & one).astype(np.int64)
            hp, hn = (hp << one) | one, hn << one
            vp, vn, pm_before = hn | ~(d0 | hp), hp & d0, pm
        return distance


def _letter_bits(codes: np.ndarray) -> np.ndarray:
    """Return one bit for each letter, uint32; letters may share a bit, and the NUL after a word has bit 0."""
    return np.left_shift(np.uint32(1), codes & 31, dtype=np.uint32)


def _n_bits(values: np.ndarray) -> np.ndarray:
    """Return the number of bits that are set in 32-bit values (numpy 1 has no bitwise_count)."""
    v = values - ((values >> np.uint32(1)) & np.uint32(0x55555555))
    v = (v & np.uint32(0x33333333)) + ((v >> np.uint32(2)) & np.uint32(0x33333333))
    v = (v + (v >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
    return (v * np.uint32(0x01010101)) >> np.uint32(24)
