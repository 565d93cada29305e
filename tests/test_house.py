"""The rules of the house that a test can hold: who imports what, what is public, what lies in the tree."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("encoders", "index", "retrieval")
MAX_LINES = 500
MIB = 1024 * 1024

# The only places of the three packages that may import a library, at whatever depth of a function. A query
# must not pay for torch, transformers, gensim, librosa, matplotlib or mutagen; FAISS has one door.
HOMES = {
    "av": ("encoders/decoding/ffmpeg.py",),
    "faiss": ("index/search.py",),
    "gensim": ("encoders/text/",),
    "huggingface_hub": ("encoders/clap_files.py", "encoders/zero_shot.py"),
    "librosa": ("encoders/mel.py",),
    "matplotlib": ("retrieval/evaluation/report.py", "retrieval/taggram.py"),
    "mutagen": ("retrieval/library/metadata.py",),
    "rich": ("retrieval/cli/",),
    "sentence_transformers": ("encoders/text/sentence.py",),
    "sklearn": ("encoders/calibration.py", "retrieval/training/"),
    "snowballstemmer": ("encoders/text/tokenizer.py",),
    "soundfile": ("encoders/decoding/libsndfile.py",),
    "sqlite3": ("index/", "retrieval/cli/errors.py"),
    "torch": (
        "encoders/backbones/",
        "encoders/clap.py",
        "encoders/composed.py",
        "encoders/device.py",
        "encoders/heads.py",
        "encoders/level.py",
        "encoders/loading.py",
        "encoders/mel.py",
        "encoders/pipeline.py",
        "encoders/tagger.py",
        "encoders/tagger_model.py",
        "encoders/text/sentence.py",
        "encoders/text/torch_tower.py",
        "encoders/two_tower.py",
        "encoders/zero_shot.py",
        "retrieval/tagging.py",
        "retrieval/training/",
    ),
    "transformers": (
        "encoders/audio_config.py",
        "encoders/clap.py",
        "encoders/composed.py",
        "encoders/device.py",
        "encoders/pipeline.py",
        "encoders/tagger_model.py",
        "encoders/text/sentence.py",
        "encoders/two_tower.py",
        "encoders/zero_shot.py",
        "retrieval/cli/progress.py",
        "retrieval/training/",
    ),
    "typer": ("retrieval/cli/",),
}
# What may import what inside a package, lowest layer first: a module or sub-package imports only from earlier layers,
# never from its own or a later one. An entry stands for a module or for a whole sub-package; a longer entry wins.
LAYERS = {
    "encoders": (
        ("arrays", "decoding", "downmix", "level", "mel"),
        ("decode", "waveform"),
        ("audio", "calibration", "checkpoint", "device", "heads", "text.tokenizer", "text.spelling", "text.writing"),
        ("clap_files", "text.unknown"),
        ("text.vocabulary", "backbones.base"),
        ("text", "backbones.blocks", "audio_config", "embed"),
        ("backbones",),
        ("backbones.registry", "composed", "pipeline"),
        ("zero_shot",),
        ("clap", "tagger", "two_tower"),
        ("backbones.published", "backbones.profile", "tagger_model", "text.clap"),
        ("loading",),
    ),
    "index": (
        ("files",),
        ("lock", "manifest"),
        ("entries", "sqlite", "vectors"),
        ("catalog",),
        ("consistency", "cue_sheets", "search"),
        ("store",),
        ("maintenance", "repair"),
        ("vector_index",),
    ),
    "retrieval": (
        ("label_file", "label_reading"),
        ("datasets", "library", "query"),
        ("words",),
        ("tagger",),
        ("tagging",),
        ("evaluation", "indexing", "retriever", "taggram"),
        ("training",),
        ("cli",),
        ("__main__",),
    ),
}
PICKLING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
# One reads pickles without running them, the other writes the miniature that its tests read.
MAY_PICKLE = {"retrieval/datasets/safe_pickle.py", "scripts/miniatures/tags663.py"}
UNSAFE_ARGUMENTS = {("shell", True), ("allow_pickle", True), ("weights_only", False)}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput"}


@cache
def tree() -> tuple[str, ...]:
    """Paths of the project's files, relative to its root: git's list, or the folder's if there is no git."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        listed = b""
    files = [name for name in os.fsdecode(listed).split("\0") if name]
    return tuple(sorted(name for name in files or walked() if (ROOT / name).is_file()))


