"""The house rules that the source tree must keep, read from its syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("server", "client", "protocol")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))

#: What a pure module may not touch: it gets events and time as arguments.
IMPURE = {
    "zmq", "socket", "threading", "multiprocessing", "subprocess", "signal", "select", "time",
    "logging", "tensorflow", "matplotlib",
}  # fmt: skip
PURE = [
    *sorted(p for p in (ROOT / "protocol").glob("*.py")),
    ROOT / "server" / "fleet.py", ROOT / "server" / "actions.py",
    ROOT / "server" / "reloading.py",
    ROOT / "server" / "lifecycle.py", ROOT / "server" / "lives.py",
    ROOT / "server" / "stalls.py", ROOT / "server" / "rerun.py",
    ROOT / "server" / "output.py", ROOT / "server" / "announce.py",
    ROOT / "server" / "config.py",
    ROOT / "client" / "plan.py", ROOT / "client" / "options.py", ROOT / "client" / "keras.py",
    ROOT / "client" / "tf_errors.py", ROOT / "server" / "unbatch.py",
    ROOT / "server" / "figures.py", ROOT / "server" / "history.py",
    ROOT / "server" / "top_page.py", ROOT / "server" / "board.py",
    ROOT / "server" / "http_reply.py", ROOT / "server" / "metrics.py",
    *(ROOT / "client" / f"{name}.py"
      for name in ("album", "peek_page", "samples", "shades", "sights")),
    ROOT / "server" / "bench_plan.py", ROOT / "server" / "bench_report.py",
]  # fmt: skip


#: The one file that opens sockets, and is as long as that takes.
SOCKETS = "protocol/transport/sockets.py"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Every imported module, relative ones spelled out."""
    package = ["genserver", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])])


def tops_of(name: str) -> list[str]:
    """The modules beside it that a file imports as soon as it is loaded itself."""
    body = ast.parse((ROOT / name).read_text()).body
    return [node.module or "" for node in body if isinstance(node, ast.ImportFrom) and node.level]


def importers_of(module: str) -> list[str]:
    return [
        name_of(path)
        for path in SOURCES
        if any(name == module or name.startswith(module + ".") for name in imports(path))
    ]


def test_server_and_client_do_not_know_each_other() -> None:
    """server -> protocol <- client, and protocol knows neither."""
    for path in SOURCES:
        home = path.relative_to(ROOT).parts[0]
        strangers = {"server": ["client"], "client": ["server"], "protocol": ["server", "client"]}
        for stranger in strangers[home]:
            found = [n for n in imports(path) if n.startswith(f"genserver.{stranger}")]
            assert not found, f"{name_of(path)} imports {found}"


def test_one_file_opens_sockets() -> None:
    """zmq and socket are imported in protocol/transport/sockets.py alone."""
    for module in ("zmq", "socket"):
        assert importers_of(module) == [SOCKETS]


def test_one_file_imports_tensorflow() -> None:
    """tensorflow is imported in client/tensorflow.py alone."""
    assert importers_of("tensorflow") == ["client/tensorflow.py"]


def test_one_file_imports_the_library_that_watches() -> None:
    """watchfiles is imported in server/watcher.py, which nobody loads without --reload."""
    assert importers_of("watchfiles") == ["server/watcher.py"]
    assert importers_of("genserver.server.watcher") == ["server/cli.py", "server/supervisor.py"]
    tops = [node for path in ("cli", "supervisor") for node in tops_of(f"server/{path}.py")]
    assert not {"watcher", "watched", "reloading"} & set(tops)


def test_one_file_imports_the_library_that_draws() -> None:
    """rich is imported in server/top_screen.py, which nobody loads without a terminal."""
    assert importers_of("rich") == ["server/top_screen.py"]
    assert importers_of("genserver.server.top_screen") == ["server/top.py"]
    assert importers_of("genserver.server.top") == ["server/cli.py"]
    assert "top" not in tops_of("server/cli.py")
    assert "top_screen" not in tops_of("server/top.py")


def test_one_file_imports_the_library_of_metrics() -> None:
    """prometheus_client is imported in server/metrics.py, which nobody loads without --http; and
    nothing but web.py answers over HTTP."""
    assert importers_of("prometheus_client") == ["server/metrics.py"]
    assert importers_of("genserver.server.metrics") == ["server/web.py"]
    assert importers_of("genserver.server.web") == ["server/cli.py"]
    assert "web" not in tops_of("server/cli.py")
    assert "metrics" not in tops_of("server/web.py")
    for module in ("http", "socketserver", "wsgiref", "asyncio.streams"):
        assert importers_of(module) == []


def test_one_file_imports_the_library_that_makes_pictures() -> None:
    """matplotlib is imported in client/picture.py, which nobody loads without --save, and no module
    of the client loads those of a command."""
    assert importers_of("matplotlib") == ["client/picture.py"]
    assert importers_of("genserver.client.picture") == ["client/peek.py"]
    assert importers_of("genserver.client.peek") == []
    assert "picture" not in tops_of("client/peek.py")


