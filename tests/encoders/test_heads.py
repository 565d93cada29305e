"""Heads by the formula, and the door that checks a user's audio."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.backbones.fcn import FCN
from encoders.backbones.musicnn import Musicnn
from encoders.heads import AttentionHead, LinearHead, MLPHead
from encoders.tagger import TaggerNetwork, make_head


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@torch.inference_mode()
def test_attention_is_the_weighted_mean_of_probabilities() -> None:
    torch.manual_seed(1)
    head = AttentionHead(6, 3, hidden=5).double().eval()
    sequence = torch.randn(2, 4, 6, dtype=torch.float64)
    embedded = np.maximum(sequence.numpy() @ head.embedding[0].weight.numpy().T + head.embedding[0].bias.numpy(), 0)
    scores = sigmoid(embedded @ head.classifier.weight.numpy().T + head.classifier.bias.numpy())
    gates = sigmoid(embedded @ head.attention.weight.numpy().T + head.attention.bias.numpy())
    weights = gates / gates.sum(1, keepdims=True)
    p = (weights * scores).sum(1)
    np.testing.assert_allclose(head(sequence).numpy(), np.log(p / (1 - p)), atol=1e-10)
    np.testing.assert_allclose(head.log_weights(sequence).exp().numpy(), weights, atol=1e-12)


@torch.inference_mode()
def test_attention_over_one_step_is_that_steps_logit() -> None:
    head = AttentionHead(4, 2).eval()
    step = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(head(step), head.classifier(head.embedding(step))[:, 0])


@torch.inference_mode()
def test_attention_stays_finite_where_probabilities_round_to_0_and_1() -> None:
    head = AttentionHead(1, 2, hidden=1).eval()
    for layer, weight in (
        (head.embedding[0], [[1.0]]),
        (head.classifier, [[1.0], [-1.0]]),
        (head.attention, [[0.0]] * 2),
    ):
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.zero_()
    logits = head(torch.full((1, 3, 1), 80.0))
    torch.testing.assert_close(logits, torch.tensor([[80.0, -80.0]]))


@torch.inference_mode()
def test_attention_does_not_depend_on_the_order_of_steps() -> None:
    head = AttentionHead(4, 2).eval()
    sequence = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(head(sequence.flip(1)), head(sequence))


def test_mlp_has_one_hidden_layer() -> None:
    head = MLPHead(8, 3, hidden=5)
    assert [tuple(p.shape) for p in head.parameters()] == [(5, 8), (5,), (3, 5), (3,)]
    assert [tuple(p.shape) for p in MLPHead(8, 3).parameters()] == [(8, 8), (8,), (3, 8), (3,)]


def test_attention_needs_a_time_axis() -> None:
    with pytest.raises(TypeError, match="FCN keeps no time axis: give it a linear or mlp head"):
        TaggerNetwork(FCN(), AttentionHead(64, 3))
    with pytest.raises(TypeError, match="FCN keeps no time axis"):
        make_head("attention", FCN(), n_classes=3)


def test_wrong_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown head 'lstm': choose one of linear, mlp, attention"):
        make_head("lstm", FCN(), n_classes=3)
    with pytest.raises(ValueError, match="n_classes=0: a tagger needs at least one class"):
        make_head("linear", FCN(), n_classes=0)


def test_the_door_checks_rate_shape_length_and_values() -> None:
    tagger = TaggerNetwork(Musicnn(), LinearHead(200, 3))
    audio = torch.zeros(2, 16000)
    assert tagger.check(audio, sample_rate_hz=16000) is audio
    with pytest.raises(ValueError, match="Musicnn takes 16000 Hz, this audio has 44100 Hz: resample it to 16000 Hz"):
        tagger.check(audio, sample_rate_hz=44100)
    with pytest.raises(ValueError, match="takes waveforms"):
        tagger.check(audio[0], sample_rate_hz=16000)
    with pytest.raises(ValueError, match="needs at least 257 samples"):
        tagger.check(audio[:, :256], sample_rate_hz=16000)
    audio[1, 5], audio[0, 7] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="2 samples are NaN or infinite"):
        tagger.check(audio, sample_rate_hz=16000)