def walked() -> Iterator[str]:
    """Every file under the root but those of environments, caches and builds."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name in {".ci"} or not (name.startswith(".") or name in {"__pycache__", "build", "dist", "runs"})
        ]
        for name in files:
            yield (Path(folder) / name).relative_to(ROOT).as_posix()


def sources(*folders: str) -> list[str]:
    """The tree's Python files under `folders`, or all of them."""
    found = [name for name in tree() if name.endswith(".py")]
    return [name for name in found if not folders or name.split("/")[0] in folders]


@cache
def parsed(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), filename=name)


def imported(name: str) -> set[str]:
    """Top-level names of the modules that a file imports, wherever in it; importlib.import_module too."""
    modules = set()
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"} and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                modules.add(argument.value.split(".")[0])
    return modules


def imported_modules(name: str) -> set[str]:
    """Modules of the three packages that a file imports, wherever in it, for type checking too."""
    known = {module_of(other) for other in sources(*PACKAGES)}
    found = set()
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & known) or {node.module}
    return found & known


def module_of(name: str) -> str:
    """Dotted name of a file: `index/search.py` is `index.search`."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def layer_of(module: str) -> tuple[int, str]:
    """The place and the entry of a module in its package's layers; KeyError where it is in none."""
    package, _, inner = module.partition(".")
    found = [
        (len(entry), place, entry)
        for place, layer in enumerate(LAYERS[package])
        for entry in layer
        if inner == entry or inner.startswith(entry + ".")
    ]
    if not found:
        raise KeyError(module)
    return max(found)[1:]


def called(call: ast.Call) -> str:
    """The last name of what is called: `run` of subprocess.run."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


# Imports


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_in_one_direction(package: str) -> None:
    forbidden = {"scripts", "tests"} | ({"encoders", "index", "retrieval"} - {package})
    if package == "retrieval":
        forbidden -= {"encoders", "index"}
    files = sources(package)
    assert files
    assert {name: imported(name) & forbidden for name in files if imported(name) & forbidden} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_goes_up_or_sideways(package: str) -> None:
    wrong, outside = [], set()
    for name in sources(package):
        module = module_of(name)
        if module == package:  # the public names, loaded when they are used
            continue
        for target in imported_modules(name):
            if target == package or target.split(".")[0] != package:
                continue
            try:
                (place, entry), (other_place, other) = layer_of(module), layer_of(target)
            except KeyError as error:
                outside.add(str(error))
                continue
            if entry != other and other_place >= place:
                wrong.append(f"{module} imports {target}")
    assert outside == set(), "modules that are in no layer"
    assert sorted(wrong) == []


def test_every_layer_is_there() -> None:
    modules = {module_of(name) for name in sources(*PACKAGES)}
    entries = [f"{package}.{entry}" for package, layers in LAYERS.items() for layer in layers for entry in layer]
    assert len(entries) == len(set(entries))
    assert [entry for entry in entries if not any(m == entry or m.startswith(entry + ".") for m in modules)] == []


def test_imports_have_no_cycle() -> None:
    waiting = {module_of(name): imported_modules(name) - {module_of(name)} for name in sources(*PACKAGES)}
    for package in PACKAGES:
        waiting[package] = set()  # loads its modules when they are used
    while free := {module for module, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {module: needs for module, needs in waiting.items() if module not in free}
    assert sorted(waiting) == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_where_it_lives(library: str) -> None:
    strangers = [
        name
        for name in sources(*PACKAGES)
        if library in imported(name) and not any(name.startswith(home) for home in HOMES[library])
    ]
    assert strangers == []


def test_the_homes_of_the_table_exist() -> None:
    homes = {home for places in HOMES.values() for home in places}
    assert [home for home in sorted(homes) if not any(name.startswith(home) for name in tree())] == []


def test_importing_the_packages_loads_nothing_heavy() -> None:
    heavy = "torch transformers gensim librosa faiss numpy matplotlib mutagen sklearn scipy typer rich"
    code = f"import sys, encoders, index, retrieval; print(sorted(set('{heavy}'.split()) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


# What is public


def public_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name: the order that ruff's RUF022 keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_there_and_sorted(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__
    assert list(module.__all__) == sorted(set(module.__all__), key=public_order)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_every_module_says_what_is_public_in_order() -> None:
    silent, unsorted = [], []
    for name in sources(*PACKAGES):
        declared = [
            ast.literal_eval(node.value)
            for node in parsed(name).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        if not declared and Path(name).stem not in {"__init__", "__main__"}:
            silent.append(name)
        unsorted += [name for names in declared if list(names) != sorted(names, key=public_order)]
    assert silent == []
    assert unsorted == []


# What is safe


def test_nothing_unpickles_evaluates_or_runs_a_shell() -> None:
    found = []
    for name in sources():
        if imported(name) & PICKLING and name not in MAY_PICKLE:
            found.append(f"{name} imports {imported(name) & PICKLING}")
        for node in ast.walk(parsed(name)):
            if not isinstance(node, ast.Call):
                continue
            of_os = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in {
                "os",
                "subprocess",
            }
            unsafe = [
                keyword.arg
                for keyword in node.keywords
                if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in UNSAFE_ARGUMENTS
            ]
            builtin = isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}
            if unsafe or builtin or (of_os and called(node) in SHELLS):
                found.append(f"{name}:{node.lineno} {unsafe or called(node)}")
    assert found == []


def test_torch_loads_weights_only() -> None:
    for name in sources():
        for node in ast.walk(parsed(name)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("weights_only") == "True", f"{name}:{node.lineno}"


# What lies in the tree


def test_files_are_short() -> None:
    lengths = {
        name: len((ROOT / name).read_text(encoding="utf-8").splitlines())
        for name in sources()
        if not name.startswith("tests/")
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_files_and_tree_are_small() -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in tree()}
    assert {name: size for name, size in sizes.items() if size > 10 * MIB} == {}
    assert sum(sizes.values()) <= 40 * MIB


def test_the_top_level_is_fixed() -> None:
    allowed = {*PACKAGES, "scripts", "tests", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
    assert {top for name in tree() if not (top := name.split("/")[0]).startswith(".")} == allowed


def test_scripts_are_executable() -> None:
    scripts = [name for name in tree() if re.fullmatch(r"(scripts|\.ci)/[^/.]+", name) or name.endswith(".sh")]
    assert {"scripts/setup", "scripts/demo", "scripts/test", "scripts/check", ".ci/run"} <= set(scripts)
    for name in scripts:
        assert os.access(ROOT / name, os.X_OK), f"{name} is not executable"
        assert (ROOT / name).read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
        subprocess.run(["bash", "-n", str(ROOT / name)], check=True, timeout=20)


# What the README and the set-up promise


def project() -> dict[str, object]:
    """The table [project] of pyproject.toml."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    values = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return values["project"] | {"build": values["build-system"]["requires"]}


