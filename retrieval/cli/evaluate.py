"""`retrieve evaluate`: measure a model on tagged clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.label_warnings import warn_of_unknown_labels
from retrieval.cli.options import DeviceOption, PromptOption, say_if_slow
from retrieval.cli.output import print_table, print_warning
from retrieval.cli.progress import show_progress
from retrieval.label_file import read_label_file

if TYPE_CHECKING:
    from retrieval.datasets.base import TaggedClips
    from retrieval.tagger import Tagger

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model directory, a CLAP model (folder or hub name), or published:NAME=FILE.",
            show_default="the shipped model",
        ),
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Tagged clips: a folder with labels.csv, or the table itself.")
    ] = ...,  # type: ignore[assignment]
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="Evaluate only this split (repeatable).")
    ] = None,
    unseen_labels: Annotated[
        Path | None,
        typer.Option("--unseen-labels", metavar="FILE", help="Tags that were held out from training, one a line."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    per_tag: Annotated[bool, typer.Option("--per-tag", help="Print a table of the tags too.")] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE.md", help="Write the tables as Markdown.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Plot the average precision of each tag.")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, metavar="N", help="Resamples for 95% intervals; 0: no intervals.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the resampling.")] = 0,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="Leave out bad rows and clips instead of stopping.")
    ] = False,
    array_rate: Annotated[
        int | None, typer.Option("--array-rate", min=1, metavar="HZ", help="Sample rate of clips that are .npy arrays.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Keep what is computed from clips for the next run.")
    ] = None,
    prompt: PromptOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure how well a model tags and finds clips.

    Examples:

      retrieve evaluate --data ~/clips
      retrieve evaluate my_model --data ~/clips --split test --bootstrap 1000
      retrieve evaluate my_model --data ~/clips --unseen-labels unseen.txt --json

    DIR contains labels.csv with the columns file, labels (separated by ;) and
    optionally split and group; or the 663 clips with data_mapping.pkl. Clips
    without labels count as negatives of every tag.

    Each tag ranks the clips: mAP, ROC-AUC, precision and recall of the first
    clips. Each clip ranks the tags. With --unseen-labels, seen and unseen tags
    are measured separately and together.

    Tags that the model does not know are left out of all measures, with a
    warning, and are in JSON in a field "unknown". They are never read as others.
    """
    _check_outputs(plot)
    from retrieval.datasets.load import read_dataset

    clips = read_dataset(data, split or (), drop_bad=drop_bad, array_rate_hz=array_rate, keep_unlabeled=True)
    for line in clips.dropped:
        print_warning(f"left out: {line}")
    n_unlabeled = sum(not clip.labels for clip in clips.clips)
    if n_unlabeled:
        print_warning(f"{n_unlabeled} of {len(clips)} clips have no labels: they count as negatives of every tag")
    unseen = [] if unseen_labels is None else read_label_file(unseen_labels)
    from retrieval.tagging import open_tagger

    tagger = open_tagger(model, device=device, prompt=prompt)
    say_if_slow(model)
    options = {"n_bootstrap": bootstrap, "seed": seed}
    result = _measure(tagger, clips, unseen, options=options, cache_dir=cache, drop_bad=drop_bad)
    from retrieval.evaluation import report

    if plot is not None:
        report.write_plot(plot, result, title=f"{clips.name}: {len(result['per_tag'])} tags")
    if markdown is not None:
        markdown.write_text(report.markdown(result, per_tag=per_tag), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report.json_values({"data": str(data), "split": split or [], **result})))
        return
    _print_result(result, per_tag=per_tag)


def _check_outputs(plot: Path | None) -> None:
    """Reject an output that could not be written after the work."""
    from retrieval.evaluation.report import PLOT_SUFFIXES

    if plot is not None and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise typer.BadParameter(f"the name must end in {', '.join(PLOT_SUFFIXES)}", param_hint="--plot")


def _measure(
    tagger: Tagger,
    clips: TaggedClips,
    unseen: Sequence[str],
    *,
    options: dict[str, Any],
    cache_dir: Path | None,
    drop_bad: bool,
) -> dict[str, Any]:
    from retrieval.datasets.base import DatasetError, format_names
    from retrieval.evaluation.protocol import evaluate as measure
    from retrieval.evaluation.scoring import score_clips

    tags = list(clips.tags)
    absent = [tag for tag in unseen if tag not in tags]
    if absent and len(absent) == len(unseen):
        raise DatasetError(f"no clip has any of the unseen tags ({format_names(absent)}): spell them like the labels")
    if absent:
        print_warning(f"left out: {len(absent)} unseen tags of no clip: {format_names(absent)}")
    unknown = tagger.explained(tagger.unknown_labels(tags))  # as they are written: a misspelled label is no other one
    if len(unknown) == len(tags):
        raise DatasetError(f"the model knows none of the {len(tags)} labels: {format_names(tags)}; rename them")
    warn_of_unknown_labels(unknown, n_given=len(tags))
    tags = [tag for tag in tags if tag not in unknown]
    with show_progress() as progress:
        scored = score_clips(
            tagger,
            clips.clips,
            tags,
            on_clip=partial(progress.update, "embedding clips"),
            on_bad=(lambda clip, error: print_warning(f"left out: {error}")) if drop_bad else None,
            cache_dir=cache_dir,
        )
    truth = clips.truth(tags)[scored.kept]
    if not truth.any():
        raise DatasetError("no positives: no clip that can be read has any of the tags")
    groups = [clips.clips[position].group or str(clips.clips[position].path) for position in scored.kept]
    known_unseen = [tag for tag in unseen if tag in set(tags)]
    result = measure(scored.scores, truth, tags, known_unseen, groups=groups, **options)
    return {**result, **({"unknown": {tag: list(found.near) for tag, found in unknown.items()}} if unknown else {})}


def _print_result(result: dict[str, Any], *, per_tag: bool) -> None:
    from retrieval.evaluation import report

    header, rows = report.measure_table(result)
    print_table(header, rows, right=frozenset(header[1:]))
    whole = result["parts"]["all"]
    undefined = whole["undefined"]
    typer.echo(
        f"\n{whole['n_clips']} clips, {whole['n_tags']} tags, mAP of random scores {whole['chance_map']:.3f}; "
        f"undefined: {undefined['tags_without_positives']} tags, {undefined['clips_without_positives']} clips"
    )
    if per_tag:
        typer.echo()
        header, rows = report.tag_table(result)
        print_table(header, rows, right=frozenset(header[1:]))
