"""The contract of all architectures of the registry: what they take, return and refuse."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from networks import filled_cnn14, filled_vggish
from torch import Tensor

from encoders.backbones.base import Backbone, check_chunk_length
from encoders.backbones.harmonic_cnn import HarmonicSTFT
from encoders.backbones.mobilenet import MobileNet
from encoders.backbones.registry import TAGGERS, build_backbone, list_taggers
from encoders.heads import LinearHead
from encoders.mel import LogMel, MelSpec
from encoders.tagger import TaggerNetwork, build_tagger, make_head

N_CLASSES = 7
# A batch of 65 of anything longer would need gigabytes: its shapes are taken without numbers.
LONGEST_OF_65 = 25_000


@pytest.fixture(scope="module", params=list_taggers())
def backbone(request: pytest.FixtureRequest) -> Iterator[Backbone]:
    """Each architecture once, in eval mode; pytest runs all tests of one before it builds the next."""
    torch.manual_seed(3)
    if request.param == "cnn14":
        yield filled_cnn14().backbone
    elif request.param == "vggish":
        yield filled_vggish()
    else:
        yield build_backbone(request.param).eval()


def sound(backbone: Backbone, *, batch: int = 2, more_samples: int = 0) -> Tensor:
    """Noise of the shortest length that the architecture takes, and some more."""
    generator = torch.Generator().manual_seed(5)
    return 0.1 * torch.randn(batch, backbone.min_samples + more_samples, generator=generator)


def tagger_of(backbone: Backbone) -> TaggerNetwork:
    return TaggerNetwork(backbone, LinearHead(backbone.dim, N_CLASSES)).eval()


def test_the_declarations_agree_with_each_other(backbone: Backbone) -> None:
    assert 0 < backbone.min_samples <= backbone.input_samples
    assert backbone.mel is None or backbone.mel.sample_rate_hz == backbone.sample_rate_hz
    assert not backbone.fixed_length or backbone.min_samples == backbone.input_samples


def test_the_default_chunk_is_one_that_the_network_takes(backbone: Backbone) -> None:
    check_chunk_length(backbone, sample_rate_hz=backbone.sample_rate_hz, chunk_s=backbone.default_chunk_s)
    assert backbone.default_chunk_s <= backbone.input_samples / backbone.sample_rate_hz


def test_the_build_options_build_the_same_network(request: pytest.FixtureRequest, backbone: Backbone) -> None:
    name = request.node.callspec.params["backbone"]
    options = json.loads(json.dumps(backbone.build_options))
    with torch.device("meta"):
        again = build_backbone(name, **options)
    assert type(again) is type(backbone)
    assert again.build_options == backbone.build_options
    assert again.front_end_config == backbone.front_end_config
    shapes = [{key: x.shape for key, x in network.state_dict().items()} for network in (again, backbone)]
    assert shapes[0] == shapes[1]


def test_the_front_end_config_is_that_of_the_front_end(backbone: Backbone) -> None:
    config = json.loads(json.dumps(backbone.front_end_config))
    kind = config.pop("kind")
    assert config["sample_rate_hz"] == backbone.sample_rate_hz
    layers = [layer for layer in backbone.modules() if isinstance(layer, LogMel | HarmonicSTFT)]
    if kind == "log_mel":
        (layer,) = layers
        assert isinstance(layer, LogMel) and MelSpec(**config) == layer.spec == backbone.mel
        assert backbone.front_end_name.startswith(f"{layer.spec.n_mels} mels every")
    elif kind == "harmonic_stft":
        (layer,) = layers
        assert isinstance(layer, HarmonicSTFT)
        assert layer.filters().shape == (config["n_harmonics"] * config["n_bands"], config["n_fft"] // 2 + 1)
        assert backbone.front_end_name == "learned harmonic filters"
    else:
        assert (kind, layers, backbone.front_end_name) == ("samples", [], "samples")


@torch.inference_mode()
def test_the_inference_copy_gives_the_same_and_is_independent(backbone: Backbone) -> None:
    waveform = sound(backbone)
    expected = backbone(waveform)
    copied = backbone.train().inference_copy()
    backbone.eval()
    assert type(copied) is type(backbone)
    assert not any(module.training for module in copied.modules())
    assert {id(p) for p in copied.parameters()}.isdisjoint(id(p) for p in backbone.parameters())
    torch.testing.assert_close(copied(waveform), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backbone(waveform), expected)


@torch.inference_mode()
def test_logits_and_features_have_the_declared_shapes(backbone: Backbone) -> None:
    waveform = sound(backbone)
    before = waveform.clone()
    features, logits = backbone(waveform), tagger_of(backbone)(waveform)
    assert features.shape == (2, backbone.dim)
    assert logits.shape == (2, N_CLASSES)
    assert torch.isfinite(features).all() and torch.isfinite(logits).all()
    assert torch.equal(waveform, before)


@torch.inference_mode()
def test_a_clip_gives_the_same_alone_and_in_a_batch(backbone: Backbone) -> None:
    batch = sound(backbone, batch=3)
    together = backbone(batch)
    # Differences are those of sums in another order.
    torch.testing.assert_close(backbone(batch[1:2]), together[1:2], rtol=1e-3, atol=1e-4)
    assert not torch.equal(together[0], together[1])


@torch.inference_mode()
def test_a_batch_of_65(backbone: Backbone) -> None:
    tagger, n_samples = tagger_of(backbone), backbone.min_samples
    if n_samples <= LONGEST_OF_65:
        logits = tagger(sound(backbone, batch=65))
        assert torch.isfinite(logits).all()
    else:
        logits = copy.deepcopy(tagger).to("meta")(torch.empty(65, n_samples, device="meta"))
    assert logits.shape == (65, N_CLASSES)


@torch.inference_mode()
def test_longer_audio_is_taken_or_refused_as_declared(backbone: Backbone) -> None:
    longer = sound(backbone, more_samples=backbone.sample_rate_hz // 4 + 1)
    if backbone.fixed_length:
        with pytest.raises(ValueError, match=f"takes exactly {backbone.input_samples} samples"):
            backbone(longer)
    else:
        features = backbone(longer)
        assert features.shape == (2, backbone.dim)
        assert torch.isfinite(features).all()


@torch.inference_mode()
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_silence_and_full_scale_are_finite(backbone: Backbone, level: float) -> None:
    assert torch.isfinite(backbone(torch.full((1, backbone.min_samples), level))).all()


def test_wrong_input_is_refused_before_the_network(backbone: Backbone) -> None:
    n = backbone.min_samples
    for shape in ((n,), (1, 1, n)):
        with pytest.raises(ValueError, match=r"takes waveforms \[shape=\(batch, n_samples\)\], not"):
            backbone(torch.zeros(shape))
    too_short = "takes exactly" if backbone.fixed_length else f"needs at least {n} samples"
    with pytest.raises(ValueError, match=too_short):
        backbone(torch.zeros(1, n - 1))
    if backbone.sequence_dim is not None:
        with pytest.raises(ValueError, match=too_short):
            backbone.sequence(torch.zeros(1, n - 1))


def test_one_sample_less_would_not_pass_through_the_layers(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    if backbone.fixed_length:
        assert backbone.min_samples == backbone.input_samples  # no other length reaches a layer
        return
    waveform = torch.zeros(1, backbone.min_samples - 1)
    monkeypatch.setattr(backbone, "min_samples", 0)
    with pytest.raises(RuntimeError), torch.inference_mode():
        backbone(waveform)


def test_gradients_reach_every_layer(backbone: Backbone) -> None:
    tagger = tagger_of(backbone)
    tagger(sound(backbone, batch=1)).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in backbone.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    first = next(iter(gradients.values()))
    assert first is not None and first.abs().max() > 0
    backbone.zero_grad()


@torch.inference_mode()
def test_inference_leaves_the_global_random_states_alone(backbone: Backbone) -> None:
    waveform = sound(backbone, batch=1)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    backbone(waveform)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (str(np.random.get_state()), random.getstate()) == before[1:]


@pytest.mark.parametrize("head", ["linear", "mlp", "attention"])
@torch.inference_mode()
def test_every_head_stands_on_every_backbone_that_suits_it(backbone: Backbone, head: str) -> None:
    if head == "attention" and backbone.sequence_dim is None:
        with pytest.raises(TypeError, match="keeps no time axis: give it a linear or mlp head"):
            make_head(head, backbone, n_classes=N_CLASSES)
        with pytest.raises(TypeError, match="keeps no time axis"):
            backbone.sequence(sound(backbone))
        return
    logits = TaggerNetwork(backbone, make_head(head, backbone, n_classes=N_CLASSES)).eval()(sound(backbone))
    assert logits.shape == (2, N_CLASSES)
    assert torch.isfinite(logits).all()


@torch.inference_mode()
def test_the_sequence_has_the_declared_width(backbone: Backbone) -> None:
    if backbone.sequence_dim is None:
        with pytest.raises(TypeError, match="keeps no time axis"):
            backbone.sequence(sound(backbone))
        return
    sequence = backbone.sequence(sound(backbone))
    assert sequence.ndim == 3 and sequence.shape[1] >= 1
    assert (sequence.shape[0], sequence.shape[2]) == (2, backbone.sequence_dim)


# torch.export says of a recurrent network's list of weights, which it leaves as they are, that they are no buffers.
@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")
def test_an_exported_network_gives_the_same(backbone: Backbone) -> None:
    waveform = sound(backbone, batch=1)
    with torch.no_grad():
        exported = torch.export.export(backbone, (waveform,)).module()
        torch.testing.assert_close(exported(waveform), backbone(waveform))


def test_building_draws_from_torch_alone_and_repeats_with_its_seed() -> None:
    before = str(np.random.get_state()), random.getstate()
    states = []
    for _ in range(2):
        torch.manual_seed(11)
        states.append(build_tagger("musicnn", n_classes=3).state_dict())
    assert (str(np.random.get_state()), random.getstate()) == before
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())


def test_the_registry_names_what_it_holds() -> None:
    assert list_taggers() == tuple(TAGGERS)
    for entry in TAGGERS.values():
        assert entry.summary and entry.citation and entry.verified_against
        assert bool(entry.published) != entry.verified_against.startswith("nothing published")
        assert "\n" not in entry.summary + entry.citation + entry.published


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"unknown tagger 'vgg': choose one of fcn, .*genre_cnn$"):
        build_tagger("vgg", n_classes=2)


def test_options_change_a_network_and_wrong_ones_are_refused() -> None:
    options = {"width": 0.1, "mel": MobileNet().front_end.spec.to_dict() | {"n_mels": 64}, "taps": [4, 13]}
    backbone = build_backbone("mn10", **options)
    assert isinstance(backbone, MobileNet)
    assert (backbone.width, backbone.front_end_config["n_mels"]) == (0.1, 64)
    assert backbone.build_options == options
    with pytest.raises(TypeError, match="width"):
        build_backbone("fcn", width=0.1)


@torch.inference_mode()
def test_the_inference_copy_of_a_mobilenet_has_its_batch_norms_folded() -> None:
    torch.manual_seed(3)
    backbone = MobileNet(width=0.1)
    waveform = 0.1 * torch.randn(4, 32000)
    for _ in range(3):
        backbone(waveform)  # in training mode: the running means move away from 0
    copied = backbone.inference_copy()
    assert not [layer for layer in copied.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(copied(waveform), backbone.eval()(waveform), rtol=1e-4, atol=1e-5)


def test_taps_add_the_statistics_of_inner_layers_to_the_published_features() -> None:
    torch.manual_seed(0)
    plain = MobileNet().eval()
    tapped = MobileNet(taps=(4, 7, 11, 13)).eval()
    tapped.load_state_dict(plain.state_dict())
    waveform = torch.randn(2, 64_000) * 0.1
    with torch.inference_mode():
        features, published = tapped(waveform), plain(waveform)
        layer = plain.features[:5](plain.front_end(waveform).unsqueeze(1))
        copied = tapped.inference_copy()(waveform)
    assert tapped.dim == features.shape[1] == 1568
    assert torch.equal(features[:, :384], published)
    bands = layer.mean(3).reshape(2, 16, 8, 2).mean(3).flatten(1)  # of 16 channels, the 16 rows in 8 bands
    torch.testing.assert_close(features[:, 384 : 384 + 128], bands)
    torch.testing.assert_close(features[:, 512:528], layer.std((2, 3), unbiased=False), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(copied, features, atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match=r"taps=\[16\]: the layers before the last are 0 to 15"):
        MobileNet(taps=[16])
