"""What every tagger has in common: labels and a sound file in, the labels that fit best out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from encoders.embed import Audio
from retrieval.label_file import clean_labels
from retrieval.label_reading import MOST_EXPLAINED, LabelReading, UnknownLabel

__all__ = ["COSINE", "PROBABILITY", "FileTags", "LabelError", "TagScore", "Tagger", "require_labels"]

PROBABILITY, COSINE = "probability", "cosine"
"""What scores are."""


class LabelError(ValueError):
    """Labels that the model cannot score; the message names them."""


@dataclass(frozen=True)
class TagScore:
    """A label and its score: a probability in [0, 1], or a cosine in [-1, 1] (`FileTags.scores_are`)."""

    tag: str
    score: float


@dataclass(frozen=True)
class FileTags:
    """The tags of a file.

    Attributes:
        path: of the file.
        duration_s: length of the file.
        tags: by falling score.
        spans_s: start and end of each segment [shape=(n_segments, 2)].
        segment_probabilities: the score of each tag in each segment, in the order of `tags`
            [shape=(n_segments, n_tags)].
        scores_are: `PROBABILITY` or `COSINE`.
        reading: how the labels were read; None where none were given.
    """

    path: str
    duration_s: float
    tags: tuple[TagScore, ...]
    spans_s: np.ndarray = field(repr=False, compare=False)
    segment_probabilities: np.ndarray = field(repr=False, compare=False)
    scores_are: str = PROBABILITY
    reading: LabelReading | None = None

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON: path, duration_s, tags: [{tag, score}]; scores_are, unless probabilities.

        Labels that were left out or read as others are in the fields of `LabelReading.to_dict`.
        """
        kind = {} if self.scores_are == PROBABILITY else {"scores_are": self.scores_are}
        return {
            **kind,
            "path": self.path,
            "duration_s": round(self.duration_s, 3),
            "tags": [{"tag": tag.tag, "score": round(tag.score, 6)} for tag in self.tags],
            **({} if self.reading is None else self.reading.to_dict()),
        }


