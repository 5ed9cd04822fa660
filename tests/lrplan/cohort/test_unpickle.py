"""Pickles: arrays are read in every protocol, and nothing that a file names is ever run."""

from __future__ import annotations

import copyreg
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest

from lrplan import DataError
from lrplan.cohort._unpickle import load_arrays

ARRAYS = {
    "plain": np.arange(24, dtype="f4").reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "strided": np.arange(12.0)[::5],
    "empty": np.zeros((0, 3)),
    "big_endian": np.arange(3, dtype=">i2"),
    "boolean": np.array([True, False]),
    "not_finite": np.array([np.nan, np.inf, -np.inf]),
    "text": np.array(["a", "äß"]),
    "bytes": np.array([b"a", b"\xff"]),
    "objects": np.array(["a", None, 3, 2.5], dtype=object),
    "records": np.rec.array([("resnet", 1, 2.5), ("alex", 3, 4.5)], dtype="O,i4,f8"),
    "text_records": np.rec.array([("resnet", b"x", 2.5)], dtype="U8,S4,>f8"),
    "padded": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
}


def loaded(tmp_path, content):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    return load_arrays(path)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_kind_and_protocol(tmp_path, name, protocol):
    expected = ARRAYS[name]
    got = loaded(tmp_path, pickle.dumps({"x": expected}, protocol=protocol))["x"]
    assert type(got) is np.ndarray
    assert (got.shape, got.dtype.names) == (expected.shape, expected.dtype.names)
    if expected.dtype.names is None:
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    else:
        assert got.tolist() == expected.tolist()


@pytest.mark.parametrize("protocol", range(6))
def test_what_stands_around_arrays(tmp_path, protocol):
    expected = {
        "numbers": [0, -1, 255, 256, 2**31, 2**70, 1.5, True, False, None],
        "text": ["", "a\n'\"\\", "ä\ud800", b"", b"\x00\xff", "x" * 300, b"y" * 70_000],
        "scalars": [np.float64(1.5), np.int64(3), np.str_("a"), np.bool_(True)],
        "containers": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[1], []], {"a": {1: 2.0}}),
    }
    assert loaded(tmp_path, pickle.dumps(expected, protocol=protocol)) == expected


def as_python_2(array, protocol):
    """Spell an array as numpy 1 under Python 2 did: names of numpy.core, data as text."""
    data = array.tobytes()
    kind = array.dtype.str[1:]
    order = array.dtype.str[0]
    if protocol == 0:
        quoted = repr(data)[1:].encode()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\n"
            b"tp4\nRp5\n(I1\n(L%dL\ntp6\ncnumpy\ndtype\np7\n(S'%s'\np8\nI0\nI1\ntp9\nRp10\n"
            b"(I3\nS'%s'\np11\nNNNI-1\nI-1\nI0\ntp12\nbI00\nS%s\np13\ntp14\nb."
            % (len(array), kind.encode(), order.encode(), quoted)
        )
    short = struct.pack("<B", len(kind)) + kind.encode()
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85"
        b"U\x01b\x87Rq\x02(K\x01\x8a\x01" + bytes([len(array)]) + b"\x85cnumpy\ndtype\nU"
        b"" + short + b"K\x00K\x01\x87R(K\x03U\x01" + order.encode() + b"NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(data)) + data + b"tb."
    )


@pytest.mark.parametrize("protocol", [0, 2])
def test_arrays_of_python_2(tmp_path, protocol):
    array = np.array([1.5, -2.0, np.pi])
    content = as_python_2(array, protocol)
    np.testing.assert_array_equal(pickle.loads(content, encoding="latin1"), array)
    np.testing.assert_array_equal(loaded(tmp_path, content), array)


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def spelled(name, protocol=2):
    module, _, function = name.rpartition(".")
    if protocol == 4:
        return (
            b"\x80\x04\x8c"
            + bytes([len(module)])
            + module.encode()
            + b"\x8c"
            + bytes([len(function)])
            + function.encode()
            + b"\x93"
        )
    return f"c{module}\n{function}\n".encode()


