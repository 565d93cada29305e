"""The two towers as a transformers model: audio and phrases into one space of unit vectors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils.generic import ModelOutput

from encoders.audio_config import complete_audio_config
from encoders.backbones.base import Backbone
from encoders.backbones.registry import build_backbone
from encoders.calibration import Calibration
from encoders.checkpoint import MODEL_FILES, VOCABULARY_FILE, check_model_dir, swapped_in, write_checksums
from encoders.composed import ComposedProjection, ComposedTextTower
from encoders.embed import BATCH_CHUNKS, Audio, encode_clips
from encoders.heads import AudioProjection
from encoders.pipeline import ChunkFeatureExtractor, PhraseTokenizer, save_label_tokenizer
from encoders.text.composed import ComposedSpec
from encoders.text.subwords import Subwords
from encoders.text.torch_tower import TextTower, WordLookup
from encoders.text.tower import SENTENCE_FOLDER, model_subwords, read_vocabulary, save_subwords
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.text.word_vectors import WordVectors

if TYPE_CHECKING:
    from encoders.text.sentence import SentenceTower

__all__ = [
    "AudioTower",
    "CalibrationBuffers",
    "ChunkFeatureExtractor",
    "PhraseTokenizer",
    "TwoTowerConfig",
    "TwoTowerModel",
    "TwoTowerOutput",
]


class TwoTowerConfig(PreTrainedConfig):
    """Everything that the shapes and the meaning of a checkpoint depend on; the JSON beside the weights.

    `backbone` is a name of the registry. `sample_rate_hz`, `front_end` (`Backbone.front_end_config`),
    `chunk_s` and `segment_chunks` are completed from the backbone when the model is built. Audio is cut into
    chunks of `chunk_s`; a segment is `segment_chunks` neighbouring chunks, and a new one begins with each chunk.
    `level` is the level rule (`encoders.level.LevelRule`) that the audio tower applies to each chunk, or None. `text`
    is "words", or "sentence" if the text tower takes the output of a sentence encoder. `subwords_sha256` is the digest
    of the file with the subword vectors, if there is one. `backbone_options` are keywords of the backbone
    (`Backbone.build_options`). `composed` is the `encoders.text.composed.ComposedSpec` of a model with a fixed part,
    which decides `dim`; None: both towers are trained as a whole. `storage` is the type of the matrices in the file,
    float32 or float16; in memory they are float32. The last `product_words` words of the vocabulary have product codes
    of `product_parts` parts of `product_part_dim` dimensions.
    """

    model_type = "earmark-two-tower"

    def __init__(  # noqa: PLR0913 - transformers rebuilds a config from flat keywords
        self,
        backbone: str = "mn04",
        sample_rate_hz: int | None = None,
        front_end: dict[str, Any] | None = None,
        chunk_s: float | None = None,
        segment_chunks: int | None = None,
        level: dict[str, Any] | None = None,
        dim: int = 256,
        audio_hidden: int = 512,
        text_hidden: int = 896,
        word_dim: int = 128,
        vocab_size: int = 2,
        dropout: float = 0.1,
        tag_names: list[str] | None = None,
        text: str = "words",
        subwords_sha256: str | None = None,
        backbone_options: dict[str, Any] | None = None,
        composed: dict[str, Any] | None = None,
        storage: str = "float32",
        product_words: int = 0,
        product_parts: int = 0,
        product_part_dim: int = 0,
        **kwargs: Any,
    ) -> None:
        if "transformers.pipelines" in sys.modules:  # someone makes pipelines; importing them here would take a second
            from encoders.zero_shot import register

            register()
        self.backbone = backbone
        self.sample_rate_hz = sample_rate_hz
        self.front_end = front_end
        self.chunk_s = chunk_s
        self.segment_chunks = segment_chunks
        self.level = level
        self.backbone_options = backbone_options or {}
        self.composed = composed
        self.storage = storage
        self.product_words = product_words
        self.product_parts = product_parts
        self.product_part_dim = product_part_dim
        self.dim = dim if composed is None else ComposedSpec.from_dict(composed).dim
        self.audio_hidden = audio_hidden
        self.text_hidden = text_hidden
        self.word_dim = word_dim
        self.vocab_size = vocab_size
        self.dropout = dropout
        self.tag_names = tag_names or []
        self.text = text
        self.subwords_sha256 = subwords_sha256
        super().__init__(**kwargs)


@dataclass
class TwoTowerOutput(ModelOutput):
    """`logits_per_audio` [shape=(n_audio, n_labels)]: calibrated log-odds; the towers' vectors beside them."""

    logits_per_audio: Tensor | None = None
    logits_per_text: Tensor | None = None
    audio_embeds: Tensor | None = None
    text_embeds: Tensor | None = None


