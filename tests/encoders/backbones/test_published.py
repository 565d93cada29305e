"""Published checkpoints are loaded strictly; a wrong file is refused with an error of one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import filled_cnn14
from torch import Tensor

from encoders.backbones.convert import EFFICIENTAT_KEYS, PANNS_KEYS, WON_DENSE2_KEYS, WON_DENSE_KEYS, KeyNames
from encoders.backbones.published import PUBLISHED, PublishedError, load_published, published_tags
from encoders.tagger import TaggerNetwork, build_tagger

WON_FRONT_END = {"spec.spectrogram.window": torch.ones(512), "spec.mel_scale.fb": torch.ones(257, 96)}
ONE_LINE = r"^[^\n]{1,400}$"


def won_state() -> dict[str, Tensor]:
    """A state of the smallest network as its makers would have saved it."""
    torch.manual_seed(4)
    state = build_tagger("crnn", n_classes=50).state_dict()
    return WON_FRONT_END | {WON_DENSE_KEYS.theirs(key): tensor.clone() for key, tensor in state.items()}


def saved(folder: Path, state: object) -> Path:
    torch.save(state, folder / "published.pth")
    return folder / "published.pth"


def efficientat_name(key: str) -> str:
    """The published name of a weight of our mn04, by hand."""
    if key.startswith("head."):
        return key.replace("head.3", "classifier.5").replace("head.0", "classifier.2")
    name = key.removeprefix("backbone.")
    return name.replace(".fc", ".conc_se_layers.0.fc") if ".fc1." in name or ".fc2." in name else name


@torch.inference_mode()
def test_a_published_state_is_loaded_and_ready_to_infer(tmp_path: Path) -> None:
    state = won_state()
    tagger = load_published("won2020-msd-crnn", saved(tmp_path, state))
    assert isinstance(tagger, TaggerNetwork)
    assert not tagger.training
    assert torch.equal(tagger.head.weight, state["dense.weight"])
    assert torch.equal(tagger.backbone.layer1.conv.weight, state["layer1.conv.weight"])
    assert tagger(torch.zeros(1, tagger.backbone.min_samples)).shape == (1, 50)


def test_a_state_without_batch_norm_counters_is_loaded(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in won_state().items() if not key.endswith("num_batches_tracked")}
    load_published("won2020-mtat-crnn", saved(tmp_path, state))


def test_efficientat_names_are_converted(tmp_path: Path) -> None:
    torch.manual_seed(4)
    ours = PUBLISHED["efficientat-mn04"].build().state_dict()
    assert {efficientat_name(key) for key in ours} == {EFFICIENTAT_KEYS.theirs(key) for key in ours}
    tagger = load_published("efficientat-mn04", saved(tmp_path, {efficientat_name(k): t for k, t in ours.items()}))
    assert all(torch.equal(tensor, ours[key]) for key, tensor in tagger.state_dict().items())


@pytest.mark.parametrize(
    ("keys", "theirs", "ours"),
    [
        (WON_DENSE2_KEYS, "dense2.weight", "head.weight"),
        (WON_DENSE2_KEYS, "dense1.weight", "backbone.dense1.weight"),
        (WON_DENSE_KEYS, "pooler.dense.weight", "backbone.pooler.dense.weight"),
        (EFFICIENTAT_KEYS, "classifier.5.bias", "head.3.bias"),
        (
            EFFICIENTAT_KEYS,
            "features.4.block.2.conc_se_layers.0.fc1.weight",
            "backbone.features.4.block.2.fc1.weight",
        ),
        (PANNS_KEYS, "fc_audioset.weight", "head.weight"),
        (PANNS_KEYS, "fc1.weight", "backbone.fc1.weight"),
    ],
)
def test_names_are_exchanged_both_ways(keys: KeyNames, theirs: str, ours: str) -> None:
    assert (keys.ours(theirs), keys.theirs(ours)) == (ours, theirs)


def test_panns_layout_is_unwrapped(tmp_path: Path) -> None:
    state = {}
    for key, tensor in filled_cnn14().state_dict().items():
        # One number in the file for each entry of 80 million.
        state[PANNS_KEYS.theirs(key)] = torch.tensor(0.5 if tensor.is_floating_point() else 0).expand(tensor.shape)
    state |= {key: torch.zeros(1) for key in PANNS_KEYS.dropped}
    tagger = load_published("panns-cnn14", saved(tmp_path, {"iteration": 600000, "model": state}))
    assert tagger.head.weight.shape == (527, 2048)
    assert float(tagger.head.weight.detach().min()) == 0.5


def musicnn2019_variables() -> dict[str, np.ndarray]:
    """TensorFlow's variables of musicnn, each filled with its own number."""
    n_in = [(7, 38, 1, 204), (7, 67, 1, 204), (128, 1, 1, 51), (64, 1, 1, 51), (32, 1, 1, 51)]
    shapes = {"conv2d": [*n_in, (7, 561, 1, 64), (7, 64, 1, 64), (7, 64, 1, 64)], "dense": [(1506, 200), (200, 50)]}
    norms = [1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200]
    variables = {}
    for kind, kernels in shapes.items():
        for i, shape in enumerate(kernels):
            name = kind if i == 0 else f"{kind}_{i}"
            variables |= {f"{name}/kernel": np.full(shape, 0.1 * i), f"{name}/bias": np.full(shape[-1], 1.0 + i)}
    for i, width in enumerate(norms):
        name = "batch_normalization" if i == 0 else f"batch_normalization_{i}"
        for j, part in enumerate(("gamma", "beta", "moving_mean", "moving_variance"), start=1):
            variables[f"{name}/{part}"] = np.full(width, 10.0 * i + j)
    return {name: values.astype(np.float32) for name, values in variables.items()}


