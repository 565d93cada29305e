"""Devices that exist, and the setting of the allocator."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from encoders.device import DeviceError, keep_freed_memory, usable_device

ROOT = Path(__file__).resolve().parents[2]


def test_a_device_that_does_not_exist_is_refused() -> None:
    assert usable_device("cpu") == "cpu"
    assert usable_device("auto") in ("cpu", "cuda")
    with pytest.raises(DeviceError, match="'warp' cannot be used here"):
        usable_device("warp")


def test_a_refused_setting_does_not_keep_the_other_from_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on older versions of glibc, which take no mmap threshold above 32 MiB; and where it takes none at all."""
    for limit, accepted in ((32 << 20, True), (0, False)):
        calls: dict[int, int] = {}

        class OldLibrary:
            @staticmethod
            def mallopt(option: int, value: int, calls: dict[int, int] = calls, limit: int = limit) -> int:
                calls[option] = value
                return int(option != -3 or value <= limit)

        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(ctypes, "CDLL", lambda _name, library=OldLibrary: library)
        assert keep_freed_memory() == accepted
        assert set(calls) == {-1, -3}


def test_loading_a_model_leaves_the_allocator_alone_and_imports_no_pipelines() -> None:
    code = (
        "import ctypes, sys\n"
        "import encoders.device as device\n"
        "device.ctypes = None  # any use of it would fail\n"
        "from encoders import DEFAULT_MODEL_DIR\n"
        "from encoders.loading import load_model\n"
        "load_model(DEFAULT_MODEL_DIR, device='cpu')\n"
        "sys.exit([name for name in ('transformers.pipelines', 'av', 'librosa') if name in sys.modules] or 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
