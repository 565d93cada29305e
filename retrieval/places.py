"""Where things lie when nobody says: the default index."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["INDEX_VARIABLE", "default_index_dir"]

INDEX_VARIABLE = "RETRIEVE_INDEX"


def default_index_dir() -> Path:
    """The index that is used when none is named.

    `RETRIEVE_INDEX` if it is set and not empty, else the folder `index` in the platform's place for a user's
    data: `~/.local/share/earmark` on Linux (or under `XDG_DATA_HOME`), `~/Library/Application
    Support/earmark` on macOS, `%LOCALAPPDATA%\\earmark` on Windows. The folder need not exist.
    """
    named = os.environ.get(INDEX_VARIABLE)
    if named:
        return Path(named).expanduser()
    import platformdirs  # here: a query that names its index has no use for it

    return platformdirs.user_data_path("earmark", appauthor=False) / "index"
