"""A taggram: a picture of a file's tags through time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from retrieval.tagging import FileTags

__all__ = ["PICTURE_SUFFIXES", "time_edges_s", "write_taggram"]

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
_MOST_TAGS = 40  # more rows than this cannot be read


def time_edges_s(spans_s: np.ndarray) -> np.ndarray:
    """Where one segment's column ends and the next begins, [shape=(n_segments + 1,)] seconds.

    Windows overlap, so each gets the time that is nearer to its middle than to any other's; the first begins
    where the sound does, the last ends with it.
    """
    middles = spans_s.mean(axis=1)
    return np.concatenate([spans_s[:1, 0], (middles[:-1] + middles[1:]) / 2, spans_s[-1:, 1]])


def write_taggram(path: str | os.PathLike[str], tags: FileTags) -> None:
    """Draw time against tags, best tag on top, the probability as colour; the file's suffix says the format.

    Args:
        path: where to; replaced if it exists. Its suffix is one of `PICTURE_SUFFIXES`.
        tags: what :meth:`retrieval.tagging.Tagger.tag` gave; at most 40 of its tags are drawn.

    Raises:
        ValueError: there is no tag to draw, or the suffix is not known.
        OSError: the picture cannot be written.
    """
    if Path(path).suffix.lower() not in PICTURE_SUFFIXES:
        raise ValueError(f"a picture's name ends in {', '.join(PICTURE_SUFFIXES)}, not as in {os.fspath(path)!r}")
    if not tags.tags:
        raise ValueError("no tag to draw: lower the threshold")
    from matplotlib.figure import Figure  # no pyplot: no window system, no state left behind
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    shown = tags.tags[:_MOST_TAGS]
    figure = Figure(figsize=(10.0, max(3.0, 1.9 + 0.3 * len(shown))), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        time_edges_s(tags.spans_s),
        np.arange(len(shown) + 1),
        tags.segment_probabilities[:, : len(shown)].T,
        cmap="viridis",
        vmin=0.0,
        vmax=1.0,
    )
    axes.hlines(np.arange(1, len(shown)), *axes.get_xlim(), color="white", linewidth=1.0)
    axes.set_yticks(np.arange(len(shown)) + 0.5, [_plain(f"{tag.tag}  {tag.score:.2f}") for tag in shown])
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds)))
    axes.set_xlabel("time (minutes:seconds)")
    axes.set_ylabel("tag, its probability")
    axes.set_title(_plain(f"Tags in {os.path.basename(tags.path)}"))
    figure.colorbar(mesh, ax=axes, label="probability that the tag fits", ticks=[0.0, 0.25, 0.5, 0.75, 1.0])
    figure.savefig(path)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds, 1), 60.0)
    return f"{int(minutes)}:{second:04.1f}" if second % 1 else f"{int(minutes)}:{int(second):02d}"


def _plain(text: str) -> str:
    """`text` as matplotlib can set it: dollar signs are no mathematics, every character can be drawn."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text).replace(
        "$", r"\$"
    )
