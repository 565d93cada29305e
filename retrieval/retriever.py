"""The one object behind the command line, the web application and Python: search an index, tag a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.tower import TextEncoder
from index import VectorIndex
from retrieval.hits import Hit
from retrieval.places import default_index_dir
from retrieval.query import QueryError, combine, mean_direction

if TYPE_CHECKING:
    from index import SegmentMatch, Track
    from retrieval.tagging import FileTags, ZeroShotTagger

__all__ = ["Retriever"]

_UNWANTED_PROBABILITY = 0.5  # from here on, a segment has what `exclude` names
_FIRST_LOOK = 8  # with `exclude`: segments looked at first, for each hit asked for ...
_MOST_SEGMENTS = 50_000  # ... and in all, before it is said that nothing more fits
_SPREAD_SEGMENTS = 2048  # enough for a standard deviation to within 2%


class Retriever:
    """An open index, and the model that made it.

    >>> with Retriever.open("music.index") as retriever:  # doctest: +SKIP
    ...     hits = retriever.search("acoustic guitar", top=10)

    It is a context manager. Searching by words imports neither torch nor anything that does.
    """

    def __init__(self, index: VectorIndex, *, text: TextEncoder, model_dir: Path) -> None:
        self.index = index
        self.text = text
        self.model_dir = model_dir
        self._tagger: ZeroShotTagger | None = None

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | None = None, *, model_dir: str | os.PathLike[str] | None = None
    ) -> Retriever:
        """Open the index at `path` (default: :func:`retrieval.places.default_index_dir`) to read.

        Args:
            path: the index's directory.
            model_dir: the model that made it; default: the one shipped.

        Raises:
            ModelDirError: the model's files are missing or damaged.
            IndexMissingError: there is no index; the message holds the command that makes one.
            IndexMismatchError: another model made it.
            IndexDamagedError: its files are not whole.
        """
        models = Path(model_dir) if model_dir is not None else DEFAULT_MODEL_DIR
        text = TextEncoder.load(models)
        index = VectorIndex.open(Path(path) if path is not None else default_index_dir(), encoder=text.fingerprint)
        return cls(index, text=text, model_dir=models)

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index. Nothing else may be called after it."""
        self.index.close()

    def unknown_words(self, phrase: str) -> list[str]:
        """The words of `phrase` that the model does not know: a search leaves them out."""
        return self.text.unknown_words(phrase)

    def search(
        self,
        text: str = "",
        *,
        top: int = 10,
        exclude: Sequence[str] = (),
        like: str | os.PathLike[str] | None = None,
        per_segment: bool = False,
        min_score: float | None = None,
    ) -> list[Hit]:
        """The tracks that fit best, each with the seconds where it does, best first.

        Args:
            text: what to look for; words that the model does not know are left out (:meth:`unknown_words`).
            top: how many hits at most.
            exclude: phrases for what must not be heard. They turn the query away (:mod:`retrieval.query`),
                and a segment that has one with a probability of at least 0.5 is no hit. Another segment of
                the same track may be: the hit says which seconds are meant.
            like: a sound file as query, alone or with `text` at equal say. A file that the index holds
                unchanged costs no model; it, and copies of it, are not among the hits.
            per_segment: all segments that fit, not the best of each track.
            min_score: leave out hits below this score.

        Raises:
            QueryError: neither words nor a sound, or a number out of range.
            UnknownWordsError: `text` or a phrase of `exclude` has no known word; it carries near spellings.
            AudioDecodeError, OSError: the file `like` cannot be read.
        """
        if top < 1:
            raise QueryError(f"top must be at least 1, not {top}")
        wanted = [self.text.encode([text])[0]] if text.strip() else []
        exclusions = [phrase for phrase in exclude if phrase.strip()]
        unwanted = self.text.encode(exclusions)
        sample, allow = None, None
        if like is not None:
            vector, allow = self._sound(like)
            wanted.append(vector)
            sample = self.index.sample_vectors(_SPREAD_SEGMENTS)
        query = combine(wanted, unwanted=list(unwanted), sample=sample)

        def search(count: int, *, per_segment: bool) -> list[SegmentMatch]:
            return self.index.search(query, top=count, per_segment=per_segment, min_score=min_score, allow=allow)

        if exclusions:
            found = self._without(unwanted, search=search, top=top, per_segment=per_segment)
        else:
            found = search(top, per_segment=per_segment)
        return [_hit(hit, rank=rank) for rank, hit in enumerate(found, start=1)]

    def tag(
        self,
        path: str | os.PathLike[str],
        labels: Sequence[str] | None = None,
        *,
        top: int = 10,
        threshold: float = 0.0,
    ) -> FileTags:
        """The labels that fit a sound file, best first: see :meth:`retrieval.tagging.Tagger.tag`."""
        return self._audio().tag(path, labels, top=top, threshold=threshold)

    def _audio(self) -> ZeroShotTagger:
        if self._tagger is None:
            from retrieval.tagging import ZeroShotTagger  # torch comes with it, when the model is loaded

            self._tagger = ZeroShotTagger(text=self.text, model_dir=self.model_dir)
        return self._tagger

    def _sound(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, Callable[[Track], bool]]:
        """The direction of a sound file [shape=(dim,)], and which tracks are not it or its copies."""
        status = os.stat(path)
        names = {os.path.abspath(path), os.path.realpath(path)}
        tracks = [track for track in map(self.index.track, names) if track is not None]
        known = [t for t in tracks if (t.size_bytes, t.mtime_ns) == (status.st_size, status.st_mtime_ns)]
        if not known:
            from retrieval.library.scan import content_hash

            known = self.index.find_content(content_hash(os.fspath(path)))
        hashes = {track.content_hash for track in known}
        vectors = self.index.vectors(known[0].path) if known else self._audio().embed(path).vectors

        def is_another(track: Track) -> bool:
            return track.content_hash not in hashes and track.file not in names

        return mean_direction(vectors), is_another

    def _without(
        self, unwanted: np.ndarray, *, search: Callable[..., list[SegmentMatch]], top: int, per_segment: bool
    ) -> list[SegmentMatch]:
        """The best hits among the segments without any of `unwanted` [shape=(n, dim)].

        It looks at the head of the ranking, and at four times as much until enough is found.
        """
        count = _FIRST_LOOK * top
        while True:
            found = search(count, per_segment=True)
            kept = self._free_of(unwanted, found)
            if not per_segment:
                best_of_track: dict[bytes, SegmentMatch] = {}
                for hit in kept:
                    best_of_track.setdefault(hit.track.path, hit)
                kept = list(best_of_track.values())
            if len(kept) >= top or len(found) < count or count >= _MOST_SEGMENTS:
                return kept[:top]
            count *= 4

    def _free_of(self, unwanted: np.ndarray, found: Sequence[SegmentMatch]) -> list[SegmentMatch]:
        if not found:
            return []
        vectors = self.index.vectors_at([hit.row for hit in found])
        highest = self.text.calibration.probabilities(vectors, unwanted).max(axis=1)
        return [hit for hit, p in zip(found, highest, strict=True) if p < _UNWANTED_PROBABILITY]


def _hit(found: SegmentMatch, *, rank: int) -> Hit:
    track = found.track
    return Hit(
        rank=rank,
        score=float(found.score),
        path=track.file,
        start_s=float(found.start_s),
        end_s=float(found.end_s),
        duration_s=float(track.duration_s),
        title=track.title,
        artist=track.artist,
        album=track.album,
    )
