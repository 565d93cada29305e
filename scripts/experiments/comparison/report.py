"""Report of `baseline_vs_retrieval`: metrics of a run, means over seeds, comparison of negatives, table, plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.evaluation.protocol import evaluate

__all__ = [
    "BASELINE",
    "MEASURES",
    "Comparison",
    "Spread",
    "compare",
    "comparisons",
    "draw",
    "markdown",
    "metrics_of",
    "summarise",
]

BASELINE = "bce"
MEASURES = {
    "seen_map": "seen mAP",
    "seen_p10": "seen P@10",
    "seen_r10": "seen R@10",
    "unseen_map": "unseen mAP",
    "unseen_r10": "unseen R@10",
    "generalised_seen_map": "seen mAP, all clips",
    "generalised_unseen_map": "unseen mAP, all clips",
    "harmonic_map": "harmonic mean",
}
_JUDGED = ("seen_map", "unseen_map", "generalised_unseen_map")
_DRAWN = ("seen_map", "unseen_map")
_WATCHED = {"active_triplets": "active triplets", "collapse": "mean cosine of pairs"}


@dataclass(frozen=True)
class Spread:
    """A measure of one method: one value per seed, in order."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """Sample standard deviation; NaN for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if math.isnan(self.sd) else f" ± {self.sd:.3f}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        sd = None if math.isnan(self.sd) else round(self.sd, 6)
        return {"mean": round(self.mean, 6), "sd": sd, "values": list(self.values)}


Summary = dict[str, dict[str, dict[str, Spread]]]


def metrics_of(
    scores: np.ndarray, truth: np.ndarray, tags: Sequence[str], unseen: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, float]]:
    """Return the metrics of scores, and those of random scores; without scores of unseen tags, theirs are None.

    Seen tags are ranked over the clips that have one, unseen tags over the clips that have one; generalised metrics
    rank both over all clips.

    Args:
        scores: [shape=(n_clips, n_tags)], seen tags first; unseen ones may be left out.
        truth: bool [shape=(n_clips, n_tags)].
        tags: names of all columns.
        unseen: the last of them.
    """
    n_seen = len(tags) - len(unseen)
    rows = truth[:, :n_seen].any(1)
    part = evaluate(scores[rows, :n_seen], truth[rows, :n_seen], tags[:n_seen])["parts"]["all"]
    seen = part["tag_to_clip"]
    metrics: dict[str, float] = {
        "seen_map": seen["map"],
        "seen_p10": seen["precision_at_10"],
        "seen_r10": seen["recall_at_10"],
    }
    chance = {"seen_map": part["chance_map"]}
    if unseen:
        chance["generalised_unseen_map"] = float(truth[:, n_seen:].mean())
    missing = ("unseen_map", "unseen_r10", "generalised_seen_map", "generalised_unseen_map", "harmonic_map")
    if scores.shape[1] < len(tags) or not unseen:
        return {**_defined(metrics), **dict.fromkeys(missing)}, chance
    parts = evaluate(scores, truth, tags, unseen)["parts"]
    both, found = parts["generalised"], parts["unseen"]["tag_to_clip"]
    values = (
        found["map"],
        found["recall_at_10"],
        *(both[kind]["tag_to_clip"]["map"] for kind in ("seen", "unseen")),
        both["harmonic_map"],
    )
    chance["unseen_map"] = parts["unseen"]["chance_map"]
    return _defined(metrics | dict(zip(missing, values, strict=True))), chance


def _defined(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}


def summarise(records: Sequence[Mapping[str, Any]]) -> Summary:
    """Return test set -> method -> measure -> spread over seeds; the key "training" has the training's own measures.

    Measures that are None in a record are left out. Methods are in the order of the records.
    """
    gathered: dict[str, dict[str, dict[str, list[float]]]] = {}
    for record in sorted(records, key=lambda record: int(record["seed"])):
        for part, metrics in {**record["tests"], "training": record["training"]}.items():
            of_method = gathered.setdefault(part, {}).setdefault(record["method"], {})
            for name, value in metrics.items():
                if value is not None:
                    of_method.setdefault(name, []).append(float(value))
    order = list(dict.fromkeys(record["method"] for record in records))
    return {
        part: {
            method: {name: Spread(tuple(values)) for name, values in of_part[method].items()}
            for method in order
            if method in of_part
        }
        for part, of_part in gathered.items()
    }


@dataclass(frozen=True)
class Comparison:
    """One kind of negatives against random ones, by one measure.

    Attributes:
        measure: key of `MEASURES`.
        kind: kind of negatives.
        difference: its mean less that of random negatives.
        spread: sum of both standard deviations; NaN for one seed.
    """

    measure: str
    kind: str
    difference: float
    spread: float

    @property
    def exceeds(self) -> bool:
        """Whether the difference is larger than the spread; False for one seed."""
        return abs(self.difference) > self.spread