def test_pure_modules_touch_no_socket_clock_or_thread() -> None:
    """What decides takes events and time as arguments."""
    for path in PURE:
        found = {name.partition(".")[0] for name in imports(path)} & IMPURE
        assert not found, f"{name_of(path)} imports {found}"


def test_nothing_that_unpickles_or_evaluates() -> None:
    """No pickle, marshal, eval, exec or numpy's allow_pickle anywhere in the packages, but for the
    function that a trainer sends to its own child, which one file packs and one makes again."""
    assert importers_of("cloudpickle") == ["client/sending.py"]
    assert importers_of("pickle") == ["server/sent.py"]
    for path in SOURCES:
        assert not {"marshal", "dill", "shelve"} & set(imports(path))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), name_of(path)
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", name_of(path)
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("recv_pyobj", "send_pyobj"), name_of(path)


#: What decodes, or moves what others decode: the protocol, and all that knows its transport.
DECODING = [
    path
    for path in SOURCES
    if path.is_relative_to(ROOT / "protocol")
    or any(name.startswith("genserver.protocol.transport") for name in imports(path))
]
#: The one dtype that is neither: what a generator itself asks for, of memory in its own process.
OWN_DTYPE = ("server/worker.py", "np.dtype")
#: Calls that run or load what they are given, or that read objects from bytes.
RUNNING = {"eval", "exec", "compile", "__import__"}
LOADING = {
    "np.load", "np.fromstring", "np.fromregex", "np.genfromtxt", "np.loadtxt", "np.memmap",
}  # fmt: skip
UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "dill", "shelve", "jsonpickle", "joblib"}
#: What msgpack would call with what it has read.
HOOKS = {"ext_hook", "object_hook", "object_pairs_hook", "list_hook", "allow_pickle"}
#: numpy's calls that make a dtype of an argument: its position, its keyword.
TYPED = {
    "np.dtype": (0, "dtype"), "np.frombuffer": (1, "dtype"), "np.ndarray": (1, "dtype"),
    "np.fromiter": (1, "dtype"), "np.fromfile": (1, "dtype"),
}  # fmt: skip


