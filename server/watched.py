"""Which folders `--reload` watches, which changes count, and how they are named.

Runs no user code: a module is looked for, not imported. Touches the file system, and no watch.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterable, Sequence

from genserver.protocol.exit_codes import ExitCode

from .config import ConfigError, split_target

__all__ = [
    "counts", "described", "folders_of", "forget_compiled", "outermost", "watched_folders",
]  # fmt: skip

#: Below a watched folder, what lies in one of these is nobody's code; nor is what is hidden.
IGNORED = {"__pycache__", "node_modules", "site-packages", "dist-packages"}
#: Files that are named in one line.
MAX_NAMED = 3


def watched_folders(target: str, given: Sequence[str]) -> tuple[str, ...]:
    """Those that were ``given``, else those of the target and the current one. `ConfigError` where
    there is none."""
    if given:
        for folder in given:
            if not os.path.isdir(folder):
                raise ConfigError(f"--reload-dir {folder}: there is no such folder", ExitCode.USAGE)
        return outermost(given)
    here = os.getcwd()
    found = [folder for folder in folders_of(target) if os.path.isdir(folder)]
    if here != os.path.dirname(here):  # the root is the whole system
        found.append(here)
    if not found:
        raise ConfigError(
            f"--reload does not find the folder of {target}: say it with --reload-dir DIR"
        )
    return outermost(found)


def folders_of(target: str) -> list[str]:
    """Where the code of a target is: the folder of a file or a module, or the package's own."""
    where, _ = split_target(target)
    if where.endswith(".py"):
        return [os.path.dirname(os.path.abspath(os.path.expanduser(where)))]
    try:
        # Of the package alone: to look for what is inside would import it.
        spec = importlib.util.find_spec(where.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return list(spec.submodule_search_locations)
    if not spec.has_location or spec.origin is None:
        return []  # a part of Python
    folder = os.path.dirname(os.path.abspath(spec.origin))
    return [] if os.path.basename(folder) in IGNORED else [folder]


def outermost(folders: Iterable[str]) -> tuple[str, ...]:
    """Real paths, without those that are inside another."""
    real = sorted({os.path.realpath(folder) for folder in folders})
    return tuple(
        folder for folder in real
        if not any(folder != other and _is_inside(folder, other) for other in real)
    )  # fmt: skip


def counts(path: str, folders: Sequence[str]) -> bool:
    """Whether a change of this file means other code."""
    if not path.endswith(".py"):
        return False
    inside = [os.path.relpath(path, folder) for folder in folders if _is_inside(path, folder)]
    parts = min(inside, key=len, default=path).split(os.sep)
    return not any(part in IGNORED or part.startswith(".") for part in parts)


def described(paths: Sequence[str], here: str) -> str:
    """The first files, as seen from this folder, and how many more there are."""
    named = [os.path.relpath(p, here) if _is_inside(p, here) else p for p in paths[:MAX_NAMED]]
    more = len(paths) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def forget_compiled(paths: Iterable[str]) -> None:
    """Remove what Python keeps of these files compiled: it takes another version of the same size
    and second for the one that it knows."""
    for path in paths:
        # There may be none, and where it cannot be removed nobody could write it either.
        with contextlib.suppress(OSError):
            os.unlink(importlib.util.cache_from_source(path))


def _is_inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)
