"""The two towers as a transformers model: audio and phrases into one space of unit vectors."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from encoders.arrays import unit
from encoders.backbones.base import Backbone, check_chunk_length
from encoders.backbones.mobilenet import MobileNet
from encoders.calibration import Calibration
from encoders.checkpoint import MODEL_FILES, VOCABULARY_FILE, check_model_dir, seal
from encoders.embed import BATCH_CHUNKS, Audio, embed_audio
from encoders.heads import AudioProjection
from encoders.mel import MelSpec
from encoders.text.subwords import Subwords
from encoders.text.torch_tower import TextTower, WordLookup
from encoders.text.tower import SENTENCE_FOLDER, model_subwords, read_vocabulary, save_subwords
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.text.word_vectors import WordVectors
from encoders.two_tower_config import DEFAULT_BACKBONE, TwoTowerConfig

if TYPE_CHECKING:
    from encoders.text.sentence import SentenceTower

__all__ = ["TwoTowerConfig", "TwoTowerModel", "TwoTowerOutput"]


@dataclass
class TwoTowerOutput(ModelOutput):
    """``logits_per_audio`` [shape=(n_audio, n_labels)]: calibrated log-odds; the towers' vectors beside them."""

    logits_per_audio: Tensor | None = None
    logits_per_text: Tensor | None = None
    audio_embeds: Tensor | None = None
    text_embeds: Tensor | None = None


class _AudioTower(nn.Module):
    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__()
        self.backbone = _build_backbone(config)
        self.projection = AudioProjection(
            feature_dim=self.backbone.dim, hidden=config.audio_hidden, dim=config.dim, dropout=config.dropout
        )


def _build_backbone(config: TwoTowerConfig) -> Backbone:
    if config.backbone == DEFAULT_BACKBONE:
        return MobileNet(width=config.width, mel=MelSpec(**config.mel))
    # Here, since the registry imports every architecture, which the default model does not need.
    from encoders.backbones.registry import build_backbone

    return build_backbone(config.backbone)


