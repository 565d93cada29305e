"""The pipeline "zero-shot-audio-classification" of transformers for two-tower models, with every input that they take.

The library's own class takes mono arrays, and paths where the program `ffmpeg` is installed. This subclass decodes
files as the rest of the package does, converts and resamples arrays, and names labels that the model does not know.
Import it only where pipelines are used: it imports every pipeline of transformers.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import soxr
import torch
from transformers import ZeroShotAudioClassificationPipeline
from transformers.pipelines import PIPELINE_REGISTRY

from encoders.audio import load_audio
from encoders.pipeline import ChunkFeatureExtractor, PhraseTokenizer
from encoders.waveform import as_waveform

__all__ = ["TASK", "AudioLabelPipeline", "UnknownLabelsError", "register"]

TASK = "zero-shot-audio-classification"


class UnknownLabelsError(ValueError):
    """No candidate label has a word that the model knows; the message names all of them."""


class AudioLabelPipeline(ZeroShotAudioClassificationPipeline):
    """Score labels on clips. With another model than a two-tower model, it is the library's own pipeline."""

    def __call__(self, audios: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Score candidate labels on clips.

        Args:
            audios: a clip, a list of clips, or a generator or data set of clips. A clip is a path or URL (str or path
                object), the content of a sound file (bytes), an array or tensor at the model's sample rate, or a dict
                with "array" or "raw" and "sampling_rate", any rate. For the types and shapes of arrays, see
                `encoders.waveform.as_waveform`.
            **kwargs: `candidate_labels`, a list of labels; `hypothesis_template`, a text with "{}" for the label, by
                default the label alone; `batch_size`; `num_workers`.

        Returns:
            For a clip, a list of {"score", "label"}, best first, whose scores add up to 1; labels without a known word
            are left out, with a warning. For a list of clips, a list
            of these; for a generator or data set, an iterator over these.

        Raises:
            AudioDecodeError: a file cannot be read.
            UnknownLabelsError: no label has a known word.
            TypeError, ValueError: a clip, the labels or the template are none of the above.
        """
        if isinstance(audios, list) and not audios:
            return []
        return super().__call__(audios, **kwargs)

    def preprocess(  # type: ignore[override]
        self,
        audio: Any,
        candidate_labels: Sequence[str] | None = None,
        hypothesis_template: str = "This is a sound of {}.",
    ) -> Any:
        """Return the model's inputs for one clip; see `__call__`."""
        extractor: Any = self.feature_extractor
        if isinstance(extractor, ChunkFeatureExtractor):
            candidate_labels = known_labels(candidate_labels, template=hypothesis_template, tokenizer=self.tokenizer)
            audio = waveform_of(audio, sample_rate_hz=extractor.sampling_rate)
        return super().preprocess(audio, candidate_labels=candidate_labels, hypothesis_template=hypothesis_template)


def waveform_of(audio: Any, *, sample_rate_hz: int) -> np.ndarray:
    """Return one clip of the pipeline as a waveform at the model's rate, float32 [shape=(n,)].

    Raises:
        AudioDecodeError: the file cannot be read.
        TypeError: none of the types that `AudioLabelPipeline` takes.
        ValueError: a dict without samples or rate, or an array of a wrong type or shape.
    """
    rate_hz: Any = sample_rate_hz
    if isinstance(audio, Mapping):
        samples = next((audio[key] for key in ("raw", "array") if audio.get(key) is not None), None)
        if samples is None or audio.get("sampling_rate") is None:
            raise ValueError(
                f'a dict of audio needs "array" or "raw", and "sampling_rate"; this one has {sorted(map(str, audio))}'
            )
        audio, rate_hz = samples, audio["sampling_rate"]
        if isinstance(audio, (list, tuple)):
            audio = np.asarray(audio)
    if isinstance(audio, str) and audio.startswith(("http://", "https://")):
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

        answer = httpx.get(audio, follow_redirects=True)
        answer.raise_for_status()
        audio = answer.content
    if isinstance(audio, (bytes, bytearray)):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "audio")
            with open(path, "wb") as file:
                file.write(audio)
            return load_audio(path, sample_rate_hz=sample_rate_hz)
    if isinstance(audio, (str, os.PathLike)):
        return load_audio(audio, sample_rate_hz=sample_rate_hz)
    if isinstance(audio, torch.Tensor):
        audio = audio.detach().cpu().numpy()
    if not isinstance(audio, np.ndarray):
        raise TypeError(
            f"audio of type {type(audio).__name__}: give a path, bytes, an array, a tensor or a dict with "
            '"array" and "sampling_rate", or a list of these'
        )
    if isinstance(rate_hz, bool) or not float(rate_hz) == int(rate_hz) > 0:
        raise ValueError(f"sampling_rate={rate_hz!r} is not a positive whole number of samples a second")
    waveform = as_waveform(audio, sample_rate_hz=int(rate_hz))
    if int(rate_hz) == sample_rate_hz:
        return waveform
    resampled: np.ndarray = soxr.resample(waveform, int(rate_hz), sample_rate_hz, quality="HQ")
    if not len(resampled):
        raise ValueError(f"{len(waveform)} samples at {rate_hz} Hz: not one is left at {sample_rate_hz} Hz")
    return resampled


def known_labels(labels: Any, *, template: str, tokenizer: Any) -> Sequence[str]:
    """Return the candidate labels that have a known word. The others, and unknown words, are left out with a warning.

    Args:
        labels: the candidate labels.
        template: the hypothesis template.
        tokenizer: the model's; words are checked where it is a `PhraseTokenizer`.

    Raises:
        UnknownLabelsError: no label has a known word.
        TypeError: the labels are no list of text.
        ValueError: no labels, an empty label, or a template without "{}".
    """
    if labels is None or isinstance(labels, (str, bytes)) or not all(isinstance(label, str) for label in labels):
        raise TypeError(f"candidate_labels={labels!r}: give a list of labels, as text")
    if not len(labels) or not all(label.strip() for label in labels):
        raise ValueError(f"candidate_labels={labels!r}: give at least one label, and none that is empty")
    if template.format("a") == template.format("b"):
        raise ValueError(f'hypothesis_template={template!r} has no "{{}}" for the label')
    if not isinstance(tokenizer, PhraseTokenizer):
        return list(labels)
    vocabulary = tokenizer.vocabulary
    parts = {label: vocabulary.split(label) for label in dict.fromkeys(labels)}
    unknown = [label for label, (known, _) in parts.items() if not known]
    if unknown:
        reasons = "; ".join(str(vocabulary.unknown_error(parts[label][1], phrase=label)) for label in unknown[:5])
        message = f"no word is known of the candidate labels {unknown}: {reasons}"
        if len(unknown) == len(parts):
            raise UnknownLabelsError(message)
        warnings.warn(f"{message}; they are left out", stacklevel=2)
    for label, (known, lost) in parts.items():
        if known and lost:
            warnings.warn(f"label {label!r}: unknown words are left out: {', '.join(lost)}", stacklevel=2)
    return [label for label in labels if parts[label][0]]


def register() -> None:
    """Make this class the pipeline of its task, once. Other models keep the behaviour of the library's own class."""
    of_task = PIPELINE_REGISTRY.supported_tasks[TASK]
    if of_task["impl"] is ZeroShotAudioClassificationPipeline:
        of_task["impl"] = AudioLabelPipeline
