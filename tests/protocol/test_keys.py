"""Keys as values and as files, who is let in, and what a failed handshake tells."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from genserver.protocol.errors import KeyFileError, KeyRejected, Rejected
from genserver.protocol.handshake import (
    CLOSED_FOR,
    Handshakes,
    KeyTrouble,
    Shake,
    Trouble,
    rejected,
)
from genserver.protocol.keys import PUBLISHED, ServerKeys, TrainerKeys, is_key, key_problem
from genserver.protocol.transport.key_files import (
    find_server_keys,
    find_trainer_keys,
    make_keys,
    trainers_in,
)
from genserver.protocol.transport.sockets import make_key_pair, public_key_of, raw_key
from genserver.protocol.zap import DOMAIN, answer, read_knock
from hypothesis import given
from hypothesis import strategies as st

PUBLIC, SECRET = make_key_pair()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of a server and of the trainer called trainer."""
    make_keys(str(tmp_path / "keys"))
    return tmp_path / "keys"


# Files.


def test_made_keys_fit_each_other(folder: Path) -> None:
    """The server knows the trainer, and the trainer the server."""
    server, trainer = find_server_keys(str(folder), {}), find_trainer_keys(str(folder), {})
    assert server is not None
    assert trainer is not None
    assert trainer.server == server.public == public_key_of(server.secret)
    assert trainers_in(server.folder) == {trainer.public}


def test_each_end_needs_its_own_folder_only(folder: Path) -> None:
    """DIR/server and DIR/trainer do as DIR does; a server's folder is taken for a trainer's."""
    assert find_server_keys(str(folder / "server"), {}) == find_server_keys(str(folder), {})
    assert find_trainer_keys(str(folder / "trainer"), {}) == find_trainer_keys(str(folder), {})
    server, beside = find_server_keys(str(folder), {}), find_trainer_keys(f"{folder}/server", {})
    assert server is not None
    assert beside == TrainerKeys(server.public, server.secret, server.public)


def test_another_trainer_gets_keys_of_the_same_server(folder: Path) -> None:
    """--name: what was there stays as it was, and both are known."""
    before = (folder / "server" / "secret.key").read_bytes()
    make_keys(str(folder), "second")
    assert (folder / "server" / "secret.key").read_bytes() == before
    one, two = (find_trainer_keys(str(folder / name), {}) for name in ("trainer", "second"))
    assert one is not None
    assert two is not None
    assert trainers_in(str(folder / "server" / "trainers")) == {one.public, two.public}
    with pytest.raises(KeyFileError, match="exists already"):
        make_keys(str(folder), "second")


def test_secrets_are_their_owners_alone(tmp_path: Path) -> None:
    """Also with a umask that takes nothing away."""
    before = os.umask(0)
    try:
        made = make_keys(str(tmp_path / "keys"))
    finally:
        os.umask(before)
    assert len(made) == 5
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in made} == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_secret_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    """With the command that mends it."""
    for find, path in ((find_server_keys, "server"), (find_trainer_keys, "trainer")):
        secret = folder / path / "secret.key"
        secret.chmod(mode)
        with pytest.raises(KeyFileError, match=f"chmod 600 {secret}"):
            find(str(folder), {})
        secret.chmod(0o600)
        assert find(str(folder), {}) is not None


def test_a_secret_of_another_user_is_refused(folder: Path) -> None:
    """As root: whose it is, is looked at."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(folder / "trainer" / "secret.key", 12345, 12345)
    with pytest.raises(KeyFileError, match="belongs to another user"):
        find_trainer_keys(str(folder), {})


@pytest.mark.parametrize("name", ["server", "", "..", "a/b", "-x", "a b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing is made outside of the folder."""
    with pytest.raises(KeyFileError, match="a trainer's name"):
        make_keys(str(tmp_path / "keys"), name)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "holds no key"), ("x" * 39, "holds no key"), ("#" * 40, "holds no key"),
     ("é" * 40, "holds no key"), *((key, "everybody has its secret") for key in sorted(PUBLISHED))],
)  # fmt: skip
def test_what_is_no_key_is_said(folder: Path, text: str, why: str) -> None:
    """Too short, beyond Z85, or out of libzmq's manual."""
    (folder / "trainer" / "secret.key").write_text(text)
    with pytest.raises(KeyFileError, match=why):
        find_trainer_keys(str(folder), {})


