import ast
import subprocess
import sys
from pathlib import Path

import pytest

import index

MODULES = sorted(path.stem for path in Path(index.__file__).parent.glob("*.py") if path.stem != "__init__")


def test_public_names_are_there():
    assert set(index.__all__) <= set(dir(index))
    for name in index.__all__:
        assert getattr(index, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        index.no_such_name  # noqa: B018


def test_only_search_imports_faiss():
    importers = set()
    for name in MODULES:
        tree = ast.parse(Path(index.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "faiss" for alias in node.names):
                importers.add(name)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "faiss":
                importers.add(name)
    assert importers == {"search"}


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, index; assert not {'faiss', 'numpy', 'sqlite3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
