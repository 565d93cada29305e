"""The whole path with a CLAP checkpoint: index, search, tag, evaluate, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from clap_models import RATE_HZ, save_clap, some_sounds
from cli_helpers import Call, one_line

from encoders import load_model, load_text
from index import VectorIndex
from retrieval import Retriever, ZeroShotTagger

SLOW = "note: loading the CLAP model takes some seconds; the shipped model answers at once\n"
COSINES = "note: the scores are cosines: they rank the labels of a file, and are no probabilities\n"
LABELS = ["acoustic guitar", "a dog barking", "techno", "rain"]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five unlike sounds of 10 s, one of them twice as long, with labels."""
    folder = tmp_path_factory.mktemp("sounds")
    rows = ["file,labels"]
    for number, (name, sound) in enumerate(some_sounds().items()):
        samples = np.concatenate([sound, sound[::-1]]) if name == "sweep" else sound
        soundfile.write(folder / f"{name}.wav", samples, RATE_HZ, subtype="FLOAT")
        rows.append(f"{name}.wav,{LABELS[number % 4]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def clap_index(sounds: Path, clap_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of the sounds by the CLAP model, made by the command."""
    from retrieval.cli.app import main

    place = tmp_path_factory.mktemp("clap-index") / "clap.index"
    with pytest.raises(SystemExit) as end:
        main(["index", "build", str(sounds), "--index", str(place), "--model", str(clap_dir), "--workers", "1"])
    assert end.value.code == 0
    return place


def test_the_index_holds_the_vectors_of_the_model(clap_index: Path, clap_dir: Path, sounds: Path, call: Call) -> None:
    status, out, _ = call("index", "info", "--index", clap_index, "--json")
    info = json.loads(out)
    assert (status, info["tracks"], info["segments"]) == (0, 5, 6)
    assert (info["dim"], info["segment_s"], info["hop_s"], info["model"]) == (16, 10.0, 10.0, "tiny-clap")
    tower = load_model(clap_dir)
    assert info["model_fingerprint"] == tower.fingerprint
    with VectorIndex.open(clap_index) as index:
        held = index.vectors(str(sounds / "tone.wav").encode())
    np.testing.assert_allclose(held, tower.chunk_features(some_sounds()["tone"][None]), atol=2e-3)  # stored in 16 bits


def test_a_second_build_reads_nothing_again(clap_index: Path, clap_dir: Path, sounds: Path, call: Call) -> None:
    status, out, _ = call("index", "build", sounds, "--index", clap_index, "--model", clap_dir)
    assert status == 0
    assert out.startswith("5 unchanged (0:00 of audio")


def test_search_ranks_by_the_cosine_and_says_once_that_it_loads(
    clap_index: Path, clap_dir: Path, sounds: Path, call: Call
) -> None:
    status, out, err = call("techno", "--index", clap_index, "--model", clap_dir, "--json")
    assert (status, err) == (0, SLOW)
    hits = [json.loads(line) for line in out.splitlines()]
    tower, text = load_model(clap_dir), load_text(clap_dir)
    (query,) = text.encode(["techno"])
    expected = {name: float(tower.chunk_features(sound[None])[0] @ query) for name, sound in some_sounds().items()}
    del expected["sweep"]  # has two segments
    found = {Path(hit["path"]).stem: hit["score"] for hit in hits}
    assert set(found) == {*expected, "sweep"}
    for name, score in expected.items():
        assert found[name] == pytest.approx(score, abs=5e-3)
    assert max(expected.values()) - min(expected.values()) > 0.3


def test_a_prompt_of_ones_own(clap_index: Path, clap_dir: Path, call: Call) -> None:
    options = ("--index", clap_index, "--model", clap_dir, "--json")
    default = call("techno", *options)[1]
    assert call("techno", *options, "--prompt", "This is a sound of {}.")[1] == default
    assert call("This is a sound of techno.", *options, "--prompt", "{}")[1] == default
    assert call("techno", *options, "--prompt", "{}")[1] != default
    assert one_line(
        call("techno", *options, "--prompt", "techno")[2], start="error: the prompt 'techno' must have one {}"
    )


def test_what_is_excluded_lowers_tracks_and_leaves_none_out(clap_index: Path, clap_dir: Path, call: Call) -> None:
    options = ("--index", clap_index, "--model", clap_dir, "--json")
    status, out, err = call("techno", "--not", "rain", *options)
    assert status == 0
    assert err == SLOW + (
        "note: this CLAP model has no calibrated probabilities: --not only turns the query away from a phrase\n"
    )
    assert len(out.splitlines()) == 5
    plain = [json.loads(line)["score"] for line in call("techno", *options)[1].splitlines()]
    assert [json.loads(line)["score"] for line in out.splitlines()] != plain


def test_a_sound_as_the_query(clap_index: Path, clap_dir: Path, sounds: Path, tmp_path: Path, call: Call) -> None:
    options = ("--index", clap_index, "--model", clap_dir, "--json")
    status, out, err = call("--like", sounds / "tone.wav", *options)
    assert (status, err) == (0, "")  # its vectors are in the index: no model is loaded
    assert [Path(json.loads(line)["path"]).stem for line in out.splitlines()].count("tone") == 0
    copy = tmp_path / "louder tone.wav"
    soundfile.write(copy, 0.9 * some_sounds()["tone"], RATE_HZ, subtype="FLOAT")
    status, out, err = call("--like", copy, "--top", "1", *options)
    assert (status, err) == (0, "")
    assert json.loads(out)["score"] > 0.9
    status, out, err = call("--like", copy, "rain", *options)
    assert (status, err, len(out.splitlines())) == (0, SLOW, 5)


def test_tags_are_scored_by_cosines(clap_dir: Path, sounds: Path, call: Call) -> None:
    path = sounds / "sweep.wav"
    status, out, err = call("tag", path, "--labels", ",".join(LABELS), "--model", clap_dir, "--json")
    assert (status, err) == (0, SLOW + COSINES)
    found = json.loads(out)
    assert found["scores_are"] == "cosine"
    tower, text = load_model(clap_dir), load_text(clap_dir)
    sweep = some_sounds()["sweep"]
    cosines = (tower.chunk_features(np.stack([sweep, sweep[::-1]])) @ text.encode(LABELS).T).mean(axis=0)
    assert {tag["tag"]: tag["score"] for tag in found["tags"]} == pytest.approx(
        dict(zip(LABELS, map(float, cosines), strict=True)), abs=1e-3
    )
    assert min(cosines) < 0  # negative ones are listed too
    status, out, _ = call("tag", path, "--labels", ",".join(LABELS), "--model", clap_dir, "--json", "--threshold", "0")
    assert len(json.loads(out)["tags"]) == sum(cosines >= 0)


def test_a_label_that_is_too_long_is_left_out_and_none_is_respelled(
    clap_dir: Path, sounds: Path, tmp_path: Path, call: Call
) -> None:
    too_long = "piano " * 80
    (tmp_path / "labels.txt").write_text(f"guiatr\n{too_long}\nrain\n", encoding="utf-8")
    given = ("tag", sounds / "noise.wav", "--labels-file", tmp_path / "labels.txt", "--model", clap_dir, "--json")
    status, out, err = call(*given)
    assert status == 0
    assert {tag["tag"] for tag in json.loads(out)["tags"]} == {"guiatr", "rain"}
    assert json.loads(out)["unknown"] == {too_long.strip(): []}
    (warning,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert warning.startswith("warning: label 'piano piano ") and "tokens with the prompt" in warning
    assert warning.endswith("shorten it: it is left out") and len(warning) < 300


def test_the_labels_of_the_shipped_model_by_default(clap_dir: Path, sounds: Path, call: Call) -> None:
    status, out, _ = call("tag", sounds / "noise.wav", "--model", clap_dir, "--json", "--top", "2000")
    names = {tag["tag"] for tag in json.loads(out)["tags"]}
    assert status == 0
    assert names == set(ZeroShotTagger.open().tags)


def test_a_taggram(clap_dir: Path, sounds: Path, tmp_path: Path, call: Call) -> None:
    picture = tmp_path / "tags.png"
    status, _, _ = call(
        "tag", sounds / "sweep.wav", "--labels", "rain,techno", "--model", clap_dir, "--taggram", picture
    )
    assert status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_evaluate(clap_dir: Path, sounds: Path, tmp_path: Path, call: Call) -> None:
    options = ("--data", sounds, "--json", "--cache", tmp_path / "cache")
    status, out, err = call("evaluate", clap_dir, *options)
    assert (status, err.splitlines()[0] + "\n") == (0, SLOW)
    whole = json.loads(out)["parts"]["all"]
    assert (whole["n_clips"], whole["n_tags"]) == (5, 4)
    tagger = ZeroShotTagger.open(clap_dir)
    scores = np.stack([tagger.scores(sounds / f"{name}.wav", LABELS) for name in some_sounds()])
    truth = np.eye(4, dtype=bool)[[number % 4 for number in range(5)]]
    first = np.mean([truth[row, scores[row].argmax()] for row in range(5)])
    assert whole["clip_to_tag"]["precision_at_1"] == first
    assert call("evaluate", clap_dir, *options)[1] == out  # from the cache


def test_the_python_interface(clap_index: Path, clap_dir: Path, sounds: Path) -> None:
    with Retriever.open(clap_index, model_dir=clap_dir, prompt="{}") as retriever:
        hits = retriever.search("techno music", top=2)
        assert len(hits) == 2
        reading = retriever.read("guitar without drums")
        assert reading.exclude == ("drums",)
        assert [note for note in reading.notes if "no calibrated probabilities" in note]
        assert len(retriever.search("guitar without drums")) == 5
        tags = retriever.tag(sounds / "tone.wav", LABELS)
    assert tags.scores_are == "cosine"


# What is refused


def test_an_index_of_another_model_is_refused(
    clap_index: Path, clap_dir: Path, music_index: Path, tmp_path: Path, call: Call
) -> None:
    other = tmp_path / "other"
    save_clap(other, seed=1)
    for place, model in ((clap_index, other), (clap_index, None), (music_index, clap_dir)):
        given = () if model is None else ("--model", model)
        status, out, err = call("techno", "--index", place, *given)
        assert (status, out) == (2, "")
        assert one_line(err, start=f"error: the index at {place} was made by model")
        assert "use the model that made it" in err
    status, _, err = call("index", "build", tmp_path, "--index", clap_index, "--model", other)
    assert status == 2
    assert "was made by model" in err
    assert "(tiny-clap)" in err


def test_a_broken_model_builds_no_index(clap_dir: Path, sounds: Path, tmp_path: Path, call: Call) -> None:
    from safetensors.torch import load_file, save_file

    broken, place = tmp_path / "broken", tmp_path / "index"
    shutil.copytree(clap_dir, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["text_projection.linear2.weight"].mul_(1e-4)
    tensors["text_projection.linear2.bias"].fill_(1.0)
    save_file(tensors, broken / "model.safetensors")
    status, _, err = call("index", "build", sounds, "--index", place, "--model", broken)
    assert status == 2
    assert "hears no difference between phrases" in err.splitlines()[-1]
    assert "use another model, such as laion/clap-htsat-unfused" in err.splitlines()[-1]
    assert not place.exists()
    status, out, err = call("tag", sounds / "tone.wav", "--labels", "rain", "--model", broken)
    assert (status, out) == (2, "")
    assert "hears no difference between phrases" in err


def test_a_name_that_cannot_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, sounds: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for command in (
        ("index", "build", sounds, "--index", tmp_path / "index"),
        ("tag", sounds / "tone.wav", "--labels", "rain"),
        ("rain", "--index", tmp_path / "index"),
    ):
        status, out, err = call(*command, "--model", "laion/clap-htsat-unfused")
        assert (status, out) == (2, "")
        assert one_line(err, start="error: there is no folder 'laion/clap-htsat-unfused', and no model of this name")
        assert "hf download laion/clap-htsat-unfused --local-dir DIR" in err


def test_a_prompt_is_not_for_other_models(sounds: Path, music_index: Path, call: Call) -> None:
    for command in (("rain", "--index", music_index), ("tag", sounds / "tone.wav", "--labels", "rain")):
        status, out, err = call(*command, "--prompt", "a song with {}")
        assert (status, out) == (2, "")
        assert one_line(err, start="error: a prompt is for CLAP models: the model in")
