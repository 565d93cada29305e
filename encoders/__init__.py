"""Encode audio or words as unit vectors of one space.

Names are loaded when they are first used: importing this package imports neither torch nor transformers. The names
of the two-tower model also register it with the Auto classes and pipelines of transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoders.audio import AudioDecodeError, load_audio
    from encoders.backbones.base import Backbone
    from encoders.backbones.published import PUBLISHED, PublishedError, load_published, published_tags
    from encoders.backbones.registry import TAGGERS, build_backbone, list_taggers
    from encoders.calibration import Calibration
    from encoders.checkpoint import DEFAULT_MODEL_DIR, ModelDirError
    from encoders.loading import load_model, load_text
    from encoders.mel import LogMel, MelSpec
    from encoders.tagger import TaggerNetwork, build_tagger
    from encoders.text.tower import TextEncoder
    from encoders.text.unknown import UnknownWordsError
    from encoders.two_tower import ChunkFeatureExtractor, PhraseTokenizer, TwoTowerConfig, TwoTowerModel

__all__ = [
    "DEFAULT_MODEL_DIR",
    "PUBLISHED",
    "TAGGERS",
    "AudioDecodeError",
    "Backbone",
    "Calibration",
    "ChunkFeatureExtractor",
    "LogMel",
    "MelSpec",
    "ModelDirError",
    "PhraseTokenizer",
    "PublishedError",
    "TaggerNetwork",
    "TextEncoder",
    "TwoTowerConfig",
    "TwoTowerModel",
    "UnknownWordsError",
    "build_backbone",
    "build_tagger",
    "list_taggers",
    "load_audio",
    "load_model",
    "load_published",
    "load_text",
    "published_tags",
]

_HOME = {
    "DEFAULT_MODEL_DIR": "checkpoint",
    "PUBLISHED": "backbones.published",
    "TAGGERS": "backbones.registry",
    "AudioDecodeError": "audio",
    "Backbone": "backbones.base",
    "ChunkFeatureExtractor": "two_tower",
    "Calibration": "calibration",
    "LogMel": "mel",
    "MelSpec": "mel",
    "ModelDirError": "checkpoint",
    "PhraseTokenizer": "two_tower",
    "PublishedError": "backbones.published",
    "TaggerNetwork": "tagger",
    "TextEncoder": "text.tower",
    "TwoTowerConfig": "two_tower",
    "TwoTowerModel": "two_tower",
    "UnknownWordsError": "text.unknown",
    "build_backbone": "backbones.registry",
    "build_tagger": "tagger",
    "list_taggers": "backbones.registry",
    "load_audio": "audio",
    "load_model": "loading",
    "load_published": "backbones.published",
    "load_text": "loading",
    "published_tags": "backbones.published",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
