"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.output import print_note, shown

__all__ = [
    "DeviceOption",
    "IndexOption",
    "ModelOption",
    "PromptOption",
    "TaggerOption",
    "check_output_file",
    "index_dir",
    "say_if_slow",
]

IndexOption = Annotated[
    Path | None,
    typer.Option("--index", metavar="DIR", help="The index.", show_default="RETRIEVE_INDEX or a user directory"),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="DIR | NAME",
        help="The model directory, or a CLAP model: its folder or hub name.",
        show_default="the shipped model",
    ),
]
TaggerOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="DIR | NAME | published:NAME=FILE",
        help="A model directory, a CLAP model (folder or hub name), or a published tagger and its file.",
        show_default="the shipped model",
    ),
]
PromptOption = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="What a CLAP model is asked, with {} for the words.",
        show_default="This is a sound of {}.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="Where the model runs: auto, cpu, cuda, cuda:1 ...")
]


def index_dir(index: Path | None) -> Path:
    """Return the given directory, or that of the default index."""
    if index is not None:
        return index
    from retrieval.retriever import default_index_dir

    return default_index_dir()


def check_output_file(path: Path, *, option: str) -> None:
    """Fail before the work starts where its result could not be written.

    Raises:
        typer.BadParameter: the path is a folder, or its folder does not exist or cannot be written.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise typer.BadParameter(f"{shown(str(path))} is a folder: give the file to write", param_hint=option)
    if not folder.is_dir():
        raise typer.BadParameter(f"there is no folder for {shown(str(path))}: create it first", param_hint=option)
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise typer.BadParameter(f"{shown(str(path))} cannot be written: give another place", param_hint=option)


def say_if_slow(model: str | Path | None) -> None:
    """Say that a CLAP model is loaded, which a command for words or labels does in seconds."""
    from encoders.clap_files import is_clap

    if model is not None and is_clap(Path(model)):
        print_note("loading the CLAP model takes some seconds; the shipped model answers at once")