class AudioTower(nn.Module):
    """A backbone and the projection of its features into the space that text is in."""

    def __init__(self, config: TwoTowerConfig) -> None:
        """Build the tower and complete the config's fields of the audio input."""
        super().__init__()
        self.backbone = build_backbone(config.backbone, **config.backbone_options)
        self.level = complete_audio_config(config, self.backbone)
        assert config.segment_chunks is not None  # completed above
        self.segment_chunks = config.segment_chunks
        self.projection: AudioProjection | ComposedProjection
        if config.composed is None:
            self.projection = AudioProjection(
                feature_dim=self.backbone.dim, hidden=config.audio_hidden, dim=config.dim, dropout=config.dropout
            )
        else:
            self.projection = ComposedProjection(
                ComposedSpec.from_dict(config.composed), feature_dim=self.backbone.dim, dropout=config.dropout
            )

    def chunk_features(self, chunks: Tensor, *, backbone: Backbone | None = None) -> Tensor:
        """Return the features of chunks after the level rule. Search, training and `forward` take this way.

        Args:
            chunks: waveforms [shape=(n, n_samples)] in [-1, 1].
            backbone: a copy that computes the features in place of the tower's own backbone.

        Returns:
            [shape=(n, feature_dim)].
        """
        if self.level is not None:
            chunks = self.level(chunks, sample_rate_hz=self.backbone.sample_rate_hz)
        features: Tensor = (self.backbone if backbone is None else backbone)(chunks)
        return features

    def segment_vectors(self, features: Tensor) -> Tensor:
        """Average the features of each segment's chunks and project. Search, training and `forward` pool by this rule.

        Args:
            features: of chunks, in order [shape=(..., n_chunks, feature_dim)].

        Returns:
            Unit vectors [shape=(..., max(1, n_chunks - segment_chunks + 1), dim)].
        """
        pooled = features.unfold(-2, min(self.segment_chunks, features.shape[-2]), 1).mean(-1)
        vectors: Tensor = self.projection(pooled)
        return vectors

    def clip_vectors(self, features: Tensor) -> Tensor:
        """Return the mean segment vector of each clip [shape=(n, dim)].

        Args:
            features: of the chunks of each clip [shape=(n, n_chunks, feature_dim)].
        """
        return self.segment_vectors(features).mean(-2)


class CalibrationBuffers(nn.Module):
    """The tensors of a `Calibration`, as part of the checkpoint."""

    mean: Tensor
    covariance: Tensor
    line: Tensor

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("covariance", torch.eye(dim) / dim)
        self.register_buffer("line", torch.tensor([1.0, 0.0]))

    @torch.no_grad()
    def set(self, calibration: Calibration) -> None:
        """Take over the constants of a calibration."""
        self.mean.copy_(torch.from_numpy(calibration.mean))
        self.covariance.copy_(torch.from_numpy(calibration.covariance))
        self.line.copy_(torch.tensor([calibration.slope, calibration.offset]))

    def forward(self, audio: Tensor, text: Tensor) -> Tensor:
        """Return log-odds [shape=(n_audio, n_labels)]; see `Calibration.logits`."""
        std = torch.einsum("nd,de,ne->n", text, self.covariance, text).sqrt().clamp_min(1e-6)
        return self.line[0] * (audio @ text.T - text @ self.mean) / std + self.line[1]


