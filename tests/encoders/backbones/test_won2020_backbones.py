"""What is special to the backbones of Won et al. 2020: their blocks against plain oracles, their shortest inputs."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from encoders.backbones.base import Backbone
from encoders.backbones.crnn import CRNN
from encoders.backbones.harmonic_cnn import HarmonicCNN, HarmonicSTFT
from encoders.backbones.sample_cnn import SampleCNN, SampleCNNSE
from encoders.backbones.self_attention import SelfAttention
from encoders.backbones.short_chunk_cnn import ShortChunkCNN, ShortChunkCNNRes

BACKBONES = (ShortChunkCNN, ShortChunkCNNRes, SampleCNN, SampleCNNSE, CRNN, SelfAttention, HarmonicCNN)
KEY_C1, KEY_A4 = 24, 69

M = TypeVar("M", bound=nn.Module)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 2 - 1


def with_lively_norms(module: M) -> M:
    """The module in eval mode, its batch norms no longer the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean = noise(layer.num_features) * 0.1
            layer.running_var = 1 + noise(layer.num_features).abs()
    return module.eval()


@pytest.mark.parametrize("build", BACKBONES)
def test_the_shortest_input_leaves_one_step_and_one_sample_less_breaks_a_layer(build: type[Backbone]) -> None:
    backbone = build().eval()
    n = backbone.min_samples
    with torch.inference_mode():
        assert backbone.sequence(noise(1, n)).shape == (1, 1, backbone.sequence_dim)
        with pytest.raises(ValueError, match=f"at least {n} samples"):
            backbone(noise(1, n - 1))
        backbone.min_samples = 0
        with pytest.raises(RuntimeError, match=r"(?i)padding size|output size"):
            backbone(noise(1, n - 1))


@pytest.mark.parametrize(("build", "n_steps"), [(ShortChunkCNNRes, 1), (CRNN, 2), (SampleCNN, 2)])
def test_steps_follow_the_length(build: type[Backbone], n_steps: int) -> None:
    backbone = build().eval()
    with torch.inference_mode():
        for n_samples, expected in ((backbone.min_samples, 1), (2 * backbone.min_samples + 800, n_steps)):
            assert backbone.sequence(noise(1, n_samples)).shape[1] == expected


def test_sample_cnn_averages_over_a_longer_waveform() -> None:
    backbone = with_lively_norms(SampleCNN())
    waveform = noise(1, 2 * 3**10)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(waveform), backbone.sequence(waveform).mean(1))


@pytest.mark.parametrize("is_open", [False, True])
def test_a_squeeze_gates_the_residual_branch(is_open: bool) -> None:
    block: Any = with_lively_norms(SampleCNNSE()).get_submodule("layer2")
    with torch.no_grad():
        block.dense2.weight.zero_()
        block.dense2.bias.fill_(50.0 if is_open else -200.0)
        x = noise(2, 128, 27)
        branch = block.bn_2(block.conv_2(block.bn_1(block.conv_1(x)).relu()))
        # Blocks of three neighbours, by reshape instead of by pooling.
        expected = (x + branch if is_open else x).relu().reshape(2, 128, 9, 3).amax(3)
        torch.testing.assert_close(block(x), expected)


def test_crnn_gives_the_last_state_of_its_upper_layer() -> None:
    backbone = with_lively_norms(CRNN())
    waveform = noise(2, 4 * backbone.min_samples)
    seen: list[Any] = []
    backbone.layer5.register_forward_hook(lambda *call: seen.append(call[2][1]))
    with torch.inference_mode():
        features = backbone(waveform)
        torch.testing.assert_close(features, seen[0][1])
        torch.testing.assert_close(features, backbone.sequence(waveform)[:, -1])


def test_a_self_attention_layer_is_torchs_encoder_layer() -> None:
    ours: Any = SelfAttention().eval().get_submodule("encoder.layer.0")
    theirs = nn.TransformerEncoderLayer(
        256, 8, dim_feedforward=1024, activation=F.gelu, layer_norm_eps=1e-12, batch_first=True
    ).eval()
    heads, joined = ours.attention["self"], ours.attention["output"]
    pairs = {
        "self_attn.out_proj": joined.dense,
        "norm1": joined.LayerNorm,
        "linear1": ours.intermediate["dense"],
        "linear2": ours.output.dense,
        "norm2": ours.output.LayerNorm,
    }
    state = {f"{name}.{kind}": getattr(layer, kind) for name, layer in pairs.items() for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        state[f"self_attn.in_proj_{kind}"] = torch.cat(
            [getattr(part, kind) for part in (heads.query, heads.key, heads.value)]
        )
    theirs.load_state_dict(state)
    x = noise(2, 5, 256)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x))


def test_the_first_token_is_one_constant_and_no_part_of_the_weights() -> None:
    before = np.random.get_state(legacy=False)["state"]
    backbone = SelfAttention().eval()
    np.testing.assert_equal(np.random.get_state(legacy=False)["state"], before)
    assert not [name for name in backbone.state_dict() if "token" in name or "position" in name]
    torch.testing.assert_close(SelfAttention().first_token, backbone.first_token)
    one = noise(1, 4000)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(one.expand(65, -1)), backbone(one).expand(65, -1))


def test_a_tone_is_loudest_in_the_bands_whose_harmonic_it_is() -> None:
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(8000) / 16000).unsqueeze(0)
    with torch.inference_mode():
        loudest = HarmonicSTFT()(tone)[0].mean(2).argmax(1)
    # A4 is the second harmonic of A3, the third of D3, the fourth of A2: half semitones above C1.
    keys = KEY_A4 - 12 * np.log2(np.arange(1, 7))
    assert loudest.tolist() == pytest.approx((keys - KEY_C1) * 2, abs=2)


@pytest.mark.parametrize("quality", [1.0, 2.5])
def test_harmonic_filters_are_triangles_as_wide_as_the_ears_bandwidth_over_q(quality: float) -> None:
    stft = HarmonicSTFT()
    with torch.no_grad():
        stft.bw_Q.fill_(quality)
        filters = stft.filters().reshape(6, 128, 257).numpy()
    bins_hz = np.arange(257) * 31.25
    for harmonic, band in ((1, 0), (1, 90), (2, 66), (3, 101), (6, 127)):
        centre_hz = harmonic * 440 * 2 ** ((KEY_C1 + band / 2 - KEY_A4) / 12)
        half_hz = (0.1079 * centre_hz + 24.7) / quality / 2
        expected = np.interp(bins_hz, [centre_hz - half_hz, centre_hz, centre_hz + half_hz], [0, 1, 0])
        np.testing.assert_allclose(filters[harmonic - 1, band], expected, atol=1e-4)


def test_the_filter_width_learns() -> None:
    stft = HarmonicSTFT()
    stft(noise(1, 2000)).mean().backward()
    assert stft.bw_Q.grad is not None
    assert stft.bw_Q.grad.item() < 0  # wider filters let more noise through
