"""Reports of an evaluation: tables, plain values, a plot of the tags.

The input is the result of `retrieval.evaluation.protocol.evaluate`, with a field "unknown" where tags were left out
because the model does not know them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["PLOT_SUFFIXES", "json_values", "markdown", "measure_table", "tag_table", "write_plot"]

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
_MOST_TAGS = 80  # more rows are not legible

_TAG_TO_CLIP = {
    "map": "mAP (macro PR-AUC)",
    "roc_auc": "ROC-AUC",
    "precision_at_10": "P@10",
    **{f"recall_at_{k}": f"R@{k}" for k in (1, 5, 10)},
    **{f"hit_at_{k}": f"hit@{k}" for k in (1, 5, 10)},
    "median_rank": "median rank",
    "ndcg_at_10": "nDCG@10",
}
_CLIP_TO_TAG = {
    f"{kind}_at_{k}": f"tags: {kind[0].upper()}@{k}" for kind in ("precision", "recall") for k in (1, 5, 10)
}

Table = tuple[list[str], list[list[str]]]


def json_values(value: Any) -> Any:
    """Return a copy for JSON: numbers rounded to six places, None for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_values(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def measure_table(result: Mapping[str, Any]) -> Table:
    """Return header and rows: one measure per row, one part per column, intervals in brackets."""
    columns: dict[str, Mapping[str, Any]] = {}
    for name, part in result["parts"].items():
        if name == "generalised":
            columns |= {f"{kind}, generalised": part[kind] for kind in ("seen", "unseen")}
        else:
            columns[name] = part
    rows = []
    for section, names in (("tag_to_clip", _TAG_TO_CLIP), ("clip_to_tag", _CLIP_TO_TAG)):
        for key, shown in names.items():
            cells = []
            for part in columns.values():
                bounds = part.get("intervals", {}).get(key) if section == "tag_to_clip" else None
                cells.append(_number(key, part.get(section, {}).get(key), bounds))
            rows.append([shown, *cells])
    return ["measure", *columns], rows


def tag_table(result: Mapping[str, Any]) -> Table:
    """Return header and rows: one tag per row, by falling average precision, undefined ones last."""
    some_unseen = any(row["unseen"] for row in result["per_tag"])
    header = ["tag", *(["unseen"] if some_unseen else []), "clips", "AP", "ROC-AUC", "P@10", "R@10", "first at"]
    rows = []
    for row in _best_first(result["per_tag"]):
        bounds = (row["ap_low"], row["ap_high"]) if "ap_low" in row else None
        cells = [row["tag"], *(["yes" if row["unseen"] else ""] if some_unseen else []), str(row["n_positives"])]
        cells.append(_number("ap", row["ap"], bounds))
        cells += [_number(key, row[key]) for key in ("roc_auc", "precision_at_10", "recall_at_10")]
        rows.append([*cells, _number("median_rank", row["first_rank"])])
    return header, rows


def markdown(result: Mapping[str, Any], *, per_tag: bool = False) -> str:
    """Return the measures, the counts of undefined values and, with `per_tag`, the table of tags as Markdown."""
    texts = [_markdown_table(*measure_table(result))]
    whole = result["parts"]["all"]
    texts.append(
        f"{whole['n_clips']} clips, {whole['n_tags']} tags; random scores have an mAP of {whole['chance_map']:.3f}. "
        f"Left out as undefined: {whole['undefined']['tags_without_positives']} tags without a positive, "
        f"{whole['undefined']['clips_without_positives']} clips without a tag."
    )
    if "generalised" in result["parts"]:
        harmonic = _number("map", result["parts"]["generalised"]["harmonic_map"])
        texts.append(f"Harmonic mean of the generalised mAP of seen and unseen tags: {harmonic}.")
    if result.get("unknown"):
        named = ", ".join(map(repr, result["unknown"]))
        texts.append(f"Left out, since the model does not know them: {len(result['unknown'])} more tags: {named}.")
    if per_tag:
        texts.append(_markdown_table(*tag_table(result)))
    return "\n\n".join(texts) + "\n"


def write_plot(path: str | os.PathLike[str], result: Mapping[str, Any], *, title: str = "") -> None:
    """Plot the average precision of each tag, best on top, with its interval and its chance level.

    Args:
        path: the file to write; it is replaced if it exists. Its suffix must be one of `PLOT_SUFFIXES`.
        result: the evaluation; at most 80 tags are drawn.
        title: of the plot.

    Raises:
        ValueError: the suffix is unknown, or no tag has a positive.
        OSError: the file cannot be written.
    """
    if Path(path).suffix.lower() not in PLOT_SUFFIXES:
        raise ValueError(f"the name of a plot must end in {', '.join(PLOT_SUFFIXES)}, not {os.fspath(path)!r}")
    rows = [row for row in _best_first(result["per_tag"]) if math.isfinite(row["ap"])][:_MOST_TAGS]
    if not rows:
        raise ValueError("nothing to plot: no tag has a positive")
    from matplotlib.figure import Figure  # not pyplot, which needs a window system and keeps state

    n_clips = result["parts"]["all"]["n_clips"]
    positions = range(len(rows))
    figure = Figure(figsize=(8.0, max(2.5, 1.3 + 0.22 * len(rows))), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    colours = ["tab:orange" if row["unseen"] else "tab:blue" for row in rows]
    axes.barh(positions, [row["ap"] for row in rows], color=colours, alpha=0.8)
    if "ap_low" in rows[0]:
        axes.hlines(positions, [row["ap_low"] for row in rows], [row["ap_high"] for row in rows], color="black")
    chance = [row["n_positives"] / n_clips for row in rows]
    axes.plot(chance, positions, linestyle="none", marker="|", color="tab:red")
    axes.set_yticks(positions, [_drawable(f"{row['tag']} ({row['n_positives']})") for row in rows])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    legend = "line: 95% interval, red: chance" if "ap_low" in rows[0] else "red: chance"
    axes.set_xlabel(f"average precision ({legend}{', orange: unseen' if 'tab:orange' in colours else ''})")
    axes.set_ylabel("tag (its clips)")
    if title:
        axes.set_title(_drawable(title))
    figure.savefig(path)


def _best_first(per_tag: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(per_tag, key=lambda row: (-row["ap"] if math.isfinite(row["ap"]) else math.inf, row["tag"]))


def _number(key: str, value: float | None, bounds: Sequence[float] | None = None) -> str:
    """Return a number as a table shows it, a dash if it is undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    digits = 1 if key == "median_rank" else 3
    text = f"{value:.{digits}f}"
    if bounds is not None and all(map(math.isfinite, bounds)):
        text += f" [{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"
    return text


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _drawable(text: str) -> str:
    """Return `text` for matplotlib: dollar signs escaped, unprintable characters replaced."""
    seen = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return seen.replace("$", r"\$")
