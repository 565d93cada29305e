"""Profiles of the architectures: parameters and multiply-accumulates (MACs) by count, speed by measurement."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from encoders.backbones.base import Backbone
from encoders.backbones.registry import build_backbone

__all__ = [
    "MEASURED_FILE",
    "MeasuredSpeeds",
    "Profile",
    "Speed",
    "build_without_weights",
    "count_profile",
    "machine_name",
    "measure_speed",
    "n_waveforms",
    "read_measured",
]

MEASURED_FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Profile:
    """The size of a backbone without a head.

    Attributes:
        parameters: number of trained parameters.
        macs: multiply-accumulates of convolutions and matrix products, for one waveform of the published input length.
            They include the filters of the front end, but not its Fourier transform.
    """

    parameters: int
    macs: int


@dataclass(frozen=True)
class Speed:
    """The speed of one architecture on one machine.

    Attributes:
        real_time_x: seconds of audio per second.
        peak_mib: peak memory of a process that does nothing else; None if it was not measured.
    """

    real_time_x: float
    peak_mib: float | None = None


@dataclass(frozen=True)
class MeasuredSpeeds:
    """Speeds of several architectures, by name, on one machine."""

    machine: str
    of: dict[str, Speed]

    def write(self, path: Path = MEASURED_FILE) -> None:
        """Write JSON that `read_measured` reads, one architecture per line."""
        lines = [f"    {json.dumps(name)}: {json.dumps(asdict(speed))}" for name, speed in self.of.items()]
        text = f'{{\n  "machine": {json.dumps(self.machine)},\n  "of": {{\n' + ",\n".join(lines) + "\n  }\n}\n"
        path.write_text(text, encoding="utf-8")


def read_measured(path: Path = MEASURED_FILE) -> MeasuredSpeeds | None:
    """Return the speeds that are shipped with the package; None if there are none."""
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return MeasuredSpeeds(content["machine"], {name: Speed(**speed) for name, speed in content["of"].items()})


def build_without_weights(name: str) -> Backbone:
    """Build an architecture on torch's `meta` device: shapes without values, which takes no time or memory.

    Raises:
        ValueError: unknown name.
    """
    with torch.device("meta"):
        return build_backbone(name).eval()


def count_profile(backbone: Backbone) -> Profile:
    """Count the parameters and MACs of a backbone; on the `meta` device this takes no time."""
    device = next(backbone.parameters()).device
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(1, backbone.input_samples, device=device))
    return Profile(sum(p.numel() for p in backbone.parameters()), counter.get_total_flops() // 2)


def n_waveforms(backbone: Backbone, *, audio_s: float) -> int:
    """Return how many waveforms of the published length make about `audio_s` seconds; at least 1."""
    return max(1, round(audio_s * backbone.sample_rate_hz / backbone.input_samples))


def measure_speed(name: str, *, audio_s: float = 10.0, repeats: int = 3, device: str = "cpu") -> Speed:
    """Measure the speed of an architecture from the waveform to its features, with one batch of noise.

    Args:
        name: the architecture; its weights are fresh.
        audio_s: approximate length of the batch in seconds, as waveforms of the published input length.
        repeats: the result is the median of this many runs, after one that is not counted.
        device: a torch device.

    Returns:
        The speed; on a CUDA device with the peak of the allocated memory.

    Raises:
        ValueError: unknown name.
    """
    backbone = build_backbone(name).eval().to(device)
    n = n_waveforms(backbone, audio_s=audio_s)
    waveform = 0.1 * torch.randn(n, backbone.input_samples, generator=torch.Generator().manual_seed(0))
    on_cuda = torch.device(device).type == "cuda"
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + repeats):
            started = time.perf_counter()
            backbone(waveform.to(device)).cpu()  # the copy back waits for the device
            seconds.append(time.perf_counter() - started)
    peak_mib = torch.cuda.max_memory_allocated(device) / 2**20 if on_cuda else None
    batch_s = waveform.numel() / backbone.sample_rate_hz
    return Speed(batch_s / statistics.median(seconds[1:]), peak_mib)


def machine_name(device: str = "cpu") -> str:
    """Return the processor and its cores, or the name of the CUDA device, and the version of torch."""
    if torch.device(device).type == "cuda":
        what = torch.cuda.get_device_name(device)
    else:
        n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        what = f"{_processor()}, {min(torch.get_num_threads(), n_cores)} of {n_cores} cores"
    return f"{what}, torch {torch.__version__.split('+')[0]}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