def _fused(backbone: MobileNet) -> MobileNet:
    """Return a copy for inference: batch norms folded into the convolutions, channels last (twice as fast)."""
    fused = copy.deepcopy(backbone).eval()
    for module in list(fused.modules()):
        if isinstance(module, nn.Sequential) and len(module) >= 2 and isinstance(module[1], nn.BatchNorm2d):
            convolution = module[0]
            assert isinstance(convolution, nn.Conv2d)
            module[0] = fuse_conv_bn_eval(convolution, module[1])
            module[1] = nn.Identity()
    return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


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
        self.audio_tower = _AudioTower(config)
        self.words = WordLookup(vocab_size=config.vocab_size, word_dim=config.word_dim)
        self.text_tower = TextTower(
            word_dim=config.word_dim, hidden=config.text_hidden, dim=config.dim, dropout=config.dropout
        )
        self.calibration = CalibrationBuffers(dim=config.dim)
        self.vocabulary: Vocabulary | None = None
        self.subwords: Subwords | None = None
        self.fingerprint: str | None = None
        check_chunk_length(self.audio_tower.backbone, sample_rate_hz=self.sample_rate_hz, chunk_s=config.chunk_s)
        # In a list, so that it is no part of the checkpoint.
        self._inference_backbone: list[MobileNet] = []
        self._sentences: list[SentenceTower] = []
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # from_pretrained builds on the meta device: tables that are no part of a checkpoint are made again here.
        reset_tables = getattr(module, "reset_tables", None)
        if callable(reset_tables):
            reset_tables()

    @property
    def sample_rate_hz(self) -> int:
        return int(self.config.sample_rate_hz or self.config.mel["sample_rate_hz"])

    @property
    def chunk_samples(self) -> int:
        return round(self.config.chunk_s * self.sample_rate_hz)

    @property
    def chunk_s(self) -> float:
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
        """Let the text tower read a sentence encoder. It stays as it is, and is no part of the state dict."""
        self.config.text = "sentence"
        self.vocabulary = Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN])
        self._sentences = [tower]

    @classmethod
    def from_pretrained(cls, model_dir: str | os.PathLike[str], *args: Any, **kwargs: Any) -> TwoTowerModel:  # type: ignore[override]
        """Load a model directory, ready to infer.

        Raises:
            ModelDirError: a file is missing or damaged.
        """
        fingerprint = check_model_dir(Path(model_dir))
        model = super().from_pretrained(str(model_dir), *args, **kwargs)
        model.vocabulary = read_vocabulary(Path(model_dir))
        model.subwords = model_subwords(Path(model_dir), digest=model.config.subwords_sha256)
        if model.config.text == "sentence":
            from encoders.text.sentence import SentenceTower

            model.read_sentences(SentenceTower.load(Path(model_dir) / SENTENCE_FOLDER))
        model.fingerprint = fingerprint
        return model.eval()

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        """Write a complete model directory: weights, config, words or sentence encoder, extractor, checksums."""
        from encoders.pipeline import ChunkFeatureExtractor, PhraseTokenizer

        if self.vocabulary is None:
            raise ValueError("set model.vocabulary before saving: a model without words cannot be searched")
        folder = Path(save_directory)
        self.config.subwords_sha256 = None if self.subwords is None else save_subwords(folder, self.subwords)
        super().save_pretrained(str(folder), **kwargs)
        files = [*MODEL_FILES]
        if self.sentences is not None:
            files += [f"{SENTENCE_FOLDER}/{name}" for name in self.sentences.save(folder / SENTENCE_FOLDER)]
            self.sentences.save_tokenizer(folder)  # for pipelines, which look for it here
        (folder / VOCABULARY_FILE).write_text("".join(t + "\n" for t in self.vocabulary.tokens), encoding="utf-8")
        if self.sentences is None:
            PhraseTokenizer(str(folder / VOCABULARY_FILE)).save_pretrained(str(folder))
        ChunkFeatureExtractor(sampling_rate=self.sample_rate_hz, chunk_s=self.config.chunk_s).save_pretrained(
            str(folder)
        )
        self.fingerprint = seal(folder, files=files)

    def train(self, mode: bool = True) -> TwoTowerModel:
        self._inference_backbone = []  # the weights are about to change, or just have
        return super().train(mode)

    @torch.inference_mode()
    def chunk_features(self, chunks: np.ndarray | Tensor) -> np.ndarray:
        """Return the pooled backbone features of chunks.

        Args:
            chunks: waveforms [shape=(n, chunk_samples)] in [-1, 1].

        Returns:
            float32 [shape=(n, feature_dim)].
        """
        waveforms = torch.as_tensor(chunks, dtype=torch.float32).to(self.device)
        backbone = self.audio_tower.backbone
        if isinstance(backbone, MobileNet):
            return self.mel_features(backbone.front_end(waveforms))
        return backbone(waveforms).float().cpu().numpy()

    @torch.inference_mode()
    def mel_features(self, log_mel: Tensor) -> np.ndarray:
        """Return the pooled backbone features of log-mel chunks [shape=(n, n_mels, n_frames)], float32.

        Raises:
            TypeError: the backbone is no MobileNet; give ``chunk_features`` waveforms.
        """
        backbone = self.audio_tower.backbone
        if not isinstance(backbone, MobileNet):
            raise TypeError(f"{self.config.backbone} takes no log-mel chunks: give chunk_features waveforms")
        if not self._inference_backbone:
            self._inference_backbone = [_fused(backbone).to(self.device)]
        return self._inference_backbone[0].from_mel(log_mel.to(self.device)).float().cpu().numpy()

    @torch.inference_mode()
    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        """Average neighbouring chunks and project.

        Args:
            features: of one file's chunks, in order [shape=(n_chunks, feature_dim)].

        Returns:
            Unit vectors, float32 [shape=(max(1, n_chunks - segment_chunks + 1), dim)].
        """
        return self.audio_tower.projection(self.pool(torch.as_tensor(features).to(self.device))).float().cpu().numpy()

    def pool(self, features: Tensor) -> Tensor:
        """Average the features of the chunks of each segment. Search, training and `forward` pool by this rule.

        Args:
            features: of chunks, in order [shape=(..., n_chunks, feature_dim)].

        Returns:
            [shape=(..., max(1, n_chunks - segment_chunks + 1), feature_dim)].
        """
        n_chunks = features.shape[-2]
        return features.unfold(-2, min(self.segment_chunks, n_chunks), 1).mean(-1)

    def encode_audio(
        self,
        audio: Audio | Sequence[Audio],
        *,
        sample_rate_hz: int | None = None,
        batch_size: int = BATCH_CHUNKS,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return one unit vector per clip: the mean of its segments' vectors. Long files are streamed.

        Args:
            audio: a path, a mono waveform of floats in [-1, 1] [shape=(n_samples,)], or a sequence of these.
            sample_rate_hz: of the waveforms; it must be the model's, which is the default. Files are resampled.
            batch_size: how many chunks go through the network at once.
            on_progress: called after each clip with the number of clips done and of all clips.

        Returns:
            float32 [shape=(n, dim)].

        Raises:
            AudioDecodeError: a file cannot be read.
            ValueError: a waveform has the wrong rate, shape or type.
        """
        if sample_rate_hz not in (None, self.sample_rate_hz):
            raise ValueError(f"sample_rate_hz={sample_rate_hz}: resample to {self.sample_rate_hz} Hz, or pass the path")
        if isinstance(audio, np.ndarray):
            clips: Sequence[Audio] = [audio]
        else:
            clips = [audio] if isinstance(audio, (str, os.PathLike)) else audio
        vectors = np.zeros((len(clips), self.config.dim), np.float32)
        for row, clip in enumerate(clips):
            vectors[row] = embed_audio(clip, model=self, batch_chunks=batch_size).vectors.mean(0)
            if on_progress is not None:
                on_progress(row + 1, len(clips))
        return unit(vectors)

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
                raise self.vocabulary.unknown_error(unknown)
            ids = torch.tensor([[self.vocabulary.ids[token] for token in known]], device=self.device)
            rows.append(self.words(ids))
        if not rows:
            return np.zeros((0, self.config.dim), np.float32)
        return self.text_tower(torch.cat(rows)).float().cpu().numpy()

    def _read(self, vocabulary: Vocabulary, phrases: Sequence[str]) -> np.ndarray:
        """Return what the text tower reads where ids of known words do not say it [shape=(n, word_dim)]."""
        if self.sentences is not None:
            return self.sentences.to(self.device).encode(phrases)
        codes, scales, weights = (x.cpu().numpy() for x in (self.words.codes, self.words.scales, self.words.weights))
        return WordVectors(vocabulary, codes, scales, weights, self.subwords).encode(phrases)

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
        n_audio, n_chunks, n_samples = input_values.shape
        backbone, projection = self.audio_tower.backbone, self.audio_tower.projection
        features = backbone(input_values.reshape(n_audio * n_chunks, n_samples)).reshape(n_audio, n_chunks, -1)
        if chunk_mask is None:
            whole = projection(self.pool(features)).mean(1)
        else:
            counts = chunk_mask.sum(1).tolist()
            rows = zip(features, counts, strict=True)
            whole = torch.stack([projection(self.pool(clip[:count])).mean(0) for clip, count in rows])
        words = self.words if self.sentences is None else self.sentences
        text = self.text_tower(words(input_ids, attention_mask))
        logits = self.calibration(whole, text)
        return TwoTowerOutput(logits, logits.T, nn.functional.normalize(whole, dim=-1), text)


# Registration with the Auto classes stands where all the parts are known.
from encoders import pipeline as _pipeline  # noqa: E402, F401
