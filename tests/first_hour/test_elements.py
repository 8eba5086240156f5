"""What a generator may yield, as the trainer sees it, and what is refused in which words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from genserver.client import Client, GeneratorError, from_server
from genserver.protocol.codec import encode
from genserver.protocol.dtypes import DTYPES, TEXT
from genserver.protocol.errors import ElementError, SpecError
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.fields import MAX_HEADER
from genserver.protocol.link import Numbered
from genserver.protocol.normalize import Normalizer, infer_spec
from genserver.protocol.signature import spec_from_signature
from genserver.protocol.spec import ArraySpec, ElementSpec, Record
from genserver.server import ServerFailed
from genserver.server.actions import Abort
from genserver.server.config import ServeConfig
from genserver.server.fleet import Fleet
from genserver.server.lives import Death
from genserver.server.reports import Bound, Found, Loaded

from ..support import first_hour_elements as elements
from ..support.servers import Serve

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")


def both(endpoint: str, **options: Any) -> Iterator[list[Any]]:
    """All elements as the numpy client sees them, and as numpy arrays of the dataset."""
    with Client(endpoint, **options) as client:
        yield list(client)
    yield list(from_server(endpoint, **options).as_numpy_iterator())


def same_bits(ours: Any, theirs: Any) -> bool:
    """Equal in dtype, shape and every bit, NaNs and zeros' signs included."""
    a, b = np.asarray(ours), np.asarray(theirs)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("target", ["every_dtype", "scalars"])
def test_every_dtype_arrives_to_the_bit(serve: Serve, target: str) -> None:
    """Limits, infinities, NaN and -0.0 of all numeric dtypes, as arrays and without dimensions."""
    assert set(elements.NUMERIC) == set(DTYPES) - TEXT
    (expected, *_) = getattr(elements, target)()
    server = serve(f"first_hour_elements:{target}")
    for got in both(server.endpoint):
        assert len(got) == 3
        for element in got:
            assert set(element) == set(expected)
            for name, value in expected.items():
                assert same_bits(element[name], value), name


def test_arrays_of_any_layout_arrive_as_they_look(serve: Serve) -> None:
    """Strided, Fortran, transposed, big-endian, broadcast and empty arrays keep their values."""
    server = serve("first_hour_elements:layouts")
    for got in both(server.endpoint):
        for element, expected in zip(got, elements.layouts(), strict=True):
            for name, value in expected.items():
                native = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
                assert same_bits(element[name], native), name


def test_texts_of_up_to_a_mebibyte_arrive_whole(serve: Serve) -> None:
    """str as UTF-8, bytes with NULs, arrays of bytes, from nothing to 1 MiB."""
    server = serve("first_hour_elements:texts")
    expected = list(elements.texts())
    with Client(server.endpoint) as client:
        for ours, theirs in zip(client, expected, strict=True):
            assert {**ours, "arrays": ours["arrays"].tolist()} == {
                **theirs,
                "arrays": theirs["arrays"].tolist(),
            }
    for ours, theirs in zip(from_server(server.endpoint), expected, strict=True):
        assert ours["str"].numpy() == theirs["str"].encode()
        assert ours["bytes"].numpy() == theirs["bytes"]
        assert ours["arrays"].numpy().tolist() == theirs["arrays"].tolist()
        assert ours["nul"].numpy() == b"\0"


def test_jpeg_files_are_decoded_in_the_trainer(serve: Serve) -> None:
    """bytes of a file go through map(tf.io.decode_jpeg) as those of TFRecords do."""
    pytest.importorskip("PIL")
    server = serve("first_hour_elements:jpegs")
    dataset = from_server(server.endpoint).map(lambda file, n: (tf.io.decode_jpeg(file), n))
    for image, number in dataset:
        assert image.shape == (16, 24, 3)
        expected = elements.picture(int(number)).astype(int)
        assert np.abs(image.numpy().astype(int) - expected).max() <= 2  # JPEG rounds


def test_pil_images_arrive_as_arrays(serve: Serve) -> None:
    """An image itself may be yielded: height, width, channels of uint8."""
    pytest.importorskip("PIL")
    server = serve("first_hour_elements:pictures")
    for got in both(server.endpoint):
        assert all(same_bits(a, elements.picture(n)) for n, a in enumerate(got))
        assert len(got) == 3


@pytest.mark.soak
def test_a_thousand_columns_arrive_under_their_names(serve: Serve) -> None:
    """A table's rows as dicts of 1,000 scalars, each value in its column."""
    server = serve("first_hour_elements:wide", arguments={"n": 4})
    for got in both(server.endpoint):
        for number, element in enumerate(got):
            assert len(element) == 1000
            for column in (0, 1, 500, 999):
                assert element[f"feature_{column:04d}"] == np.float32(number + column)
        assert len(got) == 4


def test_named_tuples_keep_their_names(serve: Serve) -> None:
    """Nested named tuples are read by attribute on both sides."""
    server = serve("first_hour_elements:named")
    for got in both(server.endpoint):
        for number, element in enumerate(got):
            assert element.sample.image.tolist() == [number, number]
            assert element.sample.label == number
            assert element.weight == 0.5 * number
            assert type(element).__name__ == "Pair"
        assert len(got) == 3


