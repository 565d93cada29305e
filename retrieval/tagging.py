"""Zero-shot tags: any labels, judged by ear of the model, over the segments of a file.

A label's score is a probability: 0.5 means that a listener who was asked would as likely as not say that the
label fits the clip. The calibration that makes it one (:mod:`encoders.calibration`) turns each segment's
cosine into a logit; a clip's logit is the mean over its segments, so that every ten seconds have one vote and
a label that is heard a tenth of the time does not count as one that is heard throughout. What varies in time
is in `segment_probabilities`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from encoders.arrays import sigmoid
from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.embed import AudioEncoder, FileEmbedding, embed_audio
from encoders.loading import load_model
from encoders.text.tower import TextEncoder, UnknownWordsError

__all__ = ["FileTags", "LabelError", "TagScore", "ZeroShotTagger", "clean_labels", "clip_probabilities"]


class LabelError(ValueError):
    """Labels that cannot be judged: the message names them."""


@dataclass(frozen=True)
class TagScore:
    """A label and the probability that it fits."""

    tag: str
    score: float


@dataclass(frozen=True)
class FileTags:
    """The tags of a file, best first, and how they go through its segments.

    `spans_s` [shape=(n_segments, 2)] are seconds, `segment_probabilities` [shape=(n_segments, n_tags)] go with
    `tags`.
    """

    path: str
    duration_s: float
    tags: tuple[TagScore, ...]
    spans_s: np.ndarray = field(repr=False, compare=False)
    segment_probabilities: np.ndarray = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: path, duration_s, tags: [{tag, score}], best first."""
        return {
            "path": self.path,
            "duration_s": round(self.duration_s, 3),
            "tags": [{"tag": tag.tag, "score": round(tag.score, 6)} for tag in self.tags],
        }


def clean_labels(labels: Iterable[str]) -> list[str]:
    """The labels with white space tidied, without empty ones, each once (whatever its case), in order."""
    first_of: dict[str, str] = {}
    for label in labels:
        tidy = " ".join(label.split())
        if tidy:
            first_of.setdefault(tidy.casefold(), tidy)
    return list(first_of.values())


def clip_probabilities(segment_logits: np.ndarray) -> np.ndarray:
    """Probabilities of a clip [shape=(n_labels,)] from the logits of its segments [shape=(n_segments,
    n_labels)].

    The sigmoid of their mean: the logarithmic opinion pool with equal weights (Genest and Zidek 1986, section
    3).
    """
    return sigmoid(segment_logits.mean(axis=0, dtype=np.float64))


class ZeroShotTagger:
    """A model, ready to tag files. The audio tower (and torch with it) is loaded with the first file."""

    def __init__(self, *, text: TextEncoder, model_dir: Path, device: str = "auto") -> None:
        self.text = text
        self.device = device
        self.model_dir = model_dir
        self._model: AudioEncoder | None = None
        self._vectors_of: dict[tuple[str, ...], np.ndarray] = {}

    @classmethod
    def open(cls, model_dir: str | os.PathLike[str] | None = None, *, device: str = "auto") -> ZeroShotTagger:
        """Load the text side of a model (default: the one shipped); the rest will go to `device`.

        Raises:
            ModelDirError: the model's files are missing or damaged.
        """
        models = Path(model_dir) if model_dir is not None else DEFAULT_MODEL_DIR
        return cls(text=TextEncoder.load(models), model_dir=models, device=device)

    def embed(self, path: str | os.PathLike[str]) -> FileEmbedding:
        """The segments of a file as vectors. Raises AudioDecodeError, ModelDirError, DeviceError."""
        if self._model is None:
            self._model = load_model(self.model_dir, device=self.device)
        return embed_audio(path, model=self._model)

    def label_vectors(self, labels: Sequence[str]) -> np.ndarray:
        """Unit vectors [shape=(n_labels, dim)] of labels, kept for the next file.

        Raises:
            LabelError: there is none, or some have no known word: all of these are named.
        """
        key = tuple(labels)
        if key not in self._vectors_of:
            if not labels:
                raise LabelError("no labels: every one given is empty")
            self._check(labels)
            self._vectors_of = {key: self.text.encode(labels)}
        return self._vectors_of[key]

    def tag(
        self,
        path: str | os.PathLike[str],
        labels: Sequence[str] | None = None,
        *,
        top: int = 10,
        threshold: float = 0.0,
    ) -> FileTags:
        """The labels that fit a sound file, best first.

        Args:
            path: the file.
            labels: any words (empty ones and repetitions are dropped); default: the model's own vocabulary of
                tags.
            top: how many at most; all of them when it is at least their number.
            threshold: leave out labels with a probability below it.

        Raises:
            LabelError: see :meth:`label_vectors`.
            AudioDecodeError: the file cannot be read as sound.
        """
        names = clean_labels(self.text.tag_names() if labels is None else labels)
        vectors = self.label_vectors(names)
        sound = self.embed(path)
        logits = self.text.calibration.logits(sound.vectors, vectors)
        scores = clip_probabilities(logits)
        best = [column for column in np.argsort(-scores, kind="stable")[:top] if scores[column] >= threshold]
        return FileTags(
            path=os.fsdecode(path),
            duration_s=sound.duration_s,
            tags=tuple(TagScore(names[column], float(scores[column])) for column in best),
            spans_s=sound.spans_s,
            segment_probabilities=sigmoid(logits[:, best]),
        )

    def _check(self, labels: Sequence[str]) -> None:
        unknown: list[UnknownWordsError] = []
        strange: list[str] = []
        for label in labels:
            try:
                self.text.encode([label])
            except UnknownWordsError as error:
                unknown.append(error)
                strange.append(label)
        if len(unknown) == 1:
            raise LabelError(str(unknown[0])) from unknown[0]
        if unknown:
            named = ", ".join(repr(label) for label in strange)
            raise LabelError(f"no known word in these labels: {named}") from unknown[0]
