"""The config of the two towers: what a checkpoint's shapes and its meaning depend on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from transformers import PreTrainedConfig

from encoders.audio import CHUNK_S, SEGMENT_CHUNKS
from encoders.backbones.mobilenet import EFFICIENTAT_MEL

__all__ = ["DEFAULT_BACKBONE", "TwoTowerConfig"]

DEFAULT_BACKBONE = "mn04"


class TwoTowerConfig(PreTrainedConfig):
    """What a checkpoint's shapes and its meaning depend on; the JSON beside the weights.

    ``backbone`` is a name of the registry. ``width`` and ``mel`` belong to ``mn04``, which may have any; every other
    backbone knows its own front end. ``sample_rate_hz`` None is the rate of ``mel``. ``text`` is "words", or "sentence"
    where the text tower reads a sentence encoder; ``subwords_sha256`` is of the file with the words' subwords, if any.
    """

    model_type = "earmark-two-tower"

    def __init__(  # noqa: PLR0913 - transformers rebuilds a config from flat keywords
        self,
        width: float = 0.4,
        mel: dict[str, Any] | None = None,
        chunk_s: float = CHUNK_S,
        segment_chunks: int = SEGMENT_CHUNKS,
        dim: int = 256,
        audio_hidden: int = 512,
        text_hidden: int = 896,
        word_dim: int = 128,
        vocab_size: int = 2,
        dropout: float = 0.1,
        tag_names: list[str] | None = None,
        backbone: str = DEFAULT_BACKBONE,
        sample_rate_hz: int | None = None,
        text: str = "words",
        subwords_sha256: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone
        self.text = text
        self.subwords_sha256 = subwords_sha256
        self.sample_rate_hz = sample_rate_hz
        self.width = width
        self.mel = mel or asdict(EFFICIENTAT_MEL)
        self.chunk_s = chunk_s
        self.segment_chunks = segment_chunks
        self.dim = dim
        self.audio_hidden = audio_hidden
        self.text_hidden = text_hidden
        self.word_dim = word_dim
        self.vocab_size = vocab_size
        self.dropout = dropout
        self.tag_names = tag_names or []
        super().__init__(**kwargs)