def test_the_wrong_folder_is_said(folder: Path, tmp_path: Path) -> None:
    """A trainer's for a server, one without keys, one of several trainers."""
    with pytest.raises(KeyFileError, match="these are a trainer's keys"):
        find_server_keys(str(folder / "trainer"), {})
    for find in (find_server_keys, find_trainer_keys):
        with pytest.raises(KeyFileError, match="genserver keygen"):
            find(str(tmp_path), {})
    make_keys(str(tmp_path / "two"), "a")
    make_keys(str(tmp_path / "two"), "b")
    with pytest.raises(KeyFileError, match="it has a, b"):
        find_trainer_keys(str(tmp_path / "two"), {})


def test_a_server_that_knows_nobody_does_not_start(folder: Path) -> None:
    """Its folder of trainers is empty."""
    (folder / "server" / "trainers" / "trainer.key").unlink()
    with pytest.raises(KeyFileError, match="nobody could connect"):
        find_server_keys(str(folder), {})


def test_a_damaged_file_among_the_trainers_lets_nobody_in(folder: Path) -> None:
    """The others are let in as before."""
    trainers = folder / "server" / "trainers"
    known = trainers_in(str(trainers))
    (trainers / "half.key").write_text(PUBLIC[:20])
    (trainers / "note.txt").write_text(PUBLIC)
    assert trainers_in(str(trainers)) == known
    assert trainers_in(str(folder / "nowhere")) == frozenset()


# The environment.


def test_the_environment_names_a_folder(folder: Path) -> None:
    """GENSERVER_KEYS; what is given goes first, and "none" is none."""
    environment = {"GENSERVER_KEYS": str(folder)}
    assert find_server_keys(None, environment) == find_server_keys(str(folder), {})
    assert find_trainer_keys(None, environment) == find_trainer_keys(str(folder), {})
    assert find_trainer_keys("none", environment) is None
    assert find_server_keys("none", environment) is None
    assert find_trainer_keys(None, {"GENSERVER_KEYS": "none"}) is None
    assert find_server_keys(None, {}) is None


def test_the_environment_holds_the_keys(tmp_path: Path) -> None:
    """As they are or in files, as containers are given them."""
    other, secret = make_key_pair()
    server = find_server_keys(
        None, {"GENSERVER_SECRET_KEY": SECRET, "GENSERVER_TRAINER_KEYS": f"{other}\n{PUBLIC}"}
    )
    assert server == ServerKeys(PUBLIC, SECRET, trainers=(other, PUBLIC))
    files = {}
    for name, text in (("GENSERVER_SECRET_KEY", secret), ("GENSERVER_SERVER_KEY", PUBLIC)):
        path = tmp_path / name
        path.write_text(f"# of the training\n{text}\n")
        path.chmod(0o600)
        files[f"{name}_FILE"] = str(path)
    assert find_trainer_keys(None, files) == TrainerKeys(other, secret, PUBLIC)
    (tmp_path / "GENSERVER_SECRET_KEY").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        find_trainer_keys(None, files)


@pytest.mark.parametrize(
    ("environment", "source"),
    [({"GENSERVER_SECRET_KEY": "short"}, "GENSERVER_TRAINER_KEYS"),
     ({"GENSERVER_SECRET_KEY": SECRET}, "GENSERVER_TRAINER_KEYS"),
     ({"GENSERVER_SECRET_KEY": SECRET, "GENSERVER_TRAINER_KEYS": "short"},
      "GENSERVER_TRAINER_KEYS"),
     ({"GENSERVER_SECRET_KEY": "short", "GENSERVER_TRAINER_KEYS": PUBLIC}, "GENSERVER_SECRET_KEY"),
     ({"GENSERVER_SECRET_KEY_FILE": "/nowhere"}, "/nowhere")],
)  # fmt: skip
def test_what_is_wrong_in_the_environment_is_said(environment: dict[str, str], source: str) -> None:
    """With the variable or the file that it is in, and without the key."""
    with pytest.raises(KeyFileError) as caught:
        find_server_keys(None, environment)
    assert caught.value.source == source
    assert SECRET not in str(caught.value)


