"""Feature extractor and tokenizer for ``transformers.pipeline("zero-shot-audio-classification", model=dir)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoTokenizer,
    BatchFeature,
    FeatureExtractionMixin,
    PreTrainedTokenizer,
)

from encoders.audio import stream_chunks
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.two_tower import TwoTowerConfig, TwoTowerModel

__all__ = ["ChunkFeatureExtractor", "PhraseTokenizer"]


class ChunkFeatureExtractor(FeatureExtractionMixin):
    """Waveforms -> ``input_values`` [shape=(n, n_chunks, chunk_samples)] and ``chunk_mask`` [shape=(n, n_chunks)]."""

    model_input_names: ClassVar[list[str]] = ["input_values", "chunk_mask"]

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
        """Cut mono waveforms [shape=(n_samples,)] into chunks.

        Raises:
            ValueError: ``sampling_rate`` is not the model's.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(f"sampling_rate={sampling_rate}: this model takes {self.sampling_rate} Hz, resample first")
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
    """Words and known word groups of a phrase -> ids; see ``encoders.text.vocabulary.Vocabulary``."""

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


AutoConfig.register(TwoTowerConfig.model_type, TwoTowerConfig, exist_ok=True)
AutoModel.register(TwoTowerConfig, TwoTowerModel, exist_ok=True)
AutoFeatureExtractor.register(TwoTowerConfig, ChunkFeatureExtractor, exist_ok=True)
AutoTokenizer.register(TwoTowerConfig, tokenizer_class=PhraseTokenizer, exist_ok=True)
