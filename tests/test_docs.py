"""What the documents show is what happens: commands, outputs, options, file maps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.docs import DOCUMENTS, ROOT, Block, blocks_of, check, commands_of, differences, unknown_options

REWRITE = "python -m scripts.docs --write"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_print_what_the_document_shows(document: str, tmp_path: Path) -> None:
    wrong = check(document, tmp_path / "sandbox")
    assert wrong == [], f"{document} is out of date; look at the differences, then: {REWRITE}"


def test_every_readme_of_the_tree_is_checked() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/README.md")}
    assert {name for name in there if not name.startswith(("tests/", "."))} <= set(DOCUMENTS)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [target for target in targets if not (ROOT / document).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_modules_and_files_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:encoders|index|retrieval|scripts|tests)(?:[./][\w-]+)+/?)`", text)
    assert [name for name in named if not exists(name)] == []


def exists(name: str) -> bool:
    """Whether a path, a module, a name in a module or a public name of a package is there."""
    home = ROOT / (name if "/" in name else name.replace(".", "/"))
    if home.exists() or home.with_suffix(".py").exists() or home.parent.with_suffix(".py").exists():
        return True
    public = home.parent / "__init__.py"
    return public.exists() and f'"{home.name}"' in public.read_text(encoding="utf-8")


def test_the_readme_is_a_guide_and_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


def test_outputs_are_compared_to_two_decimals() -> None:
    assert differences("1  -0.004  a b", "1   -0.011 a b") == []
    assert differences("built in 1.4 s, 191 x real time", "built in 12.0 s, 9 x real time") == []
    for shown, printed in [
        ("1  -0.004  a", "1  -0.024  a"),
        ("27 added", "26 added"),
        ("a", "a\nb"),
        ("0.5 a", "0.5 b"),
    ]:
        assert differences(shown, printed)


def test_commands_and_outputs_are_taken_apart() -> None:
    (block,) = blocks_of("text\n```console\n$ one \\\n    --two\nout\nmore\n$ three\n```\n```text\n$ four\n```\n")
    assert block.language == "console"
    assert commands_of(block) == [("one --two", "out\nmore"), ("three", "")]
    with pytest.raises(ValueError, match="starts with"):
        commands_of(Block("console", "no prompt\n", 0, 10))


def test_options_that_do_not_exist_are_found() -> None:
    assert unknown_options("retrieve index build DIR --index X") == []
    assert unknown_options("retrieve piano --top 3 --nothing") == [
        "retrieve piano --top 3 --nothing: no option --nothing"
    ]
    assert unknown_options("python -m scripts.bench.quality --data X --nothing") != []
    assert unknown_options("python -m scripts.no_such_module --data X") != []
