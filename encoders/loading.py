"""Load the two towers of a model directory onto a device, at once or when audio is first embedded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.checkpoint import ModelDirError, check_model_dir, checked_config
from encoders.device import no_progress_bars, usable_device

if TYPE_CHECKING:
    from encoders.two_tower import TwoTowerModel

__all__ = ["DeferredModel", "load_model"]


def load_model(model_dir: Path, *, device: str = "auto", share_cores: bool = False) -> TwoTowerModel:
    """Load both towers onto a device.

    Args:
        model_dir: the model directory.
        device: a torch device, or "auto": a GPU if there is one, else the CPU.
        share_cores: let torch use half of the processor's cores and leave the rest to other processes, such as
            decoders. If both use all of them, torch's threads wait for each other: on two cores an index build took a
            fifth longer.

    Raises:
        ModelDirError: a file is missing or damaged.
        DeviceError: the device cannot be used.
    """
    check_model_dir(model_dir)  # before torch, which takes seconds to import
    import torch

    name = usable_device(device)
    from encoders.two_tower import TwoTowerModel

    if share_cores:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    with no_progress_bars():
        model = TwoTowerModel.from_pretrained(model_dir)
    torch.nn.Module.to(model, name)  # not model.to, whose type a decorator of transformers hides
    return model


class DeferredModel:
    """The audio tower of a model directory, loaded when the first chunk is embedded.

    Its fingerprint and the form of its chunks are read from the config, without torch: an index build that finds
    nothing to embed costs neither the time nor the memory of the network. The properties are those of
    `encoders.embed.AudioEncoder`.
    """

    def __init__(self, model_dir: Path, *, device: str = "auto", share_cores: bool = False) -> None:
        """Read the config.

        Args:
            model_dir: the model directory.
            device, share_cores: see `load_model`.

        Raises:
            ModelDirError: there is no two-tower model, or its config is damaged.
        """
        self._model_dir, self._device, self._share_cores = model_dir, device, share_cores
        self._loaded: TwoTowerModel | None = None
        self.fingerprint, config = checked_config(model_dir)
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

    def _model(self) -> TwoTowerModel:
        if self._loaded is None:
            model = load_model(self._model_dir, device=self._device, share_cores=self._share_cores)
            if model.fingerprint != self.fingerprint:  # vectors of two models must not meet in one index
                raise ModelDirError(f"the model in {self._model_dir} was replaced meanwhile: run the command again")
            self._loaded = model
        return self._loaded
