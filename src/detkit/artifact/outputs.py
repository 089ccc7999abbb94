"""What may be written to, overwritten and removed: nothing that detkit did not make.

A folder that a verb fills holds `MARKER`, which lists by verb what is ours there; only that is
removed to start over, and a name that something else has is left alone. A single file is ours if it
says so itself. Folders of data are not written to at all, but by the verb that made them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from detkit.artifact.artifact import sha256_of
from detkit.artifact.data_folder import data_folder_of
from detkit.artifact.made_by import is_ours
from detkit.artifact.writing import TEMPORARY, sweep, write_text
from detkit.core.content_digest import Sealed
from detkit.core.errors import DetkitError, UsageError
from detkit.core.reading import kind_of_file, text_of
from detkit.core.run_lock import LOCK
from detkit.core.serialization import from_json, to_json

MARKER = ".detkit.json"


@dataclass(frozen=True, kw_only=True)
class MadeFiles(Sealed):
    """The files below a folder that are ours, by verb: name -> SHA-256, "" where nobody edits it.

    A name that ends in a slash is a folder with a marker of its own.
    """

    kind: str = "made files"
    made: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, verb: str) -> Mapping[str, str]:
        return self.made.get(verb, {})


# --- before any work -----------------------------------------------------------------------------


def check_output_file(path: Path, *, force: bool, read: Iterable[Path] = ()) -> None:
    """Raises UsageError where `path` may not be written.

    That is a folder, a pipe or a device; within data, or within a folder of `read`; a file that is
    there, without `force`; one that is not ours, whatever `force` is.
    """
    kind = kind_of_file(path)
    if kind == "a folder":
        raise UsageError(f"{path} is a folder", hint="-o the name of a file")
    if kind not in ("", "a file"):
        raise UsageError(f"{path} is {kind}, not a file", hint="--json prints to stdout")
    _check_apart(path, read)
    if (home := data_folder_of(path)) is not None:
        raise _within_data(path, home)
    if not kind:
        return
    if not is_ours(path):
        raise UsageError(
            f"{path} already exists, and detkit did not make it",
            hint="-o another name: --force overwrites only what detkit made",
        )
    if not force:
        raise UsageError(f"{path} already exists", hint="pass --force to overwrite")


def check_output_folder(
    folder: Path,
    verb: str,
    *,
    force: bool,
    resume: bool = False,
    read: Iterable[Path] = (),
    hint: str = "pass --force to overwrite",
) -> None:
    """Raises UsageError where `folder` may not be filled by `verb`.

    That is a file; within data that another verb or a person made, or within a folder of `read`;
    one that holds something, with neither `force` nor `resume`.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    _check_apart(folder, read)
    home = data_folder_of(folder)
    if home is not None and not (home == folder.resolve() and made_files(folder).of(verb)):
        raise _within_data(folder, home)
    if is_filled(folder) and not (force or resume):
        raise UsageError(f"{folder} already exists", hint=hint)


def is_filled(folder: Path) -> bool:
    """Whether a folder holds anything but marks and temporary files of ours."""
    return bool(made_names(folder))


