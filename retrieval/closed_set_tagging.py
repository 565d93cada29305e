"""Tags of a closed-set tagger, published or trained here: its own tags, judged by segments, averaged over the file.

A segment is as long as the audio that the tagger was made for; a segment's scores are the sigmoids of its logits,
and a file's score is their mean, as the publications evaluate. A remainder of more than half a second has a segment
of its own that ends with the file; a file shorter than a segment is repeated to fill it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.arrays import sigmoid
from encoders.device import no_progress_bars, usable_device
from encoders.embed import Audio, map_chunks
from retrieval.tagging import FileTags, LabelError, TagScore, clean_labels

if TYPE_CHECKING:
    from encoders.tagger import Tagger

__all__ = ["SPEC_PREFIX", "ClosedSetTagger", "PublishedModelError", "split_spec"]

SPEC_PREFIX = "published:"
_BATCH_S = 30.0  # of audio that goes through the network at once
_NEAR = 5


class PublishedModelError(ValueError):
    """A published model that cannot be used; the message says why, and what would do."""


def split_spec(spec: str) -> tuple[str, Path] | None:
    """Take ``published:NAME=FILE`` apart; None for what does not begin so. Whether there is such a name is not asked.

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


class ClosedSetTagger:
    """A closed-set tagger, ready to tag files with its own tags.

    Args:
        tagger: waveform -> logits, in eval mode, on ``device``.
        tags: the names of its logits.
        device: a torch device.
        segment_s: what is judged at once, in seconds; None: what the backbone was published for.
        fingerprint: tells this tagger from any other, where it comes from a model directory.
    """

    def __init__(
        self,
        tagger: Tagger,
        tags: Sequence[str],
        *,
        device: str = "cpu",
        segment_s: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.tags = tuple(tags)
        self.device = device
        self.sample_rate_hz = int(tagger.backbone.sample_rate_hz)
        self.segment_s = segment_s or tagger.backbone.input_samples / self.sample_rate_hz
        self.fingerprint = fingerprint
        self._tagger = tagger
        self._column_of = {tag.casefold(): column for column, tag in enumerate(self.tags)}

    @classmethod
    def open(cls, name: str, path: str | os.PathLike[str], *, device: str = "auto") -> ClosedSetTagger:
        """Load the tagger ``name``, one of ``encoders.backbones.published.PUBLISHED``, from its file.

        Raises:
            PublishedModelError: unknown name, a tagger without tags, or a file that is not what the name says.
            FileNotFoundError: there is no such file.
            DeviceError: there is no such device here.
        """
        from encoders.backbones.published import PUBLISHED, PublishedError, load_published, published_tags
        from encoders.tagger import Tagger

        if name not in PUBLISHED:
            raise PublishedModelError(f"unknown published tagger {name!r}: choose one of {', '.join(PUBLISHED)}")
        tags = published_tags(name)
        if tags is None:
            raise PublishedModelError(f"{name} gives embeddings and has no tags: choose another published tagger")
        where = usable_device(device)
        try:
            tagger = load_published(name, path)
        except PublishedError as error:
            raise PublishedModelError(str(error)) from error
        assert isinstance(tagger, Tagger)
        return cls(tagger.to(where), tags, device=where)

    @classmethod
    def from_dir(cls, model_dir: str | os.PathLike[str], *, device: str = "auto") -> ClosedSetTagger:
        """Load the directory of a tagger that was trained here (``encoders.tagger_model``).

        Raises:
            ModelDirError: it holds no tagger, or a damaged one.
            DeviceError: there is no such device here.
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

    def columns(self, labels: Sequence[str]) -> list[int]:
        """Which logits are meant by labels, whatever their case.

        Raises:
            LabelError: there is none, or some are no tag of this tagger: they are named, with near tags.
        """
        if not labels:
            raise LabelError("no labels: every one given is empty")
        strangers = [label for label in labels if label.casefold() not in self._column_of]
        if strangers:
            near = list(dict.fromkeys(tag for label in strangers for tag in self._near(label)))
            advice = f"near ones are {', '.join(map(repr, near[:_NEAR]))}" if near else f"it has {self._examples()}"
            if any("," in tag for tag in near[:_NEAR]):
                advice += " (a tag with a comma goes into a file of labels)"
            raise LabelError(f"no tag of this model: {', '.join(map(repr, strangers))}; {advice}")
        return [self._column_of[label.casefold()] for label in labels]

    def tag(
        self,
        path: str | os.PathLike[str],
        labels: Sequence[str] | None = None,
        *,
        top: int = 10,
        threshold: float = 0.0,
    ) -> FileTags:
        """The tags that fit a sound file, best first.

        Args:
            path: the file, at any sample rate; it is streamed.
            labels: some of the tagger's own tags (default: all of them).
            top: how many at most.
            threshold: leave out tags with a probability below it.

        Raises:
            LabelError: see :meth:`columns`.
            AudioDecodeError: the file cannot be read as sound.
        """
        columns = list(range(len(self.tags))) if labels is None else self.columns(clean_labels(labels))
        probabilities, spans_s, duration_s = self._segments(path)
        probabilities = probabilities[:, columns]
        scores = probabilities.mean(axis=0, dtype=np.float64)
        best = [i for i in np.argsort(-scores, kind="stable")[:top] if scores[i] >= threshold]
        return FileTags(
            path=os.fsdecode(path),
            duration_s=duration_s,
            tags=tuple(TagScore(self.tags[columns[i]], float(scores[i])) for i in best),
            spans_s=spans_s,
            segment_probabilities=probabilities[:, best],
        )

    def judge(self, audio: Audio) -> np.ndarray:
        """Probabilities of all its tags [shape=(n_tags,)], float64, the mean over a clip's segments.

        Args:
            audio: a file, which is streamed, or a mono waveform at ``sample_rate_hz`` [shape=(n_samples,)].

        Raises:
            AudioDecodeError: it cannot be read as sound.
        """
        return self._segments(audio)[0].mean(axis=0)

    def _segments(self, audio: Audio) -> tuple[np.ndarray, np.ndarray, float]:
        """Return probabilities [shape=(n_segments, n_tags)], spans [shape=(n_segments, 2)] and duration in seconds."""
        return map_chunks(
            audio,
            self._probabilities,
            sample_rate_hz=self.sample_rate_hz,
            chunk_s=self.segment_s,
            batch_chunks=max(1, round(_BATCH_S / self.segment_s)),
        )

    def _probabilities(self, chunks: np.ndarray) -> np.ndarray:
        """Return probabilities [shape=(n, n_tags)] float64 of waveforms [shape=(n, n_samples)]."""
        import torch

        with torch.inference_mode():
            logits = self._tagger(torch.from_numpy(chunks).to(self.device))
        return sigmoid(logits.float().cpu().numpy())

    def _near(self, label: str) -> list[str]:
        folded = label.casefold()
        holding = [key for key in self._column_of if folded in key]
        keys = dict.fromkeys([*holding, *get_close_matches(folded, self._column_of, n=3)])
        return [self.tags[self._column_of[key]] for key in keys]

    def _examples(self) -> str:
        more = len(self.tags) - _NEAR
        return ", ".join(map(repr, self.tags[:_NEAR])) + (f" and {more} more" if more > 0 else "")
