"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.output import shown

__all__ = ["DeviceOption", "IndexOption", "ModelOption", "TaggerOption", "check_output_file", "index_dir"]

IndexOption = Annotated[
    Path | None,
    typer.Option("--index", metavar="DIR", help="The index.", show_default="RETRIEVE_INDEX or a user directory"),
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="DIR", help="The model directory.", show_default="the shipped model"),
]
TaggerOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="DIR | published:NAME=FILE",
        help="A model directory, or a published tagger and its file.",
        show_default="the shipped model",
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
