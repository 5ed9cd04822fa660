"""The cache: what is kept comes back as it was, and nothing else is believed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from lrplan import cache as module
from lrplan.cache import MAGIC, Cache, cache_folder, code_digest, content_digest, open_cache

KEY = {"kind": "example", "units": [1, 2], "noise": 0.1}
ARRAYS = {
    "f": np.array([[0.1, np.nan], [np.inf, -0.0]], np.float32),
    "i": np.arange(6).reshape(2, 3)[:, ::2],
    "words": np.array(["ab", "cde"]),
    "none": np.zeros((0, 4)),
    "one": np.array(3.5),
    "truth": np.array([True, False]),
}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "deep" / "cache")


def only(cache):
    [path] = cache.folder.iterdir()
    return path


def test_what_is_kept_comes_back_to_the_bit(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, ARRAYS, {"told": [1, None, "x", 0.1]})
    found = cache.get({"noise": 0.1, "units": (1, 2), "kind": "example"})
    assert found.meta == {"told": [1, None, "x", 0.1]}
    assert list(found.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
        assert found.arrays[name].flags.writeable


def test_another_key_is_another_entry(cache):
    cache.put(KEY, ARRAYS)
    for other in ({**KEY, "noise": 0.2}, {**KEY, "more": 1}, {}):
        assert cache.get(other) is None
    assert cache.get(KEY) is not None


def test_the_last_that_is_kept_under_a_key_counts(cache):
    cache.put(KEY, {"x": np.zeros(2)})
    cache.put(KEY, {"x": np.ones(2)})
    np.testing.assert_array_equal(cache.get(KEY).arrays["x"], 1)
    assert cache.info()["entries"] == 1


def test_objects_are_not_kept(cache):
    with pytest.raises(TypeError, match="x is an array of object"):
        cache.put(KEY, {"x": np.array([{}])})
    assert not cache.folder.exists()


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def signed(body):
    return MAGIC + hashlib.sha256(body).digest() + body


def with_head(head, rest=b""):
    words = json.dumps(head).encode()
    return signed(len(words).to_bytes(8, "big") + words + rest)


DAMAGES = {
    "empty": lambda c: b"",
    "half": lambda c: c[: len(c) // 2],
    "one byte short": lambda c: c[:-1],
    "longer": lambda c: c + b"x",
    "a bit of the magic": lambda c: flipped(c, 3),
    "a bit of the checksum": lambda c: flipped(c, len(MAGIC) + 3),
    "a bit of the head": lambda c: flipped(c, len(MAGIC) + 60),
    "a bit of the arrays": lambda c: flipped(c, len(c) - 2),
    "another version": lambda c: c.replace(b"lrplan-cache/1", b"lrplan-cache/0"),
    "a pickle": lambda c: pickle.dumps({"x": 1}),
    "signed, no head": lambda c: signed(b""),
    "signed, no JSON": lambda c: signed((4).to_bytes(8, "big") + b"{x:1"),
    "signed, a list": lambda c: with_head([]),
    "signed, another key": lambda c: with_head({"key": {}, "meta": {}, "arrays": []}),
    "signed, objects": lambda c: with_head(
        {"key": KEY, "meta": {}, "arrays": [["x", "|O", [1]]]}, bytes(8)
    ),
    "signed, no such type": lambda c: with_head(
        {"key": KEY, "meta": {}, "arrays": [["x", "<q9", [1]]]}, bytes(8)
    ),
    "signed, too few bytes": lambda c: with_head(
        {"key": KEY, "meta": {}, "arrays": [["x", "<f8", [2]]]}, bytes(8)
    ),
    "signed, too many bytes": lambda c: with_head(
        {"key": KEY, "meta": {}, "arrays": [["x", "<f8", [1]]]}, bytes(16)
    ),
    "signed, a negative size": lambda c: with_head(
        {"key": KEY, "meta": {}, "arrays": [["x", "<f8", [-1]]]}, bytes(8)
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_foreign_or_older_is_not_believed_but_replaced(cache, damage):
    cache.put(KEY, ARRAYS)
    path = only(cache)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, {"x": np.ones(1)})
    np.testing.assert_array_equal(cache.get(KEY).arrays["x"], [1])


def test_an_entry_under_the_name_of_another_is_not_believed(cache):
    cache.put(KEY, ARRAYS)
    other = {**KEY, "noise": 0.7}
    os.replace(only(cache), cache._path(other))
    assert cache.get(other) is None


def test_the_size_is_bounded_and_what_was_used_longest_ago_goes(tmp_path):
    cache = Cache(tmp_path, limit=3000)
    keys = [{"n": n} for n in range(4)]
    for n, key in enumerate(keys[:2]):
        cache.put(key, {"x": np.zeros(1000, np.uint8)})
        os.utime(cache._path(key), (n, n))
    assert cache.get(keys[0]) is not None  # now it is the younger one
    for key in keys[2:]:
        cache.put(key, {"x": np.zeros(1000, np.uint8)})
    assert cache.info()["bytes"] <= 3000
    assert cache.get(keys[1]) is None
    assert cache.get(keys[3]) is not None


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path):
    cache = Cache(tmp_path, limit=100)
    cache.put(KEY, {"x": np.zeros(1000)})
    assert cache.get(KEY) is None and not list(tmp_path.iterdir())


def test_what_a_process_left_behind_goes_and_what_one_writes_stays(tmp_path):
    cache = Cache(tmp_path)
    left, written = tmp_path / "a.partial", tmp_path / "b.partial"
    for path in (left, written):
        path.write_bytes(b"half")
    old = time.time() - 2 * module.ABANDONED_S
    os.utime(left, (old, old))
    cache.put(KEY, ARRAYS)
    assert not left.exists() and written.exists()


def test_clearing_removes_entries_and_nothing_else(cache):
    cache.put(KEY, ARRAYS)
    cache.put({"n": 1}, ARRAYS)
    (cache.folder / "a.partial").write_bytes(b"")
    (cache.folder / "notes.txt").write_text("mine")
    before = cache.info()
    assert before["entries"] == 2
    assert cache.clear() == {"entries": 2, "bytes": before["bytes"]}
    assert [p.name for p in cache.folder.iterdir()] == ["notes.txt"]
    assert cache.clear() == {"entries": 0, "bytes": 0}


def test_a_full_disk_is_told_and_leaves_nothing(cache, monkeypatch):
    def full(a, b):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.warns(UserWarning, match="No space left on device.*LRPLAN_CACHE"):
        cache.put(KEY, ARRAYS)
    assert not list(cache.folder.iterdir())
    assert cache.get(KEY) is None


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    assert cache.get(KEY) is None
    with pytest.warns(UserWarning, match="nothing is kept in the cache"):
        cache.put(KEY, ARRAYS)
    assert cache.info()["entries"] == 0 and cache.clear()["entries"] == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_only_be_read_serves_what_it_has(cache):
    cache.put(KEY, ARRAYS)
    cache.folder.chmod(0o500)
    try:
        assert cache.get(KEY) is not None
        with pytest.warns(UserWarning, match="Permission denied"):
            cache.put({"n": 2}, ARRAYS)
    finally:
        cache.folder.chmod(0o700)


WRITE_OFTEN = """
import sys
from pathlib import Path
import numpy as np
from lrplan.cache import Cache

