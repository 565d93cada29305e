"""Published taggers from their checkpoints, under their own tag names.

No weights come with the package. They are published here (repository, then file); ``load_published`` reads the file.

=============================== ==========================================================================
won2020-{mtat,msd,jamendo}-*    github.com/minzwon/sota-music-tagging-models, models/*/*/best_model.pth
musicnn2019-msd                 github.com/jordipons/musicnn, musicnn/MSD_musicnn: the TensorFlow
                                variables, saved by name with ``numpy.savez``
panns-cnn14                     zenodo.org/records/3987831, Cnn14_mAP=0.431.pth
                                (code: github.com/qiuqiangkong/audioset_tagging_cnn)
vggish                          github.com/harritaylor/torchvggish, releases, vggish-10086976.pth
efficientat-mn04                github.com/fschmid56/EfficientAT, releases, mn04_as_mAP_432.pt
=============================== ==========================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.backbones.base import Backbone
from encoders.backbones.convert import (
    EFFICIENTAT_KEYS,
    PANNS_KEYS,
    VGGISH_KEYS,
    WON_DENSE2_KEYS,
    WON_DENSE_KEYS,
    KeyNames,
    PublishedError,
    check_names,
    musicnn2019_state,
)
from encoders.backbones.mobilenet import MobileNetTagger
from encoders.backbones.registry import build_backbone, build_tagger
from encoders.tagger import Tagger

__all__ = ["PUBLISHED", "PublishedError", "load_published", "published_tags"]

_TAGS_FILE = Path(__file__).with_name("published_tags.json")
_WON = "github.com/minzwon/sota-music-tagging-models"


@dataclass(frozen=True, kw_only=True)
class _Published:
    """``keys`` is None for TensorFlow's variables; ``tags`` names a list of ``published_tags.json``."""

    build: Callable[[], nn.Module]
    keys: KeyNames | None
    tags: str | None
    source: str


def _won(backbone: str, keys: KeyNames, tags: str) -> _Published:
    return _Published(build=lambda: build_tagger(backbone, n_classes=50), keys=keys, tags=tags, source=_WON)


_FILES = {
    "won2020-mtat-fcn": _won("fcn", WON_DENSE_KEYS, "mtat"),
    "won2020-msd-fcn": _won("fcn", WON_DENSE_KEYS, "msd"),
    "won2020-jamendo-fcn": _won("fcn", WON_DENSE_KEYS, "jamendo"),
    "won2020-mtat-crnn": _won("crnn", WON_DENSE_KEYS, "mtat"),
    "won2020-msd-crnn": _won("crnn", WON_DENSE_KEYS, "msd"),
    "won2020-jamendo-crnn": _won("crnn", WON_DENSE_KEYS, "jamendo"),
    "won2020-mtat-musicnn": _won("musicnn", WON_DENSE2_KEYS, "mtat"),
    "won2020-msd-musicnn": _won("musicnn_msd", WON_DENSE2_KEYS, "msd"),
    "won2020-jamendo-musicnn": _won("musicnn", WON_DENSE2_KEYS, "jamendo"),
    "musicnn2019-msd": _Published(
        build=lambda: build_tagger("musicnn2019", n_classes=50),
        keys=None,
        tags="msd",
        source="github.com/jordipons/musicnn",
    ),
    "panns-cnn14": _Published(
        build=lambda: build_tagger("cnn14", n_classes=527),
        keys=PANNS_KEYS,
        tags="audioset",
        source="zenodo.org/records/3987831",
    ),
    "vggish": _Published(
        build=lambda: build_backbone("vggish"),
        keys=VGGISH_KEYS,
        tags=None,
        source="github.com/harritaylor/torchvggish",
    ),
    "efficientat-mn04": _Published(
        build=MobileNetTagger, keys=EFFICIENTAT_KEYS, tags="audioset", source="github.com/fschmid56/EfficientAT"
    ),
}
PUBLISHED = tuple(_FILES)


def _entry(name: str) -> _Published:
    if name not in _FILES:
        raise ValueError(f"unknown published tagger {name!r}: choose one of {', '.join(PUBLISHED)}")
    return _FILES[name]


def published_tags(name: str) -> tuple[str, ...] | None:
    """Return the tags of a published tagger in the order of its logits, as published; None if it has no classes.

    Raises:
        ValueError: unknown name.
    """
    tags = _entry(name).tags
    return None if tags is None else tuple(json.loads(_TAGS_FILE.read_text(encoding="utf-8"))[tags])


def load_published(name: str, path: str | os.PathLike[str]) -> Tagger | Backbone:
    """Load a published tagger, in eval mode.

    Args:
        name: one of ``PUBLISHED``.
        path: the checkpoint, as it was published; the module's docstring says where.

    Returns:
        A ``Tagger``, waveform -> logits of ``published_tags(name)``; for ``vggish``, which has no classes, the
        ``Backbone``, waveform -> 128 features.

    Raises:
        ValueError: unknown name.
        FileNotFoundError: there is no such file.
        PublishedError: the file is of another kind or damaged, or its entries are not exactly those of the tagger.
    """
    entry, file = _entry(name), Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {name} is published at {entry.source}")
    what = f"{file}, to be loaded as {name},"
    module = entry.build()
    told: Callable[[str], str] = str if entry.keys is None else entry.keys.theirs
    if entry.keys is None:
        state = musicnn2019_state(_read_npz(file, what, entry.source), what=what)
    else:
        published = _read_torch(file, what, entry.source)
        expected = {entry.keys.theirs(key) for key in module.state_dict()}
        # Files of before 2018 lack the counters, which inference does not use.
        counters = {key for key in expected - set(published) if key.endswith("num_batches_tracked")}
        check_names(expected - counters, set(published) - set(entry.keys.dropped), what=what)
        zeros = {key: torch.tensor(0) for key in counters}
        state = entry.keys.state({**published, **zeros})
    _load(module, state, told, what)
    module.eval()
    assert isinstance(module, (Tagger, Backbone))
    return module


def _load(module: nn.Module, state: dict[str, Tensor], told: Callable[[str], str], what: str) -> None:
    for key, wanted in module.state_dict().items():
        found = state[key]
        if found.shape != wanted.shape:
            shapes = f"[shape={tuple(found.shape)}], the tagger needs [shape={tuple(wanted.shape)}]"
            raise PublishedError(f"{what} has {told(key)} {shapes}")
        if found.is_floating_point():
            if not bool(torch.isfinite(found).all()):
                raise PublishedError(f"{what} has NaN or infinite values in {told(key)}: copy the file again")
            # Decayed weights of the Million Song Dataset's FCN are denormal and make it twenty times slower.
            state[key] = torch.where(found.abs() < torch.finfo(found.dtype).tiny, torch.zeros_like(found), found)
    module.load_state_dict(state)


# A reader of foreign bytes raises whatever they lead it to; torch's own messages advise to load untrusted objects.


def _read_torch(file: Path, what: str, source: str) -> Mapping[str, Tensor]:
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise  # nothing is wrong with the file
    except Exception:
        message = f"{what} is damaged or no PyTorch file of tensors alone: copy it again from {source}"
        raise PublishedError(message) from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise PublishedError(f"{what} holds no state dict of tensors: copy it again from {source}")
    return content


def _read_npz(file: Path, what: str, source: str) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            return {key: content[key] for key in content.files}
    except PermissionError:
        raise  # nothing is wrong with the file
    except Exception:
        message = f"{what} is damaged or no npz file of arrays: save the variables of {source} again"
        raise PublishedError(message) from None
