"""What tests of several packages share: a CLAP checkpoint with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from clap_models import save_clap


@pytest.fixture(scope="session")
def clap_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLAP checkpoint, to read only."""
    folder = tmp_path_factory.mktemp("clap") / "tiny-clap"
    save_clap(folder)
    return folder