def test_musicnn2019_variables_find_their_layers(tmp_path: Path) -> None:
    np.savez(tmp_path / "msd.npz", **musicnn2019_variables())
    tagger = load_published("musicnn2019-msd", tmp_path / "msd.npz")
    state = tagger.state_dict()
    for key, number in {
        "backbone.spec_bn.weight": 1,
        "backbone.front.3.bn.running_mean": 43,
        "backbone.mid.2.bn.running_var": 84,
        "backbone.pool_bn.bias": 92,
        "backbone.dense_bn.weight": 101,
        "backbone.mid.0.conv.bias": 6,
        "backbone.dense1.bias": 1,
        "head.bias": 2,
    }.items():
        assert set(state[key].tolist()) == {number}, key


def test_musicnn2019_refuses_other_variables(tmp_path: Path) -> None:
    variables = musicnn2019_variables()
    variables["dense_9/kernel"] = variables.pop("dense/kernel")
    np.savez(tmp_path / "msd.npz", **variables)
    with pytest.raises(PublishedError, match=r"lacks dense/kernel and has unknown entries dense_9/kernel$"):
        load_published("musicnn2019-msd", tmp_path / "msd.npz")


def test_a_missing_and_an_unknown_key_are_named(tmp_path: Path) -> None:
    state = won_state()
    state["layer9.conv.weight"] = state.pop("layer2.conv.weight")
    with pytest.raises(
        PublishedError, match=r"lacks layer2\.conv\.weight and has unknown entries layer9\.conv\.weight"
    ):
        load_published("won2020-msd-crnn", saved(tmp_path, state))


def test_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=ONE_LINE) as caught:
        load_published("efficientat-mn04", saved(tmp_path, won_state()))
    assert "published.pth, to be loaded as efficientat-mn04, lacks classifier.2.bias" in str(caught.value)
    assert "more" in str(caught.value)


def test_another_shape_is_refused(tmp_path: Path) -> None:
    state = won_state()
    state["dense.bias"] = torch.zeros(49)
    with pytest.raises(PublishedError, match=r"dense\.bias \[shape=\(49,\)\], the tagger needs \[shape=\(50,\)\]"):
        load_published("won2020-msd-crnn", saved(tmp_path, state))


def test_values_that_are_no_numbers_are_refused_and_denormals_become_zero(tmp_path: Path) -> None:
    state = won_state()
    state["dense.bias"][:2] = 1e-40
    assert torch.equal(load_published("won2020-msd-crnn", saved(tmp_path, state)).head.bias[:2], torch.zeros(2))
    state["dense.bias"][0] = torch.nan
    with pytest.raises(PublishedError, match=r"NaN or infinite values in dense\.bias"):
        load_published("won2020-msd-crnn", saved(tmp_path, state))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint\n" * 50, b"PK\x03\x04broken", b"\x80\x04\x95broken"])
@pytest.mark.parametrize("name", ["won2020-msd-crnn", "musicnn2019-msd"])
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(PublishedError, match=ONE_LINE) as caught:
        load_published(name, tmp_path / "file")
    assert "is damaged or no" in str(caught.value)


def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path) -> None:
    torch_file = saved(tmp_path, won_state())
    np.savez(tmp_path / "msd.npz", **musicnn2019_variables())
    for name, file in (("won2020-msd-crnn", torch_file), ("musicnn2019-msd", tmp_path / "msd.npz")):
        file.write_bytes(file.read_bytes()[:-3000])
        with pytest.raises(PublishedError, match=ONE_LINE):
            load_published(name, file)


def test_pickled_objects_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=ONE_LINE):
        load_published("won2020-msd-crnn", saved(tmp_path, {"dense.bias": Path("x")}))
    np.savez(tmp_path / "msd.npz", **{"dense/kernel": np.array([Path("x")], dtype=object)})
    with pytest.raises(PublishedError, match=ONE_LINE):
        load_published("musicnn2019-msd", tmp_path / "msd.npz")


@pytest.mark.parametrize("content", [[1, 2], {"dense.bias": "text"}, torch.zeros(3), {"model": {"a": 1}}])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(PublishedError, match="is not a state dict of tensors"):
        load_published("won2020-msd-crnn", saved(tmp_path, content))


def test_a_missing_file_is_told_where_it_is_published(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is missing: vggish is published at github\.com/harritaylor"):
        load_published("vggish", tmp_path / "vggish.pth")


def test_an_unknown_name_is_told_what_there_is(tmp_path: Path) -> None:
    for call in (lambda: load_published("resnet", tmp_path), lambda: published_tags("resnet")):
        with pytest.raises(ValueError, match="unknown published tagger 'resnet': choose one of won2020-mtat-fcn, "):
            call()


def test_tags_have_the_published_order() -> None:
    counts = {name: len(published_tags(name) or ()) for name in PUBLISHED}
    audioset = {"panns-cnn14": 527, "efficientat-mn04": 527, "efficientat-mn10": 527}
    assert counts == dict.fromkeys(PUBLISHED, 50) | audioset | {"vggish": 0}
    assert published_tags("vggish") is None
    assert published_tags("won2020-mtat-fcn")[:3] == ("guitar", "classical", "slow")
    assert published_tags("won2020-msd-musicnn")[:3] == ("rock", "pop", "alternative")
    assert published_tags("won2020-jamendo-crnn")[4] == "genre---classical"
    assert published_tags("efficientat-mn04")[0] == "Speech"
    assert all(len(set(published_tags(name) or ())) == count for name, count in counts.items())
