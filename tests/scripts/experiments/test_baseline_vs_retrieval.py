"""The comparison of the baseline with retrieval: tags, budgets, metrics, spreads, differences; nothing is trained."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from retrieval.datasets.base import TaggedClip, TaggedClips
from retrieval.training.mining import NEGATIVES
from scripts.experiments import baseline_vs_retrieval as experiment
from scripts.experiments.comparison import runs as comparison_runs
from scripts.experiments.comparison.data import Material, Rendering, frequent_tags, only_tags
from scripts.experiments.comparison.options import parse_arguments
from scripts.experiments.comparison.report import Spread, compare, metrics_of, summarise


def clips_of(*labels: str) -> TaggedClips:
    made = tuple(TaggedClip(Path(f"{i}.wav"), tuple(row.split(";"))) for i, row in enumerate(labels))
    return TaggedClips(clips=made, name="made")


def methods_of(**values: tuple[float, ...]) -> dict[str, dict[str, Spread]]:
    return {name.replace("_", "-"): {"seen_map": Spread(found)} for name, found in values.items()}


def options_of(*more: str) -> Any:
    return parse_arguments(None, ["--data", "d", "--init", "i", "--out", "o", *more])


def test_tags_are_frequent_instruments() -> None:
    rows = [["banjo", "normal"], ["banjo", "normal", "harp"], ["harp", "solo"], ["oboe"]]
    assert frequent_tags(rows, at_least=2) == ["banjo", "harp"]
    assert frequent_tags(rows, at_least=1) == ["banjo", "harp", "oboe"]


def test_clips_without_a_wanted_tag_are_left_out() -> None:
    left = only_tags(clips_of("harp;solo", "oboe", "harp;oboe"), ["harp"])
    assert [(clip.path.name, clip.labels) for clip in left.clips] == [("0.wav", ("harp",)), ("2.wav", ("harp",))]


def test_only_tags_that_a_test_set_has_are_measured() -> None:
    tests = {"t": clips_of("flute;harp", "piano")}
    material = Material(clips_of("piano;organ", "flute"), tests, unseen=("banjo", "harp"), removed={})
    assert material.measured("t") == (["flute", "piano"], ["harp"])


def test_a_training_soundfont_is_refused_as_a_test_soundfont(tmp_path: Path) -> None:
    sizes = {"train_clips": 1, "test_clips": 1, "clip_s": 1.0}
    same = tmp_path / "a.sf2"
    with pytest.raises(ValueError, match="both a training and a test soundfont"):
        Rendering(train_fonts=(tmp_path / "x" / ".." / "a.sf2",), test_fonts=(same,), **sizes)
    with pytest.raises(FileNotFoundError, match=r"a\.sf2 is missing; choose another with --train-soundfont"):
        Rendering(train_fonts=(same,), test_fonts=(), **sizes).described()


def test_all_methods_see_the_same_number_of_clips() -> None:
    args = options_of("--epochs", "3", "--batch", "32")
    seen = {method: comparison_runs.epochs_of(method, args, 1700)[1] * 32 for method in ("bce", *NEGATIVES)}
    # 24 of 32 clips are drawn, the others are negatives: 71 batches per epoch, three epochs; the baseline has 54, four.
    assert {seen[name] for name in NEGATIVES} == {3 * 71 * 32}
    assert seen["bce"] == 4 * 54 * 32


def test_configs_differ_in_objective_and_negatives_alone() -> None:
    args = options_of()
    configs = {
        method: comparison_runs.config_of(method, 7, 3e-3, args, 1700, Path("w")) for method in ("bce", *NEGATIVES)
    }
    assert [config.negatives for name, config in configs.items() if name != "bce"] == list(NEGATIVES)
    for name, config in configs.items():
        assert config.objective == ("bce" if name == "bce" else "contrastive")
        assert (config.optim.learning_rate, config.optim.optimizer, config.freeze_stages, config.crop_s) == (
            3e-3,
            "adamw",
            7,
            5.0,
        )
        assert (config.optim.seed, config.batch.seed, config.batch.size) == (7, 7, 32)


def test_metrics_of_a_model_and_of_a_baseline() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((12, 4), dtype=bool)
    truth[np.arange(12), np.arange(12) % 4] = True
    scores = rng.random((12, 4))
    tags, unseen = ["a", "b", "y", "z"], ["y", "z"]
    found, chance = metrics_of(scores, truth, tags, unseen)

    def map_of(rows: np.ndarray, columns: list[int]) -> float:
        return float(np.mean([average_precision_score(truth[rows, c], scores[rows, c]) for c in columns]))

    every = np.ones(12, dtype=bool)
    assert found["seen_map"] == pytest.approx(map_of(truth[:, :2].any(1), [0, 1]))
    assert found["unseen_map"] == pytest.approx(map_of(truth[:, 2:].any(1), [2, 3]))
    seen, new = map_of(every, [0, 1]), map_of(every, [2, 3])
    assert found["generalised_seen_map"] == pytest.approx(seen)
    assert found["generalised_unseen_map"] == pytest.approx(new)
    assert found["harmonic_map"] == pytest.approx(statistics.harmonic_mean([seen, new]))
    assert chance == pytest.approx({"seen_map": 0.5, "unseen_map": 0.5, "generalised_unseen_map": 0.25})
    baseline, _ = metrics_of(scores[:, :2], truth, tags, unseen)
    assert {name: value for name, value in baseline.items() if value is not None} == {
        name: found[name] for name in ("seen_map", "seen_p10", "seen_r10")
    }


def record_of(method: str, seed: int, seen: float, unseen: float | None) -> dict[str, Any]:
    return {
        "method": method,
        "seed": seed,
        "tests": {"t": {"seen_map": seen, "unseen_map": unseen}},
        "training": {"collapse": None if method == "bce" else 0.1 * seed},
    }


def test_means_and_spreads_over_seeds() -> None:
    records = [record_of("bce", 1, 0.5, None), record_of("bce", 0, 0.3, None), record_of("hard", 2, 0.6, 0.2)]
    summary = summarise(records)
    assert list(summary["t"]) == ["bce", "hard"]
    assert summary["t"]["bce"]["seen_map"].values == (0.3, 0.5)
    assert "unseen_map" not in summary["t"]["bce"]
    assert summary["t"]["bce"]["seen_map"].to_dict() == {"mean": 0.4, "sd": 0.141421, "values": [0.3, 0.5]}
    assert str(summary["t"]["bce"]["seen_map"]) == "0.400 ± 0.141"
    assert summary["training"] == {"bce": {}, "hard": {"collapse": Spread((0.2,))}}
    assert math.isnan(summary["t"]["hard"]["seen_map"].sd)
    assert str(summary["t"]["hard"]["seen_map"]) == "0.600"


def test_a_difference_from_random_negatives_is_set_against_both_spreads() -> None:
    found = compare(
        methods_of(bce=(0.5, 0.5), random=(0.30, 0.32), hard=(0.40, 0.42), semi_hard=(0.31, 0.33)), "seen_map"
    )
    assert [one.kind for one in found] == ["hard", "semi-hard"]
    assert [one.difference for one in found] == pytest.approx([0.1, 0.01])
    assert [one.spread for one in found] == pytest.approx([2 * math.sqrt(0.0002)] * 2)
    assert [one.exceeds for one in found] == [True, False]


def test_a_lower_value_can_exceed_the_spread_too() -> None:
    (found,) = compare(methods_of(random=(0.40, 0.41), hard=(0.30, 0.31)), "seen_map")
    assert found.difference == pytest.approx(-0.1)
    assert found.exceeds


def test_one_seed_or_no_random_negatives_show_nothing() -> None:
    (found,) = compare(methods_of(random=(0.4,), hard=(0.3,)), "seen_map")
    assert math.isnan(found.spread)
    assert not found.exceeds
    assert compare(methods_of(hard=(0.3,), balanced=(0.35,)), "seen_map") == []


def test_a_finished_run_is_reused_with_the_same_settings_only(tmp_path: Path) -> None:
    path = tmp_path / "hard_seed0.json"
    assert experiment.finished(path, {"lr": 0.1}) is None
    path.write_text(json.dumps({"method": "hard", "settings": {"lr": 0.1}}), encoding="utf-8")
    assert experiment.finished(path, {"lr": 0.1}) == {"method": "hard", "settings": {"lr": 0.1}}
    with pytest.raises(ValueError, match="was run with other lr; give the same options or another --out"):
        experiment.finished(path, {"lr": 0.2})