def test_no_repr_shows_a_secret() -> None:
    """Those of the ends' keys, which tracebacks and logs may hold."""
    assert SECRET not in repr(TrainerKeys(PUBLIC, SECRET, PUBLIC))
    assert SECRET not in repr(ServerKeys(PUBLIC, SECRET))


@given(st.text(max_size=50))
def test_text_is_a_key_only_where_it_has_32_bytes(text: str) -> None:
    """What passes can be decoded by libzmq's rules."""
    if is_key(text):
        assert len(raw_key(text)) == 32
    else:
        assert key_problem(text)


def test_a_key_of_libzmq_is_one() -> None:
    """Ten pairs of its own."""
    for _ in range(10):
        public, secret = make_key_pair()
        assert key_problem(public) == key_problem(secret) == ""


# ZeroMQ's authentication protocol.

KEY = raw_key(PUBLIC)
REQUEST = [b"1.0", b"7", DOMAIN, b"10.0.0.9", b"", b"CURVE", KEY]


def verdict(frames: list[bytes], known: frozenset[bytes] = frozenset({KEY})) -> bytes:
    """The status that is answered."""
    knock = read_knock(frames)
    assert knock is not None
    reply, admitted = answer(knock, known.__contains__)
    assert reply[:2] == [b"1.0", frames[1]]
    assert admitted == (reply[2] == b"200")
    return reply[2]


def test_who_is_known_is_let_in_and_nobody_else() -> None:
    """Another key, no key, another mechanism, another or no domain, and credentials too many."""
    assert verdict(REQUEST) == b"200"
    assert verdict(REQUEST, frozenset()) == b"400"
    for at, wrong in ((2, b""), (2, b"other"), (5, b"NULL"), (5, b"PLAIN"), (6, KEY[:31])):
        assert verdict([*REQUEST[:at], wrong, *REQUEST[at + 1 :]]) == b"400"
    assert verdict(REQUEST[:6]) == b"400"
    assert verdict([*REQUEST, KEY]) == b"400"


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_whatever_is_asked_nobody_else_gets_in(frames: list[bytes]) -> None:
    """Frames of any number and content: no answer, or no."""
    knock = read_knock(frames)
    if knock is not None:
        assert answer(knock, lambda key: key == KEY)[1] == (frames[1:] == REQUEST[1:])


# Handshakes.


@pytest.mark.parametrize(
    ("shake", "keys", "code"),
    [(Shake.REFUSED, True, KeyTrouble.UNKNOWN_KEY),
     (Shake.MISMATCH, True, KeyTrouble.KEYS_UNUSED),
     (Shake.MISMATCH, False, KeyTrouble.KEYS_NEEDED), (Shake.CLOSED, False, None),
     (Shake.SUCCEEDED, True, None), (Shake.ABSENT, True, None)],
)  # fmt: skip
def test_what_a_handshake_tells(shake: Shake, keys: bool, code: KeyTrouble | None) -> None:
    """A refusal alone is sure; whoever has no keys learns of none."""
    trouble = Handshakes(PUBLIC if keys else "").saw(shake, 0.0)
    assert (trouble.code if trouble else None) == code
    assert trouble is None or trouble.sure == (shake is Shake.REFUSED)


def test_closed_connections_are_an_accident_until_they_go_on_for_long() -> None:
    """Then they are a wrong key or no genserver; a server that was absent begins anew."""
    handshakes = Handshakes(PUBLIC)
    assert handshakes.saw(Shake.CLOSED, 0.0) is None
    assert handshakes.saw(Shake.CLOSED, CLOSED_FOR - 0.1) is None
    assert handshakes.saw(Shake.ABSENT, CLOSED_FOR) is None
    assert handshakes.saw(Shake.CLOSED, CLOSED_FOR) is None
    trouble = handshakes.saw(Shake.CLOSED, 2 * CLOSED_FOR)
    assert trouble == Trouble(KeyTrouble.WRONG_SERVER_KEY, trouble.text if trouble else "", False)


