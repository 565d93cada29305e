"""A closed-set tagger as a transformers model: any backbone of the registry, a head, and the names of its tags."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from encoders.arrays import sigmoid
from encoders.audio_config import complete_audio_config
from encoders.checkpoint import TAGGER_FILES, TAGGER_TYPE, ModelDirError, check_model_dir, swapped_in, write_checksums
from encoders.embed import Audio, map_chunks
from encoders.tagger import build_tagger

__all__ = ["TaggerConfig", "TaggerModel", "TaggerOutput"]


_BATCH_S = 60.0  # of audio that goes through the network at once


class TaggerConfig(PreTrainedConfig):
    """`backbone` and `head` are names of the registry; `tag_names` are the outputs, in order.

    `sample_rate_hz`, `front_end` and `chunk_s` are completed from the backbone, and `level` is applied, as in
    `TwoTowerConfig`.
    """

    model_type = TAGGER_TYPE

    def __init__(
        self,
        backbone: str = "conv7",
        head: str = "linear",
        tag_names: list[str] | None = None,
        sample_rate_hz: int | None = None,
        front_end: dict[str, Any] | None = None,
        chunk_s: float | None = None,
        segment_chunks: int | None = 1,
        level: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.tag_names = tag_names or []
        self.sample_rate_hz = sample_rate_hz
        self.front_end = front_end
        self.chunk_s = chunk_s
        self.segment_chunks = segment_chunks
        self.level = level
        super().__init__(**kwargs)


@dataclass
class TaggerOutput(ModelOutput):
    """`logits` [shape=(batch, n_tags)]."""

    logits: Tensor | None = None


class TaggerModel(PreTrainedModel):
    """Waveform -> one logit a tag, for the tags that it was trained on."""

    config_class = TaggerConfig
    main_input_name = "input_values"

    def __init__(self, config: TaggerConfig) -> None:
        super().__init__(config)
        self.fingerprint: str | None = None
        self.tagger = build_tagger(config.backbone, n_classes=max(1, len(config.tag_names)), head=config.head)
        self.tagger.level = complete_audio_config(config, self.tagger.backbone)
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        # from_pretrained builds on the meta device: tables that are no part of a checkpoint are made again here.
        reset_tables = getattr(module, "reset_tables", None)
        if callable(reset_tables):
            reset_tables()

    @classmethod
    def from_pretrained(cls, model_dir: str | os.PathLike[str], *args: Any, **kwargs: Any) -> TaggerModel:  # type: ignore[override]
        """Load a tagger's directory, ready to infer.

        Raises:
            ModelDirError: there is no tagger, a damaged one, or a model of another kind.
        """
        folder = Path(model_dir)
        for name in TAGGER_FILES:
            if not (folder / name).is_file():
                raise ModelDirError(f"no tagger in {folder}: it has no {name}")
        config = PreTrainedConfig.get_config_dict(str(folder))[0]
        if config.get("model_type") != TaggerConfig.model_type:
            raise ModelDirError(f"{folder} holds a model of type {config.get('model_type')!r}, not a tagger")
        fingerprint = check_model_dir(folder, files=TAGGER_FILES)
        model = super().from_pretrained(str(folder), *args, **kwargs)
        model.fingerprint = fingerprint
        return model.eval()

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        """Write a complete directory: weights, config, checksums. An interrupted save changes nothing."""
        with swapped_in(Path(save_directory)) as folder:
            super().save_pretrained(str(folder), **kwargs)
            self.fingerprint = write_checksums(folder, files=TAGGER_FILES)

    @property
    def sample_rate_hz(self) -> int:
        return self.tagger.backbone.sample_rate_hz

    @property
    def chunk_s(self) -> float:
        """Length of a chunk in seconds."""
        return float(self.config.chunk_s)

    @property
    def chunk_samples(self) -> int:
        return round(self.chunk_s * self.sample_rate_hz)

    def forward(self, input_values: Tensor) -> TaggerOutput:
        """Tag waveforms [shape=(batch, n_samples)] in [-1, 1]."""
        return TaggerOutput(self.tagger(input_values))

    @torch.inference_mode()
    def chunk_logits(self, chunks: np.ndarray | Tensor) -> np.ndarray:
        """Return the logits of chunks [shape=(n, chunk_samples)], float32 [shape=(n, n_tags)]."""
        waveforms = torch.as_tensor(chunks, dtype=torch.float32).to(self.device)
        return self.tagger(waveforms).float().cpu().numpy()

    def tag_audio(self, audio: Sequence[Audio]) -> np.ndarray:
        """Return the probabilities of each clip's tags: the mean over its chunks. Long files are streamed.

        Args:
            audio: paths, or arrays of samples at the model's rate (see `encoders.waveform.as_waveform`).

        Returns:
            float32 in [0, 1] [shape=(n_clips, n_tags)].

        Raises:
            AudioDecodeError: a file cannot be read.
            ValueError: a waveform has the wrong shape or type.
        """
        rows = []
        for clip in audio:
            logits, _, _ = map_chunks(
                clip,
                self.chunk_logits,
                sample_rate_hz=self.sample_rate_hz,
                chunk_s=self.chunk_s,
                batch_chunks=max(1, round(_BATCH_S / self.chunk_s)),
            )
            rows.append(sigmoid(logits).mean(0))
        return np.array(rows, np.float32).reshape(len(rows), len(self.config.tag_names))


AutoConfig.register(TaggerConfig.model_type, TaggerConfig, exist_ok=True)
AutoModel.register(TaggerConfig, TaggerModel, exist_ok=True)