def compare(methods: Mapping[str, Mapping[str, Spread]], measure: str) -> list[Comparison]:
    """Compare every kind of negatives with random ones; an empty list if there are no random ones.

    With many comparisons some exceed the spread by chance: a difference counts if it recurs in the other test set.
    """
    of = {name: found[measure] for name, found in methods.items() if name != BASELINE and measure in found}
    if "random" not in of:
        return []
    base = of.pop("random")
    return [Comparison(measure, kind, one.mean - base.mean, one.sd + base.sd) for kind, one in of.items()]


def comparisons(summary: Summary) -> dict[str, list[Comparison]]:
    """Return the comparisons of each test set."""
    return {
        part: [one for measure in _JUDGED for one in compare(methods, measure)]
        for part, methods in summary.items()
        if part != "training"
    }


def _sentence(measure: str, found: Sequence[Comparison]) -> str:
    """Say which differences from random negatives exceed the seeds' spread."""
    clear = [one for one in found if one.measure == measure and one.exceeds]
    text = ", ".join(f"{one.kind} {one.difference:+.3f} (spread {one.spread:.3f})" for one in clear)
    return f"{MEASURES[measure]}: beyond the seeds' spread from random negatives: {text or 'none'}."


def _table(head: str, columns: Mapping[str, str], methods: Mapping[str, Mapping[str, Spread]]) -> list[str]:
    lines = [f"| {head} | " + " | ".join(columns.values()) + " |", "|---|" + "--:|" * len(columns)]
    for method, found in methods.items():
        cells = [str(found[name]) if name in found else "–" for name in columns]
        lines.append(f"| {_shown(method)} | " + " | ".join(cells) + " |")
    return lines


def _shown(method: str) -> str:
    return "BCE baseline" if method == BASELINE else method


def markdown(summary: Summary, facts: Sequence[str], chances: Mapping[str, Mapping[str, float]]) -> str:
    """Return the report.

    Args:
        summary: of `summarise`.
        facts: conditions of the runs, one line each.
        chances: test set -> measure -> its value for random scores.
    """
    lines = ["# BCE baseline and contrastive retrieval by kind of negatives", "", *(f"- {fact}" for fact in facts)]
    for part, found in comparisons(summary).items():
        lines += ["", f"## Test set: {part}", "", *_table("method", MEASURES, summary[part]), ""]
        chance = [f"{MEASURES[name]} {value:.3f}" for name, value in chances[part].items()]
        lines += [f"Random scores: {', '.join(chance)}.", ""]
        lines += [f"- {_sentence(name, found)}" for name in _JUDGED if any(one.measure == name for one in found)]
    lines += ["", "## Last epoch of training", "", *_table("negatives", _WATCHED, _watched(summary["training"]))]
    return "\n".join(lines) + "\n"


def _watched(methods: Mapping[str, Mapping[str, Spread]]) -> dict[str, Mapping[str, Spread]]:
    return {method: found for method, found in methods.items() if method != BASELINE}


def draw(path: Path, summary: Summary, chances: Mapping[str, Mapping[str, float]]) -> None:
    """Draw seen and unseen mAP by method: a point a seed, mean and standard deviation beside, chance as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = [part for part in summary if part != "training"]
    figure, grid = pyplot.subplots(
        len(parts), len(_DRAWN), figsize=(9.5, 3.2 * len(parts)), squeeze=False, layout="constrained"
    )
    for row, part in zip(grid, parts, strict=True):
        for axes, measure in zip(row, _DRAWN, strict=True):
            _panel(axes, summary[part], measure, chance=chances[part].get(measure))
            axes.set_title(f"{part}: {MEASURES[measure]}", fontsize=10)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _panel(axes: Any, methods: Mapping[str, Mapping[str, Spread]], measure: str, *, chance: float | None) -> None:
    for place, (method, found) in enumerate(methods.items()):
        if measure not in found:
            axes.text(place, 0.02, "none", ha="center", fontsize=8, color="#777777")
            continue
        spread = found[measure]
        colour = "#b5651d" if method == BASELINE else "#2f6690"
        axes.scatter([place - 0.12] * len(spread.values), spread.values, s=16, color=colour, alpha=0.55)
        error = None if math.isnan(spread.sd) else spread.sd
        axes.errorbar(place + 0.12, spread.mean, yerr=error, fmt="o", color=colour, capsize=4, markersize=6)
        axes.annotate(
            f"{spread.mean:.3f}", (place + 0.12, spread.mean), (7, -3), textcoords="offset points", fontsize=8
        )
    if chance is not None:
        axes.axhline(chance, color="#777777", linestyle=":", linewidth=1)
        axes.annotate("chance", (-0.45, chance), (0, 2), textcoords="offset points", fontsize=7, color="#777777")
    axes.set_xticks(range(len(methods)), [_shown(method).replace(" ", "\n").replace("-", "-\n") for method in methods])
    axes.tick_params(labelsize=8)
    axes.set_xlim(-0.5, len(methods) - 0.3)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
