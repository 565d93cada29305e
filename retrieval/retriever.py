"""Search an index by words or sounds, and tag files: what the command line and the Python API share.

`Retriever.search` combines the parts of a query into one vector (`retrieval.query`), searches the index with it and
turns each `index.SegmentMatch` into a `Hit`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.loading import load_text
from index import VectorIndex
from retrieval.query import QueryError, combine, mean_direction
from retrieval.words import QueryReading, read_query

if TYPE_CHECKING:
    from encoders.text.phrases import PhraseTower
    from index import Entry, SegmentMatch, Track
    from retrieval.tagger import FileTags
    from retrieval.tagging import ZeroShotTagger

__all__ = ["INDEX_VARIABLE", "Hit", "Retriever", "default_index_dir"]

INDEX_VARIABLE = "RETRIEVE_INDEX"
"""The environment variable with the path of the default index."""

_EXCLUDED_PROBABILITY = 0.5  # segments with at least this probability of an excluded phrase are left out
_EXCLUDE_FACTOR = 8  # with `exclude`, segments fetched first for each hit, then four times as many, ...
_MAX_SEGMENTS = 50_000  # ... up to this number
_SAMPLE_SEGMENTS = 2048  # estimates a standard deviation to within 2%
_NOT_LEFT_OUT = "this CLAP model has no calibrated probabilities: --not only turns the query away from a phrase"


@dataclass(frozen=True)
class Hit:
    """A track that fits a query, and the segment of it that fits best.

    Attributes:
        rank: 1 for the best.
        score: inner product of the unit vectors of query and segment, in [-1, 1].
        path: as `os.fsdecode` returns it: bytes that are not UTF-8 are lone surrogates, and `os.fsencode(path)` is the
            name on disk.
        start_s: of the segment.
        end_s: of the segment.
        duration_s: of the track.
        title: from the file's metadata, like `artist` and `album`.
        entry: the track of a cue sheet that the segment is in: title, artist and duration are its own then.
    """

    rank: int
    score: float
    path: str
    start_s: float
    end_s: float
    duration_s: float
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    entry: Entry | None = None

    def to_dict(self) -> Mapping[str, object]:
        """Return plain values for JSON: rank, score, path, start_s, end_s, title, artist, album, and the entry."""
        values: dict[str, object] = {
            "rank": self.rank,
            "score": round(self.score, 6),
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "title": self.title,
            "artist": self.artist,
            "album": self.album,
        }
        if self.entry is not None:
            span = {"start_s": round(self.entry.start_s, 3), "end_s": round(self.entry.end_s, 3)}
            values["entry"] = {"number": self.entry.number, **span}
        return values


def default_index_dir() -> Path:
    """Return the directory of the index that is used when none is named; it need not exist.

    That is `RETRIEVE_INDEX` if it is set and not empty, else the folder `index` in the user's data directory of the
    platform: `~/.local/share/earmark` on Linux (or under `XDG_DATA_HOME`), `~/Library/Application Support/earmark` on
    macOS, `%LOCALAPPDATA%\\earmark` on Windows.
    """
    path = os.environ.get(INDEX_VARIABLE)
    if path:
        return Path(path).expanduser()
    import platformdirs  # here, because a query that names its index does not need it

    return platformdirs.user_data_path("earmark", appauthor=False) / "index"


class Retriever:
    """An open index and the model that made it; a context manager. A search by words does not import torch.

    >>> with Retriever.open("music.index") as retriever:  # doctest: +SKIP
    ...     hits = retriever.search("acoustic guitar", top=10)

    Args:
        index: open; `close` closes it.
        text: the text tower of the model that made the index.
        model_dir: the model directory, for the audio tower.
        tagger: the tagger of the same model; by default it is opened on first use.
    """

    def __init__(
        self, index: VectorIndex, *, text: PhraseTower, model_dir: Path, tagger: ZeroShotTagger | None = None
    ) -> None:
        self.index = index
        self.text = text
        self.model_dir = model_dir
        self._tagger = tagger

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        model_dir: str | os.PathLike[str] | None = None,
        prompt: str | None = None,
    ) -> Retriever:
        """Open an index for reading.

        Args:
            path: the directory of the index; default: `default_index_dir()`.
            model_dir: the model that made the index: its directory, or the name of a CLAP model on the Hugging Face
                hub; default: the shipped model.
            prompt: what CLAP is asked, with {} for the words (`encoders.clap_files.DEFAULT_PROMPT`).

        Raises:
            ModelDirError: a file of the model is missing or damaged, or the prompt is not for this model.
            IndexMissingError: there is no index; the message contains the command that builds one.
            IndexMismatchError: another model made the index.
            IndexDamagedError: a file of the index is missing or damaged.
        """
        models = Path(model_dir) if model_dir is not None else DEFAULT_MODEL_DIR
        text = load_text(models, prompt=prompt)
        index = VectorIndex.open(Path(path) if path is not None else default_index_dir(), encoder=text.fingerprint)
        return cls(index, text=text, model_dir=models)

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index. The retriever cannot be used afterwards."""
        self.index.close()

    def unknown_words(self, phrase: str) -> list[str]:
        """Return the words of a phrase that the model does not know; a search ignores them."""
        return self.text.unknown_words(phrase)

    def read(
        self,
        text: str = "",
        *,
        exclude: Sequence[str] = (),
        like: str | os.PathLike[str] | None = None,
        literal: bool = False,
    ) -> QueryReading:
        """Return how `search` reads the words of a query, which is not searched.

        >>> retriever.read("soft guiatr, qwerty").to_dict()  # doctest: +SKIP
        {'text': 'soft guitar, qwerty', 'exclude': [],
         'notes': ["'guiatr' is read as 'guitar'; --literal takes it as it is written"],
         'read_as': {'guiatr': 'guitar'}, 'unknown': {'qwerty': []}}

        Args:
            text: see `search`, like `exclude`, `like` and `literal`.

        Raises:
            QueryError: the words say only what to leave out, and there is no sound.
        """
        reading = read_query(text, exclude=exclude, encoder=self.text, has_sound=like is not None, literal=literal)
        if reading.exclude and self.text.calibration is None:
            reading = replace(reading, notes=(*reading.notes, _NOT_LEFT_OUT))
        return reading

    def search(
        self,
        text: str = "",
        *,
        top: int = 10,
        exclude: Sequence[str] = (),
        like: str | os.PathLike[str] | None = None,
        per_segment: bool = False,
        min_score: float | None = None,
        literal: bool = False,
    ) -> list[Hit]:
        """Return the tracks that fit a query best, each with its best segment, by falling score.

        Args:
            text: words to search for. A clear misspelling is read as the word that is meant, other unknown words are
                ignored, and "guitar without drums" excludes drums; `read` says how a query is read.
            top: the most hits to return.
            exclude: phrases to exclude. They turn the query vector away (`retrieval.query`), and segments that have one
                with a probability of at least 0.5 are left out; another segment of the same track may still be a hit.
                A phrase without a known word has no effect.
                The probability is calibrated on clips (`retrieval.tagging`); for single segments it was measured to be
                reliable for instruments and sounds, and too high for genres above 0.6
                (scripts/bench/results/reliability.md). A CLAP model has no probabilities, so nothing is left out.
            like: a sound file to search for, alone or combined with `text` at equal weight. If the index has its
                audio, with whatever tags, its vectors are used. The file and copies of it are not among the hits.
            per_segment: return every segment that fits instead of the best one of each track.
            min_score: leave out hits with a lower score.
            literal: ignore misspelled words, too.

        Raises:
            QueryError: there are neither words nor a sound, the words say only what to leave out, or a number is out
                of range.
            UnknownWordsError: `text` has no known word, and there is no sound; the error has similar spellings.
            AudioDecodeError, OSError: the file `like` cannot be read.
            IndexReplacedError: the folder of the index now holds none, or one that another model made.
        """
        if top < 1:
            raise QueryError(f"top must be at least 1, not {top}")
        if min_score is not None and not math.isfinite(min_score):
            raise QueryError(f"min_score must be a finite number, not {min_score}")
        reading = read_query(
            text, exclude=exclude, encoder=self.text, has_sound=like is not None, explain=False, literal=literal
        )
        wanted = [self.text.encode([reading.text])[0]] if reading.text.strip() else []
        exclusions = list(reading.exclude)
        excluded = self.text.encode(exclusions)
        allow = None
        if like is not None:
            vector, allow = self._query_of_file(like)
            wanted.append(vector)
        with self.index.snapshot():
            sample = self.index.sample_vectors(_SAMPLE_SEGMENTS) if like is not None else None
            query = combine(wanted, excluded=list(excluded), sample=sample)

            def search(count: int, *, per_segment: bool) -> list[SegmentMatch]:
                return self.index.search(query, top=count, per_segment=per_segment, min_score=min_score, allow=allow)

            if exclusions and self.text.calibration is not None:
                found = self._search_excluding(excluded, search=search, top=top, per_segment=per_segment)
            else:
                found = search(top, per_segment=per_segment)
        return [_hit(hit, rank=rank) for rank, hit in enumerate(found, start=1)]

    def tag(
        self,
        path: str | os.PathLike[str],
        labels: Sequence[str] | None = None,
        *,
        top: int = 10,
        threshold: float | None = None,
        literal: bool = False,
    ) -> FileTags:
        """Return the labels that fit a sound file best; see `retrieval.tagger.Tagger.tag`."""
        return self._opened_tagger().tag(path, labels, top=top, threshold=threshold, literal=literal)

    def _opened_tagger(self) -> ZeroShotTagger:
        if self._tagger is None:
            from retrieval.tagging import ZeroShotTagger  # not needed by a query of words

            self._tagger = ZeroShotTagger(text=self.text, model_dir=self.model_dir)
        return self._tagger

    def _query_of_file(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, Callable[[Track], bool]]:
        """Return the unit vector of a sound file [shape=(dim,)], and a filter that rejects it and its copies."""
        status = os.stat(path)
        names = {os.path.abspath(path), os.path.realpath(path)}
        tracks = [track for track in map(self.index.track, names) if track is not None]
        known = [t for t in tracks if (t.size_bytes, t.mtime_ns) == (status.st_size, status.st_mtime_ns)]
        if not known:
            from retrieval.library.audio_hash import audio_hash
            from retrieval.library.scan import content_hash

            known = self.index.find_content(content_hash(path)) or self.index.find_audio(audio_hash(path))
        hashes = {track.content_hash for track in known} | {track.audio_hash for track in known} - {None}
        sound = next((track for track in known if self.index.is_sound(track.path)), None)
        vectors = self.index.vectors(sound.path) if sound else self._opened_tagger().embed(path).vectors

        def is_another(track: Track) -> bool:
            return not {track.content_hash, track.audio_hash} & hashes and track.file not in names

        return mean_direction(vectors), is_another

    def _search_excluding(
        self, excluded: np.ndarray, *, search: Callable[..., list[SegmentMatch]], top: int, per_segment: bool
    ) -> list[SegmentMatch]:
        """Return the best matches without any of the phrases `excluded` [shape=(n, dim)].

        Fetch the best segments, and four times as many until enough of them remain.
        """
        count = _EXCLUDE_FACTOR * top
        while True:
            found = search(count, per_segment=True)
            kept = self._without(excluded, found)
            if not per_segment:
                best_of_track: dict[tuple[bytes, Entry | None], SegmentMatch] = {}
                for hit in kept:
                    best_of_track.setdefault((hit.track.path, hit.entry), hit)
                kept = list(best_of_track.values())
            if len(kept) >= top or len(found) < count or count >= _MAX_SEGMENTS:
                return kept[:top]
            count *= 4

    def _without(self, excluded: np.ndarray, found: Sequence[SegmentMatch]) -> list[SegmentMatch]:
        calibration = self.text.calibration
        if not found or calibration is None:
            return list(found)
        vectors = self.index.vectors_at([hit.row for hit in found])
        highest = calibration.probabilities(vectors, excluded).max(axis=1)
        return [hit for hit, p in zip(found, highest, strict=True) if p < _EXCLUDED_PROBABILITY]


def _hit(found: SegmentMatch, *, rank: int) -> Hit:
    track, entry = found.track, found.entry
    return Hit(
        rank=rank,
        score=float(found.score),
        path=track.file,
        start_s=float(found.start_s),
        end_s=float(found.end_s),
        duration_s=float(track.duration_s) if entry is None else entry.end_s - entry.start_s,
        title=track.title if entry is None else entry.title,
        artist=track.artist if entry is None else entry.artist or track.artist,
        album=track.album if entry is None else entry.album or track.album,
        entry=entry,
    )