def unsafe(tree: ast.AST) -> Iterator[str]:
    """What must not be where foreign bytes are read: line and name of each."""
    plain = _renamed(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            for module in named:
                if (module or "").partition(".")[0] in UNPICKLERS:
                    yield f"{node.lineno}: {module}"
        elif isinstance(node, ast.Call):
            name = _dotted(node.func, plain)
            hooks = [k.arg for k in node.keywords if k.arg in HOOKS]
            if name in RUNNING | LOADING or name.removeprefix("builtins.") in RUNNING:
                yield f"{node.lineno}: {name}"
            elif hooks:
                yield f"{node.lineno}: {name} with {hooks}"
            elif name in TYPED and not _known_dtype(_argument(node, *TYPED[name]), plain):
                yield f"{node.lineno}: {name} of what is no literal and not in the table"


def _renamed(tree: ast.AST) -> dict[str, str]:
    """What names of this module stand for: numpy is np, whatever it is imported as."""
    plain: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            plain |= {a.asname or a.name: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            plain |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return {name: re.sub(r"^numpy\b", "np", full) for name, full in plain.items()}


def _dotted(node: ast.expr, plain: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, plain)}.{node.attr}"
    return plain.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def _argument(call: ast.Call, position: int, keyword: str) -> ast.expr | None:
    given = [k.value for k in call.keywords if k.arg == keyword]
    return given[0] if given else call.args[position] if len(call.args) > position else None


def _known_dtype(node: ast.expr | None, plain: dict[str, str]) -> bool:
    """A literal, numpy's or Python's own type, or a row of `DTYPES`: its ``wire``, or its ``name``
    in the module that it says."""
    if node is None or isinstance(node, ast.Constant):
        return True  # numpy's default, or text that is written here
    if isinstance(node, ast.Attribute) and node.attr == "wire":
        return _is_row(node.value)
    if isinstance(node, ast.Call) and _dotted(node.func, plain) == "getattr":
        loaded = node.args[0]
        return isinstance(loaded, ast.Call) and _is_row(getattr(loaded.args[0], "value", None))
    return _dotted(node, plain) in {"object", "bool", "int", "float", "complex"} or bool(
        re.fullmatch(r"np\.[a-z]+\d*", _dotted(node, plain))
    )


def _is_row(node: ast.expr | None) -> bool:
    """``DTYPES[...]``, or ``row``, which is what the code calls one of its values."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Name) and node.value.id == "DTYPES"
    return isinstance(node, ast.Name) and node.id == "row"


@pytest.mark.parametrize("path", DECODING, ids=name_of)
def test_what_reads_foreign_bytes_runs_nothing_of_them(path: Path) -> None:
    """Nothing unpickles, evaluates or loads, msgpack has no hooks, and no dtype is made of what is
    no literal and not in the table (rules D1 and D4)."""
    found = list(unsafe(ast.parse(path.read_text())))
    if name_of(path) == OWN_DTYPE[0]:
        (own,) = (line for line in found if OWN_DTYPE[1] in line)
        found.remove(own)
    assert not found


def test_what_reads_foreign_bytes_is_looked_at() -> None:
    """All of the protocol, and whatever else moves messages."""
    names = {name_of(path) for path in DECODING}
    assert {"protocol/codec.py", "protocol/payload.py", "protocol/transport/bound.py"} <= names
    assert {"server/feed.py", "server/probe.py", "client/source.py"} <= names


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from pickle import loads", "import _pickle", "import marshal as m",
     "from marshal import loads", "eval(text)", "exec(text)", "builtins.exec(text)",
     "compile(text, '', 'exec')", "__import__(name)", "np.load(file)",
     "import numpy\nnumpy.load(file)", "from numpy import load\nload(file)",
     "np.frombuffer(data, fields['type'])", "np.frombuffer(data, dtype=kind)",
     "np.ndarray(shape, kind, data)", "np.array(x, allow_pickle=True)",
     "msgpack.unpackb(data, ext_hook=read)", "msgpack.unpackb(data, object_hook=read)",
     "from msgpack import unpackb\nunpackb(data, object_hook=read)",
     "msgpack.Unpacker(object_pairs_hook=read)",
     "functools.partial(msgpack.unpackb, object_hook=read)", "np.dtype(name)",
     "np.dtype(header['type'])", "np.dtype(f'<{kind}')", "np.dtype('<' + kind)",
     "np.dtype(other.wire)", "np.dtype(TABLE[name].wire)", "from numpy import dtype\ndtype(name)",
     "import numpy as n\nn.dtype(dtype=name)", "np.dtype(getattr(np, name))"],
)  # fmt: skip
def test_the_rule_on_foreign_bytes_can_fail(code: str) -> None:
    """The check above finds each of them, under any name."""
    assert list(unsafe(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    ["np.dtype(object)", "np.dtype('<u8')", "np.dtype(row.wire)", "np.dtype(DTYPES[name].wire)",
     "np.frombuffer(data, np.uint8)", "np.frombuffer(data, '<u8')", "np.frombuffer(data)",
     "np.dtype(getattr(importlib.import_module(row.module), name))", "re.compile(text)",
     "msgpack.unpackb(data, raw=False)", "pool.load(file)"],
)  # fmt: skip
def test_the_rule_on_foreign_bytes_lets_the_rest_be(code: str) -> None:
    """Literals, the table, and what is only called alike."""
    assert not list(unsafe(ast.parse(code)))


def test_nothing_asks_for_the_time_of_day() -> None:
    """A wall clock jumps; what waits and gives up goes by the monotonic clock."""
    clocks = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in clocks, f"{name_of(path)}:{node.lineno}"


#: Calls that wait for ever unless told otherwise, and the least arguments that bound them.
UNBOUNDED = {"get": 2, "join": 1, "recv": 1, "recv_multipart": 1, "poll": 1, "wait": 1,
             "select": 4, "communicate": 1, "acquire": 1, "result": 1}  # fmt: skip


def unbounded_waits(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in UNBOUNDED:
            continue
        given = len(node.args) + len(node.keywords)
        if node.func.attr == "select" and given >= 1 and not _is_select_module(node.func.value):
            continue  # a selector's select(timeout)
        if node.func.attr == "join" and given == 1 and isinstance(node.func.value, ast.Constant):
            continue  # a str's join
        if node.func.attr == "get" and given >= 1:
            continue  # a dict's get; a queue's has none of ours
        if node.func.attr == "poll" and given == 0 and _is_process(node.func.value):
            continue  # Popen.poll does not wait
        if given < UNBOUNDED[node.func.attr]:
            yield node


def _is_select_module(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id == "select"


def _is_process(value: ast.expr) -> bool:
    if isinstance(value, ast.Attribute):
        return value.attr == "_process"
    return isinstance(value, ast.Name) and value.id == "process"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_wait_without_a_bound(path: Path) -> None:
    """Every .get(), .join(), .recv(), .poll() and .wait() says how long."""
    found = [f"{name_of(path)}:{n.lineno}" for n in unbounded_waits(ast.parse(path.read_text()))]
    assert not found


@pytest.mark.parametrize(
    "code",
    ["queue.get()", "thread.join()", "socket.recv()", "poller.poll()", "event.wait()",
     "lock.acquire()", "process.communicate()", "select.select(r, w, x)", "selector.select()"],
)  # fmt: skip
def test_the_rule_on_waits_can_fail(code: str) -> None:
    """The check above finds each kind of unbounded wait."""
    assert list(unbounded_waits(ast.parse(code)))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_exports_and_what_it_is_for(path: Path) -> None:
    """A docstring, and __all__ where there is anything to export."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    defines = any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in tree.body)
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert not defines or "__all__" in assigned


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_stay_small(path: Path) -> None:
    """No file above 400 lines, no function above 60."""
    text = path.read_text()
    assert len(text.splitlines()) <= (700 if name_of(path) == SOCKETS else 400)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{name_of(path)}: {node.name}"
