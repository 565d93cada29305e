"""The directory of a closed-set tagger in every command that takes a model: scored by its own tags, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli_helpers import Call, one_line

from encoders.checkpoint import ModelDirError
from encoders.tagger_model import TaggerConfig, TaggerModel
from encoders.text.tower import TextEncoder
from retrieval.datasets.base import TaggedClip
from retrieval.evaluation.scoring import score_clips
from retrieval.tagger import LabelError
from retrieval.tagging import ClosedSetTagger, open_tagger

TAGS = ["Piano", "rain", "dog bark"]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    model = TaggerModel(TaggerConfig(backbone="musicnn2019", tag_names=TAGS, chunk_s=3.0)).eval()
    with torch.no_grad():
        model.tagger.head.weight.mul_(20)  # so that tags differ
    folder = tmp_path_factory.mktemp("tagger") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips with a table, and the first of them as an array."""
    folder = tmp_path_factory.mktemp("clips")
    for i, labels in enumerate(("Piano", "rain", "rain;Piano")):
        noise = np.random.default_rng(i).uniform(-0.3, 0.3, 16000 * 7) * np.linspace(0.1, 1, 16000 * 7) ** i
        soundfile.write(folder / f"{i}.wav", noise.astype(np.float32), 16000, subtype="FLOAT")
        if not i:
            np.save(folder / "0.npy", noise.astype(np.float32))
        with (folder / "labels.csv").open("a") as table:
            table.write(("" if i else "file,labels\n") + f"{i}.wav,{labels}\n")
    return folder


def test_scores_are_the_mean_probabilities_of_files_and_arrays(model_dir: Path, clips: Path, tmp_path: Path) -> None:
    files = [TaggedClip(clips / f"{i}.wav", ("rain",)) for i in range(3)]
    array = TaggedClip(clips / "0.npy", ("rain",), array_rate_hz=16000)
    tags = ["dog bark", "piano"]
    tagger = open_tagger(model_dir, device="cpu")
    scored = score_clips(tagger, [*files, array], tags, cache_dir=tmp_path)
    expected = TaggerModel.from_pretrained(model_dir).tag_audio([clip.path for clip in files])
    assert scored.kept.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(scored.scores[:3], expected[:, [2, 0]], atol=1e-6)
    np.testing.assert_allclose(scored.scores[3], scored.scores[0], atol=1e-6)
    assert len(list(tmp_path.glob("*.npy"))) == 4
    again = score_clips(tagger, files, tags, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.scores, scored.scores[:3])


def test_tags_that_are_not_its_own_cannot_be_scored(model_dir: Path) -> None:
    tagger = open_tagger(model_dir, device="cpu")
    assert tagger.unknown_labels(["rain", "PIANO", "flute"]) == ["flute"]
    with pytest.raises(LabelError, match="not tags of this model: 'flute'"):
        score_clips(tagger, [], ["rain", "flute"])


def test_evaluate_takes_its_directory(model_dir: Path, clips: Path, call: Call) -> None:
    status, out, err = call("evaluate", model_dir, "--data", clips, "--json", "--device", "cpu")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["parts"]["all"]["n_clips"] == 3 and 0 < found["parts"]["all"]["tag_to_clip"]["map"] <= 1
    (clips / "other.csv").write_text("file,labels\n0.wav,flute\n1.wav,rain\n")
    status, out, err = call("evaluate", model_dir, "--data", clips / "other.csv", "--json")
    assert one_line(err, start="warning: label 'flute': it is not a tag of this model; it has ")
    assert (status, json.loads(out)["unknown"], json.loads(out)["parts"]["all"]["n_tags"]) == (0, {"flute": []}, 1)
    (clips / "none.csv").write_text("file,labels\n0.wav,flute\n1.wav,harp\n")
    status, out, err = call("evaluate", model_dir, "--data", clips / "none.csv")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: the model knows none of the 2 labels: flute, harp")


def test_tag_scores_its_own_tags(model_dir: Path, clips: Path, call: Call) -> None:
    status, out, _ = call("tag", clips / "2.wav", "--model", model_dir, "--json", "--device", "cpu")
    expected = TaggerModel.from_pretrained(model_dir).tag_audio([clips / "2.wav"])[0]
    told = json.loads(out)["tags"]
    assert status == 0 and [tag["tag"] for tag in told] == [TAGS[i] for i in np.argsort(-expected)]
    np.testing.assert_allclose([tag["score"] for tag in told], np.sort(expected)[::-1], atol=1e-5)
    found = ClosedSetTagger.from_dir(model_dir, device="cpu").tag(clips / "2.wav", ["piano"])
    assert found.spans_s.tolist() == [[0, 3], [3, 6], [4, 7]]


def test_labels_that_are_not_its_own_are_named_with_near_ones(model_dir: Path, clips: Path, call: Call) -> None:
    status, out, err = call("tag", clips / "0.wav", "--model", model_dir, "--labels", "dog")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: not tags of this model: 'dog'; similar tags are 'dog bark'")


@pytest.mark.parametrize("command", [("index", "build", "{clips}"), ("search", "rain")])
def test_index_and_search_say_that_it_has_no_text_tower(
    command: tuple[str, ...], model_dir: Path, clips: Path, tmp_path: Path, call: Call
) -> None:
    arguments = [part.format(clips=clips) for part in command]
    status, out, err = call(*arguments, "--model", model_dir, "--index", tmp_path / "index")
    assert (status, out) == (2, "")
    assert one_line(err, start=f"error: {model_dir} holds a closed-set tagger, which has no text tower")


def test_a_damaged_tagger_is_refused(model_dir: Path, tmp_path: Path) -> None:
    for path in model_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelDirError, match=r"model\.safetensors is damaged or was changed"):
        TaggerModel.from_pretrained(tmp_path)
    with pytest.raises(ModelDirError, match="no text tower"):
        TextEncoder.load(model_dir)
