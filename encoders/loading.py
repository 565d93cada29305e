"""Load the towers of a model; here `--model` decides between a model directory and a CLAP checkpoint.

The audio tower is loaded onto a device, at once or when audio is first embedded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.checkpoint import ModelDirError, check_model_dir, checked_config
from encoders.clap_files import clap_checkpoint
from encoders.device import no_progress_bars, usable_device
from encoders.text.tower import TextEncoder

if TYPE_CHECKING:
    from encoders.embed import AudioEncoder
    from encoders.text.phrases import PhraseTower

__all__ = ["DeferredModel", "load_model", "load_text"]


def load_text(model_dir: str | os.PathLike[str], *, prompt: str | None = None) -> PhraseTower:
    """Load the text tower. That of a model directory needs no torch; that of CLAP is read with the first phrase.

    Args:
        model_dir: a model directory, the folder of a CLAP checkpoint, or its name on the Hugging Face hub.
        prompt: what CLAP is asked, with {} for the phrase; default: `encoders.clap_files.DEFAULT_PROMPT`.

    Raises:
        ModelDirError: a file is missing or damaged, or the prompt is not for this model.
    """
    model_dir = Path(model_dir)
    checkpoint = clap_checkpoint(model_dir)
    if checkpoint is not None:
        from encoders.text.clap import ClapText

        return ClapText(checkpoint, prompt=prompt)
    if prompt is not None:
        raise ModelDirError(f"a prompt is for CLAP models: the model in {model_dir} reads phrases as they are")
    return TextEncoder.load(model_dir)


def load_model(model_dir: str | os.PathLike[str], *, device: str = "auto", share_cores: bool = False) -> AudioEncoder:
    """Load the audio tower onto a device; of a model directory, both towers.

    Args:
        model_dir: a model directory, the folder of a CLAP checkpoint, or its name on the Hugging Face hub.
        device: a torch device, or "auto": a GPU if there is one, else the CPU.
        share_cores: let torch use half of the processor's cores and leave the rest to other processes, such as
            decoders. If both use all of them, torch's threads wait for each other: on two cores an index build took a
            fifth longer.

    Raises:
        ModelDirError: a file is missing or damaged.
        DeviceError: the device cannot be used.
    """
    model_dir = Path(model_dir)
    checkpoint = clap_checkpoint(model_dir)
    if checkpoint is None:
        check_model_dir(model_dir)  # before torch, which takes seconds to import
    import torch

    name = usable_device(device)
    if share_cores:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    if checkpoint is not None:
        from encoders.clap import load_audio_tower

        return load_audio_tower(checkpoint, device=name)
    from encoders.two_tower import TwoTowerModel

    with no_progress_bars():
        model = TwoTowerModel.from_pretrained(model_dir)
    torch.nn.Module.to(model, name)  # not model.to, whose type a decorator of transformers hides
    return model


class DeferredModel:
    """The audio tower of a model, loaded when the first chunk is embedded.

    Its fingerprint and the form of its chunks are read from its files, without torch: an index build that finds
    nothing to embed costs neither the time nor the memory of the network. The properties are those of
    `encoders.embed.AudioEncoder`.

    Attributes:
        encoder_name: for display.
    """

    def __init__(self, model_dir: Path, *, device: str = "auto", share_cores: bool = False) -> None:
        """Read the config.

        Args:
            model_dir, device, share_cores: see `load_model`.

        Raises:
            ModelDirError: there is no model with two towers, or its config is damaged.
        """
        self._model_dir, self._device, self._share_cores = model_dir, device, share_cores
        self._loaded: AudioEncoder | None = None
        checkpoint = clap_checkpoint(model_dir)
        if checkpoint is not None:
            self.fingerprint, self.encoder_name = checkpoint.fingerprint, checkpoint.name
            self.sample_rate_hz, self.chunk_s, self.segment_chunks = checkpoint.sample_rate_hz, checkpoint.chunk_s, 1
            return
        self.fingerprint, config = checked_config(model_dir)
        self.encoder_name = self.fingerprint[:12]
        try:
            self.sample_rate_hz = int(config["sample_rate_hz"])
            self.chunk_s = float(config["chunk_s"])
            self.segment_chunks = int(config["segment_chunks"])
        except (KeyError, TypeError, ValueError):
            raise ModelDirError(
                f"the config of {model_dir} does not describe its chunks: save the model again"
            ) from None

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory."""
        return self._loaded is not None

    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        """See `AudioEncoder.chunk_features`. Raises ModelDirError, DeviceError when this loads the model."""
        return self._model().chunk_features(chunks)

    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        """See `AudioEncoder.segment_vectors`. Raises ModelDirError, DeviceError when this loads the model."""
        return self._model().segment_vectors(features)

    def _model(self) -> AudioEncoder:
        if self._loaded is None:
            model = load_model(self._model_dir, device=self._device, share_cores=self._share_cores)
            if model.fingerprint != self.fingerprint:  # vectors of two models must not meet in one index
                raise ModelDirError(f"the model in {self._model_dir} was replaced meanwhile: run the command again")
            self._loaded = model
        return self._loaded
