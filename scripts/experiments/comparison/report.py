"""Figures of the comparison in `baseline_vs_retrieval.py`: measures of a run, means over seeds, winner, table, plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.evaluation.protocol import evaluate

__all__ = ["BASELINE", "MEASURES", "Spread", "draw", "figures_of", "markdown", "summarise", "verdict", "verdicts"]

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
    """A measure of one method: the values of the seeds, in order."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """Standard deviation of the sample; NaN for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if math.isnan(self.sd) else f" ± {self.sd:.3f}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sd = None if math.isnan(self.sd) else round(self.sd, 6)
        return {"mean": round(self.mean, 6), "sd": sd, "values": list(self.values)}


Summary = dict[str, dict[str, dict[str, Spread]]]


def figures_of(
    scores: np.ndarray, truth: np.ndarray, tags: Sequence[str], unseen: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, float]]:
    """Measure scores, and what chance reaches; without unseen scores their measures are None.

    Seen tags are looked for among the clips that have one, unseen ones among the clips that have one of these, and
    where a measure is generalised, either among all clips.

    Args:
        scores: [shape=(n_clips, n_tags)], the seen tags first; unseen ones may be left out.
        truth: bool [shape=(n_clips, n_tags)].
        tags: all of them.
        unseen: those at the end.
    """
    n_seen = len(tags) - len(unseen)
    rows = truth[:, :n_seen].any(1)
    part = evaluate(scores[rows, :n_seen], truth[rows, :n_seen], tags[:n_seen])["parts"]["all"]
    seen = part["tag_to_clip"]
    figures: dict[str, float] = {
        "seen_map": seen["map"],
        "seen_p10": seen["precision_at_10"],
        "seen_r10": seen["recall_at_10"],
    }
    chance = {"seen_map": part["chance_map"]}
    if unseen:
        chance["generalised_unseen_map"] = float(truth[:, n_seen:].mean())
    missing = ("unseen_map", "unseen_r10", "generalised_seen_map", "generalised_unseen_map", "harmonic_map")
    if scores.shape[1] < len(tags) or not unseen:
        return {**_defined(figures), **dict.fromkeys(missing)}, chance
    parts = evaluate(scores, truth, tags, unseen)["parts"]
    both, found = parts["generalised"], parts["unseen"]["tag_to_clip"]
    values = (
        found["map"],
        found["recall_at_10"],
        *(both[kind]["tag_to_clip"]["map"] for kind in ("seen", "unseen")),
        both["harmonic_map"],
    )
    chance["unseen_map"] = parts["unseen"]["chance_map"]
    return _defined(figures | dict(zip(missing, values, strict=True))), chance


def _defined(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def summarise(records: Sequence[Mapping[str, Any]]) -> Summary:
    """Return test set -> method -> measure -> spread over seeds; "training" stands for what was watched there.

    Measures that a record has None for are left out. Methods come in the order of the records.
    """
    gathered: dict[str, dict[str, dict[str, list[float]]]] = {}
    for record in sorted(records, key=lambda record: int(record["seed"])):
        for part, figures in {**record["tests"], "training": record["training"]}.items():
            of_method = gathered.setdefault(part, {}).setdefault(record["method"], {})
            for name, value in figures.items():
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


def verdict(methods: Mapping[str, Mapping[str, Spread]], measure: str) -> str:
    """Say which kind of negatives won by a measure, by how much over random ones, and what the seeds' spread is.

    The spread is the sum of both standard deviations: a difference beyond it leaves the error bars apart.
    """
    of = {name: found[measure] for name, found in methods.items() if name != BASELINE and measure in found}
    if len(of) < 2 or "random" not in of:
        return f"{MEASURES[measure]}: random negatives and another kind are needed to name a winner."
    ranked = sorted(of, key=lambda name: -of[name].mean)
    winner = ranked[0]
    other = ranked[1] if winner == "random" else "random"
    gain = of[winner].mean - of[other].mean
    if winner == "random":
        told = f"random negatives won with {of[winner]}, {gain:.3f} above {other} ones, the next best ({of[other]})"
    else:
        told = f"{winner} negatives won with {of[winner]}, {gain:.3f} above random ones ({of['random']})"
    spread = of[winner].sd + of[other].sd
    if math.isnan(spread):
        said = "one seed does not say whether that is more than chance"
    elif gain > spread:
        said = f"more than the seeds' spread ({spread:.3f})"
    else:
        said = f"no more than the seeds' spread ({spread:.3f}), so no clear win"
    return f"{MEASURES[measure]}: {told}; {said}.{_against_baseline(methods, measure, winner)}"


def _against_baseline(methods: Mapping[str, Mapping[str, Spread]], measure: str, winner: str) -> str:
    baseline = methods.get(BASELINE, {}).get(measure)
    if baseline is None:
        return ""
    gap = methods[winner][measure].mean - baseline.mean
    return f" The closed-set baseline has {baseline}: {abs(gap):.3f} {'less' if gap > 0 else 'more'}."


def verdicts(summary: Summary) -> dict[str, list[str]]:
    """Return the sentences of each test set."""
    return {
        part: [verdict(methods, name) for name in _JUDGED if any(name in found for found in methods.values())]
        for part, methods in summary.items()
        if part != "training"
    }


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
        summary: of ``summarise``.
        facts: what the reader must know of the runs, a line each.
        chances: test set -> measure -> what chance reaches.
    """
    lines = ["# BCE baseline and retrieval by negatives", "", *(f"- {fact}" for fact in facts)]
    said = verdicts(summary)
    for part, sentences in said.items():
        lines += ["", f"## Test set: {part}", "", *_table("method", MEASURES, summary[part]), ""]
        chance = [f"{MEASURES[name]} {value:.3f}" for name, value in chances[part].items()]
        lines += [f"By chance: {', '.join(chance)}.", "", *(f"- {sentence}" for sentence in sentences)]
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
