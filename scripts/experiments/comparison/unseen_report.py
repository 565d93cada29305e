"""Table and picture of `unseen_labels.py`: mAP by group, and each label's average precision seen and unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["GROUPS", "draw", "markdown"]

GROUPS = ("instruments", "genres", "sounds")
_TITLES = {"all": "**all held out**", "not held out": "labels of the same sets not held out"}
_SEEN, _UNSEEN, _CHANCE = "#b5651d", "#2f6690", "#999999"


def markdown(summary: Mapping[str, Mapping[str, Any]], found: Mapping[str, Any], facts: Sequence[str]) -> str:
    """Return the report.

    Args:
        summary: group -> labels, chance, seen_map, unseen_map, difference and interval.
        found: label -> its metrics: group, chance, seen, unseen, tests.
        facts: conditions of the experiment, one line each.
    """
    lines = ["# Labels that the recipe was not trained on", "", *(f"- {fact}" for fact in facts), ""]
    lines += ["| labels | number | chance | seen mAP | unseen mAP | difference |", "|---|--:|--:|--:|--:|--:|"]
    for name, of in summary.items():
        low, high = of["interval"]
        lines.append(
            f"| {_TITLES.get(name, name)} | {of['labels']} | {of['chance']:.3f} | {of['seen_map']:.3f} | "
            f"{of['unseen_map']:.3f} | {of['difference']:+.3f} [{low:+.3f}, {high:+.3f}] |"
        )
    lines += ["", "## Average precision by label", ""]
    lines += ["| label | group | clips with it | chance | seen | unseen |", "|---|---|--:|--:|--:|--:|"]
    for name, of in found.items():
        clips = " + ".join(str(test["positives"]) for test in of.tests.values())
        lines.append(f"| {name} | {of.group} | {clips} | {of.chance:.3f} | {of.seen:.3f} | {of.unseen:.3f} |")
    return "\n".join(lines) + "\n"


def draw(path: Path, found: Mapping[str, Any], overall: Mapping[str, Any]) -> None:
    """Plot average precision by label, seen, unseen and by chance; instruments take two columns.

    Args:
        path: of the PNG file.
        found: label -> its metrics: group, chance, seen, unseen.
        overall: seen_map, unseen_map and chance of all labels.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ranked = {
        group: sorted((name for name, of in found.items() if of.group == group), key=lambda name: -found[name].unseen)
        for group in GROUPS
    }
    instruments, half = ranked["instruments"], (len(ranked["instruments"]) + 1) // 2
    right = max(1, len(ranked["sounds"])) + max(1, len(ranked["genres"])) + 3  # rows that a second title takes
    figure = pyplot.figure(figsize=(11, 0.235 * max(half, right) + 1.3), layout="constrained")
    grid = figure.add_gridspec(
        2, 3, height_ratios=[max(1, len(ranked["sounds"])) + 0.5, max(1, len(ranked["genres"])) + 0.5]
    )
    panels = (
        (grid[:, 0], "instruments", instruments[:half]),
        (grid[:, 1], "instruments, continued", instruments[half:]),
        (grid[0, 2], "sounds", ranked["sounds"]),
        (grid[1, 2], "genres", ranked["genres"]),
    )
    for place, title, names in panels:
        _panel(figure.add_subplot(place), title, names, found)
    kinds = (
        ("o", _SEEN, "seen", "seen_map"),
        ("o", _UNSEEN, "unseen", "unseen_map"),
        ("|", _CHANCE, "chance", "chance"),
    )
    handles = [
        pyplot.Line2D([], [], marker=marker, linestyle="", color=colour, label=f"{name}, mAP {overall[key]:.3f}")
        for marker, colour, name, key in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _panel(axes: Any, title: str, names: Sequence[str], found: Mapping[str, Any]) -> None:
    """Draw one row per label, the first on top: a line from unseen to seen, and a mark at chance."""
    rows = range(len(names))
    seen, unseen = [found[name].seen for name in names], [found[name].unseen for name in names]
    axes.hlines(rows, seen, unseen, color="#cccccc", linewidth=2, zorder=1)
    axes.scatter([found[name].chance for name in names], rows, marker="|", s=45, color=_CHANCE, zorder=2)
    axes.scatter(seen, rows, s=26, color=_SEEN, zorder=3)
    axes.scatter(unseen, rows, s=26, color=_UNSEEN, zorder=4)
    axes.set_yticks(rows, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("average precision", fontsize=8)
    axes.tick_params(labelsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
