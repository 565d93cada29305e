"""Measure a model, zero-shot, on labelled audio that it was not trained on, beside what it has to beat.

    python -m scripts.bench.quality --data DIR --weights DIR [--model DIR] [--against SCORES.npz] [--gate]
        [--part choosing|reporting|all] [--save-scores SCORES.npz]

DIR of --data has one folder a pack, with `labels.csv`: `esc` (fold 5; its 18 classes among all 50),
`instruments_freesound` (its 10 among 60 instruments), `fourq_dev` (genres and moods with 5 clips or more) and `emotify`
(four genres). DIR of --weights has `efficientat_mn04_audioset.pt`. Names of labels are taken as they are.

Compared in one run: the model; the composed start (`composed_start.py`), the AudioSet tagger composed through the
model's word vectors without training; and, with --against, the scores that --save-scores wrote for another model, such
as the last release. Measures: mean average precision and ROC-AUC over labels; top-1 where one label holds; precision at
10 of the instruments. For intervals (95%) and the gate, the clips are resampled 1,000 times.

A quarter of each set, by the hash of a clip's name, is for choosing between models, the rest is for reporting (--part,
default: reporting). With --gate the exit status is 1 if a measure of any set falls below the composed start's or the
other model's by more than the half-width of the interval of their difference. The last line of output is the result as
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoders.checkpoint import DEFAULT_MODEL_DIR
from retrieval.cli.progress import show_progress
from retrieval.evaluation.metrics import mean_defined, tag_measures
from retrieval.tagging import ZeroShotTagger
from scripts.bench.composed_start import ComposedStart
from scripts.bench.quality_sets import EvaluationSet, read_sets

N_RESAMPLES = 1000
Scores = Mapping[str, np.ndarray]
"""Name of a set -> scores [shape=(n_clips, n_candidates)], NaN for names that the system does not know."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = _arguments(arguments)
    sets = read_sets(args.data)
    tagger = ZeroShotTagger.open(args.model)
    systems: dict[str, Scores] = {"model": model_scores(sets, tagger)}
    systems["composed start"] = composed_scores(
        sets, ComposedStart(args.weights / "efficientat_mn04_audioset.pt", tagger.text)
    )
    if args.against is not None:
        systems["last release"] = read_scores(args.against, sets)
    if args.save_scores is not None:
        save_scores(args.save_scores, sets, systems["model"])
    result: dict[str, Any] = {}
    clips: dict[str, int] = {}
    falls: list[str] = []
    for one in sets:
        chosen = np.ones(len(one.paths), bool) if args.part == "all" else one.part(choosing=args.part == "choosing")
        clips[one.name] = int(chosen.sum())
        drawn = resamples(clips[one.name], seed=0)
        of_system = {name: measures(one, scores[one.name], chosen, drawn) for name, scores in systems.items()}
        result[one.name] = {name: of_one.to_dict() for name, of_one in of_system.items()}
        falls += [f"{one.name}: {text}" for text in below(of_system)]
    print(table(result), file=sys.stderr)
    for fall in falls:
        print(f"falls: {fall}", file=sys.stderr)
    values = {
        "bench": "quality",
        "model": "default" if args.model == DEFAULT_MODEL_DIR else str(args.model),
        "fingerprint": tagger.fingerprint,
        "part": args.part,
        "clips": clips,
        "sets": result,
        "falls": falls,
    }
    print(json.dumps(values))
    return 1 if args.gate and falls else 0


def model_scores(sets: Sequence[EvaluationSet], tagger: ZeroShotTagger) -> dict[str, np.ndarray]:
    """Return a model's scores. A name of which it knows no word is NaN."""
    features = _features(sets, lambda paths: np.stack([tagger.clip_features(path) for path in paths]), "model")
    scores = {}
    for one in sets:
        unknown = set(tagger.unknown_labels(one.candidates))
        known = [name for name in one.candidates if name not in unknown]
        of_known = tagger.score_features(np.stack([features[path] for path in one.paths]), known)
        columns = dict(zip(known, of_known.T, strict=True))
        nothing = np.full(len(one.paths), np.nan)
        scores[one.name] = np.stack([columns.get(name, nothing) for name in one.candidates], axis=1)
    return scores


def composed_scores(sets: Sequence[EvaluationSet], start: ComposedStart) -> dict[str, np.ndarray]:
    """Return the scores of the composed start. Logits are standardised over the clips of all sets."""
    logits = _features(sets, start.features, start.name)
    background = np.stack(list(logits.values()))
    return {
        one.name: start.scores(np.stack([logits[path] for path in one.paths]), one.candidates, background=background)
        for one in sets
    }


def _features(sets: Sequence[EvaluationSet], compute: Any, what: str) -> dict[Path, np.ndarray]:
    paths = sorted({path for one in sets for path in one.paths})
    found: dict[Path, np.ndarray] = {}
    with show_progress() as progress:
        for at in range(0, len(paths), 16):
            batch = paths[at : at + 16]
            found.update(zip(batch, compute(batch), strict=True))
            progress.update(what, len(found), len(paths))
    return found


