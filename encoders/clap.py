"""The towers of a CLAP checkpoint of transformers: loaded strictly, tested, and fed with the chunks of this package.

A chunk is one input of the network (10 s for the published models), and a segment is one chunk. The log-mel is that of
transformers' ClapFeatureExtractor, computed in batches of frames. For a chunk the extractor has nothing to cut at
random: no input is "longer" than the network's, so a model with feature fusion reads the mel of the whole chunk.
transformers' own extractor marks one clip of each batch as longer at random instead, as in training; then the vector of
a clip would depend on its neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, ClapConfig, ClapModel
from transformers.utils import logging

from encoders.checkpoint import ModelDirError
from encoders.clap_files import DEFAULT_PROMPT, ClapCheckpoint
from encoders.device import no_progress_bars
from encoders.embed import BATCH_CHUNKS, Audio, encode_clips
from encoders.mel import LogMel, MelSpec

__all__ = ["ClapAudio", "PhraseNetwork", "load_audio_tower", "load_phrase_network"]

# On the CPU, larger batches are no faster (3.0 to 3.2 s of one core for 16 chunks) and take more memory.
_CPU_BATCH_AUDIO, _BATCH_PHRASES = 4, 32
# Tables of integers that the network computes: files of older versions have them or not.
_COMPUTED = ("position_ids", "token_type_ids", "relative_position_index")
# Unlike phrases have a mean cosine of .18 and .29 in two published models, and of .9993 in one whose text tower was
# lost on the way (embeddings-benchmark/mteb, issue 5069).
_UNLIKE_PHRASES = ("a dog barking", "slow classical piano", "heavy metal with loud drums", "rain", "a man speaking")
_MAX_MEAN_COSINE = 0.95
_MAX_MEAN_AUDIO_COSINE = 0.99


class PhraseNetwork:
    """The text tower and its tokenizer.

    Args:
        model: a loaded ClapModel in eval mode; the text part is kept.
        checkpoint: where it comes from.

    Raises:
        ModelDirError: the tokenizer cannot be loaded, or does not fit the model.
    """

    def __init__(self, model: ClapModel, checkpoint: ClapCheckpoint) -> None:
        text: Any = model.config.text_config
        with _loading(checkpoint):
            tokenizer = AutoTokenizer.from_pretrained(
                str(checkpoint.folder), local_files_only=True, trust_remote_code=False
            )
        if len(tokenizer) > text.vocab_size:
            raise ModelDirError(
                f"the tokenizer in {checkpoint.folder} has {len(tokenizer)} tokens and the model {text.vocab_size}: "
                "copy the tokenizer of this model"
            )
        # RoBERTa counts positions from the padding token's number on.
        self.max_tokens = int(text.max_position_embeddings) - int(text.pad_token_id) - 1
        self._tokenizer = tokenizer
        self._tower, self._projection = model.text_model, model.text_projection

    def n_tokens(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(self._tokenizer(text, verbose=False)["input_ids"])

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors of texts of at most `max_tokens` tokens, float32 [shape=(n, dim)]."""
        vectors = []
        for start in range(0, len(texts), _BATCH_PHRASES):
            batch = self._tokenizer(list(texts[start : start + _BATCH_PHRASES]), padding=True, return_tensors="pt")
            tokens = {name: batch[name] for name in ("input_ids", "attention_mask")}
            vectors.append(F.normalize(self._projection(self._tower(**tokens).pooler_output), dim=-1))
        return torch.cat(vectors).numpy()


class ClapAudio:
    """The audio tower: an `encoders.embed.AudioEncoder` whose features are the vectors of the chunks.

    Args:
        model: a loaded ClapModel in eval mode; the audio part is kept.
        checkpoint: where it comes from.
        device: a torch device.
    """

    def __init__(self, model: ClapModel, checkpoint: ClapCheckpoint, *, device: str = "cpu") -> None:
        self.fingerprint = checkpoint.fingerprint
        self.encoder_name = checkpoint.name
        self.sample_rate_hz = checkpoint.sample_rate_hz
        self.chunk_s = checkpoint.chunk_s
        self.segment_chunks = 1
        self.dim = int(model.config.projection_dim)
        self._device = device
        self._mel = LogMel(_mel_spec(checkpoint.extractor)).double()
        # Rounded to single precision, the window would leave a floor 140 dB below the loudest band.
        self._mel.window.copy_(torch.hann_window(len(self._mel.window), dtype=torch.float64))
        tower: nn.Module = model.audio_model  # whose own type hides torch's `to`
        self._tower, self._projection = tower.to(device), model.audio_projection.to(device)

    @torch.inference_mode()
    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        """Return unit vectors [shape=(n, dim)], float32, of waveforms [shape=(n, chunk_samples)] in [-1, 1]."""
        found = []
        n_at_once = _CPU_BATCH_AUDIO if self._device == "cpu" else max(1, len(chunks))
        for start in range(0, len(chunks), n_at_once):
            mel = self.log_mel(chunks[start : start + n_at_once]).to(self._device)
            longer = torch.zeros(len(mel), 1, dtype=torch.bool, device=self._device)
            pooled = self._tower(input_features=mel, is_longer=longer).pooler_output
            found.append(F.normalize(self._projection(pooled), dim=-1).float().cpu())
        return torch.cat(found).numpy()

    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        """Return the vectors of the segments: those of the chunks [shape=(n_chunks, dim)]."""
        return np.asarray(features, np.float32)

    def log_mel(self, chunks: np.ndarray) -> Tensor:
        """Return the input of the network, float32 [shape=(n, 1, n_frames, n_mels)].

        In double precision as in transformers, since the mel of silent bands reaches down to -100 dB; one chunk at a
        time, since the frames take ten times the memory of the samples.
        """
        mels = [self._mel(torch.from_numpy(np.asarray(chunk, np.float64))[None])[0].T for chunk in chunks]
        return torch.stack(mels)[:, None].float()

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
            dim=self.dim,
            sample_rate_hz=sample_rate_hz,
            batch_chunks=batch_size,
            on_progress=on_progress,
        )


