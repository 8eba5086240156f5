"""genserver into TensorFlow: `from_server` with its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from _case import Case, Passes, Refused
from genserver.client import OptionError, from_server

from .plain import batched, passes
from .serving import endpoint, options


@contextmanager
def opened(case: Case) -> Iterator[Passes]:
    """A server of two workers, and one dataset."""
    chosen = options(case)
    with endpoint(case) as address:
        try:
            dataset = from_server(address, **chosen)
        except OptionError as error:
            raise Refused(f"this build: {error}") from None
        yield passes(batched(dataset, case))
