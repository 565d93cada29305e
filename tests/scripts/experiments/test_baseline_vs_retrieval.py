"""The comparison of the baseline with retrieval: tags, budgets, measures, means, winners, table; no training."""

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
from scripts.experiments.comparison.report import Spread, draw, figures_of, markdown, summarise, verdict


def clips_of(*labels: str) -> TaggedClips:
    made = tuple(TaggedClip(Path(f"{i}.wav"), tuple(row.split(";"))) for i, row in enumerate(labels))
    return TaggedClips(clips=made, name="made")


def methods_of(**values: tuple[float, ...]) -> dict[str, dict[str, Spread]]:
    return {name.replace("_", "-"): {"seen_map": Spread(found)} for name, found in values.items()}


def options_of(*more: str) -> Any:
    return experiment.parsed(["--data", "d", "--init", "i", "--out", "o", *more])


def test_tags_are_frequent_and_no_way_of_playing() -> None:
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


def test_a_soundfont_that_is_learnt_is_no_test(tmp_path: Path) -> None:
    sizes = {"train_clips": 1, "test_clips": 1, "clip_s": 1.0}
    same = tmp_path / "a.sf2"
    with pytest.raises(ValueError, match="both learnt from and tested with"):
        Rendering(train_fonts=(tmp_path / "x" / ".." / "a.sf2",), test_fonts=(same,), **sizes)
    with pytest.raises(FileNotFoundError, match=r"a\.sf2 is missing: name others with --train-soundfont"):
        Rendering(train_fonts=(same,), test_fonts=(), **sizes).described()


def test_all_methods_hear_as_many_clips() -> None:
    args = options_of("--epochs", "3", "--batch", "32")
    heard = {method: comparison_runs.epochs_of(method, args, 1700)[1] * 32 for method in ("bce", *NEGATIVES)}
    # 24 of 32 clips are drawn, the others are negatives: 71 batches an epoch, three epochs; the baseline has 54, four.
    assert {heard[name] for name in NEGATIVES} == {3 * 71 * 32}
    assert heard["bce"] == 4 * 54 * 32


def test_plans_differ_in_objective_and_negatives_alone() -> None:
    args = options_of()
    plans = {method: comparison_runs.plan_of(method, 7, 3e-3, args, 1700, Path("w")) for method in ("bce", *NEGATIVES)}
    assert [plan.negatives for name, plan in plans.items() if name != "bce"] == list(NEGATIVES)
    for name, plan in plans.items():
        assert plan.objective == ("bce" if name == "bce" else "contrastive")
        assert (plan.optim.learning_rate, plan.optim.optimizer, plan.freeze_stages, plan.crop_s) == (
            3e-3,
            "adamw",
            7,
            5.0,
        )
        assert (plan.optim.seed, plan.batch.seed, plan.batch.size) == (7, 7, 32)


def test_figures_of_a_model_and_of_a_baseline() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((12, 4), dtype=bool)
    truth[np.arange(12), np.arange(12) % 4] = True
    scores = rng.random((12, 4))
    tags, unseen = ["a", "b", "y", "z"], ["y", "z"]
    found, chance = figures_of(scores, truth, tags, unseen)

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
    baseline, _ = figures_of(scores[:, :2], truth, tags, unseen)
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


def test_a_win_beyond_the_spread() -> None:
    said = verdict(methods_of(bce=(0.5, 0.5), random=(0.30, 0.32), hard=(0.40, 0.42), semi_hard=(0.2, 0.2)), "seen_map")
    assert said.startswith("seen mAP: hard negatives won with 0.410 ± 0.014, 0.100 above random ones (0.310 ± 0.014);")
    assert "more than the seeds' spread (0.028)." in said
    assert said.endswith("The closed-set baseline has 0.500 ± 0.000: 0.090 more.")


def test_a_win_within_the_spread_is_none() -> None:
    said = verdict(methods_of(random=(0.30, 0.40), hard=(0.32, 0.42)), "seen_map")
    assert "hard negatives won" in said
    assert said.endswith("no more than the seeds' spread (0.141), so no clear win.")


def test_random_negatives_may_win() -> None:
    said = verdict(methods_of(random=(0.4,), hard=(0.3,), balanced=(0.35,)), "seen_map")
    assert "random negatives won with 0.400, 0.050 above balanced ones, the next best (0.350)" in said
    assert said.endswith("one seed does not say whether that is more than chance.")
    assert "are needed to name a winner" in verdict(methods_of(hard=(0.3,), balanced=(0.35,)), "seen_map")


def test_the_report_and_the_picture(tmp_path: Path) -> None:
    seeds = (0, 1)
    records = [
        *(record_of("bce", seed, 0.3 + seed / 100, None) for seed in seeds),
        *(record_of("random", seed, 0.35 + seed / 100, 0.1) for seed in seeds),
        *(record_of("semi-hard", seed, 0.45 + seed / 100, 0.15) for seed in seeds),
    ]
    summary, chances = summarise(records), {"t": {"seen_map": 0.05, "unseen_map": 0.08}}
    lines = markdown(summary, ["a fact"], chances).splitlines()
    assert "- a fact" in lines
    assert "## Test set: t" in lines
    assert "By chance: seen mAP 0.050, unseen mAP 0.080." in lines
    (baseline,) = (line for line in lines if line.startswith("| BCE baseline"))
    assert baseline.split("|")[2:6] == [" 0.305 ± 0.007 ", " – ", " – ", " – "]
    heading = next(line for line in lines if line.startswith("| method"))
    assert heading.count("|") == baseline.count("|") == 10
    assert sum(line.startswith("- ") and "semi-hard negatives won" in line for line in lines) == 2
    draw(tmp_path / "results.png", summary, chances)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_run_is_taken_up_by_the_same_settings_alone(tmp_path: Path) -> None:
    path = tmp_path / "hard_seed0.json"
    assert experiment.finished(path, {"lr": 0.1}) is None
    path.write_text(json.dumps({"method": "hard", "settings": {"lr": 0.1}}), encoding="utf-8")
    assert experiment.finished(path, {"lr": 0.1}) == {"method": "hard", "settings": {"lr": 0.1}}
    with pytest.raises(ValueError, match="was run with other lr: give the same options, or another --out"):
        experiment.finished(path, {"lr": 0.2})