class Tagger(ABC):
    """Scores labels for audio.

    Attributes:
        tags: the labels that are scored by default.
        fingerprint: identifies the model; None if it does not come from a model directory.
        sample_rate_hz: the sample rate of waveforms.
        scores_are: `PROBABILITY` or `COSINE`; where "probabilities" are returned, they are of this kind.
    """

    tags: tuple[str, ...]
    fingerprint: str | None
    scores_are: str = PROBABILITY

    @property
    @abstractmethod
    def sample_rate_hz(self) -> int: ...

    @abstractmethod
    def unknown_labels(self, labels: Sequence[str]) -> list[str]:
        """Return the labels that cannot be scored, in order."""

    @abstractmethod
    def explain_unknown(self, label: str) -> UnknownLabel:
        """Return why a label of `unknown_labels` cannot be scored, and similar ones that can."""

    def respelled(self, label: str) -> str:
        """Return a label with clear misspellings replaced by the words that are meant."""
        return label

    def read_labels(self, labels: Sequence[str], *, literal: bool = False) -> LabelReading:
        """Return which labels can be scored; empty ones and repetitions are dropped.

        Args:
            labels: in any case.
            literal: take misspelled words as they are written.

        Raises:
            LabelError: there are no labels, or none can be scored.
        """
        given = clean_labels(labels)
        text_of = {label: label if literal else self.respelled(label) for label in given}
        left_out = set(self.unknown_labels(list(text_of.values())))
        known = [label for label, text in text_of.items() if text not in left_out]
        if not known:
            self.resolve(given)  # raises the error
        names = self.resolve([text_of[label] for label in known])
        read_as = {label: text_of[label] for label in known if text_of[label] != label}
        if read_as:
            names = [label if label in read_as else name for label, name in zip(known, names, strict=True)]
        return LabelReading(tuple(names), read_as, self.explained([x for x in given if text_of[x] in left_out]))

    def explained(self, unknown: Sequence[str]) -> dict[str, UnknownLabel]:
        """Return why labels of `unknown_labels` cannot be scored; reasons for the first few only."""
        return {
            label: self.explain_unknown(label) if n < MOST_EXPLAINED else UnknownLabel()
            for n, label in enumerate(unknown)
        }

    def unknown_words(self, label: str) -> list[str]:
        """Return the words of a label that its score ignores."""
        return []

    def remarks(self, label: str) -> list[str]:
        """Return what the score of a label ignores, one sentence each: unknown words and negations."""
        return []

    @abstractmethod
    def resolve(self, labels: Sequence[str]) -> list[str]:
        """Return labels in the spelling of the results.

        Raises:
            LabelError: there are none, or some cannot be scored.
        """

    @abstractmethod
    def clip_features(self, audio: Audio) -> np.ndarray:
        """Return what the scores of a clip are computed from, whatever the labels [shape=(n_features,)].

        Raises:
            AudioDecodeError: the file cannot be read as audio.
        """

    def score_features(self, features: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return probabilities [shape=(n_clips, n_labels)] of `clip_features` [shape=(n_clips, n_features)].

        Labels are taken as they are written. The column of one that cannot be scored (`unknown_labels`) is NaN.

        Raises:
            LabelError: there are no labels, or none can be scored.
        """
        unknown = set(self.unknown_labels(labels))
        known = [column for column, label in enumerate(labels) if label not in unknown]
        if not unknown or not known:
            return self._score_known(features, labels)
        scores = np.full((len(features), len(labels)), np.nan)
        scores[:, known] = self._score_known(features, [labels[column] for column in known])
        return scores

    @abstractmethod
    def _score_known(self, features: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return the scores of labels that can be scored; see `score_features`. Raises LabelError."""

    @abstractmethod
    def _score_segments(self, audio: Audio, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Score resolved labels.

        Returns:
            Probabilities of the clip [shape=(n_labels,)] and of its segments [shape=(n_segments, n_labels)], their
            spans [shape=(n_segments, 2)] and the length of the audio in seconds.
        """

    def scores(self, audio: Audio, labels: Sequence[str] | None = None) -> np.ndarray:
        """Return the probabilities of labels (default: `tags`) for a clip, float64 [shape=(n_labels,)].

        That of a label that cannot be scored (`unknown_labels`) is NaN.

        Args:
            audio: a file, which is streamed, or a mono waveform at `sample_rate_hz` [shape=(n_samples,)].
            labels: in any case, taken as they are written.

        Raises:
            LabelError: there are no labels, or none can be scored.
            AudioDecodeError: the file cannot be read as audio.
        """
        names = list(self.tags) if labels is None else list(labels)
        return self.score_features(self.clip_features(audio)[None], names)[0]

    def tag(
        self,
        path: str | os.PathLike[str],
        labels: Sequence[str] | LabelReading | None = None,
        *,
        top: int = 10,
        threshold: float | None = None,
        literal: bool = False,
    ) -> FileTags:
        """Return the labels that fit a sound file best.

        Args:
            path: the file, which is streamed.
            labels: which labels to score, as given or as `read_labels` has read them; default: `tags`. What cannot be
                scored is left out, and is in `FileTags.reading`.
            top: the most tags to return.
            threshold: tags with a lower score are left out; None: none are.
            literal: see `read_labels`.

        Raises:
            LabelError: there are no labels, or none can be scored.
            AudioDecodeError: the file cannot be read as audio.
        """
        if labels is None or isinstance(labels, LabelReading):
            reading = labels
        else:
            reading = self.read_labels(labels, literal=literal)
        names, texts = (self.tags, self.tags) if reading is None else (reading.names, reading.texts)
        scores, segment_probabilities, spans_s, duration_s = self._score_segments(os.fspath(path), texts)
        least = -np.inf if threshold is None else threshold
        best = [column for column in np.argsort(-scores, kind="stable")[:top] if scores[column] >= least]
        return FileTags(
            path=os.fsdecode(path),
            duration_s=duration_s,
            tags=tuple(TagScore(names[column], float(scores[column])) for column in best),
            spans_s=spans_s,
            segment_probabilities=segment_probabilities[:, best],
            scores_are=self.scores_are,
            reading=reading,
        )


def require_labels(labels: Sequence[str]) -> None:
    """Raise LabelError if there are none."""
    if not labels:
        raise LabelError("no labels: give at least one that is not empty")
