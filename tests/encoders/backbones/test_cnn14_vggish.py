"""What is special to CNN14, VGGish, Conv7 and GenreCNN: steps, pooling over time, lengths, first weights."""

from __future__ import annotations

import pytest
import torch
from networks import filled_cnn14, filled_vggish
from torch import nn

from encoders.backbones.base import Backbone
from encoders.backbones.cnn14 import CNN14
from encoders.backbones.conv7 import Conv7
from encoders.backbones.genre_cnn import GenreCNN
from encoders.backbones.vggish import VGGish


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 0.2 - 0.1


@pytest.fixture(scope="module")
def vggish() -> VGGish:
    return filled_vggish()


@pytest.fixture(scope="module")
def cnn14() -> CNN14:
    backbone = filled_cnn14().backbone
    assert isinstance(backbone, CNN14)
    return backbone


@pytest.fixture(scope="module")
def conv7() -> Conv7:
    torch.manual_seed(1)
    return Conv7().eval()


@torch.inference_mode()
def test_vggish_takes_the_mean_over_whole_examples(vggish: VGGish) -> None:
    step = 96 * 160
    waveform = noise(2, 3 * step + 240 + 5000)  # three examples, and a remainder that fills none
    apart = [vggish(waveform[:, i * step : i * step + vggish.min_samples]) for i in range(3)]
    torch.testing.assert_close(vggish.sequence(waveform), torch.stack(apart, 1))
    torch.testing.assert_close(vggish(waveform), sum(apart) / 3)
    torch.testing.assert_close(vggish(waveform[:, :-5000]), vggish(waveform))


@torch.inference_mode()
def test_cnn14_pools_maximum_and_mean_over_time_before_its_dense_layer(cnn14: CNN14) -> None:
    waveform = noise(2, 3 * 32 * 320)
    steps = cnn14.sequence(waveform)
    assert steps.shape == (2, 3, 2048)
    by_hand = (steps.max(1).values + steps.sum(1) / 3) @ cnn14.fc1.weight.T + cnn14.fc1.bias
    torch.testing.assert_close(cnn14(waveform), by_hand.clamp_min(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn14", "vggish", "conv7"])
@torch.inference_mode()
def test_the_shortest_input_leaves_one_step(name: str, request: pytest.FixtureRequest) -> None:
    backbone: Backbone = request.getfixturevalue(name)
    n = backbone.min_samples
    assert backbone.sequence(noise(1, n)).shape == (1, 1, backbone.sequence_dim)
    with pytest.raises(ValueError, match=f"needs at least {n} samples"):
        backbone.sequence(noise(1, n - 1))


def test_conv7_is_seven_convolutions_of_the_given_widths(conv7: Conv7) -> None:
    layers = [layer for layer in conv7.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [128, 256, 256, 256, 512, 512, 256]
    assert {layer.kernel_size for layer in layers} == {(3, 3)}
    assert len([layer for layer in conv7.blocks.modules() if isinstance(layer, nn.BatchNorm2d)]) == 7


@pytest.mark.parametrize(("duration_s", "n_steps"), [(1, 1), (2.1, 2), (7, 6), (30, 29)])
def test_conv7_takes_any_length_of_a_second_and_more(conv7: Conv7, duration_s: float, n_steps: int) -> None:
    with torch.device("meta"):
        on_meta = Conv7().eval()
        steps = on_meta.sequence(torch.empty(3, round(duration_s * 16000)))
    assert steps.shape == (3, n_steps, conv7.dim)


@torch.inference_mode()
def test_conv7_hears_a_clip_alike_when_it_is_repeated(conv7: Conv7) -> None:
    waveform = noise(1, 2 * 32 * 512)
    steps = conv7.sequence(waveform)
    assert steps.shape[1] == 2
    torch.testing.assert_close(conv7(waveform)[0], (steps[0, 0] + steps[0, 1]) / 2 + torch.maximum(*steps[0]))


def test_the_genre_network_has_five_convolutions_and_a_hidden_layer_drawn_from_normal_distributions() -> None:
    torch.manual_seed(2)
    backbone = GenreCNN()
    layers = [layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [type(layer) for layer in layers] == [nn.Conv2d] * 5 + [nn.Linear]
    for layer in layers[1:]:
        weights = layer.weight.detach().double().flatten()
        spread = (2 / layer.weight[0].numel()) ** 0.5
        assert weights.std().item() == pytest.approx(spread, rel=0.03)
        # The fourth moment tells a normal distribution (3) from a uniform one (1.8).
        assert ((weights / weights.std()) ** 4).mean().item() == pytest.approx(3, abs=0.15)
        assert layer.bias is not None and not layer.bias.any()


def test_the_genre_network_drops_half_of_its_features_in_training() -> None:
    torch.manual_seed(2)
    backbone = GenreCNN()
    waveform = noise(2, backbone.input_samples)
    with torch.inference_mode():
        hidden = backbone.eval()(waveform)
        backbone.dropout.train()
        dropped = backbone(waveform)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * hidden[kept])
    share = (kept & (hidden > 0)).sum() / (hidden > 0).sum()
    assert share.item() == pytest.approx(0.5, abs=0.1)


def test_the_genre_network_takes_three_seconds_and_nothing_else() -> None:
    with pytest.raises(ValueError, match=r"takes exactly 66150 samples \(3.00 s at 22050 Hz\), not 66151"):
        GenreCNN()(torch.zeros(1, 66151))
