"""The two networks of 70 to 80 million weights, built once a session. Tests must not change their weights."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from fill import value
from torch import nn

from encoders.backbones.convert import PANNS_KEYS, VGGISH_KEYS, KeyNames
from encoders.backbones.registry import build_backbone
from encoders.backbones.vggish import VGGish
from encoders.tagger import TaggerNetwork, build_tagger

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "golden" / "published_taggers.json").read_text(encoding="utf-8")
)


@torch.no_grad()
def fill(module: nn.Module, keys: KeyNames, golden: dict[str, Any]) -> None:
    """Fill a module by the rule of `fill.py`; check that its names and shapes are the published ones."""
    state = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    ours = {keys.theirs(key): list(tensor.shape) for key, tensor in state.items()}
    assert ours == dict(golden["state"])
    for key, tensor in state.items():
        name = keys.theirs(key)
        assert keys.ours(name) == key
        tensor.copy_(torch.ones(1) if name == "hstft.bw_Q" else torch.from_numpy(value(name, tuple(tensor.shape))))
    module.eval()


@functools.cache
@torch.inference_mode(mode=False)  # the first caller may be in inference mode, the next one may want gradients
def filled_cnn14() -> TaggerNetwork:
    """Return CNN14 with its published head, filled by the rule."""
    tagger = build_tagger("cnn14", n_classes=527)
    fill(tagger, PANNS_KEYS, GOLDEN["cnn14"])
    return tagger


@functools.cache
@torch.inference_mode(mode=False)  # the first caller may be in inference mode, the next one may want gradients
def filled_vggish() -> VGGish:
    """Return VGGish, filled by the rule."""
    backbone = build_backbone("vggish")
    assert isinstance(backbone, VGGish)
    fill(backbone, VGGISH_KEYS, GOLDEN["vggish"])
    return backbone
