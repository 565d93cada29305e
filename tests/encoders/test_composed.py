"""A composed space: what the taggers know stays, whatever the trained part learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.arrays import unit
from encoders.composed import ComposedProjection, ComposedTextTower, take_space
from encoders.text.composed import ComposedSpec
from encoders.text.tower import TextEncoder
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.text.word_vectors import WordVectors
from encoders.two_tower import TwoTowerConfig, TwoTowerModel
from retrieval.training.init import build_two_tower
from scripts.recipes.default.fit_product_codes import fit_product_codes

WORDS = ("dog", "cat", "rain", "rock", "jazz", "banjo")
SPEC = ComposedSpec(
    banks=(("dog", "cat", "rain"), ("rock", "jazz")),
    anchors=("dog", "rain cat", "unheard-of"),
    rank=4,
    trained_dim=6,
    components=8,
    audio_hidden=16,
    head_features=384,
    head_hidden=12,
)


def word_vectors(seed: int, dim: int = 16) -> WordVectors:
    """Six words with 8-bit codes and 300 with product codes."""
    rng = np.random.default_rng(seed)
    tokens = [*WORDS, *(f"rare{i}" for i in range(300))]
    plain = WordVectors.from_floats(
        list(WORDS), rng.normal(size=(len(WORDS), dim)), np.full(len(WORDS), 1 / 6), kind="word2vec", source="test"
    )
    products = fit_product_codes(unit(rng.normal(size=(300, dim))), n_parts=8, part_dim=2, seed=0)
    weights = np.concatenate([plain.weights, rng.random(300).astype(np.float32)])
    vocabulary = Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *tokens])
    return WordVectors(vocabulary, plain.codes, plain.scales, weights, source="test", products=products)


@pytest.fixture(scope="module")
def model() -> TwoTowerModel:
    """A composed model with drawn weights everywhere."""
    words = word_vectors(0)
    config = TwoTowerConfig(
        backbone_options={"taps": [4, 13]},
        composed=SPEC.to_dict(),
        storage="float16",
        word_dim=words.dim,
        vocab_size=len(words.vocabulary),
        text_hidden=16,
        tag_names=["dog", "jazz"],
        **words.sizes,
    )
    torch.manual_seed(0)
    model = TwoTowerModel(config)
    model.read_words(words)
    generator = torch.Generator().manual_seed(1)
    for tower in (model.audio_tower.projection, model.text_tower):
        for name, buffer in tower.named_buffers():
            if name.endswith("covariance"):
                root = torch.randn(buffer.shape, generator=generator)
                buffer.copy_(root @ root.T / len(root))
            elif buffer.is_floating_point() and "running" not in name:
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
    assert isinstance(model.text_tower, ComposedTextTower)
    model.text_tower.read_names(words)
    return model.eval()


@pytest.fixture(scope="module")
def folder(model: TwoTowerModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("composed") / "model"
    model.save_pretrained(folder)
    return folder


def test_audio_vectors_are_unit_and_half_of_each_part(model: TwoTowerModel) -> None:
    features = torch.randn(5, model.audio_tower.backbone.dim)
    vectors = model.audio_tower.projection(features)
    assert vectors.shape == (5, 10)
    assert torch.allclose(vectors.square().sum(1), torch.ones(5), atol=1e-5)
    assert torch.allclose(vectors[:, :4].square().sum(1), torch.full((5,), 0.5), atol=1e-5)


def test_a_cosine_is_the_sum_of_both_standardised_scores(model: TwoTowerModel) -> None:
    tower, projection = model.text_tower, model.audio_tower.projection
    assert isinstance(tower, ComposedTextTower) and isinstance(projection, ComposedProjection)
    words = torch.from_numpy(word_vectors(0).encode(["banjo", "rare7"]))
    features = torch.randn(6, model.audio_tower.backbone.dim)
    coordinates = projection.coordinates(features)

    def standardised(audio: torch.Tensor, text: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        return audio @ text.T / torch.einsum("nd,de,ne->n", text, covariance, text).sqrt()

    fixed = standardised(projection.composed(features, coordinates), tower.composed(words), tower.composed_covariance)
    trained = standardised(projection.trained(coordinates), tower.trained(words), tower.trained_covariance)
    wanted = fixed + tower.gain(words)[:, 0] * trained
    found = projection(features) @ tower(words).T
    ratio = found / wanted
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=1e-3)


def test_the_fixed_text_part_is_the_mean_of_the_classes(model: TwoTowerModel) -> None:
    tower = model.text_tower
    assert isinstance(tower, ComposedTextTower)
    exact = tower.composed(tower.class_vectors)
    softmax = torch.softmax(tower.class_vectors @ tower.class_vectors[:3].T / SPEC.temperature, 1)
    second = torch.softmax(tower.class_vectors @ tower.class_vectors[3:].T / SPEC.temperature, 1)
    assert torch.allclose(exact, softmax @ tower.class_parts[:3] + second @ tower.class_parts[3:], atol=1e-5)


def test_the_gain_rises_towards_the_anchors(model: TwoTowerModel) -> None:
    tower = model.text_tower
    assert isinstance(tower, ComposedTextTower)
    far, anchor = tower.gain(torch.stack([-tower.anchors[0], tower.anchors[0]]))[:, 0].tolist()
    assert far == pytest.approx(SPEC.gain[0], abs=0.02)
    assert SPEC.gain[1] * 0.9 < anchor <= SPEC.gain[1]
    assert not tower.anchors[2].any()  # no word of its name is known


def test_the_numpy_tower_is_the_torch_tower(model: TwoTowerModel, folder: Path) -> None:
    phrases = ["dog", "banjo", "rare3", "jazz rare9 rain"]
    encoder = TextEncoder.load(folder)
    assert encoder.dim == 10
    stored = TwoTowerModel.from_pretrained(folder).encode_text(phrases)
    assert np.allclose(encoder.encode(phrases), stored, atol=1e-5)
    assert np.allclose(encoder.encode(phrases), model.encode_text(phrases), atol=5e-3)  # 16 bits


def test_matrices_are_stored_in_16_bits_and_moments_are_not(model: TwoTowerModel, folder: Path) -> None:
    stored = TwoTowerModel.from_pretrained(folder)
    ours, theirs = model.state_dict(), stored.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert theirs[name].dtype == value.dtype, name
        rounded = value.half().to(value.dtype) if value.is_floating_point() and value.ndim > 1 else value
        assert torch.equal(theirs[name], value if name.endswith("covariance") else rounded), name


def test_training_leaves_the_fixed_part_as_it_is(model: TwoTowerModel, folder: Path) -> None:
    trained = TwoTowerModel.from_pretrained(folder).train()
    before = {name: value.clone() for name, value in trained.named_buffers() if "running" not in name}
    parameters = [p for tower in (trained.audio_tower.projection, trained.text_tower) for p in tower.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    audio = trained.audio_tower.projection(torch.randn(8, trained.audio_tower.backbone.dim))
    text = trained.text_tower(torch.from_numpy(word_vectors(0).encode(list(WORDS))))
    (audio @ text.T).square().mean().backward()
    optimizer.step()
    after = dict(trained.named_buffers())
    for name, value in before.items():
        if "num_batches" not in name:
            assert torch.equal(after[name], value), name


def test_a_start_with_other_words_reads_the_names_again(folder: Path) -> None:
    source = TwoTowerModel.from_pretrained(folder)
    others = word_vectors(5, dim=8)
    model = build_two_tower("mn04", others, tag_names=["dog"], init=folder)
    assert isinstance(model.text_tower, ComposedTextTower) and isinstance(source.text_tower, ComposedTextTower)
    assert model.config.dim == 10 and model.config.backbone_options == {"taps": [4, 13]}
    assert torch.equal(model.text_tower.class_parts, source.text_tower.class_parts)
    assert np.allclose(model.text_tower.class_vectors[3].numpy(), others.encode(["rock"])[0], atol=1e-6)
    same = build_two_tower("mn04", WordVectors.load(folder), tag_names=["dog"], init=folder)
    assert torch.equal(same.text_tower.state_dict()["trained.fc1.weight"], source.text_tower.trained.fc1.weight)


def test_the_space_is_taken_without_the_words(model: TwoTowerModel) -> None:
    source = model.text_tower
    assert isinstance(source, ComposedTextTower)
    target = ComposedTextTower(SPEC, word_dim=8, hidden=16, dropout=0.0)
    take_space(target, source)
    assert torch.equal(target.composed_covariance, source.composed_covariance)
    assert not target.class_vectors.any()


def test_a_spec_survives_json_and_another_version_is_refused() -> None:
    values = SPEC.to_dict() | {"banks": [["dog", "cat", "rain"], ["rock", "jazz"]], "gain": list(SPEC.gain)}
    assert ComposedSpec.from_dict(values) == SPEC
    with pytest.raises(ValueError, match="shape"):
        ComposedSpec.from_dict(values | {"shape": 3})
