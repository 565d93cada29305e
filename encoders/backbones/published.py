"""Published taggers: where their checkpoints are, how to load them, and the names of their tags.

The package contains no weights. `PUBLISHED` gives the repository and the file of each; `load_published` reads the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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
from encoders.backbones.registry import TAGGERS, build_backbone
from encoders.heads import LinearHead, MLPHead
from encoders.tagger import TaggerNetwork

__all__ = ["PUBLISHED", "PublishedCheckpoint", "PublishedError", "load_published", "published_tags"]

_TAGS_FILE = Path(__file__).with_name("published_tags.json")


@dataclass(frozen=True, kw_only=True)
class PublishedCheckpoint:
    """One published checkpoint.

    Attributes:
        architecture: its name in the registry, whose entry names the repository.
        file: the file in the repository.
        keys: the names of its entries; None for TensorFlow variables.
        tags: a list of `published_tags.json`; None if the network has no classes.
        mlp_hidden: width of the hidden layer of the head; None for a linear head.
    """

    architecture: str
    file: str
    keys: KeyNames | None
    tags: str | None
    mlp_hidden: int | None = None

    @property
    def source(self) -> str:
        """The repository and the file."""
        return f"{TAGGERS[self.architecture].published}, {self.file}"

    def build(self) -> TaggerNetwork | Backbone:
        """Return the network with fresh weights; without a head if it has no classes."""
        backbone = build_backbone(self.architecture)
        if self.tags is None:
            return backbone
        n_classes = len(_tags(self.tags))
        if self.mlp_hidden is None:
            return TaggerNetwork(backbone, LinearHead(backbone.dim, n_classes))
        return TaggerNetwork(backbone, MLPHead(backbone.dim, n_classes, hidden=self.mlp_hidden))


def _tags(name: str) -> tuple[str, ...]:
    return tuple(json.loads(_TAGS_FILE.read_text(encoding="utf-8"))[name])


def _won(dataset: str, network: str, *, architecture: str | None = None) -> PublishedCheckpoint:
    return PublishedCheckpoint(
        architecture=architecture or network,
        file=f"models/{dataset}/{network}/best_model.pth",
        keys=WON_DENSE2_KEYS if network == "musicnn" else WON_DENSE_KEYS,
        tags=dataset,
    )


PUBLISHED: dict[str, PublishedCheckpoint] = {
    "won2020-mtat-fcn": _won("mtat", "fcn"),
    "won2020-msd-fcn": _won("msd", "fcn"),
    "won2020-jamendo-fcn": _won("jamendo", "fcn"),
    "won2020-mtat-crnn": _won("mtat", "crnn"),
    "won2020-msd-crnn": _won("msd", "crnn"),
    "won2020-jamendo-crnn": _won("jamendo", "crnn"),
    "won2020-mtat-musicnn": _won("mtat", "musicnn"),
    "won2020-msd-musicnn": _won("msd", "musicnn", architecture="musicnn_msd"),
    "won2020-jamendo-musicnn": _won("jamendo", "musicnn"),
    "musicnn2019-msd": PublishedCheckpoint(
        architecture="musicnn2019",
        file="the TensorFlow variables of musicnn/MSD_musicnn, saved by name with numpy.savez",
        keys=None,
        tags="msd",
    ),
    "panns-cnn14": PublishedCheckpoint(
        architecture="cnn14", file="Cnn14_mAP=0.431.pth", keys=PANNS_KEYS, tags="audioset"
    ),
    "vggish": PublishedCheckpoint(architecture="vggish", file="vggish-10086976.pth", keys=VGGISH_KEYS, tags=None),
    "efficientat-mn04": PublishedCheckpoint(
        architecture="mn04", file="mn04_as_mAP_432.pt", keys=EFFICIENTAT_KEYS, tags="audioset", mlp_hidden=512
    ),
    "efficientat-mn10": PublishedCheckpoint(
        architecture="mn10", file="mn10_as_mAP_471.pt", keys=EFFICIENTAT_KEYS, tags="audioset", mlp_hidden=1280
    ),
}


def _entry(name: str) -> PublishedCheckpoint:
    if name not in PUBLISHED:
        raise ValueError(f"unknown published tagger {name!r}: choose one of {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def published_tags(name: str) -> tuple[str, ...] | None:
    """Return the tags of a published tagger in the order of its logits, as published; None if it has no classes.

    Raises:
        ValueError: unknown name.
    """
    tags = _entry(name).tags
    return None if tags is None else _tags(tags)


def load_published(name: str, path: str | os.PathLike[str]) -> TaggerNetwork | Backbone:
    """Load a published tagger, in eval mode.

    Args:
        name: one of `PUBLISHED`.
        path: the checkpoint, as published.

    Returns:
        The tagger, from waveforms to the logits of `published_tags(name)`; for "vggish", which has no classes, the
        backbone, from waveforms to 128 features.

    Raises:
        ValueError: unknown name.
        FileNotFoundError: there is no such file.
        PublishedError: the file is damaged or of another kind, or its entries are not exactly those of the tagger.
    """
    entry, file = _entry(name), Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {name} is published at {entry.source}")
    what = f"{file}, to be loaded as {name},"
    module = entry.build()
    if entry.keys is None:
        state = musicnn2019_state(_read_npz(file, what, entry.source), what=what)
    else:
        state = _renamed(_read_torch(file, what, entry.source), entry.keys, module, what)
    _load(module, state, entry.keys, what)
    return module.eval()


def _renamed(published: Mapping[str, Tensor], keys: KeyNames, module: nn.Module, what: str) -> dict[str, Tensor]:
    expected = {keys.theirs(key) for key in module.state_dict()}
    # Files from before 2018 lack the counters of batch norms, which inference does not use.
    counters = {key for key in expected - set(published) if key.endswith("num_batches_tracked")}
    check_names(expected - counters, set(published) - set(keys.dropped), what=what)
    return keys.state({**published, **{key: torch.tensor(0) for key in counters}})


def _load(module: nn.Module, state: dict[str, Tensor], keys: KeyNames | None, what: str) -> None:
    for key, wanted in module.state_dict().items():
        found, name = state[key], key if keys is None else keys.theirs(key)
        if found.shape != wanted.shape:
            shapes = f"[shape={tuple(found.shape)}], the tagger needs [shape={tuple(wanted.shape)}]"
            raise PublishedError(f"{what} has {name} {shapes}")
        if found.is_floating_point():
            if not bool(torch.isfinite(found).all()):
                raise PublishedError(f"{what} has NaN or infinite values in {name}: copy the file again")
            # The decayed weights of the Million Song Dataset's FCN are denormal, which makes it twenty times slower.
            state[key] = torch.where(found.abs() < torch.finfo(found.dtype).tiny, torch.zeros_like(found), found)
    module.load_state_dict(state)


# The readers catch Exception, because foreign bytes can make a parser raise anything. The messages of torch are not
# passed on, because they advise to load untrusted objects.


def _read_torch(file: Path, what: str, source: str) -> Mapping[str, Tensor]:
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise  # the file itself is not at fault
    except Exception:
        message = f"{what} is damaged or not a PyTorch file of tensors: copy it again from {source}"
        raise PublishedError(message) from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise PublishedError(f"{what} is not a state dict of tensors: copy it again from {source}")
    return content


def _read_npz(file: Path, what: str, source: str) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            return {key: content[key] for key in content.files}
    except PermissionError:
        raise  # the file itself is not at fault
    except Exception:
        message = f"{what} is damaged or not an npz file of arrays: save it again from {source}"
        raise PublishedError(message) from None
