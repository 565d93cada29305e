"""Options that several commands share, and their checks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DeviceOption", "IndexOption", "ModelOption", "TaggerOption", "index_dir"]

IndexOption = Annotated[
    Path | None,
    typer.Option("--index", metavar="DIR", help="The index to use.", show_default="RETRIEVE_INDEX or the user's own"),
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="DIR", help="The model to use.", show_default="the one shipped"),
]
TaggerOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="DIR | published:NAME=FILE",
        help="The model to use, or a published tagger and its file.",
        show_default="the one shipped",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="Where the model runs: auto, cpu, cuda, cuda:1 ...")
]


def index_dir(index: Path | None) -> Path:
    """The index that is meant: the one named, or the default."""
    if index is not None:
        return index
    from retrieval.retriever import default_index_dir

    return default_index_dir()
