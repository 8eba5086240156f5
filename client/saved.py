"""A file of the last states, each with the training step that it goes with.

Owns no open file. What is on the disk is whole at any time: it is replaced by a finished one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from .state import State, StateError

__all__ = ["SavedStates"]

#: So many states are kept: a model may have been saved some steps before the last one.
KEPT = 16


class SavedStates:
    """States by step, in one file. One thread at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def load(self) -> dict[int, State]:
        """By step; empty when there is no file. `StateError` when it is no such file."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError:
            raise StateError(f"{self.path} is no file of states") from None
        try:
            return {int(step): State.from_dict(state) for step, state in json.loads(text).items()}
        except (ValueError, AttributeError) as error:
            raise StateError(f"{self.path} is no file of states: {error}") from None

    def save(self, step: int, state: State) -> None:
        """Add one; those of later steps are of a run that is no more."""
        states = {known: state for known, state in self.load().items() if known < step}
        kept = dict(sorted({**states, step: state}.items())[-KEPT:])
        text = json.dumps({str(known): state.to_dict() for known, state in kept.items()}, indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f"{self.path.name}.new")
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        self._sync_folder()

    def _sync_folder(self) -> None:
        """Have the new name on the disk too, where a folder can be opened."""
        if not hasattr(os, "O_DIRECTORY"):
            return
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
