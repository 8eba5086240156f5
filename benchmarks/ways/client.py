"""genserver into numpy: `Client`, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from _case import Case, Passes, Refused
from genserver.client import Client, OptionError

from .serving import endpoint, options


@contextmanager
def opened(case: Case) -> Iterator[Passes]:
    """A server of two workers, and one client."""
    chosen = options(case)
    with endpoint(case) as address:
        try:
            client = Client(address, **chosen)
        except OptionError as error:
            raise Refused(f"this build: {error}") from None

        @contextmanager
        def one_pass() -> Iterator[Iterator[Any]]:
            iterator: Any = iter(client)
            with closing(iterator):
                yield iterator

        with client:
            yield one_pass
