"""Tag sound files: any labels by the two towers (`ZeroShotTagger`), or a closed-set tagger's own tags.

A zero-shot score is a calibrated probability at a prior of one positive in ten (clip, label) pairs, fitted on held-out
clips (`encoders.calibration`). A segment's cosine becomes a logit, and a clip's logit is the mean over its segments: a
label that fits a tenth of the clip does not count as one that fits throughout. The calibration is that of clips;
`FileTags.segment_probabilities` applies it to single segments.

A closed-set tagger's score is not calibrated: it is the sigmoid of the logit, averaged over segments, as in the
publications. Its segments are as long as the network's input. A remainder of more than half a second is a segment that
ends with the file; a file shorter than a segment is repeated to fill it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.arrays import sigmoid
from encoders.checkpoint import DEFAULT_MODEL_DIR, is_tagger_dir
from encoders.device import no_progress_bars, usable_device
from encoders.embed import Audio, AudioEncoder, FileEmbedding, embed_audio, map_chunks
from encoders.loading import load_model
from encoders.text.tower import TextEncoder, UnknownWordsError
from retrieval.label_file import clean_labels
from retrieval.words import find_negations

if TYPE_CHECKING:
    from encoders.tagger import TaggerNetwork

__all__ = [
    "SPEC_PREFIX",
    "ClosedSetTagger",
    "FileTags",
    "LabelError",
    "PublishedModelError",
    "TagScore",
    "Tagger",
    "ZeroShotTagger",
    "open_tagger",
    "split_spec",
]

SPEC_PREFIX = "published:"
_BATCH_S = 30.0  # of audio that goes through a closed-set tagger at once
_MAX_SUGGESTIONS = 5
_MOST_NAMED = 10  # labels in a message


class LabelError(ValueError):
    """Labels that the model cannot score; the message names them."""


class PublishedModelError(ValueError):
    """A published model that cannot be used; the message says why, and what can be used."""


@dataclass(frozen=True)
class TagScore:
    """A label and its score, a probability in [0, 1]."""

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
        segment_probabilities: of each tag in each segment, in the order of `tags` [shape=(n_segments, n_tags)].
    """

    path: str
    duration_s: float
    tags: tuple[TagScore, ...]
    spans_s: np.ndarray = field(repr=False, compare=False)
    segment_probabilities: np.ndarray = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON: path, duration_s, tags: [{tag, score}]."""
        return {
            "path": self.path,
            "duration_s": round(self.duration_s, 3),
            "tags": [{"tag": tag.tag, "score": round(tag.score, 6)} for tag in self.tags],
        }


class Tagger(ABC):
    """Scores labels for audio.

    Attributes:
        tags: the labels that are scored by default.
        fingerprint: identifies the model; None if it does not come from a model directory.
        sample_rate_hz: the sample rate of waveforms.
    """

    tags: tuple[str, ...]
    fingerprint: str | None

    @property
    @abstractmethod
    def sample_rate_hz(self) -> int: ...

    @abstractmethod
    def unknown_labels(self, labels: Sequence[str]) -> list[str]:
        """Return the labels that cannot be scored, in order."""

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

    @abstractmethod
    def score_features(self, features: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return probabilities [shape=(n_clips, n_labels)] of `clip_features` [shape=(n_clips, n_features)].

        Raises:
            LabelError: some labels cannot be scored.
        """

    @abstractmethod
    def _score_segments(self, audio: Audio, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Score resolved labels.

        Returns:
            Probabilities of the clip [shape=(n_labels,)] and of its segments [shape=(n_segments, n_labels)], their
            spans [shape=(n_segments, 2)] and the length of the audio in seconds.
        """

    def scores(self, audio: Audio, labels: Sequence[str] | None = None) -> np.ndarray:
        """Return the probabilities of labels (default: `tags`) for a clip, float64 [shape=(n_labels,)].

        Args:
            audio: a file, which is streamed, or a mono waveform at `sample_rate_hz` [shape=(n_samples,)].
            labels: in any case.

        Raises:
            LabelError: some labels cannot be scored.
            AudioDecodeError: the file cannot be read as audio.
        """
        names = list(self.tags) if labels is None else list(labels)
        return self.score_features(self.clip_features(audio)[None], names)[0]

    def tag(
        self,
        path: str | os.PathLike[str],
        labels: Sequence[str] | None = None,
        *,
        top: int = 10,
        threshold: float = 0.0,
    ) -> FileTags:
        """Return the labels that fit a sound file best.

        Args:
            path: the file, which is streamed.
            labels: which labels to score; empty ones and repetitions are dropped. Default: `tags`.
            top: the most tags to return.
            threshold: tags with a lower score are left out.

        Raises:
            LabelError: there are no labels, or some cannot be scored.
            AudioDecodeError: the file cannot be read as audio.
        """
        names = list(self.tags) if labels is None else self.resolve(clean_labels(labels))
        scores, segment_probabilities, spans_s, duration_s = self._score_segments(os.fspath(path), names)
        best = [column for column in np.argsort(-scores, kind="stable")[:top] if scores[column] >= threshold]
        return FileTags(
            path=os.fsdecode(path),
            duration_s=duration_s,
            tags=tuple(TagScore(names[column], float(scores[column])) for column in best),
            spans_s=spans_s,
            segment_probabilities=segment_probabilities[:, best],
        )


class ZeroShotTagger(Tagger):
    """Scores any labels by the two towers.

    Args:
        text: the text tower.
        model_dir: the model directory; the audio tower (and torch) is loaded from it with the first file.
        device: where the audio tower runs.
        audio: the audio tower, if it is loaded already.
    """

    def __init__(
        self, *, text: TextEncoder, model_dir: Path, device: str = "auto", audio: AudioEncoder | None = None
    ) -> None:
        self.text = text
        self.model_dir = model_dir
        self.device = device
        self.tags = tuple(text.tag_names())
        self.fingerprint = text.fingerprint
        self._audio = audio
        self._vectors_of: dict[tuple[str, ...], np.ndarray] = {}

    @classmethod
    def open(cls, model_dir: str | os.PathLike[str] | None = None, *, device: str = "auto") -> ZeroShotTagger:
        """Load the text tower of a model directory (default: the shipped one).

        Raises:
            ModelDirError: a file is missing or damaged.
        """
        models = Path(model_dir) if model_dir is not None else DEFAULT_MODEL_DIR
        return cls(text=TextEncoder.load(models), model_dir=models, device=device)

    @property
    def audio(self) -> AudioEncoder:
        """The audio tower, loaded on first use. Raises ModelDirError, DeviceError."""
        if self._audio is None:
            self._audio = load_model(self.model_dir, device=self.device)
        return self._audio

    @property
    def sample_rate_hz(self) -> int:
        return self.audio.sample_rate_hz

    def embed(self, audio: Audio) -> FileEmbedding:
        """Return the segments of a file or waveform. Raises AudioDecodeError, ModelDirError, DeviceError."""
        return embed_audio(audio, model=self.audio)

    def label_vectors(self, labels: Sequence[str]) -> np.ndarray:
        """Return unit vectors of labels [shape=(n_labels, dim)], cached for the next file.

        Raises:
            LabelError: there are none, or some have no known word.
        """
        key = tuple(labels)
        if key not in self._vectors_of:
            _require_labels(labels)
            try:
                self._vectors_of = {key: self.text.encode(labels)}
            except UnknownWordsError as error:
                unknown = self.unknown_labels(labels)
                some = ", ".join(map(repr, unknown[:_MOST_NAMED]))
                more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
                message = f"no known word in these labels: {some}{more}; {error}"
                raise LabelError(str(error) if len(unknown) == 1 else message) from error
        return self._vectors_of[key]

    def unknown_labels(self, labels: Sequence[str]) -> list[str]:
        """Return the labels without a known word, in order."""
        return [label for label in labels if not self._is_known(label)]

    def unknown_words(self, label: str) -> list[str]:
        """Return the words of a label that the model does not know."""
        return self.text.unknown_words(label)

    def remarks(self, label: str) -> list[str]:
        """Return what the score of a label ignores; a negation counts unless the label is a tag of the model."""
        lost = self.text.left_out(label)
        remarks = [f"{lost.message()}: it is scored without"] if lost else []
        negated = find_negations(label, encoder=self.text)
        return [*remarks, "a negation has no effect"] if negated.read or negated.unread else remarks

    def resolve(self, labels: Sequence[str]) -> list[str]:
        """Return the labels as they are. Raises LabelError: see `label_vectors`."""
        self.label_vectors(labels)
        return list(labels)

    def clip_features(self, audio: Audio) -> np.ndarray:
        """Return the mean of a clip's segment vectors [shape=(dim,)]; its logit is the mean logit of the segments."""
        return self.embed(audio).vectors.mean(axis=0)

    def score_features(self, features: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return calibrated probabilities [shape=(n_clips, n_labels)] of mean vectors [shape=(n_clips, dim)]."""
        return self.text.calibration.probabilities(features, self.label_vectors(labels))

    def _score_segments(self, audio: Audio, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        vectors = self.label_vectors(labels)
        embedding = self.embed(audio)
        logits = self.text.calibration.logits(embedding.vectors, vectors)
        # The sigmoid of the mean logit: the logarithmic opinion pool with equal weights (Genest and Zidek 1986,
        # section 3).
        clip = sigmoid(logits.mean(axis=0, dtype=np.float64))
        return clip, sigmoid(logits), embedding.spans_s, embedding.duration_s

    def _is_known(self, label: str) -> bool:
        try:
            self.text.encode([label])
        except UnknownWordsError:
            return False
        return True


class ClosedSetTagger(Tagger):
    """Scores its own tags only.

    Args:
        network: waveform -> logits, in eval mode, on `device`.
        tags: the names of the logits.
        device: a torch device.
        segment_s: length of a segment in seconds; None: the input length that the backbone was published with.
        fingerprint: identifies a model directory.
    """

    def __init__(
        self,
        network: TaggerNetwork,
        tags: Sequence[str],
        *,
        device: str = "cpu",
        segment_s: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.tags = tuple(tags)
        self.device = device
        self.segment_s = segment_s or network.backbone.input_samples / network.backbone.sample_rate_hz
        self.fingerprint = fingerprint
        self._network = network
        self._column_of = {tag.casefold(): column for column, tag in enumerate(self.tags)}

    @classmethod
    def open(cls, name: str, path: str | os.PathLike[str], *, device: str = "auto") -> ClosedSetTagger:
        """Load a published tagger from its file.

        Args:
            name: one of `encoders.backbones.published.PUBLISHED`.
            path: the file as its authors published it.
            device: where it runs.

        Raises:
            PublishedModelError: the name is unknown, the model has no tags, or the file does not match the name.
            FileNotFoundError: there is no such file.
            DeviceError: the device cannot be used.
        """
        from encoders.backbones.published import PUBLISHED, PublishedError, load_published, published_tags
        from encoders.tagger import TaggerNetwork

        if name not in PUBLISHED:
            raise PublishedModelError(f"unknown published tagger {name!r}: choose one of {', '.join(PUBLISHED)}")
        tags = published_tags(name)
        if tags is None:
            raise PublishedModelError(f"{name} returns embeddings and has no tags: choose another published tagger")
        where = usable_device(device)
        try:
            network = load_published(name, path)
        except PublishedError as error:
            raise PublishedModelError(str(error)) from error
        assert isinstance(network, TaggerNetwork)
        return cls(network.to(where), tags, device=where)

    @classmethod
    def from_dir(cls, model_dir: str | os.PathLike[str], *, device: str = "auto") -> ClosedSetTagger:
        """Load the model directory of a closed-set tagger (`encoders.tagger_model`).

        Raises:
            ModelDirError: a file is missing or damaged, or it is a model of another kind.
            DeviceError: the device cannot be used.
        """
        from encoders.tagger_model import TaggerModel

        where = usable_device(device)
        with no_progress_bars():
            model = TaggerModel.from_pretrained(model_dir)
        return cls(
            model.tagger.to(where),
            model.config.tag_names,
            device=where,
            segment_s=model.chunk_s,
            fingerprint=model.fingerprint,
        )

    @property
    def sample_rate_hz(self) -> int:
        return int(self._network.backbone.sample_rate_hz)

    def unknown_labels(self, labels: Sequence[str]) -> list[str]:
        """Return the labels that are not tags of this model in any case, in order."""
        return [label for label in labels if label.casefold() not in self._column_of]

    def resolve(self, labels: Sequence[str]) -> list[str]:
        """Return the model's own spelling of labels. Raises LabelError, with similar tags."""
        return [self.tags[column] for column in self._columns(labels)]

    def clip_features(self, audio: Audio) -> np.ndarray:
        """Return the probabilities of all tags, averaged over the segments of a clip, float64 [shape=(n_tags,)]."""
        return self._segments(audio)[0].mean(axis=0)

    def score_features(self, features: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return the columns of labels [shape=(n_clips, n_labels)] of `features` [shape=(n_clips, n_tags)]."""
        return features[:, self._columns(labels)]

    def _score_segments(self, audio: Audio, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        columns = self._columns(labels)
        probabilities, spans_s, duration_s = self._segments(audio)
        return probabilities[:, columns].mean(axis=0), probabilities[:, columns], spans_s, duration_s

    def _segments(self, audio: Audio) -> tuple[np.ndarray, np.ndarray, float]:
        """Return probabilities [shape=(n_segments, n_tags)], spans [shape=(n_segments, 2)] and the audio's length."""
        return map_chunks(
            audio,
            self._probabilities,
            sample_rate_hz=self.sample_rate_hz,
            chunk_s=self.segment_s,
            batch_chunks=max(1, round(_BATCH_S / self.segment_s)),
        )

    def _probabilities(self, chunks: np.ndarray) -> np.ndarray:
        """Return probabilities of waveforms [shape=(n, n_samples)], float64 [shape=(n, n_tags)]."""
        import torch

        with torch.inference_mode():
            logits = self._network(torch.from_numpy(chunks).to(self.device))
        return sigmoid(logits.float().cpu().numpy())

    def _columns(self, labels: Sequence[str]) -> list[int]:
        _require_labels(labels)
        unknown = self.unknown_labels(labels)
        if unknown:
            similar = list(dict.fromkeys(tag for label in unknown for tag in self._similar(label)))[:_MAX_SUGGESTIONS]
            advice = f"similar tags are {', '.join(map(repr, similar))}" if similar else f"it has {self._examples()}"
            if any("," in tag for tag in similar):
                advice += " (write a tag with a comma into a file: --labels-file)"
            raise LabelError(f"not tags of this model: {', '.join(map(repr, unknown))}; {advice}")
        return [self.tags.index(label) if label in self.tags else self._column_of[label.casefold()] for label in labels]

    def _similar(self, label: str) -> list[str]:
        folded = label.casefold()
        containing = [key for key in self._column_of if folded in key]
        keys = dict.fromkeys([*containing, *get_close_matches(folded, self._column_of, n=3)])
        return [self.tags[self._column_of[key]] for key in keys]

    def _examples(self) -> str:
        more = len(self.tags) - _MAX_SUGGESTIONS
        return ", ".join(map(repr, self.tags[:_MAX_SUGGESTIONS])) + (f" and {more} more" if more > 0 else "")


def open_tagger(model: str | os.PathLike[str] | None = None, *, device: str = "auto") -> Tagger:
    """Open the tagger of a model directory of either kind, or of a published file.

    Args:
        model: a directory, `published:NAME=FILE`, or None for the shipped model.
        device: where it runs.

    Raises:
        ModelDirError: there is no model, or a damaged one.
        PublishedModelError: the published model cannot be used.
        DeviceError: the device cannot be used.
    """
    published = split_spec(model) if isinstance(model, str) else None
    if published is not None:
        return ClosedSetTagger.open(*published, device=device)
    if model is not None and is_tagger_dir(Path(model)):
        return ClosedSetTagger.from_dir(model, device=device)
    return ZeroShotTagger.open(model, device=device)


def split_spec(spec: str) -> tuple[str, Path] | None:
    """Split `published:NAME=FILE` into name and file; return None for another prefix. The name is not checked.

    Raises:
        PublishedModelError: the name or the file is missing.
    """
    if not spec.startswith(SPEC_PREFIX):
        return None
    name, equals, file = spec[len(SPEC_PREFIX) :].partition("=")
    if not (name and equals and file):
        raise PublishedModelError(
            f"{spec!r} is not of the form {SPEC_PREFIX}NAME=FILE, "
            f"as in {SPEC_PREFIX}won2020-jamendo-musicnn=best_model.pth"
        )
    return name, Path(file)


def _require_labels(labels: Sequence[str]) -> None:
    if not labels:
        raise LabelError("no labels: give at least one that is not empty")
