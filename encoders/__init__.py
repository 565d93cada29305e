"""Encoders: sound or words into unit vectors of one space.

Names are loaded when they are used: importing this package imports neither torch nor transformers. Using any name of
the torch side also registers the model with transformers' Auto classes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoders.audio import AudioDecodeError, load_audio
    from encoders.calibration import Calibration
    from encoders.mel import LogMel, MelSpec
    from encoders.model import TwoTowerConfig, TwoTowerModel
    from encoders.model_dir import DEFAULT_MODEL_DIR, ModelDirError
    from encoders.processing import BlockFeatureExtractor, PhraseTokenizer
    from encoders.text import TextEncoder
    from encoders.words import UnknownWordsError

__all__ = [
    "DEFAULT_MODEL_DIR",
    "AudioDecodeError",
    "BlockFeatureExtractor",
    "Calibration",
    "LogMel",
    "MelSpec",
    "ModelDirError",
    "PhraseTokenizer",
    "TextEncoder",
    "TwoTowerConfig",
    "TwoTowerModel",
    "UnknownWordsError",
    "load_audio",
]

_HOME = {
    "DEFAULT_MODEL_DIR": "model_dir",
    "AudioDecodeError": "audio",
    "BlockFeatureExtractor": "processing",
    "Calibration": "calibration",
    "LogMel": "mel",
    "MelSpec": "mel",
    "ModelDirError": "model_dir",
    "PhraseTokenizer": "processing",
    "TextEncoder": "text",
    "TwoTowerConfig": "model",
    "TwoTowerModel": "model",
    "UnknownWordsError": "words",
    "load_audio": "audio",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
