"""New models for training: architecture, words, and the weights to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from encoders.backbones.base import Backbone
from encoders.backbones.published import load_published
from encoders.checkpoint import CONFIG_FILE, ModelDirError
from encoders.composed import ComposedTextTower, take_space
from encoders.level import DEFAULT_LEVEL
from encoders.tagger_model import TaggerConfig, TaggerModel
from encoders.text.word_vectors import WordVectors
from encoders.two_tower import TwoTowerConfig, TwoTowerModel

if TYPE_CHECKING:
    from encoders.text.sentence import SentenceTower

__all__ = ["build_tagger_model", "build_two_tower", "model_tags", "start_backbone"]


def build_two_tower(
    backbone: str,
    words: WordVectors | SentenceTower,
    *,
    tag_names: list[str],
    chunk_s: float | None = None,
    init: Path | None = None,
    published: str | None = None,
) -> TwoTowerModel:
    """Build both towers with fresh weights, drawn from torch's global generator, or with those of `init`.

    Args:
        backbone: a name of the registry.
        words: what the text tower reads; a sentence encoder stays as it is.
        tag_names: the model's own tags.
        chunk_s: length of a chunk; the backbone's own by default.
        init: a model directory (two towers: all of it; a tagger: its backbone) or a published checkpoint.
        published: the name of that checkpoint; see `encoders.backbones.published`.

    Raises:
        ValueError: unknown backbone, or a chunk length that it does not accept.
        ModelDirError: `init` is of another architecture.
    """
    config = TwoTowerConfig(
        backbone=backbone,
        chunk_s=chunk_s,
        level=DEFAULT_LEVEL.to_dict(),
        word_dim=words.dim,
        vocab_size=len(words.vocabulary) if isinstance(words, WordVectors) else 2,
        tag_names=tag_names,
        **_sizes(words, init, backbone),
    )
    model = TwoTowerModel(config)
    if isinstance(words, WordVectors):
        model.read_words(words)
    else:
        model.read_sentences(words)
    if init is not None:
        kind = _kind(init)
        if kind == TwoTowerConfig.model_type:
            _take_towers(model, init, words)
        else:
            start_backbone(model.audio_tower.backbone, init, name=backbone, published=published)
    return model


def build_tagger_model(
    backbone: str,
    *,
    tag_names: list[str],
    head: str = "linear",
    chunk_s: float | None = None,
    init: Path | None = None,
    published: str | None = None,
) -> TaggerModel:
    """Build a closed-set tagger; see `build_two_tower`. Of two towers in `init` it takes the backbone."""
    level = DEFAULT_LEVEL.to_dict()
    model = TaggerModel(TaggerConfig(backbone=backbone, head=head, tag_names=tag_names, chunk_s=chunk_s, level=level))
    if init is not None:
        start_backbone(model.tagger.backbone, init, name=backbone, published=published)
    return model


def model_tags(init: Path) -> list[str]:
    """Return the tags that two towers in a directory offer by themselves.

    Raises:
        ModelDirError: there is another kind of model, or none.
    """
    if _kind(init) != TwoTowerConfig.model_type:
        raise ModelDirError(
            f"--init {init}: not a two-tower model, so it has no scores to preserve: leave --distill-weight out"
        )
    return [str(name) for name in json.loads((init / CONFIG_FILE).read_text(encoding="utf-8")).get("tag_names", [])]


def start_backbone(backbone: Backbone, init: Path, *, name: str, published: str | None) -> None:
    """Copy trained weights into a backbone.

    Raises:
        ModelDirError: `init` is not a model, or has another backbone.
        ValueError: `init` is a published checkpoint and `published` does not name it.
    """
    kind = _kind(init)
    source: torch.nn.Module
    if kind == TwoTowerConfig.model_type:
        towers = TwoTowerModel.from_pretrained(init)
        _same_backbone(init, towers.config.backbone, name)
        source = towers.audio_tower.backbone
    elif kind == TaggerConfig.model_type:
        tagger = TaggerModel.from_pretrained(init)
        _same_backbone(init, tagger.config.backbone, name)
        source = tagger.tagger.backbone
    elif published is None:
        raise ValueError(f"--init {init} is a published checkpoint: name it with --published")
    else:
        source = load_published(published, init).get_submodule("backbone")
    try:
        backbone.load_state_dict(source.state_dict(), strict=True)
    except RuntimeError:
        raise ModelDirError(f"--init {init}: its backbone is of another architecture than {name}") from None


def _sizes(words: WordVectors | SentenceTower, init: Path | None, backbone: str) -> dict[str, Any]:
    """Return the config's fields that depend on the words, or on the two towers in `init` if they have the backbone."""
    of_words: dict[str, Any] = dict(words.sizes) if isinstance(words, WordVectors) else {}
    if init is None or _kind(init) != TwoTowerConfig.model_type:
        return of_words
    config = json.loads((init / CONFIG_FILE).read_text(encoding="utf-8"))
    if config.get("backbone") != backbone:  # refused when the weights are taken
        return of_words
    kept = ("backbone_options", "composed", "dim", "audio_hidden", "text_hidden", "storage")
    return of_words | {name: config[name] for name in kept if name in config}


def _kind(init: Path) -> str | None:
    """Return the kind of model in a directory; None for a file.

    Raises:
        ModelDirError: there is no such file, or the directory is not a model.
    """
    if init.is_file():
        return None
    try:
        return str(json.loads((init / CONFIG_FILE).read_text(encoding="utf-8")).get("model_type"))
    except (OSError, ValueError, AttributeError):
        raise ModelDirError(f"--init {init}: not a model: give a model directory or a published checkpoint") from None


def _same_backbone(init: Path, theirs: str, ours: str) -> None:
    if theirs != ours:
        raise ModelDirError(f"--init {init}: its backbone is {theirs}, not {ours}; add --backbone {theirs}")


def _take_towers(model: TwoTowerModel, init: Path, words: WordVectors | SentenceTower) -> None:
    """Copy both towers; the text tower only where it has the same word vectors or sentence encoder as input."""
    source = TwoTowerModel.from_pretrained(init)
    _same_backbone(init, source.config.backbone, model.config.backbone)
    same_input = _have_same_input(source, model)
    try:
        model.audio_tower.load_state_dict(source.audio_tower.state_dict(), strict=True)
        model.calibration.load_state_dict(source.calibration.state_dict(), strict=True)
        if same_input:
            model.text_tower.load_state_dict(source.text_tower.state_dict(), strict=True)
        elif isinstance(model.text_tower, ComposedTextTower) and isinstance(source.text_tower, ComposedTextTower):
            take_space(model.text_tower, source.text_tower)
            model.text_tower.read_names(words)
    except RuntimeError:
        raise ModelDirError(f"--init {init}: its towers have other sizes than those of this version") from None


def _have_same_input(one: TwoTowerModel, other: TwoTowerModel) -> bool:
    if one.sentences is not None and other.sentences is not None:
        ours, theirs = one.sentences.state_dict(), other.sentences.state_dict()
        return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    if one.sentences is not None or other.sentences is not None:
        return False
    assert one.vocabulary is not None and other.vocabulary is not None
    ours, theirs = one.words.arrays(), other.words.arrays()
    same_words = one.vocabulary.tokens == other.vocabulary.tokens and ours.keys() == theirs.keys()
    return same_words and all(np.array_equal(ours[name], theirs[name]) for name in ours if name != "weights")