def test_tensors_with_an_array_interface_arrive(serve: Serve) -> None:
    """What torch's CPU tensors document is enough; the tensor may be written into again."""
    server = serve("first_hour_elements:tensors")
    for got in both(server.endpoint):
        assert [(a.tolist(), int(n)) for a, n in got] == [([n] * 3, n) for n in range(3)]
        assert got[0][0].dtype == np.float32


def test_a_tensor_that_requires_grad_is_refused_with_advice(serve: Serve) -> None:
    """Its __array__ raises: the sentence has the path, torch's own words and .detach()."""
    server = serve(
        "first_hour_elements:tensors", arguments={"requires_grad": True}, spec="(float32[3],int64)"
    )
    with Client(server.endpoint) as client, pytest.raises(GeneratorError) as caught:
        list(client)
    assert caught.value.kind == "ElementError"
    assert caught.value.text.startswith("element[0]: Tensor gives no array (Can't call numpy()")
    assert caught.value.text.endswith("yield .detach().cpu().numpy()")


def test_torch_tensors_themselves() -> None:
    """Where torch is installed: a CPU tensor passes, one that requires grad gets the advice."""
    torch = pytest.importorskip("torch")
    assert str(infer_spec(torch.zeros(2, 3))) == "float32[2,3]"
    with pytest.raises(ElementError, match=r"yield \.detach\(\)\.cpu\(\)\.numpy\(\)"):
        infer_spec(torch.zeros(2, requires_grad=True))


def test_pandas_columns_arrive(serve: Serve) -> None:
    """Numbers, texts, categories of texts, and nullable integers without missing values."""
    pytest.importorskip("pandas")
    server = serve("first_hour_elements:columns")
    for (element,) in both(server.endpoint):
        assert same_bits(element["age"], np.array([31, 64]))
        assert same_bits(element["dose"], np.array([0.5, np.nan]))
        assert same_bits(element["count"], np.array([1, 2]))
        for name in ("name", "site"):
            texts = [t if isinstance(t, str) else t.decode() for t in element[name].tolist()]
            assert texts == ["Ada", "Ünal"]


@pytest.mark.soak
def test_eager_tensors_of_the_users_own_tf_code_arrive(serve: Serve) -> None:
    """A generator that uses tf yields its tensors, of numbers and of texts."""
    server = serve("first_hour_elements:tensorflow_tensors")
    with Client(server.endpoint) as client:
        got = list(client)
    for number, element in enumerate(got):
        assert same_bits(element["image"], np.full((2, 2), number, np.float32))
        assert same_bits(element["label"], np.int32(number))
        assert element["name"] == "ü".encode()
        assert element["names"].tolist() == [b"a", b"bc"]
    assert len(got) == 2


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("ragged", "pad it to one shape"),
        ("none", "None cannot travel; yield an array, or leave the part out"),
        ("objects", "an object array of int, str cannot travel; only of str or of bytes"),
        ("ragged_array", "it is ragged: pad it to one shape, or yield its parts in a tuple"),
        ("sparse", "csr_matrix cannot travel; make it dense with .toarray()"),
        ("sparse_array", "coo_array cannot travel; make it dense with .toarray()"),
        ("set", "set cannot travel; yield sorted(...), which has an order"),
        ("generator", "generator cannot travel; yield list(...), or an array of it"),
        ("map", "map cannot travel; yield list(...), or an array of it"),
        ("range", "range cannot travel; yield list(...), or an array of it"),
        ("dataclass", "Scan cannot travel; yield dataclasses.asdict(...), or a tuple"),
        ("mixed", "the list mixes bool with numbers; convert one into the other"),
        ("masked_list", "masked values cannot travel; fill them in with .filled(...)"),
        ("masked", "masked values cannot travel; fill them in with .filled(...)"),
        ("grad", "yield .detach().cpu().numpy()"),
        ("na", "the Int64 Series has missing values; fill them with .fillna(...)"),
        ("na_text", "the str Series has missing values; fill them with .fillna(...)"),
        ("na_objects", "an object array of NoneType, str cannot travel; fill missing values in"),
        ("na_category", "the category Series has missing values; fill them with .fillna(...)"),
        ("frame", "an object array of int, str cannot travel"),
        ("times", "cannot travel; view it as int64"),
    ],
)
def test_what_cannot_travel_is_refused_with_path_and_advice(kind: str, sentence: str) -> None:
    """Each sentence names where in the element it is, and what to yield instead."""
    pytest.importorskip("scipy")
    pytest.importorskip("pandas")
    (element,) = elements.refused(kind)
    with pytest.raises(ElementError) as caught:
        infer_spec(element)
    assert caught.value.path == "element['part'][1]"
    assert sentence in caught.value.reason


