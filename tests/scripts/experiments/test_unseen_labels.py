"""Labels that a model was not trained on: the list, test sets, metrics by their definitions, refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.two_tower import TwoTowerModel
from retrieval.datasets.base import TaggedClip, TaggedClips
from retrieval.label_file import read_label_file
from scripts.experiments import unseen_labels as experiment
from scripts.experiments.unseen_labels import LabelMetrics, TestSet

KEPT_SEEN = ("violin", "flute", "double bass", "snare drum", "bass drum")


def clips_of(*labels: str, split: str | None = None) -> TaggedClips:
    made = tuple(TaggedClip(Path(f"{i}.wav"), tuple(row.split(";")), split) for i, row in enumerate(labels))
    return TaggedClips(clips=made, name="made")


def model_dir(folder: Path, held_out: Sequence[str] | None) -> Path:
    folder.mkdir()
    notes = {} if held_out is None else {"held_out_labels": {"labels": {label: {} for label in held_out}}}
    (folder / "training.json").write_text(json.dumps(notes), encoding="utf-8")
    return folder


def metrics_of(group: str, chance: float, seen: float, unseen: float) -> LabelMetrics:
    return LabelMetrics(group, chance, seen, unseen, {"t": {"clips": 10, "positives": 5}})


def test_the_list_has_sixty_labels_in_three_groups() -> None:
    labels = read_label_file(experiment.LABELS)
    text = experiment.LABELS.read_text(encoding="utf-8")
    assert len(labels) == 60
    instruments, genres, sounds = ([line for line in part.splitlines()[1:] if line] for part in text.split("\n\n")[-3:])
    assert [len(group) for group in (instruments, genres, sounds)] == [42, 4, 14]
    assert set(genres) == experiment.GENRES
    assert not set(KEPT_SEEN) & set(labels)
    for group in (instruments, genres, sounds):
        assert group == sorted(group)


def test_labels_are_measured_on_sets_that_have_them() -> None:
    sets = {
        "a": TestSet("instruments", clips_of(*["harp;solo"] * 5, *["oboe"] * 4)),
        "b": TestSet("sounds", clips_of(*["rain;harp"] * 5)),
    }
    assert experiment.measurable(sets, ["rain", "oboe", "harp"]) == {"a": ["harp"], "b": ["harp", "rain"]}


def test_test_sets_have_the_genres_and_one_fold(tmp_path: Path) -> None:
    rows = {
        "emotify": "a.wav,rock;sadness,eval\nb.wav,pop,eval\n",
        "esc": "a.wav,dog,fold1\nb.wav,rain,fold5\n",
        "instruments_freesound": "a.wav,cello,\nb.wav,flute,\n",
    }
    for pack, lines in rows.items():
        (tmp_path / pack).mkdir()
        (tmp_path / pack / "labels.csv").write_text(f"file,labels,split\n{lines}", encoding="utf-8")
        for name in ("a.wav", "b.wav"):
            (tmp_path / pack / name).touch()
    sets = experiment.test_sets(tmp_path, clips_of("harp"))
    assert {name: (of.group, of.clips.tags) for name, of in sets.items()} == {
        "instruments_freesound": ("instruments", ("cello", "flute")),
        "synthesised": ("instruments", ("harp",)),
        "emotify": ("genres", ("pop", "rock")),
        "esc, fold 5": ("sounds", ("rain",)),
    }
    assert len(sets["emotify"].clips) == 2


def test_metrics_are_mean_average_precisions_over_the_sets_of_a_label() -> None:
    sets = {
        "a": TestSet("instruments", clips_of("harp", "oboe", "harp", "oboe")),
        "b": TestSet("instruments", clips_of("oboe", "harp", "oboe")),
        "c": TestSet("sounds", clips_of("rain", "wind")),
    }
    names = {"a": ["harp", "oboe"], "b": ["harp"], "c": ["rain"], "d": []}
    rng = np.random.default_rng(3)
    scores = {test: rng.random((2, len(of.clips), len(names[test]))) for test, of in sets.items()}
    scores["b"][0] = [[0.9], [0.5], [0.1]]  # the one harp comes second of three

    def scored(test: str, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        assert list(labels) == names[test]
        return scores[test][0], scores[test][1]

    found = experiment.measured(sets, names, scored)
    assert list(found) == ["harp", "oboe", "rain"]
    assert found["harp"].tests["b"] == pytest.approx(
        {"clips": 3, "positives": 1, "chance": 1 / 3, "seen": 0.5, "unseen": found["harp"].tests["b"]["unseen"]}
    )
    harp = np.array([True, False, True, False])
    assert found["harp"].seen == pytest.approx((average_precision_score(harp, scores["a"][0][:, 0]) + 0.5) / 2)
    assert found["harp"].chance == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found["oboe"].unseen == pytest.approx(average_precision_score(~harp, scores["a"][1][:, 1]))
    assert (found["rain"].group, found["rain"].chance) == ("sounds", 0.5)


def test_summaries_are_means_over_labels_with_a_paired_interval() -> None:
    found = {
        "harp": metrics_of("instruments", 0.1, 0.8, 0.6),
        "oboe": metrics_of("instruments", 0.3, 0.4, 0.3),
        "rain": metrics_of("sounds", 0.5, 0.9, 0.9),
    }
    summary = experiment.summarise(found, {"flute": metrics_of("instruments", 0.2, 0.5, 0.55)})
    assert list(summary) == ["instruments", "sounds", "all", "not held out"]
    instruments = summary["instruments"]
    assert {key: instruments[key] for key in ("labels", "chance", "seen_map", "unseen_map", "difference")} == (
        pytest.approx({"labels": 2, "chance": 0.2, "seen_map": 0.6, "unseen_map": 0.45, "difference": -0.15})
    )
    # Of two labels drawn with replacement, each is drawn twice in a quarter of the resamples.
    assert instruments["interval"] == pytest.approx((-0.2, -0.1))
    assert summary["all"]["difference"] == pytest.approx(-0.1)
    assert summary["not held out"]["interval"] == pytest.approx((0.05, 0.05))


def test_the_interval_follows_the_spread_of_the_differences() -> None:
    differences = np.random.default_rng(1).normal(-0.1, 0.2, 400)
    low, high = experiment.interval(differences)
    error = differences.std() / np.sqrt(len(differences))
    assert (low, high) == pytest.approx(
        (differences.mean() - 1.96 * error, differences.mean() + 1.96 * error), abs=0.1 * error
    )
    assert experiment.interval(differences) == (low, high)


def test_labels_not_held_out_are_those_that_reveal_nothing() -> None:
    model = TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR)
    sets = {"t": TestSet("instruments", clips_of("saxophone;alto saxophone", "guitar", "acoustic guitar", "xyzzyq"))}
    assert experiment.others(sets, ["saxophone", "acoustic guitar"], model) == ["guitar"]


def test_a_model_trained_with_a_label_is_refused(tmp_path: Path) -> None:
    labels = ["cello", "harp", "rain"]
    good, seen = model_dir(tmp_path / "good", labels), model_dir(tmp_path / "seen", None)
    experiment.check_models(seen, good, labels)
    with pytest.raises(ValueError, match=r"does not record that 3 of 3 labels were held out \(cello, harp, rain\)"):
        experiment.check_models(seen, seen, labels)
    part = model_dir(tmp_path / "part", labels[:2])
    with pytest.raises(ValueError, match=r"does not record that 1 of 3 labels were held out \(rain\)"):
        experiment.check_models(seen, part, labels)
    with pytest.raises(ValueError, match="was itself trained without 2 of the labels: cello, harp"):
        experiment.check_models(part, good, labels)
    with pytest.raises(ValueError, match=r"has no readable training\.json"):
        experiment.check_models(seen, tmp_path, labels)


def test_a_fine_tuned_model_has_the_labels_of_both_stages(tmp_path: Path) -> None:
    first = json.loads((model_dir(tmp_path / "first", ["cello", "harp"]) / "training.json").read_text(encoding="utf-8"))
    for name, tags in (("blind", ["oboe"]), ("seen", ["oboe", "harp"])):
        (tmp_path / name).mkdir()
        notes = json.dumps({"tags": tags, "start": first})
        (tmp_path / name / "training.json").write_text(notes, encoding="utf-8")
    assert experiment.held_out_by(tmp_path / "blind") == {"cello", "harp"}
    assert experiment.held_out_by(tmp_path / "seen") == {"cello"}


def test_the_shipped_model_is_refused_as_the_unseen_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["x", "--data", str(tmp_path), "--unseen", str(DEFAULT_MODEL_DIR), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", argv)
    assert experiment.main() == 2
    assert "does not record that 60 of 60 labels were held out" in capsys.readouterr().err
