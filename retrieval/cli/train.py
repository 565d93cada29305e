"""Train a model on tagged clips: `retrieve train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.output import print_note, print_warning, shown
from retrieval.cli.progress import show_progress, trainer_callback
from retrieval.label_file import read_label_file
from retrieval.training.config import (
    CLIP_SAMPLING,
    DEFAULTS,
    METRICS,
    MISSING_LABELS,
    NEGATIVES,
    NORMALIZATIONS,
    OBJECTIVES,
    OPTIMIZERS,
    PRECISIONS,
    TAG_SAMPLING,
    BatchConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
    train_config,
)

if TYPE_CHECKING:
    from retrieval.training.run import RunResult

__all__ = ["train"]

_MODEL, _LABELS, _NEGATIVES = "Model", "Data and labels", "Contrastive batches"
_AUDIO, _OPTIMIZATION, _RUN = "Audio and augmentation", "Optimization", "Run"


def _by_objective(name: str) -> str:
    return f"{DEFAULTS['contrastive'][name]}; bce: {DEFAULTS['bce'][name]}"


def _choices(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def train(
    data: Annotated[list[Path], typer.Option("--data", metavar="DIR", help="Tagged clips; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The model directory to write.")],
    objective: Annotated[
        str, typer.Option("--objective", help="contrastive (scores any words) or bce (a closed-set tagger).")
    ] = OBJECTIVES[0],
    init: Annotated[
        Path | None, typer.Option("--init", metavar="MODEL", help="Initial weights: a model or a published checkpoint.")
    ] = None,
    distill_weight: Annotated[
        float,
        typer.Option("--distill-weight", help="Weight of the loss that preserves the scores of --init for other tags."),
    ] = TrainConfig.distill_weight,
    negatives: Annotated[str, typer.Option("--negatives", help=f"{_choices(NEGATIVES)}.")] = TrainConfig.negatives,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the clips.", show_default=_by_objective("epochs"))
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Clips in a batch.")] = BatchConfig.size,
    lr: Annotated[
        float | None, typer.Option("--lr", help="Learning rate.", show_default=_by_objective("learning_rate"))
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all random choices.")] = OptimConfig.seed,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu or cuda; several GPUs by torchrun.")
    ] = OptimConfig.device,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run of --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line.")] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="Architecture, one of `retrieve models`.",
            show_default=_by_objective("backbone"),
            rich_help_panel=_MODEL,
        ),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(
            "--published", metavar="NAME", help="Which published checkpoint --init is.", rich_help_panel=_MODEL
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="FILE|MODEL|sentence:DIR",
            help="Word vectors or a sentence encoder.",
            show_default="those of --init, or of the shipped model",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    head: Annotated[
        str, typer.Option("--head", help="bce: linear, mlp or attention.", rich_help_panel=_MODEL)
    ] = TrainConfig.head,
    freeze_stages: Annotated[
        int,
        typer.Option(
            "--freeze-stages", min=-1, help="First stages of the backbone to freeze; -1: all.", rich_help_panel=_MODEL
        ),
    ] = TrainConfig.freeze_stages,
    train_split: Annotated[
        list[str] | None,
        typer.Option("--train-split", metavar="NAME", help="Splits to train on.", rich_help_panel=_LABELS),
    ] = None,
    val_split: Annotated[
        list[str] | None,
        typer.Option("--val-split", metavar="NAME", help="Splits to validate on.", rich_help_panel=_LABELS),
    ] = None,
    missing_labels: Annotated[
        str,
        typer.Option(
            "--missing-labels",
            help=f"Of several --data: a tag that one never uses is {_choices(MISSING_LABELS)} there.",
            rich_help_panel=_LABELS,
        ),
    ] = TrainConfig.missing_labels,
    synonym_cosine: Annotated[
        float,
        typer.Option(
            "--synonym-cosine",
            help="Cosine of text vectors from which tags are not negatives of each other.",
            rich_help_panel=_LABELS,
        ),
    ] = TrainConfig.synonym_cosine,
    unseen_labels: Annotated[
        Path | None,
        typer.Option(
            "--unseen-labels",
            metavar="FILE",
            help="Tags to exclude from training and evaluate separately; one a line.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    positive_weights: Annotated[
        bool,
        typer.Option(
            "--positive-weights", help="bce: weigh a tag's positives as much as its negatives.", rich_help_panel=_LABELS
        ),
    ] = TrainConfig.positive_weights,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="Leave out bad rows of the data.", rich_help_panel=_LABELS)
    ] = False,
    drop_unknown_labels: Annotated[
        bool,
        typer.Option("--drop-unknown-labels", help="Leave out labels without a text vector.", rich_help_panel=_LABELS),
    ] = False,
    array_rate: Annotated[
        int | None,
        typer.Option("--array-rate", metavar="HZ", help="Sample rate of .npy clips.", rich_help_panel=_LABELS),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            help="infonce, triplet, sigmoid or decoupled; bce: bce-with-logits or bce.",
            show_default=_by_objective("loss"),
            rich_help_panel=_NEGATIVES,
        ),
    ] = None,
    margin: Annotated[
        float,
        typer.Option("--margin", help="Of triplets and semi-hard negatives, in cosine.", rich_help_panel=_NEGATIVES),
    ] = LossConfig.margin,
    clip_sampling: Annotated[
        str | None,
        typer.Option(
            "--clip-sampling",
            help=f"{_choices(CLIP_SAMPLING)}: balanced draws a tag first, then a clip.",
            show_default="balanced; with random negatives and for bce random",
            rich_help_panel=_NEGATIVES,
        ),
    ] = None,
    tags_per_clip: Annotated[
        str,
        typer.Option("--tags-per-clip", help=f"{_choices(TAG_SAMPLING)}.", rich_help_panel=_NEGATIVES),
    ] = BatchConfig.tag_sampling,
    mined_share: Annotated[
        float,
        typer.Option("--mined-share", help="Share of a batch that is mined as negatives.", rich_help_panel=_NEGATIVES),
    ] = BatchConfig.mined_share,
    mining_warmup: Annotated[
        int,
        typer.Option(
            "--mining-warmup",
            min=0,
            help="Epochs with random negatives first; 0 needs a trained --init.",
            rich_help_panel=_NEGATIVES,
        ),
    ] = OptimConfig.mining_warmup,
    crop_s: Annotated[
        float | None,
        typer.Option(
            "--crop",
            metavar="SECONDS",
            help="Length of the random crop of a clip.",
            show_default="one segment",
            rich_help_panel=_AUDIO,
        ),
    ] = None,
    normalize: Annotated[
        str,
        typer.Option("--normalize", help=f"Level of the clips: {_choices(NORMALIZATIONS)}.", rich_help_panel=_AUDIO),
    ] = TrainConfig.normalize,
    max_clip_s: Annotated[
        float,
        typer.Option("--max-clip", metavar="SECONDS", help="Decode no more of a clip.", rich_help_panel=_AUDIO),
    ] = TrainConfig.max_clip_s,
    augment: Annotated[
        float,
        typer.Option(
            "--augment", min=0.0, max=1.0, help="Probability of each change of the waveform.", rich_help_panel=_AUDIO
        ),
    ] = 0.0,
    spec_augment: Annotated[
        bool, typer.Option("--spec-augment", help="Mask bands and frames.", rich_help_panel=_AUDIO)
    ] = TrainConfig.spec_augment,
    mixup: Annotated[
        float, typer.Option("--mixup", help="Probability of mixing two clips.", rich_help_panel=_AUDIO)
    ] = BatchConfig.mixup,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer",
            help=f"{_choices(OPTIMIZERS)}.",
            show_default=_by_objective("optimizer"),
            rich_help_panel=_OPTIMIZATION,
        ),
    ] = None,
    accumulate: Annotated[
        int, typer.Option("--accumulate", help="Batches in a step.", rich_help_panel=_OPTIMIZATION)
    ] = OptimConfig.accumulate,
    precision: Annotated[
        str, typer.Option("--precision", help=f"{_choices(PRECISIONS)}.", rich_help_panel=_OPTIMIZATION)
    ] = OptimConfig.precision,
    metric: Annotated[
        str,
        typer.Option("--metric", help=f"Selects the best weights: {_choices(METRICS)}.", rich_help_panel=_OPTIMIZATION),
    ] = OptimConfig.metric,
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            min=0,
            help="Stop after so many epochs without improvement; 0: never.",
            rich_help_panel=_OPTIMIZATION,
        ),
    ] = OptimConfig.patience,
    save_steps: Annotated[
        int,
        typer.Option("--save-steps", min=0, help="Steps between checkpoints; 0: one an epoch.", rich_help_panel=_RUN),
    ] = OptimConfig.save_steps,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir",
            metavar="DIR",
            help="Folder for decoded audio and checkpoints.",
            show_default="that of --out",
            rich_help_panel=_RUN,
        ),
    ] = None,
    keep_cache: Annotated[
        bool,
        typer.Option("--keep-cache", help="Keep decoded audio and checkpoints after the run.", rich_help_panel=_RUN),
    ] = TrainConfig.keep_cache,
) -> None:
    """Train a model on tagged clips.

    Examples:

      retrieve train --data DIR --out runs/mine
      retrieve train --data DIR --out runs/mine --resume
      retrieve train --data DIR --out runs/tuned --init MODEL --distill-weight 1
      retrieve train --data DIR --out runs/tagger --objective bce

    A folder of clips has a table labels.csv with the columns file, labels and,
    optionally, split. The weights with the best validation metric are saved. An
    interrupted run continues with --resume and ends with the same weights.
    """
    options = dict(locals())
    command = {name: options.pop(name) for name in ("data", "objective", "resume", "as_json", "drop_bad")}
    command |= {name: options.pop(name) for name in ("drop_unknown_labels", "array_rate", "train_split", "val_split")}
    _check_installed()
    if unseen_labels is not None:
        options["unseen_labels"] = tuple(read_label_file(unseen_labels))
    options |= {"size": options.pop("batch"), "learning_rate": options.pop("lr")}
    options |= {"tag_sampling": options.pop("tags_per_clip")}
    try:
        config = train_config(objective, options)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _print(_train(config, command), as_json=as_json)


def _check_installed() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("accelerate", "sklearn") if find_spec(name) is None]
    if missing:
        raise typer.BadParameter(
            f"training needs {' and '.join(missing)}: pip install 'earmark[train]'", param_hint="retrieve train"
        )


def _train(config: TrainConfig, command: dict[str, Any]) -> RunResult:
    """Read the data and run the training, with notes, warnings and progress on stderr."""
    from encoders.device import no_progress_bars
    from retrieval.datasets.load import read_dataset
    from retrieval.datasets.splits import choose_splits
    from retrieval.training.run import TrainingRun

    datasets = [
        read_dataset(place, drop_bad=command["drop_bad"], array_rate_hz=command["array_rate"])
        for place in command["data"]
    ]
    for line in (line for dataset in datasets for line in dataset.dropped):
        print_warning(f"left out: {line}")
    splits = choose_splits(
        datasets, train=command["train_split"] or (), validation=command["val_split"] or (), seed=config.optim.seed
    )
    for line in splits.notes:
        print_note(line)
    with no_progress_bars(), show_progress() as progress:
        try:
            run = TrainingRun(
                config,
                splits.train,
                splits.validation,
                resume=command["resume"],
                drop_unknown=command["drop_unknown_labels"],
                on_clip=lambda done, total: progress.update("decoding", done, total),
                on_note=print_note,
                callbacks=[trainer_callback(progress)],
            )
        except (ValueError, TypeError) as error:
            if type(error) in (ValueError, TypeError):  # named errors have a message of their own
                raise typer.BadParameter(str(error)) from None
            raise
        if run.dropped:
            print_warning(f"{len(run.dropped)} labels without a text vector are left out: {', '.join(run.dropped[:5])}")
        return run.run()


def _print(result: RunResult, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
        return
    typer.echo(f"{result.steps} steps; validation: {_metrics(result.validation)}")
    if result.unseen.tags:
        leaking = f" and {len(result.unseen.leaking_tags)} that leak them" if result.unseen.leaking_tags else ""
        metrics = _metrics(result.validation_unseen) or "none: a closed-set tagger cannot score them"
        typer.echo(f"{len(result.unseen.tags)} unseen tags{leaking} were excluded; their validation: {metrics}")
    typer.echo(f"model: {shown(str(result.out))}")


def _metrics(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