cache = Cache(Path(sys.argv[1]), limit=20_000)
for n in range(60):
    cache.put({"n": n % 5}, {"x": np.full(500, n % 5)})
    found = cache.get({"n": n % 5})
    assert found is None or (found.arrays["x"] == n % 5).all()
"""


def test_two_processes_at_once_meet_whole_entries_only(tmp_path):
    command = [sys.executable, "-c", WRITE_OFTEN, str(tmp_path)]
    others = [subprocess.Popen(command) for _ in range(2)]
    assert [other.wait() for other in others] == [0, 0]
    assert not list(tmp_path.glob("*.partial"))


def test_the_variable_says_where_or_that_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("LRPLAN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert open_cache().folder == tmp_path
    monkeypatch.setenv("LRPLAN_CACHE", "OFF")
    assert cache_folder() is None and open_cache() is None
    monkeypatch.delenv("LRPLAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "lrplan" in str(cache_folder())


def test_the_code_is_known_by_its_content():
    assert code_digest() == code_digest() and len(code_digest()) == 64


def test_a_cohort_is_known_by_its_content(tmp_path):
    import zipfile

    def packed(name, text):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("zarr.json", text)
        return tmp_path / name

    one, same, other = packed("a.zip", "1"), packed("b.zip", "1"), packed("c.zip", "2")
    assert content_digest(one) == content_digest(same) != content_digest(other)
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "zarr.json").write_text("1")
    before = content_digest(folder)
    assert content_digest(folder) == before
    (folder / "chunk").write_text("2")
    assert content_digest(folder) != before
