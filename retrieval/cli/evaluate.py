"""`retrieve evaluate`: measure a model on tagged clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.options import DeviceOption
from retrieval.cli.output import print_table, print_warning
from retrieval.cli.progress import show_progress
from retrieval.label_file import read_label_file

if TYPE_CHECKING:
    from retrieval.datasets.base import TaggedClips

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="The model's directory.", show_default="the one shipped"),
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Tagged clips: a folder with labels.csv, or the table.")
    ] = ...,  # type: ignore[assignment]
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="Only this part of the clips (repeatable).")
    ] = None,
    unseen_file: Annotated[
        Path | None,
        typer.Option("--unseen-file", metavar="FILE", help="Tags held out from training, one a line."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")] = False,
    per_tag: Annotated[bool, typer.Option("--per-tag", help="A table of the tags too.")] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE.md", help="Write the tables as Markdown.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw each tag's average precision.")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, metavar="N", help="Resamples for 95% intervals; 0: none.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the resampling.")] = 0,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="Leave out bad rows, clips and tags instead of stopping at them.")
    ] = False,
    array_rate: Annotated[
        int | None, typer.Option("--array-rate", min=1, metavar="HZ", help="Sample rate of clips that are .npy arrays.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Keep clip vectors here for the next time.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure how well a model tags and finds clips.

    Examples:

      retrieve evaluate --data ~/clips
      retrieve evaluate my_model --data ~/clips --split test --bootstrap 1000
      retrieve evaluate my_model --data ~/clips --unseen-file unseen.txt --json

    DIR holds labels.csv with the columns file, labels (separated by ;) and,
    if there are any, split and group; or the 663 clips with data_mapping.pkl.

    Each tag is a query for clips: mAP, ROC-AUC, precision and recall among the
    first. Each clip is a query for tags. With --unseen-file, seen and unseen
    tags are measured apart and together.
    """
    _check_outputs(plot)
    from retrieval.datasets.load import read_dataset

    clips = read_dataset(data, split or (), drop_bad=drop_bad, array_rate_hz=array_rate, keep_unlabeled=True)
    for line in clips.dropped:
        print_warning(f"left out: {line}")
    n_unlabeled = sum(not clip.labels for clip in clips.clips)
    if n_unlabeled:
        print_warning(f"{n_unlabeled} of {len(clips)} clips have no labels: they count as negatives of every tag")
    unseen = [] if unseen_file is None else read_label_file(unseen_file)
    result = _measured(
        model,
        clips,
        unseen,
        options={"n_bootstrap": bootstrap, "seed": seed},
        scoring={"device": device, "cache_dir": cache},
        drop_bad=drop_bad,
    )
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
    """What cannot be written at the end is said at the start."""
    from retrieval.evaluation.report import PLOT_SUFFIXES

    if plot is not None and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise typer.BadParameter(f"its name must end in {', '.join(PLOT_SUFFIXES)}", param_hint="--plot")


def _measured(
    model: Path | None,
    clips: TaggedClips,
    unseen: Sequence[str],
    *,
    options: dict[str, Any],
    scoring: dict[str, Any],
    drop_bad: bool,
) -> dict[str, Any]:
    from encoders.checkpoint import DEFAULT_MODEL_DIR
    from retrieval.datasets.base import DatasetError, format_names
    from retrieval.evaluation.protocol import evaluate as measure
    from retrieval.evaluation.scoring import score_clips, unknown_tags

    model_dir = DEFAULT_MODEL_DIR if model is None else model
    tags = list(clips.tags)
    foreign = [tag for tag in unseen if tag not in tags]
    if foreign and len(foreign) == len(unseen):
        raise DatasetError(
            f"no clip has one of the unseen tags ({format_names(foreign)}): spell them as the labels are"
        )
    strange = unknown_tags(model_dir, tags)
    if strange and (not drop_bad or len(strange) == len(tags)):
        raise DatasetError(
            f"{len(strange)} of {len(tags)} labels are out of the model's vocabulary: {format_names(strange)}; "
            "rename them, or leave such labels out with --drop-bad"
        )
    for what, names in (("labels out of the model's vocabulary", strange), ("unseen tags that no clip has", foreign)):
        if names:
            print_warning(f"left out: {len(names)} {what}: {format_names(names)}")
    tags = [tag for tag in tags if tag not in set(strange)]
    with show_progress() as progress:
        scored = score_clips(
            model_dir,
            clips.clips,
            tags,
            on_clip=partial(progress.update, "embedding clips"),
            on_bad=(lambda clip, error: print_warning(f"left out: {error}")) if drop_bad else None,
            **scoring,
        )
    truth = clips.truth(tags)[scored.kept]
    groups = [clips.clips[place].group or str(clips.clips[place].path) for place in scored.kept]
    known_unseen = [tag for tag in unseen if tag in set(tags)]
    if not truth.any():
        raise DatasetError("no positives are left to measure with")
    return measure(scored.scores, truth, tags, known_unseen, groups=groups, **options)


def _print_result(result: dict[str, Any], *, per_tag: bool) -> None:
    from retrieval.evaluation import report

    header, rows = report.measure_table(result)
    print_table(header, rows, right=frozenset(header[1:]))
    whole = result["parts"]["all"]
    undefined = whole["undefined"]
    typer.echo(
        f"\n{whole['n_clips']} clips, {whole['n_tags']} tags, mAP by chance {whole['chance_map']:.3f}; "
        f"undefined: {undefined['tags_without_positives']} tags, {undefined['clips_without_positives']} clips"
    )
    if per_tag:
        typer.echo()
        header, rows = report.tag_table(result)
        print_table(header, rows, right=frozenset(header[1:]))