@dataclass(frozen=True)
class Measures:
    """What a set says of a system.

    Attributes:
        values: measure -> value.
        resampled: measure -> its values in the resamples [shape=(N_RESAMPLES,)].
        unknown: labels that the system does not know; each clip gets the same score for them.
    """

    values: dict[str, float]
    resampled: dict[str, np.ndarray]
    unknown: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with 95% intervals."""
        values: dict[str, Any] = {
            name: {"value": round(value, 4), "interval": [round(x, 4) for x in _interval(self.resampled[name], value)]}
            for name, value in self.values.items()
        }
        return {**values, "unknown": self.unknown}


def resamples(n_clips: int, *, seed: int) -> np.ndarray:
    """Return how often each clip is drawn, first once each, then in each resample [shape=(1 + N_RESAMPLES, n)]."""
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(n_clips, size=n_clips), minlength=n_clips) for _ in range(N_RESAMPLES)]
    return np.stack([np.ones(n_clips, np.int64), *drawn])


def measures(one: EvaluationSet, scores: np.ndarray, chosen: np.ndarray, drawn: np.ndarray) -> Measures:
    """Measure a system on the chosen clips of a set.

    Args:
        one: the set.
        scores: of all its clips [shape=(n_clips, n_candidates)].
        chosen: which clips are measured, bool [shape=(n_clips,)].
        drawn: of `resamples`, for the chosen clips.
    """
    n_labels = len(one.labels)
    is_unknown = np.isnan(scores).all(axis=0)
    lowest = np.nanmin(scores) - 1.0
    filled = np.where(np.isnan(scores), lowest, scores)[chosen]
    truth = one.truth[chosen]
    of_tags = tag_measures(filled[:, :n_labels], truth, drawn)
    found = {"mAP": mean_defined(of_tags["map"], axis=1), "ROC-AUC": mean_defined(of_tags["roc_auc"], axis=1)}
    if one.has_one_label:
        right = filled.argmax(axis=1) == truth.argmax(axis=1)
        found["top-1"] = (drawn * right).sum(axis=1) / drawn.sum(axis=1)
    if one.name == "instruments":
        found["P@10"] = mean_defined(of_tags["precision_at_10"], axis=1)
    unknown = [label for label, missing in zip(one.labels, is_unknown, strict=False) if missing]
    return Measures({k: float(v[0]) for k, v in found.items()}, {k: v[1:] for k, v in found.items()}, unknown)


def below(of_system: Mapping[str, Measures]) -> list[str]:
    """Return in which measures the model falls below another system by more than the interval of their difference."""
    model = of_system["model"]
    falls = []
    for name, other in of_system.items():
        for measure, value in model.values.items():
            difference = value - other.values[measure]
            low, high = _interval(model.resampled[measure] - other.resampled[measure], difference)
            if name != "model" and difference < -(high - low) / 2:
                falls.append(f"{measure} {value:.3f} is below the {name}'s {other.values[measure]:.3f}")
    return falls


def _interval(resampled: np.ndarray, estimate: float) -> tuple[float, float]:
    """Return the percentile interval less the estimate of bias, as in `retrieval.evaluation.bootstrap`."""
    low, high = estimate + np.nanpercentile(resampled, [2.5, 97.5]) - np.nanmean(resampled)
    return float(low), float(high)


def save_scores(path: Path, sets: Sequence[EvaluationSet], scores: Scores) -> None:
    """Write a model's scores, so that a later model can be compared with it without running it again."""
    arrays: dict[str, np.ndarray] = {}
    for one in sets:
        arrays[f"{one.name}/files"] = np.array([file.name for file in one.paths])
        arrays[f"{one.name}/names"] = np.array(one.candidates)
        arrays[f"{one.name}/scores"] = scores[one.name].astype(np.float16)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def read_scores(path: Path, sets: Sequence[EvaluationSet]) -> dict[str, np.ndarray]:
    """Read the scores of another model.

    Raises:
        ValueError: they are of other clips or names.
    """
    with np.load(path, allow_pickle=False) as arrays:
        scores = {}
        for one in sets:
            files, names = arrays[f"{one.name}/files"].tolist(), arrays[f"{one.name}/names"].tolist()
            if files != [file.name for file in one.paths] or names != list(one.candidates):
                raise ValueError(f"{path}: the set {one.name!r} has other clips or names; save the scores again")
            scores[one.name] = arrays[f"{one.name}/scores"].astype(np.float64)
    return scores


def table(result: Mapping[str, Any]) -> str:
    """Return the values as a Markdown table."""
    systems = list(next(iter(result.values())))
    lines = [f"| set | measure | {' | '.join(systems)} |", "|---|---|" + "--:|" * len(systems)]
    for name, of_system in result.items():
        for measure in (key for key in of_system["model"] if key != "unknown"):
            cells = [
                f"{of[measure]['value']:.3f} ({of[measure]['interval'][0]:.3f}-{of[measure]['interval'][1]:.3f})"
                for of in of_system.values()
            ]
            lines.append(f"| {name} | {measure} | {' | '.join(cells)} |")
        unknown = {system: len(of["unknown"]) for system, of in of_system.items()}
        if any(unknown.values()):
            lines.append(f"| {name} | names not known | {' | '.join(str(n) for n in unknown.values())} |")
    return "\n".join(lines)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of packs")
    parser.add_argument("--weights", type=Path, required=True, metavar="DIR", help="folder of published checkpoints")
    parser.add_argument(
        "--model", type=Path, default=DEFAULT_MODEL_DIR, metavar="DIR", help="default: the shipped model"
    )
    parser.add_argument("--against", type=Path, metavar="FILE.npz", help="scores of another model, to compare with")
    parser.add_argument("--save-scores", type=Path, metavar="FILE.npz", help="write the model's scores")
    parser.add_argument("--part", choices=("choosing", "reporting", "all"), default="reporting", help="of each set")
    parser.add_argument("--gate", action="store_true", help="fail if the model falls below what it is compared with")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
