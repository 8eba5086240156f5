"""Memory that merged runs use again."""

from __future__ import annotations

import numpy as np
from genserver.client.recycled import ALIGNMENT, KEPT, Recycled


def test_memory_in_use_is_never_given_out_again() -> None:
    """A view of a view, in another dtype and shape, is enough to keep it."""
    memory = Recycled()
    views = [memory.take(1000).view(np.float32).reshape(10, 25)[index:] for index in range(5)]
    again = memory.take(1000)
    assert not any(np.shares_memory(view, again) for view in views)


def test_memory_that_nobody_uses_is_given_out_again() -> None:
    """Once the last view is gone, for any amount that fits; other sizes have their own."""
    memory = Recycled()
    held = memory.take(1000)
    first = held.ctypes.data
    del held
    assert memory.take(990).ctypes.data == first
    assert memory.take(5000).ctypes.data != first


def test_memory_is_aligned_for_tensorflow() -> None:
    """It starts on 64 bytes, whatever the amount."""
    memory = Recycled()
    assert {memory.take(n).ctypes.data % ALIGNMENT for n in (1, 63, 64, 65, 4096)} == {0}


def test_what_is_kept_is_bounded() -> None:
    """More than that at once is plain memory, which goes with its views."""
    memory = Recycled()
    views = [memory.take(1000) for _ in range(3 * KEPT)]
    places = {view.ctypes.data for view in views}
    assert len(places) == 3 * KEPT
    views.clear()
    assert len({memory.take(1000).ctypes.data for _ in range(3 * KEPT)}) == 1
    assert sum(map(len, memory._kept.values())) == KEPT
