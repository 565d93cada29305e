"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DeviceOption", "IndexOption", "ModelOption", "TaggerOption", "index_dir"]

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