def load_phrase_network(checkpoint: ClapCheckpoint) -> PhraseNetwork:
    """Load and test the text tower, on the CPU.

    Raises:
        ModelDirError: the checkpoint is damaged, incomplete or broken.
    """
    return _tested_text(_load(checkpoint), checkpoint)


def load_audio_tower(checkpoint: ClapCheckpoint, *, device: str = "cpu") -> ClapAudio:
    """Load and test both towers, and keep the audio tower: an index of a model without a text tower is of no use.

    Raises:
        ModelDirError: the checkpoint is damaged, incomplete or broken.
    """
    model = _load(checkpoint)
    _tested_text(model, checkpoint)
    tower = ClapAudio(model, checkpoint, device=device)
    with _loading(checkpoint):
        _test_audio(tower, checkpoint)
    return tower


def _load(checkpoint: ClapCheckpoint) -> ClapModel:
    """Load the whole model; every weight must come from the file."""
    load: Any = ClapModel.from_pretrained  # returns a pair where output_loading_info is set
    with _loading(checkpoint):
        config = ClapConfig.from_pretrained(str(checkpoint.folder), local_files_only=True)
        model, report = load(
            str(checkpoint.folder),
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=checkpoint.is_safe,
            weights_only=True,  # of a pickle, only tensors are read: nothing in it is executed
            output_loading_info=True,
        )
    checkpoint.check_unchanged()
    for kind, problem in (("missing_keys", "lack"), ("unexpected_keys", "have, beside those of a ClapModel,")):
        names = sorted(name for name in report[kind] if not name.endswith(_COMPUTED))
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelDirError(
                f"the weights of the CLAP model in {checkpoint.folder} {problem} {names[0]}{more}: "
                "download them again, or use another model"
            )
    return model.eval()


def _tested_text(model: ClapModel, checkpoint: ClapCheckpoint) -> PhraseNetwork:
    network = PhraseNetwork(model, checkpoint)
    with _loading(checkpoint):
        vectors = network.encode([DEFAULT_PROMPT.format(phrase) for phrase in _UNLIKE_PHRASES])
    mean = _mean_cosine(vectors)
    if not np.isfinite(mean):
        raise ModelDirError(f"the text tower of the CLAP model in {checkpoint.folder} gives NaN: {_OTHER}")
    if mean > _MAX_MEAN_COSINE:
        raise ModelDirError(
            f"the CLAP model in {checkpoint.folder} hears no difference between phrases: {len(vectors)} unlike ones "
            f"have a mean cosine of {mean:.4f}, so its text tower is broken (laion/larger_clap_music is published "
            f"like this): {_OTHER}"
        )
    return network


def _test_audio(tower: ClapAudio, checkpoint: ClapCheckpoint) -> None:
    time_s = np.arange(round(tower.chunk_s * tower.sample_rate_hz)) / tower.sample_rate_hz
    noise = np.random.default_rng(0).normal(scale=0.1, size=len(time_s))
    sounds = np.stack([np.clip(noise, -1, 1), 0.5 * np.sin(2 * np.pi * 440 * time_s), np.zeros(len(time_s))])
    mean = _mean_cosine(tower.chunk_features(sounds))
    if not np.isfinite(mean):
        raise ModelDirError(f"the audio tower of the CLAP model in {checkpoint.folder} gives NaN: {_OTHER}")
    if mean > _MAX_MEAN_AUDIO_COSINE:
        raise ModelDirError(
            f"the CLAP model in {checkpoint.folder} hears no difference between noise, a tone and silence (mean "
            f"cosine {mean:.4f}), so its audio tower is broken: {_OTHER}"
        )


_OTHER = "download it again, or use another model, such as laion/clap-htsat-unfused"


def _mean_cosine(vectors: np.ndarray) -> float:
    pairs = itertools.combinations(range(len(vectors)), 2)
    return float(np.mean([float(vectors[one] @ vectors[other]) for one, other in pairs]))


def _mel_spec(extractor: dict[str, Any]) -> MelSpec:
    """Return the front end of a ClapFeatureExtractor; its filters depend on how the model was trained to truncate."""
    fused = extractor["truncation"] == "fusion"
    return MelSpec(
        sample_rate_hz=extractor["sampling_rate"],
        n_fft=extractor["fft_window_size"],
        window_samples=extractor["fft_window_size"],
        hop_samples=extractor["hop_length"],
        n_mels=extractor["feature_size"],
        f_min_hz=extractor["frequency_min"],
        f_max_hz=extractor["frequency_max"],
        mel_scale="htk" if fused else "slaney",
        area_norm=not fused,
        log="db",
        log_floor=1e-10,
    )


@contextmanager
def _loading(checkpoint: ClapCheckpoint) -> Iterator[None]:
    """Turn what the libraries raise into a ModelDirError, and hide their warnings, which become errors here."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with no_progress_bars():
            yield
    except (ModelDirError, MemoryError):
        raise
    except Exception as error:  # of many libraries: OSError, ValueError, RuntimeError, SafetensorError ...
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelDirError(
            f"the CLAP model in {checkpoint.folder} cannot be loaded ({reason}): download it again"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