def test_a_refused_first_element_ends_the_server_with_its_sentence(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 65, path and advice on standard error."""
    pytest.importorskip("scipy")
    with pytest.raises(ServerFailed) as caught:
        serve("first_hour_elements:refused", arguments={"kind": "sparse"})
    assert caught.value.code == ExitCode.GENERATOR
    said = capfd.readouterr().err
    assert "element['part'][1]: csr_matrix cannot travel; make it dense with .toarray()" in said


def test_a_uint64_keeps_what_no_int64_holds(serve: Serve) -> None:
    """Python ints from 2**63 on fit a spec of uint64, and give one where none is declared."""
    server = serve("first_hour_elements:counters")
    for got in both(server.endpoint):
        assert [int(n) for n in got] == [2**64 - 1, 0, 2**63]
        assert all(n.dtype == np.uint64 for n in got)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (lambda: tf.TensorSpec(None), "output_signature[0]: the rank must be known; declare a sha"),
        (lambda: tf.RaggedTensorSpec((None, None)), "RaggedTensorSpec cannot travel; pad to one s"),
        (lambda: tf.SparseTensorSpec((2, 2)), "SparseTensorSpec cannot travel; make it dense, tf."),
    ],
)  # fmt: skip
def test_signatures_without_a_fixed_memory_are_refused(declared: Any, sentence: str) -> None:
    """An unknown rank, ragged and sparse specs: path, and the dense alternative."""
    with pytest.raises(SpecError) as caught:
        spec_from_signature((declared(),))
    assert str(caught.value).startswith("output_signature[0]: ")
    assert sentence in str(caught.value)
    assert "tf.TensorSpec(" in str(caught.value) or "tf.TensorSpec with" in str(caught.value)


def columns(count: int) -> ElementSpec:
    """The spec of ``count`` columns with names as tables have them."""
    names = tuple(f"feature_{column:05d}" for column in range(count))
    return ElementSpec(Record("dict", names, (ArraySpec("float32", ()),) * count))


@pytest.mark.parametrize("how", ["found", "attribute", "option"])
@pytest.mark.parametrize(("count", "workers"), [(2000, 1), (5000, 1), (1400, 200)])
def test_a_spec_that_no_status_can_carry_is_refused(how: str, count: int, workers: int) -> None:
    """Too many columns, also for that many workers: one sentence with their number, code 65."""
    spec = columns(count)
    config = ServeConfig(
        target="scans:rows", workers=workers, spec=spec if how == "option" else None
    )
    fleet = Fleet(config, 4, "host")
    fleet.start()
    fleet.report(0, Bound("/run/user/1000/genserver-12345678/0.sock", 5556), 0.0)
    declared = spec.to_wire() if how == "attribute" else None
    actions = fleet.report(0, Loaded(True, declared, -2), 0.0)
    actions += fleet.report(0, Found(spec.to_wire()), 0.0) if how == "found" else []
    (abort,) = [action for action in actions if isinstance(action, Abort)]
    assert abort.code is ExitCode.GENERATOR
    assert f"has {count} arrays" in abort.text
    assert "stack those of one dtype into one array" in abort.text
    assert len(bytes(encode(Numbered(0, fleet.status()))[0])) < MAX_HEADER


@pytest.mark.parametrize(("count", "workers"), [(1000, 60), (1300, 4), (1, 512)])
def test_a_spec_that_is_taken_fits_every_status(count: int, workers: int) -> None:
    """Even with the longest causes and every worker known and dead, the header fits."""
    fleet = Fleet(ServeConfig(target="scans:rows", workers=workers, spec=columns(count)), 4, "h")
    fleet.start()
    for index in range(workers):
        fleet.spawned(index, 2**22)
        bound = Bound(f"/run/user/1000/genserver-12345678/{index}.sock", 65535)
        fleet.report(index, bound, 0.0)
        actions = fleet.report(index, Loaded(True, None, -2), 0.0)
        assert not [action for action in actions if isinstance(action, Abort)]
    for index in range(workers):
        fleet.exited(index, Death("\U0001f9e0" * 500), 0.0, 0.5)
    fleet.failure = "\U0001f9e0" * 20_000
    fleet.stop()
    assert len(bytes(encode(Numbered(0, fleet.status()))[0])) < MAX_HEADER


def test_too_many_columns_end_the_server_with_a_sentence(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """A real server of 5,000 columns exits with 65 and says to stack them."""
    with pytest.raises(ServerFailed) as caught:
        serve("first_hour_elements:wide", arguments={"columns": 5000})
    assert caught.value.code == ExitCode.GENERATOR
    assert "an element has 5000 arrays" in capfd.readouterr().err


def test_a_plain_element_needs_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dicts and tuples of just the spec's structure never take the slow walk."""
    (row,) = elements.wide(columns=5, n=1)
    element = (row, {"b": np.zeros(2), "a": (1, 2)})
    normalizer = Normalizer(infer_spec(element))
    monkeypatch.setattr(Normalizer, "_walk", None)
    leaves = normalizer.leaves(element)
    assert [leaf.tolist() for leaf in leaves] == [0.0, 1.0, 2.0, 3.0, 4.0, 1, 2, [0.0, 0.0]]