def made_names(folder: Path) -> set[str]:
    """The names in a folder, if it is one, but for marks, locks and temporary files of ours."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    return {n for n in names - {MARKER, LOCK} if not TEMPORARY.fullmatch(n)}


def _check_apart(out: Path, read: Iterable[Path]) -> None:
    for source in read:
        if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
            raise _within_data(out, source)
        if source.is_file() and out.resolve() == source.resolve():
            raise UsageError(f"{out} is read, and would be overwritten", hint="-o another name")


def _within_data(path: Path, home: Path) -> UsageError:
    return UsageError(
        f"{path} lies in the data folder {home}, which is never written to",
        hint=f"-o a place outside of it, such as {home.resolve().parent / 'out' / path.name}",
    )


# --- a folder that is filled ---------------------------------------------------------------------


def begin_folder(folder: Path, verb: str, names: Iterable[str], *, resume: bool = False) -> None:
    """Removes what `verb` made in `folder` before, unless to `resume`, and marks `names` as ours.

    Raises:
        UsageError: something that is not ours has one of the names, or labels that we made were
            edited since; nothing is removed then.
        ArtifactError: the folder cannot be written to.
    """
    wanted, before = list(names), made_files(folder).of(verb)
    _sweep_below(folder, before)
    if not resume:
        _check_unedited(folder, before)
        _check_free(folder, verb, wanted, before)
        _remove(folder, before)
    _mark(folder, verb, dict.fromkeys((*(before if resume else ()), *wanted), ""))


def claim(folder: Path, verb: str, *names: str) -> None:
    """Marks more names as ours, before they are written.

    Raises:
        UsageError: something that is not ours has one of them.
    """
    known = made_files(folder).of(verb)
    if new := [name for name in names if name not in known]:
        _check_free(folder, verb, new, known)
        _mark(folder, verb, {**known, **dict.fromkeys(new, "")})


def seal(folder: Path, verb: str, *names: str) -> None:
    """Notes what files look like that people correct by hand, so that no edit is overwritten."""
    digests = {n: sha256_of(folder / n) for n in names if (folder / n).is_file()}
    _mark(folder, verb, {**made_files(folder).of(verb), **digests})


def made_files(folder: Path) -> MadeFiles:
    """What the marker lists; nothing where there is none, or a damaged one."""
    try:
        found = from_json(MadeFiles, text_of(folder / MARKER))
    except (OSError, ValueError, DetkitError):
        return MadeFiles()
    names = (PurePosixPath(name) for files in found.made.values() for name in files)
    if any(name.is_absolute() or ".." in name.parts for name in names):
        return MadeFiles()
    return found


def _mark(folder: Path, verb: str, files: Mapping[str, str]) -> None:
    before = made_files(folder)
    made = {**before.made, verb: dict(files)}
    marked = dataclasses.replace(before, made=made)
    if marked != before:
        write_text(folder / MARKER, to_json(marked) + "\n")


def _check_free(folder: Path, verb: str, names: Sequence[str], ours: Container[str]) -> None:
    """Raises UsageError where a name leads out of `folder`, or is that of something not ours."""
    home = folder.resolve()
    for parent in dict.fromkeys((folder / name).parent for name in names):
        if not parent.resolve().is_relative_to(home):
            raise UsageError(f"{parent} leads out of {folder}", hint="-o another folder")
    for path in (folder / name for name in names if name not in ours and name[-1] != "/"):
        if os.path.lexists(path):
            raise UsageError(
                f"{path} is in the way: detkit {verb} did not make it", hint="-o another folder"
            )


def _check_unedited(folder: Path, files: Mapping[str, str]) -> None:
    for name, digest in files.items():
        path = folder / name
        if digest and path.is_file() and sha256_of(path) != digest:
            raise UsageError(
                f"{path} was edited since detkit wrote it",
                hint="-o another folder, or move that file away",
            )


def _remove(folder: Path, files: Iterable[str]) -> None:
    """Removes files, and the folders that become empty by it, but `folder`."""
    home, parents = folder.resolve(), set()
    for name in files:
        path = folder / name
        if not path.parent.resolve().is_relative_to(home):
            continue  # by a link out of the folder
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        elif name.endswith("/"):
            _remove_marked(path)
        parents |= {parent for parent in (path, *path.parents) if folder in parent.parents}
    for parent in sorted(parents, key=lambda one: len(one.parts), reverse=True):
        if parent.is_dir() and not parent.is_symlink() and not any(parent.iterdir()):
            parent.rmdir()


def _remove_marked(folder: Path) -> None:
    """Removes from a folder all that its own marker lists, and the marker."""
    made = made_files(folder).made
    for files in made.values():
        _remove(folder, files)
    if made:
        (folder / MARKER).unlink()


def _sweep_below(folder: Path, names: Iterable[str]) -> None:
    """Removes what killed processes left beside the names that they wrote."""
    for parent in {(folder / name).parent for name in names} | {folder}:
        sweep(parent)