def constraints() -> dict[str, Requirement]:
    text = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8")
    pins = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    assert [str(pin) for pin in pins if not re.fullmatch(r"==[\w.]+", str(pin.specifier))] == []
    by_name = {canonicalize_name(pin.name): pin for pin in pins}
    assert len(by_name) == len(pins)
    return by_name


def test_constraints_pin_all_that_is_required_and_what_is_installed() -> None:
    metadata = importlib.import_module("importlib.metadata")
    pins, values = constraints(), project()
    extras = [requirement for extra in values["optional-dependencies"].values() for requirement in extra]
    required = [Requirement(line) for line in [*values["dependencies"], *extras, *values["build"]]]
    for requirement in required:
        pin = pins[canonicalize_name(requirement.name)]
        pinned_version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(pinned_version), f"{pin} does not meet {requirement}"

    seen: set[str] = set()
    wanted = [Requirement(line) for line in values["dependencies"]]
    while wanted:
        name = canonicalize_name(wanted.pop().name)
        if name in seen:
            continue
        seen.add(name)
        installed = metadata.distribution(name)
        assert pins[name].specifier.contains(installed.version), f"{name} {installed.version} is not {pins[name]}"
        needs = [Requirement(line) for line in installed.requires or []]
        wanted += [need for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]
    assert len(seen) > len(values["dependencies"])


@pytest.mark.parametrize(("python", "message"), [("", "PYTHON=/path"), ("/no/such/python", "PYTHON=/no/such")])
def test_setup_without_a_suitable_python_says_so(tmp_path: Path, python: str, message: str) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bin").mkdir()
    script = tmp_path / "scripts" / "setup"
    script.write_bytes((ROOT / "scripts" / "setup").read_bytes())
    for tool in ("bash", "dirname", "head"):
        found = next(Path(place) / tool for place in ("/usr/bin", "/bin") if (Path(place) / tool).exists())
        (tmp_path / "bin" / tool).symlink_to(found)
    done = subprocess.run(
        [str(tmp_path / "bin" / "bash"), str(script)],
        env={"PATH": str(tmp_path / "bin"), "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "3.10, 3.11 or 3.12" in done.stderr
    assert message in done.stderr
    assert not (tmp_path / ".venv").exists()
