"""Fuzzes the decoder: python tests/fuzz/decoder.py --seconds 60

With atheris (pip install -e ".[fuzz]"), guided by coverage, from the corpus beside this
file. Ends with 0 when nothing was found, and otherwise shows the error and the input. What is new
goes to a folder for itself, given with --found or forgotten; --keep writes the corpus anew: the
seeds, and of all that was found the least that covers the same.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in the place of this folder

__all__ = ["CORPUS", "main", "replay"]

CORPUS = Path(__file__).parent / "corpus"
MISSING = 'the fuzzer needs atheris: pip install -e ".[fuzz]"'
#: Longest input: a header of 64 KiB, another in front of it, and some bytes of frames.
MAX_INPUT = 80_000


def main() -> int:
    """Parse the arguments and run; the exit code."""
    parser = argparse.ArgumentParser(description="Fuzzes the decoder of foreign bytes.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--found", type=Path, help="folder for new inputs")
    parser.add_argument("--replay", action="store_true", help="run the corpus only, no atheris")
    parser.add_argument("--keep", type=Path, help="merge the inputs of this folder into the corpus")
    arguments = parser.parse_args()
    if arguments.replay:
        print(replay())
        return 0
    if arguments.keep is not None:
        print(keep(arguments.keep))
        return 0
    try:
        import atheris
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 69
    if arguments.found is None:
        return _and_forget(arguments.seconds)
    arguments.found.mkdir(parents=True, exist_ok=True)
    options = f"-max_total_time={arguments.seconds}", f"-seed={arguments.seed}"
    _fuzz(atheris, arguments.found, *options)
    return 0


def _and_forget(seconds: int) -> int:
    """In another process: libFuzzer ends its own at once, and would leave the folder behind."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, *sys.argv, "--found", scratch]
        return subprocess.run(command, timeout=2 * seconds + 600, check=False).returncode


def replay() -> str:
    """Judge the corpus and the seeds, and say how many there were."""
    from tests.fuzz.limits import Limits
    from tests.fuzz.seeds import seeds

    inputs = [*seeds(), *(path.read_bytes() for path in sorted(CORPUS.iterdir()))]
    limits = Limits()
    outcomes = {limits.judge(data) for data in inputs}
    return f"{limits.inputs} inputs: {' '.join(sorted(outcomes))}"


def keep(folder: Path) -> str:
    """Write the corpus anew from itself, the seeds and a folder; says how much there is."""
    from tests.fuzz.keep import least, write
    from tests.fuzz.seeds import seeds
    from tests.fuzz.target import warm

    warm()
    paths = [*CORPUS.iterdir(), *folder.iterdir()]
    kept = least([*seeds(), *(path.read_bytes() for path in paths)])
    write(CORPUS, kept)
    return f"{len(kept)} inputs, {sum(map(len, kept))} bytes"


def _fuzz(atheris: Any, found: Path, *options: str) -> None:
    """Does not return: libFuzzer ends the process, with 0 when nothing was found."""
    with atheris.instrument_imports(include=["genserver.protocol", "msgpack_numpy"]):
        from tests.fuzz.limits import Limits
        from tests.fuzz.mutate import replaced
    limits = Limits()

    def judge(data: bytes) -> None:
        limits.judge(data)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        other = replaced(data, chance) if chance.random() < 0.5 else None
        if other is not None and len(other) <= most:
            return other
        changed: bytes = atheris.Mutate(data, most)
        return changed

    # libFuzzer's own limits are beyond ours, which say what was breached: it counts on the wall.
    atheris.Setup(
        [sys.argv[0], *options, f"-max_len={MAX_INPUT}", "-timeout=60", "-rss_limit_mb=4096",
         f"-artifact_prefix={tempfile.gettempdir()}/genserver-fuzz-", "-print_final_stats=1",
         str(found), str(CORPUS)],
        judge, custom_mutator=mutated,
    )  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