class TwoTowerModel(PreTrainedModel):
    """Audio and phrases -> unit vectors whose inner product says how well they fit."""

    config_class = TwoTowerConfig
    main_input_name = "input_values"

    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__(config)
        self.audio_tower = AudioTower(config)
        self.words = WordLookup(
            vocab_size=config.vocab_size,
            word_dim=config.word_dim,
            product_words=config.product_words,
            product_parts=config.product_parts,
            product_part_dim=config.product_part_dim,
        )
        self.text_tower: TextTower | ComposedTextTower
        sizes = {"word_dim": config.word_dim, "hidden": config.text_hidden}
        if config.composed is None:
            self.text_tower = TextTower(**sizes, dim=config.dim, dropout=config.dropout)
        else:
            spec = ComposedSpec.from_dict(config.composed)
            self.text_tower = ComposedTextTower(spec, **sizes, dropout=config.dropout)
        self.calibration = CalibrationBuffers(dim=config.dim)
        self.vocabulary: Vocabulary | None = None
        self.subwords: Subwords | None = None
        self.fingerprint: str | None = None
        # Not a submodule: it is not part of the checkpoint. The key says of which weights it is a copy.
        self._inference: tuple[object, Backbone] | None = None
        self._sentences: list[SentenceTower] = []
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # from_pretrained builds on the meta device: tables that are no part of a checkpoint are made again here.
        reset_tables = getattr(module, "reset_tables", None)
        if callable(reset_tables):
            reset_tables()

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the audio that the model takes."""
        return int(self.config.sample_rate_hz)

    @property
    def chunk_samples(self) -> int:
        """Length of a chunk in samples."""
        return round(self.config.chunk_s * self.sample_rate_hz)

    @property
    def chunk_s(self) -> float:
        """Length of a chunk in seconds."""
        return float(self.config.chunk_s)

    @property
    def segment_chunks(self) -> int:
        """How many neighbouring chunks a segment averages."""
        return int(self.config.segment_chunks)

    @property
    def sentences(self) -> SentenceTower | None:
        """The frozen sentence encoder that the text tower reads; None where it reads words."""
        return self._sentences[0] if self._sentences else None

    def read_sentences(self, tower: SentenceTower) -> None:
        """Let the text tower read a sentence encoder. It is frozen and excluded from the state dict."""
        self.config.text = "sentence"
        self.vocabulary = Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN])
        self._sentences = [tower]

    def read_words(self, words: WordVectors) -> None:
        """Let the text tower read word vectors, which have the sizes of the config."""
        self.vocabulary, self.subwords = words.vocabulary, words.subwords
        self.words.take(words)

    @classmethod
    def from_pretrained(cls, model_dir: str | os.PathLike[str], *args: Any, **kwargs: Any) -> TwoTowerModel:  # type: ignore[override]
        """Load a model directory, ready to infer.

        Raises:
            ModelDirError: a file is missing or damaged.
        """
        fingerprint = check_model_dir(Path(model_dir))
        kwargs.setdefault("dtype", torch.float32)  # matrices may be stored in 16 bits
        model = super().from_pretrained(str(model_dir), *args, **kwargs)
        model.vocabulary = read_vocabulary(Path(model_dir))
        model.subwords = model_subwords(Path(model_dir), digest=model.config.subwords_sha256)
        if model.config.text == "sentence":
            from encoders.text.sentence import SentenceTower

            model.read_sentences(SentenceTower.load(Path(model_dir) / SENTENCE_FOLDER))
        model.fingerprint = fingerprint
        return model.eval()

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        """Write a complete model directory: weights, config, words or sentence encoder, extractor, checksums.

        An interrupted save leaves a model that the directory held before as it was.
        """
        if self.vocabulary is None:
            raise ValueError("set model.vocabulary before saving: a model without words cannot be searched")
        with swapped_in(Path(save_directory)) as folder:
            self.config.subwords_sha256 = None if self.subwords is None else save_subwords(folder, self.subwords)
            super().save_pretrained(str(folder), state_dict=self._stored_tensors(), **kwargs)
            files = [*MODEL_FILES]
            (folder / VOCABULARY_FILE).write_text("".join(t + "\n" for t in self.vocabulary.tokens), encoding="utf-8")
            # The tokenizer in the model directory itself is for pipelines, which look for it there.
            if self.sentences is None:
                PhraseTokenizer(str(folder / VOCABULARY_FILE)).save_pretrained(str(folder))
            else:
                files += [f"{SENTENCE_FOLDER}/{name}" for name in self.sentences.save(folder / SENTENCE_FOLDER)]
                save_label_tokenizer(self.sentences.model.tokenizer, folder)
            extractor = ChunkFeatureExtractor(sampling_rate=self.sample_rate_hz, chunk_s=self.chunk_s)
            extractor.save_pretrained(str(folder))
            self.fingerprint = write_checksums(folder, files=files)

    def _stored_tensors(self) -> dict[str, Tensor]:
        """Return the tensors as `config.storage` has them: weights in 16 bits, but not biases and moments."""
        tensors = self.state_dict()
        if self.config.storage == "float32":
            return tensors
        halved = [
            name
            for name, value in tensors.items()
            if value.is_floating_point() and value.ndim > 1 and not name.endswith("covariance")
        ]
        return {**tensors, **{name: tensors[name].half() for name in halved}}

    def inference_backbone(self) -> Backbone:
        """Return the backbone's fast copy for inference, made again whenever the weights have changed or moved.

        Changes are recognised by the version counters of the tensors. In-place operations on `parameter.data` bypass
        them: assign within `torch.no_grad()` instead.
        """
        backbone = self.audio_tower.backbone
        tensors = [*backbone.parameters(), *backbone.buffers()]
        key = tuple((t.data_ptr(), t.device, t.dtype, 0 if t.is_inference() else t._version) for t in tensors)
        if self._inference is None or self._inference[0] != key:
            self._inference = (key, backbone.inference_copy())
        return self._inference[1]

    @torch.inference_mode()
    def chunk_features(self, chunks: np.ndarray | Tensor) -> np.ndarray:
        """Return the pooled backbone features of chunks.

        Args:
            chunks: waveforms [shape=(n, chunk_samples)] in [-1, 1].

        Returns:
            float32 [shape=(n, feature_dim)].
        """
        waveforms = torch.as_tensor(chunks, dtype=torch.float32).to(self.device)
        features = self.audio_tower.chunk_features(waveforms, backbone=self.inference_backbone())
        return features.float().cpu().numpy()

    @torch.inference_mode()
    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        """Average neighbouring chunks and project.

        Args:
            features: of one file's chunks, in order [shape=(n_chunks, feature_dim)].

        Returns:
            Unit vectors, float32 [shape=(max(1, n_chunks - segment_chunks + 1), dim)].
        """
        return self.audio_tower.segment_vectors(torch.as_tensor(features).to(self.device)).float().cpu().numpy()

    def encode_audio(
        self,
        audio: Audio | Sequence[Audio],
        *,
        sample_rate_hz: int | None = None,
        batch_size: int = BATCH_CHUNKS,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return one unit vector per clip [shape=(n, dim)]; see `encoders.embed.encode_clips`."""
        return encode_clips(
            audio,
            model=self,
            dim=self.config.dim,
            sample_rate_hz=sample_rate_hz,
            batch_chunks=batch_size,
            on_progress=on_progress,
        )

    @torch.inference_mode()
    def encode_text(self, phrases: str | Sequence[str]) -> np.ndarray:
        """Return one unit vector a phrase, float32 [shape=(n, dim)].

        Raises:
            UnknownWordsError: a phrase has no known word.
        """
        if self.vocabulary is None:
            raise ValueError("this model has no vocabulary: load one with from_pretrained")
        several = [phrases] if isinstance(phrases, str) else phrases
        if self.sentences is not None or self.subwords is not None:
            if not several:
                return np.zeros((0, self.config.dim), np.float32)
            read = torch.from_numpy(self._read(self.vocabulary, several)).to(self.device)
            return self.text_tower(read).float().cpu().numpy()
        rows = []
        for phrase in several:
            known, unknown = self.vocabulary.split(phrase)
            if not known:
                raise self.vocabulary.unknown_error(unknown, phrase=phrase)
            ids = torch.tensor([[self.vocabulary.ids[token] for token in known]], device=self.device)
            rows.append(self.words(ids))
        if not rows:
            return np.zeros((0, self.config.dim), np.float32)
        return self.text_tower(torch.cat(rows)).float().cpu().numpy()

    def _read(self, vocabulary: Vocabulary, phrases: Sequence[str]) -> np.ndarray:
        """Return the text tower's input for text that word ids cannot represent [shape=(n, word_dim)]."""
        if self.sentences is not None:
            return self.sentences.to(self.device).encode(phrases)
        return WordVectors.from_tensors(vocabulary, self.words.arrays(), self.subwords).encode(phrases)

    def forward(
        self,
        input_ids: Tensor,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        chunk_mask: Tensor | None = None,
        **_: Any,
    ) -> TwoTowerOutput:
        """Score clips against phrases.

        Args:
            input_ids: token ids [shape=(n_labels, n_tokens)].
            input_values: chunks of each clip [shape=(n_audio, n_chunks, chunk_samples)].
            attention_mask: 1 where a token counts [shape=(n_labels, n_tokens)].
            chunk_mask: 1 where a clip has a chunk [shape=(n_audio, n_chunks)]; the true ones come first.
        """
        n_audio, n_chunks = input_values.shape[:2]
        tower = self.audio_tower
        if chunk_mask is None:
            chunk_mask = input_values.new_ones((n_audio, n_chunks))
        # A long file has thousands of chunks; where no gradients are kept, a batch of them is in memory at a time.
        chunks = input_values[chunk_mask.bool()]
        batches = (chunks,) if torch.is_grad_enabled() else chunks.split(BATCH_CHUNKS)
        features = torch.cat([tower.chunk_features(batch) for batch in batches])
        clips = features.split(chunk_mask.sum(1).int().tolist())
        whole = torch.stack([tower.clip_vectors(clip) for clip in clips])
        words = self.words if self.sentences is None else self.sentences
        text = self.text_tower(words(input_ids, attention_mask))
        logits = self.calibration(whole, text)
        return TwoTowerOutput(logits, logits.T, nn.functional.normalize(whole, dim=-1), text)


AutoConfig.register(TwoTowerConfig.model_type, TwoTowerConfig, exist_ok=True)
AutoModel.register(TwoTowerConfig, TwoTowerModel, exist_ok=True)
AutoFeatureExtractor.register(TwoTowerConfig, ChunkFeatureExtractor, exist_ok=True)
AutoTokenizer.register(TwoTowerConfig, tokenizer_class=PhraseTokenizer, exist_ok=True)
