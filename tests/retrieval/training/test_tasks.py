"""Learners: their losses are those of the functions, what is frozen stays, and the mask is only for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_helpers import TAGS, words_file

from encoders import ModelDirError, TwoTowerModel
from encoders.calibration import fit_calibration
from encoders.tagger_model import TaggerModel
from encoders.text.word_vectors import WordVectors
from retrieval.training.config import CONTRASTIVE_LOSSES, LossConfig
from retrieval.training.init import build_tagger_model, build_two_tower
from retrieval.training.losses import decoupled, info_nce, sigmoid, triplet
from retrieval.training.modules import ContrastiveModule, TaggerModule
from retrieval.training.spec_augment import SpecAugment

CHUNK_S = 0.25


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> WordVectors:
    return WordVectors.load(words_file(tmp_path_factory.mktemp("words")))


@pytest.fixture
def towers(words: WordVectors) -> TwoTowerModel:
    torch.manual_seed(0)
    return build_two_tower("mn04", words, tag_names=list(TAGS), chunk_s=CHUNK_S)


@pytest.fixture
def tagger() -> TaggerModel:
    torch.manual_seed(0)
    return build_tagger_model("mn04", tag_names=list(TAGS), chunk_s=CHUNK_S)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    # Of all four tags; the batch contrasts three.
    targets = torch.tensor([[1.0, 0, 1, 0], [0, 0.4, 0, 1], [0, 0, 0, 1]])
    return {
        "waveforms": 0.1 * torch.randn(3, 2 * 8000, generator=generator),
        "tags": torch.tensor([0, 1, 3]),
        "targets": targets,
        "unknown": torch.tensor([[False, True, True, False], [False] * 4, [False] * 4]),
        "seed": torch.tensor(4),
    }


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_the_loss_is_the_function_of_the_towers(
    name: str, towers: TwoTowerModel, words: WordVectors, batch: dict[str, torch.Tensor]
) -> None:
    vectors = words.encode(list(TAGS))
    learner = ContrastiveModule(towers, vectors, LossConfig(name=name)).eval()
    found = learner(**batch)
    chunks = batch["waveforms"].reshape(6, 8000)
    features = towers.audio_tower.chunk_features(chunks).reshape(3, 2, -1).mean(1)
    scores = towers.audio_tower.projection(features) @ towers.text_tower(torch.from_numpy(vectors[[0, 1, 3]])).T
    given = scores, batch["targets"][:, batch["tags"]], batch["unknown"][:, batch["tags"]]
    scale = learner.log_scale
    if name == "triplet":
        assert scale is None
        expected = triplet(*given, margin=0.2)
    elif name == "sigmoid":
        assert learner.bias is not None and scale is not None
        assert (learner.bias.item(), scale.exp().item()) == (-10.0, pytest.approx(10.0))
        expected = sigmoid(*given, log_scale=scale, bias=learner.bias)
    else:
        assert scale is not None
        expected = (info_nce if name == "infonce" else decoupled)(*given, log_scale=scale)
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    found["loss"].backward()
    assert all(p.grad is not None for p in learner.parameters())
    np.testing.assert_allclose(learner.tag_vectors()[1], towers.encode_text(["middle"])[0], atol=1e-5)


def test_a_temperature_past_its_bound_comes_back(
    towers: TwoTowerModel, words: WordVectors, batch: dict[str, torch.Tensor]
) -> None:
    learner = ContrastiveModule(towers, words.encode(list(TAGS)), LossConfig())
    assert learner.log_scale is not None
    torch.nn.init.constant_(learner.log_scale, 9.0)
    learner(**batch)["loss"].backward()
    assert learner.log_scale.item() == pytest.approx(np.log(100)) and learner.log_scale.grad is not None


def test_both_forms_of_binary_cross_entropy_agree_and_weigh_positives(
    tagger: TaggerModel, batch: dict[str, torch.Tensor]
) -> None:
    weights = np.array([1.0, 2.0, 5.0, 3.0])
    targets = torch.tensor([[1.0, 0, 0, 1], [0, 0.5, 0, 0], [0, 0, 1, 0]])
    known = torch.zeros(3, 4, dtype=torch.bool)
    inputs = {"waveforms": batch["waveforms"], "targets": targets, "unknown": known, "seed": batch["seed"]}
    losses = [
        TaggerModule(tagger, LossConfig(name=name), positive_weights=weights).eval()(**inputs)["loss"].item()
        for name in ("bce-with-logits", "bce")
    ]
    logits = tagger.eval()(batch["waveforms"].reshape(6, 8000)).logits.reshape(3, 2, 4).mean(1).double()
    p = torch.sigmoid(logits)
    w = torch.from_numpy(weights)
    expected = -(w * targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert losses == pytest.approx([expected.item()] * 2, rel=1e-4)
    plain = TaggerModule(tagger, LossConfig(name="bce")).eval()(**inputs)["loss"]
    assert plain.item() == pytest.approx(F.binary_cross_entropy(p, targets.double()).item(), rel=1e-4)
    unknown = known.clone()
    unknown[0, 1] = unknown[2, 3] = True
    partly = TaggerModule(tagger, LossConfig(name="bce")).eval()(**inputs | {"unknown": unknown})["loss"]
    expected = F.binary_cross_entropy(p[~unknown], targets.double()[~unknown])
    assert partly.item() == pytest.approx(expected.item(), rel=1e-4)


def test_frozen_stages_keep_their_weights_and_statistics(tagger: TaggerModel, batch: dict[str, torch.Tensor]) -> None:
    learner = TaggerModule(tagger, LossConfig(name="bce"), freeze_stages=3).train()
    features = tagger.tagger.backbone.features
    before = {name: value.clone() for name, value in features[:3].state_dict().items()}
    none = torch.zeros(3, 4)
    learner(batch["waveforms"], none, none > 0, batch["seed"])["loss"].backward()
    assert all(torch.equal(value, before[name]) for name, value in features[:3].state_dict().items())
    assert all(p.grad is None for p in features[:3].parameters()) and features[4].training
    assert all(p.grad is not None for p in features[3:].parameters())
    with pytest.raises(ValueError, match="--freeze-stages 99: MobileNet has 17 stages"):
        TaggerModule(tagger, LossConfig(name="bce"), freeze_stages=99)


def test_spectrograms_are_masked_in_training_only(tagger: TaggerModel, batch: dict[str, torch.Tensor]) -> None:
    learner = TaggerModule(tagger, LossConfig(name="bce"), spec_augment=SpecAugment(), freeze_stages=-1)
    front_end = tagger.tagger.backbone.front_end
    plain = learner.eval().model.tagger.backbone.front_end(batch["waveforms"])
    learner.train()
    learner.augment_seed = 3
    masked = front_end(batch["waveforms"])
    assert not torch.equal(masked, plain)
    assert torch.equal(masked, front_end(batch["waveforms"]))
    learner.augment_seed = 4
    assert not torch.equal(masked, front_end(batch["waveforms"]))
    sample_cnn = build_tagger_model("sample_cnn", tag_names=["a"])
    with pytest.raises(ValueError, match="SampleCNN has no log-mel front end"):
        TaggerModule(sample_cnn, LossConfig(name="bce"), spec_augment=SpecAugment())


def test_weights_to_start_from_must_be_of_the_same_backbone(
    towers: TwoTowerModel, words: WordVectors, tmp_path: Path
) -> None:
    towers.save_pretrained(tmp_path / "towers")
    again = build_two_tower("mn04", words, tag_names=["low"], chunk_s=CHUNK_S, init=tmp_path / "towers")
    for name, value in towers.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    tagger = build_tagger_model("mn04", tag_names=["low"], init=tmp_path / "towers")
    ours, theirs = tagger.tagger.backbone.state_dict(), towers.audio_tower.backbone.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(ModelDirError, match="its backbone is mn04, not fcn; add --backbone mn04"):
        build_tagger_model("fcn", tag_names=["low"], init=tmp_path / "towers")
    with pytest.raises(ModelDirError, match="not a model"):
        build_tagger_model("fcn", tag_names=["low"], init=tmp_path)
    (tmp_path / "published.pth").write_bytes(b"x")
    with pytest.raises(ValueError, match="name it with --published"):
        build_tagger_model("fcn", tag_names=["low"], init=tmp_path / "published.pth")


def test_calibration_follows_background_and_truth(towers: TwoTowerModel) -> None:
    rng = np.random.default_rng(0)
    dim = towers.config.dim
    text = np.linalg.qr(rng.standard_normal((dim, 3)))[0].T.astype(np.float32)
    truth = rng.random((80, 3)) < 0.3
    vectors = (0.2 * rng.standard_normal((80, dim)) / np.sqrt(dim) + 0.3 * truth @ text).astype(np.float32)
    towers.calibration.set(fit_calibration(vectors, vectors, text, truth, seed=0))
    np.testing.assert_allclose(towers.calibration.mean.numpy(), vectors.mean(0), atol=1e-6)
    with torch.no_grad():
        logits = towers.calibration(torch.from_numpy(vectors), torch.from_numpy(text)).numpy()
    assert (logits[truth] > 0).mean() > 0.9 and (logits[~truth] < 0).mean() > 0.9
