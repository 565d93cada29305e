"""Our networks, front end included, reproduce the outputs of the published implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fill import wave
from networks import GOLDEN, fill, filled_cnn14, filled_vggish

from encoders.backbones.convert import (
    EFFICIENTAT_KEYS,
    WON_DENSE2_KEYS,
    WON_DENSE_KEYS,
)
from encoders.backbones.mobilenet import EFFICIENTAT_MEL, MobileNet
from encoders.backbones.musicnn import MUSICNN2019_MEL
from encoders.backbones.published import PUBLISHED
from encoders.mel import LogMel
from encoders.tagger import TaggerNetwork, build_tagger

WON = {
    "fcn": ("fcn", WON_DENSE_KEYS),
    "musicnn_mtat": ("musicnn", WON_DENSE2_KEYS),
    "musicnn_msd": ("musicnn_msd", WON_DENSE2_KEYS),
    "crnn": ("crnn", WON_DENSE_KEYS),
    "sample_cnn": ("sample_cnn", WON_DENSE_KEYS),
    "sample_cnn_se": ("sample_cnn_se", WON_DENSE2_KEYS),
    "self_attention": ("self_attention", WON_DENSE_KEYS),
    "harmonic_cnn": ("harmonic_cnn", WON_DENSE2_KEYS),
    "short_chunk_cnn": ("short_chunk_cnn", WON_DENSE2_KEYS),
    "short_chunk_cnn_res": ("short_chunk_cnn_res", WON_DENSE2_KEYS),
}


def deviation(found: np.ndarray, golden: object) -> float:
    """The largest absolute difference over the golden figures' standard deviation."""
    figures = np.array(golden)
    assert found.shape == figures.shape
    return float(np.abs(found - figures).max() / figures.std())


@pytest.mark.parametrize("name", WON)
@torch.inference_mode()
def test_logits_agree_with_won_2020(name: str) -> None:
    golden, (registered, keys) = GOLDEN[name], WON[name]
    tagger = build_tagger(registered, n_classes=50)
    assert (tagger.backbone.input_samples, tagger.backbone.sample_rate_hz) == (golden["input_samples"], 16000)
    fill(tagger, keys, golden)
    logits = tagger(torch.from_numpy(wave(golden["input_samples"])))[0].numpy()
    assert deviation(logits, golden["logits"]) < 1e-3


@torch.inference_mode()
def test_cnn14_agrees_with_panns() -> None:
    golden = GOLDEN["cnn14"]
    tagger = filled_cnn14()
    features = tagger.backbone(torch.from_numpy(wave(golden["input_samples"])))
    assert deviation(features[0].numpy(), golden["features"]) < 1e-3
    assert deviation(tagger.head(features)[0].numpy(), golden["logits"]) < 1e-3


@torch.inference_mode()
def test_vggish_agrees_with_torchvggish() -> None:
    golden = GOLDEN["vggish"]
    backbone = filled_vggish()
    waveform = torch.from_numpy(wave(golden["input_samples"]))
    assert deviation(backbone.examples(waveform)[0, :, ::8, ::4].numpy(), golden["examples"]) < 1e-3
    features = backbone.sequence(waveform)
    assert deviation(features[0].numpy(), golden["features"]) < 1e-3


@pytest.mark.parametrize("name", ["mn04", "mn10"])
@torch.inference_mode()
def test_mobilenet_agrees_with_efficientat(name: str) -> None:
    golden = GOLDEN[name]
    tagger = PUBLISHED[f"efficientat-{name}"].build()
    assert isinstance(tagger, TaggerNetwork) and isinstance(tagger.backbone, MobileNet)
    assert (tagger.backbone.input_samples, tagger.backbone.sample_rate_hz) == (golden["input_samples"], 32000)
    fill(tagger, EFFICIENTAT_KEYS, golden)
    waveform = torch.from_numpy(wave(golden["input_samples"]))
    for backbone in (tagger.backbone, tagger.backbone.inference_copy()):
        features = backbone(waveform)
        assert deviation(features[0].numpy(), golden["features"]) < 1e-3
        assert deviation(tagger.head(features)[0].numpy(), golden["logits"]) < 1e-3


@torch.inference_mode()
def test_the_front_end_of_the_default_model_agrees_with_efficientat() -> None:
    golden = GOLDEN["mn04"]
    log_mel = LogMel(EFFICIENTAT_MEL)(torch.from_numpy(wave(golden["input_samples"])))
    assert deviation(log_mel[0, ::8, ::100].numpy(), golden["log_mel"]) < 1e-3


@torch.inference_mode()
def test_the_front_end_of_musicnn_2019_agrees_with_the_published_one() -> None:
    golden = GOLDEN["musicnn2019"]
    log_mel = LogMel(MUSICNN2019_MEL)(torch.from_numpy(wave(golden["input_samples"])))
    assert deviation(log_mel[0, ::6, :187:11].T.numpy(), golden["log_mel"]) < 1e-3
