"""Load the two towers of a model directory, ready to run on a device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.checkpoint import check_model_dir
from encoders.device import no_progress_bars, usable_device

if TYPE_CHECKING:
    from encoders.two_tower import TwoTowerModel

__all__ = ["load_model"]


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
