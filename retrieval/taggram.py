"""Taggrams: plots of the tags of a file over time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from retrieval.tagger import PROBABILITY, FileTags

__all__ = ["PICTURE_SUFFIXES", "time_edges_s", "write_taggram"]

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
_MOST_TAGS = 40  # more rows are not legible


def time_edges_s(spans_s: np.ndarray) -> np.ndarray:
    """Return the edges of the columns of overlapping segments, in seconds [shape=(n_segments + 1,)].

    Each column covers the time that is nearer to the middle of its segment than to any other; the first begins and the
    last ends with the audio.

    Args:
        spans_s: start and end of each segment [shape=(n_segments, 2)].
    """
    middles = spans_s.mean(axis=1)
    return np.concatenate([spans_s[:1, 0], (middles[:-1] + middles[1:]) / 2, spans_s[-1:, 1]])


def write_taggram(path: str | os.PathLike[str], tags: FileTags) -> None:
    """Plot tags over time, the best on top, with the score of each segment as colour.

    Scores are calibrated on whole clips; here they are those of single segments.

    Args:
        path: the file to write; it is replaced if it exists. Its suffix, one of `PICTURE_SUFFIXES`, is the format.
        tags: the result of `retrieval.tagger.Tagger.tag`; at most 40 tags are drawn.

    Raises:
        ValueError: there are no tags, or the suffix is unknown.
        OSError: the file cannot be written.
    """
    if Path(path).suffix.lower() not in PICTURE_SUFFIXES:
        raise ValueError(
            f"the name of a picture must end in {', '.join(PICTURE_SUFFIXES)}: {os.fspath(path)!r} does not"
        )
    if not tags.tags:
        raise ValueError("there are no tags to draw: lower the threshold")
    from matplotlib.figure import Figure  # not pyplot, which needs a window system and keeps state
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    shown = tags.tags[:_MOST_TAGS]
    are_probabilities = tags.scores_are == PROBABILITY  # cosines lie in a narrow range, another one for each model
    figure = Figure(figsize=(10.0, max(3.0, 1.9 + 0.3 * len(shown))), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        time_edges_s(tags.spans_s),
        np.arange(len(shown) + 1),
        tags.segment_probabilities[:, : len(shown)].T,
        cmap="viridis",
        vmin=0.0 if are_probabilities else None,
        vmax=1.0 if are_probabilities else None,
    )
    axes.hlines(np.arange(1, len(shown)), *axes.get_xlim(), color="white", linewidth=1.0)
    axes.set_yticks(np.arange(len(shown)) + 0.5, [_plain(f"{tag.tag}  {tag.score:.2f}") for tag in shown])
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds)))
    axes.set_xlabel("time (minutes:seconds)")
    axes.set_ylabel("tag and its score for the file")
    axes.set_title(_plain(f"Tags in {os.path.basename(tags.path)}"))
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if are_probabilities else None
    what = "score" if are_probabilities else tags.scores_are
    figure.colorbar(mesh, ax=axes, label=f"{what} of the segment", ticks=ticks)
    figure.savefig(path)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds, 1), 60.0)
    return f"{int(minutes)}:{second:04.1f}" if second % 1 else f"{int(minutes)}:{int(second):02d}"


def _plain(text: str) -> str:
    """Return `text` for matplotlib: dollar signs escaped, unprintable characters replaced."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text).replace(
        "$", r"\$"
    )
