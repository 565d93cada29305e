"""Tag sound files: any labels by the two towers (`ZeroShotTagger`), or a closed-set tagger's own tags.

A zero-shot score is a calibrated probability at a prior of one positive in ten (clip, label) pairs, fitted on held-out
clips (`encoders.calibration`). A segment's cosine becomes a logit, and a clip's logit is the mean over its segments: a
label that fits a tenth of the clip does not count as one that fits throughout. The calibration is that of clips;
`FileTags.segment_probabilities` applies it to single segments.

A CLAP checkpoint carries no background statistics: its scores are cosines, averaged over segments. They rank the labels
of a clip and the clips of a label; they are no probabilities, and no threshold means the same for two models.

A closed-set tagger's score is not calibrated: it is the sigmoid of the logit, averaged over segments, as in the
publications. Its segments are as long as the network's input. A remainder of more than half a second is a segment that
ends with the file; a file shorter than a segment is repeated to fill it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.arrays import sigmoid
from encoders.checkpoint import DEFAULT_MODEL_DIR, is_tagger_dir
from encoders.device import no_progress_bars, usable_device
from encoders.embed import Audio, AudioEncoder, FileEmbedding, embed_audio, map_chunks
from encoders.loading import load_model, load_text
from encoders.text.unknown import UnknownWordsError
from retrieval.label_reading import UnknownLabel
from retrieval.tagger import COSINE, PROBABILITY, LabelError, Tagger, require_labels
from retrieval.words import find_negations

if TYPE_CHECKING:
    from encoders.tagger import TaggerNetwork
    from encoders.text.phrases import PhraseTower

__all__ = [
    "SPEC_PREFIX",
    "ClosedSetTagger",
    "PublishedModelError",
    "ZeroShotTagger",
    "open_tagger",
    "split_spec",
]

SPEC_PREFIX = "published:"
_BATCH_S = 30.0  # of audio that goes through a closed-set tagger at once
_MAX_SUGGESTIONS = 5
_MOST_NAMED = 10  # labels in a message


class PublishedModelError(ValueError):
    """A published model that cannot be used; the message says why, and what can be used."""


class ZeroShotTagger(Tagger):
    """Scores any labels by the two towers.

    Args:
        text: the text tower.
        model_dir: the model directory; the audio tower (and torch) is loaded from it with the first file.
        device: where the audio tower runs.
        audio: the audio tower, if it is loaded already.
    """

    def __init__(
        self, *, text: PhraseTower, model_dir: Path, device: str = "auto", audio: AudioEncoder | None = None
    ) -> None:
        self.text = text
        self.model_dir = model_dir
        self.device = device
        self.tags = tuple(text.tag_names())
        self.fingerprint = text.fingerprint
        self.scores_are = COSINE if text.calibration is None else PROBABILITY
        self._audio = audio
        self._vectors_of: dict[tuple[str, ...], np.ndarray] = {}

    @classmethod
    def open(
        cls, model_dir: str | os.PathLike[str] | None = None, *, device: str = "auto", prompt: str | None = None
    ) -> ZeroShotTagger:
        """Load the text tower of a model.

        Args:
            model_dir, prompt: see `encoders.loading.load_text`; default: the shipped model.
            device: where the audio tower runs.

        Raises:
            ModelDirError: a file is missing or damaged, or the prompt is not for this model.
        """
        models = Path(model_dir) if model_dir is not None else DEFAULT_MODEL_DIR
        return cls(text=load_text(models, prompt=prompt), model_dir=models, device=device)

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
            require_labels(labels)
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
        if self._are_known(labels):  # at once, since CLAP encodes batches
            return []
        return [label for label in labels if not self._are_known([label])]

    def explain_unknown(self, label: str) -> UnknownLabel:
        """Return why a label has no vector, and near spellings of the first of its words that has some."""
        lost = self.text.left_out(label)
        near = next(iter((lost.near or {}).values()), ())
        return UnknownLabel(lost.message() or self._refusal(label), near)

    def respelled(self, label: str) -> str:
        """Return a label with clear misspellings replaced by the words that are meant."""
        return self.text.respelled(label)[0]

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

    def _score_known(self, features: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return calibrated probabilities [shape=(n_clips, n_labels)] of mean vectors [shape=(n_clips, dim)].

        Without a calibration: mean cosines.
        """
        vectors, calibration = self.label_vectors(labels), self.text.calibration
        if calibration is None:
            return np.asarray(features, np.float64) @ vectors.T.astype(np.float64)
        return calibration.probabilities(features, vectors)

    def _score_segments(self, audio: Audio, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        vectors = self.label_vectors(labels)
        embedding, calibration = self.embed(audio), self.text.calibration
        if calibration is None:
            cosines = embedding.vectors @ vectors.T
            return cosines.mean(axis=0, dtype=np.float64), cosines, embedding.spans_s, embedding.duration_s
        logits = calibration.logits(embedding.vectors, vectors)
        # The sigmoid of the mean logit: the logarithmic opinion pool with equal weights (Genest and Zidek 1986,
        # section 3).
        clip = sigmoid(logits.mean(axis=0, dtype=np.float64))
        return clip, sigmoid(logits), embedding.spans_s, embedding.duration_s

    def _are_known(self, labels: Sequence[str]) -> bool:
        try:
            self.text.encode(labels)
        except UnknownWordsError:
            return False
        return True

    def _refusal(self, label: str) -> str:
        try:
            self.text.encode([label])
        except UnknownWordsError as error:
            return str(error)
        return ""


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

    def explain_unknown(self, label: str) -> UnknownLabel:
        """Return that a label is no tag of the model, with similar tags."""
        similar = self._similar(label)[:_MAX_SUGGESTIONS]
        return UnknownLabel(f"it is not a tag of this model; {self._advice(similar)}", tuple(similar))

    def resolve(self, labels: Sequence[str]) -> list[str]:
        """Return the model's own spelling of labels. Raises LabelError, with similar tags."""
        return [self.tags[column] for column in self._columns(labels)]

    def clip_features(self, audio: Audio) -> np.ndarray:
        """Return the probabilities of all tags, averaged over the segments of a clip, float64 [shape=(n_tags,)]."""
        return self._segments(audio)[0].mean(axis=0)

    def _score_known(self, features: np.ndarray, labels: Sequence[str]) -> np.ndarray:
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
        require_labels(labels)
        unknown = self.unknown_labels(labels)
        if unknown:
            similar = list(dict.fromkeys(tag for label in unknown for tag in self._similar(label)))[:_MAX_SUGGESTIONS]
            raise LabelError(f"not tags of this model: {', '.join(map(repr, unknown))}; {self._advice(similar)}")
        return [self.tags.index(label) if label in self.tags else self._column_of[label.casefold()] for label in labels]

    def _similar(self, label: str) -> list[str]:
        folded = label.casefold()
        containing = [key for key in self._column_of if folded in key]
        keys = dict.fromkeys([*containing, *get_close_matches(folded, self._column_of, n=3)])
        return [self.tags[self._column_of[key]] for key in keys]

    def _advice(self, similar: Sequence[str]) -> str:
        advice = f"similar tags are {', '.join(map(repr, similar))}" if similar else f"it has {self._examples()}"
        file_needed = any("," in tag for tag in similar)
        return f"{advice} (write a tag with a comma into a file: --labels-file)" if file_needed else advice

    def _examples(self) -> str:
        more = len(self.tags) - _MAX_SUGGESTIONS
        return ", ".join(map(repr, self.tags[:_MAX_SUGGESTIONS])) + (f" and {more} more" if more > 0 else "")


def open_tagger(
    model: str | os.PathLike[str] | None = None, *, device: str = "auto", prompt: str | None = None
) -> Tagger:
    """Open the tagger of a model of any kind, or of a published file.

    Args:
        model: a directory, the name of a CLAP model on the Hugging Face hub, `published:NAME=FILE`, or None for the
            shipped model.
        device: where it runs.
        prompt: what CLAP is asked, with {} for the label.

    Raises:
        ModelDirError: there is no model, or a damaged one, or the prompt is not for this model.
        PublishedModelError: the published model cannot be used.
        DeviceError: the device cannot be used.
    """
    published = split_spec(model) if isinstance(model, str) else None
    of_own_tags = published is not None or (model is not None and is_tagger_dir(Path(model)))
    if of_own_tags and prompt is not None:
        raise PublishedModelError("a prompt is for CLAP models: this tagger has tags of its own")
    if published is not None:
        return ClosedSetTagger.open(*published, device=device)
    if model is not None and of_own_tags:
        return ClosedSetTagger.from_dir(model, device=device)
    return ZeroShotTagger.open(model, device=device, prompt=prompt)


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
