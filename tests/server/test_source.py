"""Finding and inspecting the user's generator, and running it: without processes."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from genserver.protocol.exit_codes import ExitCode
from genserver.server import Server, Worker
from genserver.server.config import ConfigError, ServeConfig, parse_arguments
from genserver.server.source import Source, load_source


def by_name(worker: Any, n: int = 3) -> Iterator[int]:
    yield from range(worker.index, n, worker.count)


def by_annotation(part: Worker) -> Iterator[int]:
    yield part.index


def neither(n: int) -> Iterator[int]:
    yield from range(n)


def two(path: str, worker: Worker, *, size: int, n: int = 3) -> Iterator[Any]:
    yield path, size, n


def declared() -> Iterator[Any]:
    yield np.zeros(3, np.float32)


declared.output_signature = "(float32[3])"  # type: ignore[attr-defined]  # as a user writes it
declared.length = 4  # type: ignore[attr-defined]  # as a user writes it


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    made = types.ModuleType("made_for_this_test")
    for function in (by_name, by_annotation, neither, two, declared):
        setattr(made, function.__name__, function)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made.__name__


def load(module: str, name: str, **arguments: Any) -> Source:
    return load_source(f"{module}:{name}", arguments)


def test_a_worker_is_filled_in_by_name_or_annotation(module: str) -> None:
    """A parameter called worker, or annotated Worker under any name, gets it."""
    assert load(module, "by_name").divisible
    assert load(module, "by_annotation").divisible
    assert not load(module, "neither", n=2).divisible
    assert list(load(module, "by_name", n=5).make(Worker(1, 2))) == [1, 3]
    assert list(load(module, "by_annotation").make(Worker(1, 2))) == [1]


def test_arguments_are_checked_before_anything_runs(module: str) -> None:
    """Missing arguments are all named, an unknown one is refused; with the signature."""
    with pytest.raises(ConfigError, match=r":neither needs --arg n=VALUE; .* is \(n: "):
        load(module, "neither")
    with pytest.raises(ConfigError, match=r":two needs --arg path=VALUE --arg size=VALUE; "):
        load(module, "two")
    with pytest.raises(ConfigError, match=r":two needs --arg path=VALUE \(not --arg pth\); "):
        load(module, "two", pth="x", size=1)
    with pytest.raises(ConfigError, match="unexpected keyword argument 'm'"):
        load(module, "by_name", m=1)


async def one_element() -> int:
    return 1


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (
            5,
            "is an int: it must be a function with yield, or something that gives its elements "
            "one after the other",
        ),
        (
            {"a": 1},
            "is a dict: it must be a function with yield, or something that gives its elements "
            "one after the other",
        ),
        (
            one_element,
            "is an async function that makes one element: say over which items, or yield",
        ),
        (
            (n for n in range(3)),
            "is a generator that exists already, and can be read only once: serve a function with "
            "yield that makes its elements anew",
        ),
        (
            by_annotation(Worker()),
            "is a generator that exists already, and can be read only once: serve the function "
            "that makes it, made_for_this_test:by_annotation",
        ),
    ],
    ids=["int", "dict", "async", "genexpr", "generator"],
)
def test_what_has_no_elements_is_told_what_to_write(
    module: str, thing: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of thing has its own words, and no advice that cannot be followed."""
    monkeypatch.setattr(sys.modules[module], "thing", thing, raising=False)
    with pytest.raises(ConfigError) as caught:
        load(module, "thing")
    assert str(caught.value) == f"{module}:thing {sentence}"


def test_a_misspelled_name_is_answered_with_those_like_it(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three names that are alike come first, and of many only eight are listed."""
    for number in range(20):
        monkeypatch.setattr(sys.modules[module], f"cubes{number}", neither, raising=False)
    with pytest.raises(ConfigError) as caught:
        load(module, "declarde")
    names = str(caught.value).partition("; its generators are ")[2]
    assert names.startswith("declared, by_name, ")
    assert names.endswith(" and 17 more")
    assert names.count(",") == 7


def test_spec_and_length_may_be_attributes(module: str) -> None:
    """output_signature as text or TensorSpec, length as a count or 'infinite'."""
    source = load(module, "declared")
    assert str(source.spec) == "float32[3]" or str(source.spec) == "(float32[3],)"
    assert source.length == 4
    assert load(module, "by_name").length == -2


def test_a_wrong_length_is_refused(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a count nor 'infinite'."""
    monkeypatch.setattr(declared, "length", "many")
    with pytest.raises(ConfigError, match="'many'"):
        load(module, "declared")


def test_arguments_of_the_command_line_are_json_or_text() -> None:
    """Numbers, lists and true are read as such, a path stays text."""
    read = parse_arguments(["n=3", "folder=/data", "sizes=[1, 2]", "fast=true", "name=a=b"])
    assert read == {"n": 3, "folder": "/data", "sizes": [1, 2], "fast": True, "name": "a=b"}
    for wrong in (["n"], ["1n=3"], ["n=1", "n=2"]):
        with pytest.raises(ConfigError) as caught:
            parse_arguments(wrong)
        assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    "options",
    [{"target": "scans"}, {"workers": -1}, {"workers": 513}, {"sharding": "x"}, {"seed": -1}],
)
def test_a_config_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    """Each field is checked where the config is made."""
    with pytest.raises(ConfigError):
        ServeConfig(**{"target": "scans:cubes", **options})


def test_random_numbers_depend_on_seed_stream_and_epoch() -> None:
    """worker.rng repeats for the same three and differs when one of them differs."""
    first = Worker(1, 4, 2, 3).rng.random(4).tolist()
    assert first == Worker(1, 4, 2, 3).rng.random(4).tolist()
    assert first == Worker(0, 1, 2, 3, stream=1).rng.random(4).tolist()
    for other in (Worker(0, 4, 2, 3), Worker(1, 4, 1, 3), Worker(1, 4, 2, 4)):
        assert first != other.rng.random(4).tolist()


def test_reading_start_declares_a_generator_that_seeks() -> None:
    """A generator that reads worker.start begins there; genserver then drops nothing."""
    worker = Worker(start=5)
    assert not worker.seeks
    assert worker.start == 5
    assert worker.seeks


def in_main() -> Iterator[int]:
    yield 1


in_main.__module__ = "__main__"
AS_TEXT = (
    "Server takes 'MODULE:GENERATOR' as text, such as 'scans:cubes', because workers import it"
)


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        (by_name, f"; this one is '{by_name.__module__}:by_name'"),
        (lambda: iter([1]), ""),
        (in_main, "; name the file of this one, such as 'train.py:in_main'"),
        (by_name(Worker()), ""),
        (None, ""),
    ],
)
def test_a_server_is_given_a_name(target: Any, hint: str) -> None:
    """A function, a lambda, a generator: a sentence at once, with the name where it has one."""
    with pytest.raises(TypeError) as caught:
        Server(target)
    assert str(caught.value) == AS_TEXT + hint


def test_workers_cannot_import_main() -> None:
    """The file is to be named; without workers __main__ is this process's own."""
    with pytest.raises(ConfigError, match=r"workers cannot import __main__: .* train\.py:mine$"):
        ServeConfig(target="__main__:mine")
    assert ServeConfig(target="__main__:mine", workers=0).workers == 0
