"""`retrieve tag`: score labels for sound files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.label_warnings import LABELS_SHOWN, warn_of_unknown_labels
from retrieval.cli.options import DeviceOption, PromptOption, TaggerOption, say_if_slow
from retrieval.cli.output import (
    clock,
    print_error,
    print_note,
    print_table,
    print_warning,
    shortened,
    shown,
    shown_path,
)
from retrieval.cli.progress import show_progress
from retrieval.label_file import read_label_file

if TYPE_CHECKING:
    from retrieval.label_reading import LabelReading
    from retrieval.tagger import FileTags, Tagger

__all__ = ["tag"]

_EXIT_SOME_FAILED = 1
_EXIT_ALL_FAILED = 2
_MANY_FILES = 4  # fewer files show no progress bar


def tag(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Sound files.")],
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B,...", help="Labels to score, separated by commas."),
    ] = None,
    labels_file: Annotated[
        Path | None,
        typer.Option(
            "--labels-file",
            metavar="FILE",
            help="Labels, one a line, or - for stdin; a line that begins with # is a comment.",
        ),
    ] = None,
    literal: Annotated[
        bool, typer.Option("--literal", help="Do not read misspelled words of labels as the words that are meant.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="The most tags per file.")] = 10,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0.0, max=1.0, help="Leave out tags with a lower score.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file and line.")] = False,
    taggram: Annotated[
        Path | None,
        typer.Option("--taggram", metavar="FILE.png", help="Draw the tags over time (one FILE only)."),
    ] = None,
    model: TaggerOption = None,
    prompt: PromptOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Score labels for sound files: any labels, without training on them.

    Examples:

      retrieve tag song.mp3
      retrieve tag song.mp3 --labels "banjo, reggae, siren"
      retrieve tag *.flac --labels-file moods.txt --threshold 0.5 --json
      retrieve tag song.mp3 --taggram song.png
      retrieve tag song.mp3 --model published:panns-cnn14=Cnn14_mAP=0.431.pth
      retrieve tag song.mp3 --model runs/tagger

    A score is a calibrated probability at a prior of one positive in ten
    (clip, label) pairs, fitted on held-out clips. A taggram applies it to
    segments of ten seconds. Without labels, the model's own tags are scored.

    A published tagger, in the file that its authors published, and a tagger
    trained by `retrieve train --objective bce` score their own tags only,
    by uncalibrated probabilities. `retrieve models` lists the architectures.

    A CLAP model scores any labels, by cosines: they rank the labels of a file
    and are no probabilities. Without labels, those of the shipped model are
    scored.

    A label that the model does not know is left out, with a warning; a clear
    misspelling of a frequent word is read as that word, with a note. Both are
    in JSON, too: "unknown" (with similar labels) and "read_as".

    A file that cannot be read is reported on stderr and the others are
    tagged. The exit status is then 1, or 2 if no file could be read.
    """
    _check_taggram(taggram, n_files=len(files))
    given = _given_labels(labels, labels_file)
    from encoders.audio import AudioDecodeError

    tagger = _open(model, device=device, prompt=prompt)
    reading = None if given is None else _read(tagger, given, literal=literal)
    n_failed = 0
    # Results on the same terminal show the progress themselves.
    with show_progress(hidden=len(files) < _MANY_FILES or sys.stdout.isatty()) as progress:
        for done, path in enumerate(files, start=1):
            try:
                found = tagger.tag(path, reading, top=top, threshold=threshold)
            except (AudioDecodeError, OSError) as error:
                print_error(str(error))
                n_failed += 1
            else:
                _print_tags(found, as_json=as_json, path_first=len(files) > 1)
                if taggram is not None:
                    _draw(taggram, found)
            progress.update("tagging", done, len(files))
    if n_failed:
        raise typer.Exit(_EXIT_ALL_FAILED if n_failed == len(files) else _EXIT_SOME_FAILED)


def _check_taggram(taggram: Path | None, *, n_files: int) -> None:
    if taggram is None:
        return
    from retrieval.taggram import PICTURE_SUFFIXES

    if n_files > 1:
        raise typer.BadParameter("draws one file, but several are given", param_hint="--taggram")
    if taggram.suffix.lower() not in PICTURE_SUFFIXES:
        raise typer.BadParameter(f"the name must end in {', '.join(PICTURE_SUFFIXES)}", param_hint="--taggram")


def _given_labels(labels: str | None, labels_file: Path | None) -> list[str] | None:
    """Return the labels of both options; None if neither is given."""
    if labels is None and labels_file is None:
        return None
    given = [] if labels is None else labels.split(",")
    if labels_file is not None:
        given += read_label_file(labels_file)
    return given


def _open(model: str | None, *, device: str, prompt: str | None) -> Tagger:
    from retrieval.tagger import COSINE
    from retrieval.tagging import open_tagger

    tagger = open_tagger(model, device=device, prompt=prompt)
    if tagger.scores_are == COSINE:
        say_if_slow(model)
        print_note("the scores are cosines: they rank the labels of a file, and are no probabilities")
    return tagger


def _read(tagger: Tagger, labels: Sequence[str], *, literal: bool) -> LabelReading:
    """Read the labels before any file, and say what is left out and what is read in another way than written."""
    reading = tagger.read_labels(labels, literal=literal)
    warn_of_unknown_labels(reading.unknown, n_given=len(reading.names) + len(reading.unknown))
    for label, text in list(reading.read_as.items())[:LABELS_SHOWN]:
        print_note(f"label {label!r} is read as {text!r}; --literal takes it as it is written")
    if len(reading.read_as) > LABELS_SHOWN:
        print_note(f"{len(reading.read_as) - LABELS_SHOWN} more labels are read as others; --json names them")
    _warn_of_words(tagger, reading)
    return reading


def _warn_of_words(tagger: Tagger, reading: LabelReading) -> None:
    """Say which labels are scored without some of their words."""
    n_said = n_more = 0
    for label, text in zip(reading.names, reading.texts, strict=True):
        if n_said < LABELS_SHOWN:
            remarks = tagger.remarks(text)
            n_said += bool(remarks)
            for remark in remarks:
                print_warning(f"label {label!r}: {remark}")
        else:
            n_more += bool(tagger.unknown_words(text))
    if n_more:
        print_warning(f"{n_more} more labels have words that the model does not know: they are scored without them")


def _print_tags(found: FileTags, *, as_json: bool, path_first: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    if path_first:
        typer.echo(f"{shown_path(found.path)}  ({clock(found.duration_s)})")
    if found.tags:
        rows = [[f"{tag.score:.3f}", shortened(tag.tag)] for tag in found.tags]
        print_table(["score", "tag"], rows, right=frozenset({"score"}))
    else:
        print_warning(f"{shown_path(found.path)}: no tag reaches the threshold")
    if path_first:
        typer.echo()


def _draw(picture: Path, found: FileTags) -> None:
    from retrieval.taggram import write_taggram

    if not found.tags:
        print_warning(f"there is no tag to draw: {shown(str(picture))} is not written")
        return
    write_taggram(picture, found)