FORBIDDEN = {
    "os.system": Calls(os.system, "touch evil"),
    "builtins.eval": Calls(eval, "open('evil', 'w')"),
    "numpy.load": Calls(np.load, "evil.npy"),
    "subprocess.Popen": Calls(__import__("subprocess").Popen, ["touch", "evil"]),
    "numpy.fromfile": Calls(np.fromfile, "evil"),
    "builtins.getattr": Calls(getattr, "", "join"),
    "pathlib.": __import__("pathlib").PurePosixPath("x"),
    "collections.OrderedDict": __import__("collections").OrderedDict(a=1),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize("nested", [False, True], ids=["bare", "in an object array"])
def test_what_asks_for_more_is_refused_by_name(tmp_path, monkeypatch, name, protocol, nested):
    monkeypatch.chdir(tmp_path)
    value = FORBIDDEN[name]
    data = {"X": np.array([value, 1], dtype=object) if nested else value}
    content = pickle.dumps(data, protocol=protocol)
    module, _, function = name.rpartition(".")
    # Pickle writes where a function really lives, and old protocols its name in Python 2.
    asked = {"os": "(posix|nt)", "builtins": "(builtins|__builtin__)"}.get(module, module)
    asked = f"({asked}|commands)"
    with pytest.raises(DataError, match=rf"asks for {asked}\.\S*{function}") as error:
        loaded(tmp_path, content)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cos\nsystem\n(S'touch evil'\ntR.", "asks for os.system"),
        (spelled("os.system", 4) + b"\x8c\x0atouch evil\x85R.", "asks for os.system"),
        (b"(S'touch evil'\nios\nsystem\n.", "an instance of os.system"),
        (b"(cos\nsystem\nS'touch evil'\no.", "asks for os.system"),
        (b"(cnumpy\nndarray\nI3\no.", "an instance of numpy.ndarray"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "an instance of numpy.ndarray"),
        (b"\x80\x04cnumpy\nndarray\n)}\x92.", "an instance of numpy.ndarray"),
        (b"cnumpy\nndarray\n(I3\ntR.", "asks to call numpy.ndarray"),
        (b"cnumpy\nndarray\n.", "holds numpy.ndarray as a value"),
        (b"Pevil\n.", "persistent id"),
        (b"\x80\x02X\x04\x00\x00\x00evilQ.", "persistent id"),
        (b"\x80\x05\x97.", "buffer outside the file"),
        (b"\x80\x02\x82\x01.", "extension registry"),
        (b"\x80\x02\x83\x01\x00.", "extension registry"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "extension registry"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(I0\ntS'b'\ntR.",
            "asks for os.system",
        ),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
            "an array of the class numpy.dtype",
        ),
        (b"cnumpy.core.multiarray\n_reconstruct\n(I0\n(I0\ntS'b'\ntR.", "of the class int"),
        (b"c_codecs\nencode\n(Vx\nVrot13\ntR.", "asks to encode in 'rot13'"),
        (b"c_codecs\ndecode\n(Vx\nVhex\ntR.", "asks for _codecs.decode"),
        (b"cbuiltins\nbytes\n(I999999999999\ntR.", "asks for bytes of a int"),
        (b"cnumpy\ndtype\n(S'O,O'\nI0\nI1\ntR.", "type 'O,O'"),
        (b"cnumpy\ndtype\n(cnumpy\nndarray\nI0\nI1\ntR.", "an array of numpy.ndarray"),
        (b"I1\n}b.", "asks to set the state of a int"),
    ],
)
def test_each_way_to_ask_for_more(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="x.pkl") as error:
        loaded(tmp_path, content)
    assert said in str(error.value)
    assert "trust" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]


def test_a_registered_extension_is_no_way_around(tmp_path):
    copyreg.add_extension("os", "system", 240)
    try:
        with pytest.raises(DataError, match="extension registry"):
            loaded(tmp_path, b"\x80\x02\x82\xf0X\x01\x00\x00\x00x\x85R.")
    finally:
        copyreg.remove_extension("os", "system", 240)


def test_a_file_cut_anywhere_is_damaged(tmp_path):
    data = {"x": np.arange(6.0), "m": np.rec.array([("a", 1)], dtype="O,i4"), "t": ["b", 1.5]}
    for protocol, step in ((0, 7), (2, 1), (5, 5)):
        whole = pickle.dumps(data, protocol=protocol)
        for length in range(0, len(whole), step):
            with pytest.raises(DataError, match="x.pkl") as error:
                loaded(tmp_path, whole[:length])
            assert "\n" not in str(error.value)


def test_bytes_that_are_changed_never_run_anything(tmp_path):
    data = {"x": np.arange(6.0), "m": np.rec.array([("a", 1)], dtype="O,i4"), "t": ["b", 1.5]}
    rng = np.random.default_rng(0)
    for protocol in (0, 2, 5):
        whole = bytearray(pickle.dumps(data, protocol=protocol))
        for _ in range(100):
            changed = whole.copy()
            for place in rng.integers(0, len(whole), 3):
                changed[place] = rng.integers(256)
            try:
                loaded(tmp_path, bytes(changed))
            except DataError as error:
                assert "x.pkl" in str(error)


ARRAY = pickletools.optimize(pickle.dumps(np.arange(4.0), protocol=2))
CLAIM = pickletools.optimize(pickle.dumps(np.arange(4.0), protocol=5))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02B\xff\xff\xff\xffx.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**63 + 5) + b"x.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        b"\x80\x02T\xff\xff\xff\xffx.",
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",
        b"L" + b"9" * 10_000 + b"L\n.",
        b"I" + b"9" * 10_000 + b"\n.",
        ARRAY.replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"),
        ARRAY.replace(b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
        ARRAY.replace(b"K\x04\x85", b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85"),
        ARRAY.replace(b"\x02\x00\x00\x00f8", b"\x02\x00\x00\x00O8"),
        ARRAY.replace(b"\x02\x00\x00\x00f8", b"\x02\x00\x00\x00V0"),
        ARRAY.replace(b"K\x04\x85", b"K\x05\x85"),
        CLAIM.replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"),
        b"]" + b"(" * 100_000 + b".",
        b"]q\x00h\x00a.",
        b"]" * 50 + b"a" * 49 + b".",
        b"",
        b"hello",
        b"\x80\x09N.",
        b".",
        b"NN.",
        b"h\x05.",
        b"(N}u.",
    ],
)
def test_claims_that_do_not_hold_are_refused_at_once(tmp_path, content):
    with pytest.raises(DataError, match="x.pkl"):
        loaded(tmp_path, content)


def test_lists_that_hold_each_other_many_times_do_not_explode(tmp_path):
    value = ["x"]
    for _ in range(18):
        value = [value] * 50
    got = loaded(tmp_path, pickle.dumps(value, protocol=2))
    assert len(got) == 50 and got[0] is got[49]


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="none.pkl cannot be read"):
        load_arrays(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(tmp_path)
