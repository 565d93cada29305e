"""Our taggers give the published implementations' logits, from the waveform, through our front end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import value, wave
from torch import nn

from encoders.backbones.convert import efficientat_state, musicnn2019_state, won2020_state
from encoders.backbones.fcn import FCNTagger
from encoders.backbones.mobilenet import MobileNetTagger
from encoders.backbones.musicnn import Musicnn2019Tagger, MusicnnTagger

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "won2020_taggers.json").read_text(encoding="utf-8"))
TAGGERS = {
    "fcn": FCNTagger,
    "musicnn_mtat": MusicnnTagger,
    "musicnn_msd": lambda: MusicnnTagger(mid_channels=512, hidden=500),
}


@pytest.mark.parametrize("name", TAGGERS)
def test_logits_agree_with_the_published_implementation(name: str) -> None:
    tagger = TAGGERS[name]().eval()
    filled = {key: torch.from_numpy(np.asarray(value(key, tuple(shape)))) for key, shape in GOLDEN[name]["state"]}
    filled |= {k: v for k, v in tagger.state_dict().items() if k.endswith("num_batches_tracked")}
    tagger.load_state_dict(won2020_state(filled))
    with torch.inference_mode():
        logits = tagger(torch.from_numpy(wave(tagger.input_samples)))[0].numpy()
    golden = np.array(GOLDEN[name]["logits"])
    assert np.abs(logits - golden).max() / golden.std() < 1e-3


def published_names(tagger: nn.Module) -> dict[str, torch.Tensor]:
    """The state of our mn04 under the published names, the inverse of the conversion."""
    state = {}
    for key, tensor in tagger.state_dict().items():
        if key.startswith("backbone."):
            name = key.removeprefix("backbone.")
            squeezes = ".fc1." in name or ".fc2." in name
            if squeezes:
                name = name.replace(".fc", ".conc_se_layers.0.fc")
            state[name] = tensor
        else:
            state[key.replace("classifier.3", "classifier.5").replace("classifier.0", "classifier.2")] = tensor
    return state


def test_efficientat_names_are_converted_and_strict() -> None:
    tagger = MobileNetTagger()
    published = published_names(tagger)
    MobileNetTagger().load_state_dict(efficientat_state(published))
    del published["features.0.0.weight"]
    with pytest.raises(RuntimeError, match=r"features\.0\.0\.weight"):
        MobileNetTagger().load_state_dict(efficientat_state(published))


def test_mn04_has_the_published_size() -> None:
    assert sum(p.numel() for p in MobileNetTagger().parameters()) == 983_599


def test_musicnn2019_refuses_another_number_of_variables() -> None:
    with pytest.raises(ValueError, match="has 64 variables, this one has 1"):
        musicnn2019_state({"dense/kernel": np.zeros((2, 2), np.float32)})


def test_musicnn2019_takes_a_waveform() -> None:
    tagger = Musicnn2019Tagger().eval()
    with torch.inference_mode():
        logits = tagger(torch.from_numpy(wave(tagger.input_samples)))
    assert logits.shape == (1, 50)
    assert torch.isfinite(logits).all()