def test_a_refusal_is_typed_by_its_code() -> None:
    """`KeyRejected` for what keys are to blame for, `Rejected` for the rest."""
    assert type(rejected("tcp://a:1", "unknown_key", "no")) is KeyRejected
    assert type(rejected("tcp://a:1", "version", "no")) is Rejected


# Mistakes that must not leave the door open.


@pytest.mark.parametrize("find", [find_server_keys, find_trainer_keys])
def test_an_empty_folder_name_is_a_mistake(find: Callable[..., object]) -> None:
    """As of a shell's variable that was never set: not "none"."""
    with pytest.raises(KeyFileError, match="'none' means none"):
        find("", {})
    with pytest.raises(KeyFileError, match="GENSERVER_KEYS: it is empty"):
        find(None, {"GENSERVER_KEYS": ""})


def test_half_of_the_keys_in_the_environment_are_a_mistake(tmp_path: Path) -> None:
    """Trainers without the server's secret, a server's key without the trainer's, empty secrets."""
    for name, find in (
        ("GENSERVER_TRAINER_KEYS", find_server_keys), ("GENSERVER_SERVER_KEY", find_trainer_keys)
    ):  # fmt: skip
        with pytest.raises(KeyFileError, match="without GENSERVER_SECRET_KEY"):
            find(None, {name: PUBLIC})
        with pytest.raises(KeyFileError, match="GENSERVER_SECRET_KEY"):
            find(None, {name: PUBLIC, "GENSERVER_SECRET_KEY": ""})
        empty = tmp_path / "empty"
        empty.touch(0o600)
        with pytest.raises(KeyFileError, match="holds no key"):
            find(None, {name: PUBLIC, "GENSERVER_SECRET_KEY_FILE": str(empty)})


def test_what_others_may_write_lets_nobody_in(folder: Path) -> None:
    """The folder of trainers, and a file in it."""
    trainers = folder / "server" / "trainers"
    known = trainers_in(str(trainers))
    for path in (trainers, trainers / "trainer.key"):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | 0o020)
        assert trainers_in(str(trainers)) == frozenset()
        with pytest.raises(KeyFileError):
            find_server_keys(str(folder), {})
        path.chmod(mode)
        assert trainers_in(str(trainers)) == known


def test_folders_of_keys_are_their_owners_alone(tmp_path: Path) -> None:
    """All that are made, with a umask that takes nothing away."""
    before = os.umask(0)
    try:
        make_keys(str(tmp_path / "a" / "keys"))
    finally:
        os.umask(before)
    made = [path for path in (tmp_path / "a").rglob("*") if path.is_dir()]
    assert len(made) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", *made)} == {0o700}


def test_a_registered_name_is_not_made_again(folder: Path) -> None:
    """Nothing is left behind by the attempt."""
    shutil.rmtree(folder / "trainer")
    with pytest.raises(KeyFileError, match=r"trainers/trainer.key: it exists already"):
        make_keys(str(folder))
    assert not (folder / "trainer").exists()


def test_an_engine_may_show_its_secrets_to_the_whole_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that all may read, where container engines put secrets; not one that all may write."""
    monkeypatch.setattr("genserver.protocol.transport.key_files.ENGINE_SECRETS", str(tmp_path))
    path = tmp_path / "key"
    path.write_text(SECRET)
    path.chmod(0o444)
    environment = {"GENSERVER_SECRET_KEY_FILE": str(path), "GENSERVER_SERVER_KEY": PUBLIC}
    assert find_trainer_keys(None, environment) == TrainerKeys(PUBLIC, SECRET, PUBLIC)
    path.chmod(0o666)
    with pytest.raises(KeyFileError):
        find_trainer_keys(None, environment)
