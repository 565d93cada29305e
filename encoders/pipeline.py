"""Feature extractor and tokenizer for `transformers.pipeline("zero-shot-audio-classification", model=dir)`."""

from __future__ import annotations

import copy
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import Regex, normalizers
from transformers import BatchFeature, FeatureExtractionMixin, PreTrainedTokenizer

from encoders.audio import stream_chunks
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.waveform import MAX_CHANNELS

__all__ = ["ChunkFeatureExtractor", "PhraseTokenizer", "save_label_tokenizer"]


@cache
def _template() -> tuple[str, str]:
    """Return what the pipeline's default template, "This is a sound of {}.", writes before and after a label.

    These words are removed again, so that labels are embedded as they are written. A tokenizer is the only part of the
    pipeline that belongs to a model.
    """
    # Here, because it imports every pipeline of transformers: a second and 50 MB that only pipelines need.
    from transformers import ZeroShotAudioClassificationPipeline

    parameters = inspect.signature(ZeroShotAudioClassificationPipeline.preprocess).parameters
    before, _, after = parameters["hypothesis_template"].default.partition("{}")
    return before, after


def save_label_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a sentence encoder's tokenizer for the pipeline, changed to embed labels as they are written."""
    saved = copy.deepcopy(tokenizer)
    backend = getattr(saved, "backend_tokenizer", None)
    if backend is not None:
        before, after = map(re.escape, _template())
        steps = [
            normalizers.Replace(Regex(rf"\A{before}.*\K{after}\z"), ""),
            normalizers.Replace(Regex(rf"\A{before}"), ""),
        ]
        if backend.normalizer is not None:
            steps.append(backend.normalizer)
        backend.normalizer = normalizers.Sequence(steps)
        backend.no_truncation()  # these two are of the last batch
        backend.no_padding()
    saved.save_pretrained(str(folder))


class ChunkFeatureExtractor(FeatureExtractionMixin):
    """Waveforms -> `input_values` [shape=(n, n_chunks, chunk_samples)] and `chunk_mask` [shape=(n, n_chunks)]."""

    model_input_names: ClassVar[list[str]] = ["input_values", "chunk_mask"]
    padding_value: ClassVar[float] = 0.0  # these two are what a pipeline pads batches by
    padding_side: ClassVar[str] = "right"

    def __init__(self, sampling_rate: int = 32000, chunk_s: float = 5.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sampling_rate = sampling_rate
        self.chunk_s = chunk_s

    def __call__(
        self,
        audio: np.ndarray | list[np.ndarray],
        *,
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Cut clips into chunks.

        Args:
            audio: one clip [shape=(n_samples,)], several of one length [shape=(n_clips, n_samples)], or a list of
                clips, which may have several channels (see `encoders.waveform.as_waveform`).
            sampling_rate: of the clips; it must be the model's, which is the default.
            return_tensors: "pt" for torch tensors; arrays by default.

        Returns:
            `input_values`, float32 in [-1, 1] [shape=(n_clips, n_chunks, chunk_samples)], and `chunk_mask`, 1 where a
            clip has a chunk [shape=(n_clips, n_chunks)].

        Raises:
            ValueError: `sampling_rate` is not the model's, or an array has another shape or type.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(f"sampling_rate={sampling_rate}: this model takes {self.sampling_rate} Hz, resample first")
        if isinstance(audio, np.ndarray) and audio.ndim == 2 and audio.shape[1] <= MAX_CHANNELS:
            raise ValueError(
                f"an array of shape {audio.shape} is read as {len(audio)} clips; "
                "if it is one clip of several channels, give it in a list"
            )
        waveforms = [audio] if isinstance(audio, np.ndarray) and audio.ndim == 1 else list(audio)
        cut = []
        for waveform in waveforms:
            chunks = stream_chunks(np.asarray(waveform), sample_rate_hz=self.sampling_rate, chunk_s=self.chunk_s)
            cut.append(np.stack([chunk.samples for chunk in chunks]))
        most = max(len(chunks) for chunks in cut)
        values = np.stack([np.pad(chunks, ((0, most - len(chunks)), (0, 0))) for chunks in cut])
        mask = np.stack([np.arange(most) < len(chunks) for chunks in cut]).astype(np.int64)
        return BatchFeature({"input_values": values, "chunk_mask": mask}, tensor_type=return_tensors)


class PhraseTokenizer(PreTrainedTokenizer):
    """Words and known word groups of a phrase -> ids; see `encoders.text.vocabulary.Vocabulary`."""

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "vocab.txt"}  # type: ignore[misc]
    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]  # type: ignore[misc]

    def __init__(self, vocab_file: str, **kwargs: Any) -> None:
        self.vocabulary = Vocabulary(Path(vocab_file).read_text(encoding="utf-8").split("\n")[:-1])
        kwargs.setdefault("pad_token", PAD_TOKEN)
        kwargs.setdefault("unk_token", UNKNOWN_TOKEN)
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.vocabulary.ids)

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        before, after = _template()
        if text.startswith(before) and text.endswith(after):
            text = text[len(before) : len(text) - len(after)]
        known, unknown = self.vocabulary.split(text)
        return known or [UNKNOWN_TOKEN] * max(1, len(unknown))

    def _convert_token_to_id(self, token: str) -> int:
        return self.vocabulary.ids.get(token, self.vocabulary.ids[UNKNOWN_TOKEN])

    def _convert_id_to_token(self, index: int) -> str:
        return self.vocabulary.tokens[index]

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        return token_ids_0 if token_ids_1 is None else token_ids_0 + token_ids_1

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}vocab.txt"
        path.write_text("".join(token + "\n" for token in self.vocabulary.tokens), encoding="utf-8")
        return (str(path),)
