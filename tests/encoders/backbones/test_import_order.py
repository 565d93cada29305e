"""The order of the modules around the backbones: each imports from earlier ranks only."""

from __future__ import annotations

import ast
from pathlib import Path

ENCODERS = Path(__file__).parents[3] / "encoders"
ARCHITECTURES = (
    "cnn14 conv7 crnn fcn genre_cnn harmonic_cnn mobilenet musicnn sample_cnn self_attention short_chunk_cnn vggish"
)
RANKS = (
    {"mel", "level"},
    {"backbones.base", "heads"},
    {"backbones.blocks"},
    {f"backbones.{name}" for name in ARCHITECTURES.split()},
    {"backbones.registry"},
    {"tagger", "backbones.profile", "backbones.convert"},
    {"backbones.published"},
)
RANK_OF = {name: rank for rank, names in enumerate(RANKS) for name in names}


def imports_of(name: str) -> set[str]:
    """Return the modules of encoders that a module imports, anywhere in it."""
    tree = ast.parse((ENCODERS / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return {module.removeprefix("encoders.") for module in modules if module.split(".")[0] == "encoders"}


def test_every_module_of_the_folder_has_a_rank() -> None:
    files = {f"backbones.{file.stem}" for file in (ENCODERS / "backbones").glob("*.py") if file.stem != "__init__"}
    assert files <= set(RANK_OF)


def test_modules_import_from_earlier_ranks_alone() -> None:
    wrong = [(name, other) for name, rank in RANK_OF.items() for other in imports_of(name) if RANK_OF[other] >= rank]
    assert wrong == []
