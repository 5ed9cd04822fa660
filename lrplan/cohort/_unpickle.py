"""Read numpy arrays out of a pickle without running what it asks for.

A pickle is a program: it may name any function and call it. This reader knows the few words of
that language that spell numbers, text, containers and numpy arrays, and builds the arrays itself;
it imports nothing and calls nothing that a file names. Anything else is refused by name.

The language: ``pickletools`` of Python's standard library, protocols 0 to 5. What numpy writes in
it: ``ndarray.__reduce_ex__`` and ``dtype.__reduce__``, numpy 1 and 2, Python 2 and 3.
"""

from __future__ import annotations

import codecs
import mmap
import re
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lrplan.errors import DataError

MOST_STEPS = 50_000_000
"""Steps of the program; a table of a thousand networks takes fewer than a million."""
DEEPEST = 20
"""Containers within containers."""

ARRAY_TYPES = ("ndarray", "recarray")
MODULES = ("numpy", "numpy.rec", *(f"numpy.{c}.records" for c in ("core", "_core")))
ALLOWED = {
    **{(m, n): n for m in MODULES for n in (*ARRAY_TYPES, "dtype", "record", "void")},
    **{
        (f"numpy.{core}.{module}", name): name
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    },
    ("_codecs", "encode"): "encode",
    # Protocols 0 to 2 of Python 3 spell empty bytes, and bytearrays, as calls.
    **{(m, n): n for m in ("builtins", "__builtin__") for n in ("bytes", "bytearray")},
}
"""What a file may name, and the word by which this reader knows it."""

DTYPE_CODE = re.compile(
    r"[|<>=]?(?:[?]|b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUVa]\d+|O[48]?)"
)
ADVICE = (
    "lrplan runs nothing that a file names; do not open this file with Python's pickle unless you "
    "trust whoever made it"
)


class _Mark:
    """Where on the stack a container begins."""


class _Name:
    """A function or type that the file names: one of `ALLOWED`, known by name alone."""

    def __init__(self, word: str, full: str) -> None:
        self.word = word
        self.full = full


class _Dtype:
    """A numpy type, complete once its state has been read."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)


class _Array:
    """An array, complete once its state has been read."""

    def __init__(self) -> None:
        self.values: np.ndarray | None = None


def load_arrays(path: str | Path) -> Any:
    """Read a pickle of containers, numbers, text and numpy arrays.

    Parameters
    ----------
    path : str or Path
        A file of any pickle protocol, written by Python 2 or 3. Text of Python 2 is taken as
        Latin-1, as numpy advises.

    Returns
    -------
    object
        Dicts, lists, tuples, numbers, text and arrays. Record arrays are structured arrays.

    Raises
    ------
    DataError
        If the file cannot be read, is cut short or damaged, or asks for anything but numpy arrays
        (the message names it).
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if not path.stat().st_size:
                raise DataError(f"{path} is empty; expected a pickle of numpy arrays")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _Reader(content, path).read()
    except (IsADirectoryError, FileNotFoundError, PermissionError) as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


class _Reader:
    """Carries out one pickle program, as far as it spells data."""

    def __init__(self, content: mmap.mmap, path: Path) -> None:
        self.content = content
        self.path = path
        self.at = 0
        self.start = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.containers: dict[int, Any] = {}

    # -- the program ----------------------------------------------------------------------------

    def read(self) -> Any:
        for _ in range(MOST_STEPS):
            self.start = self.at
            code = self.take(1)
            if code == b".":
                break
            step = STEPS.get(code)
            if step is None:
                raise self.damaged(f"{code!r} is no word of a pickle")
            try:
                step(self)
            except DataError:
                raise
            except (IndexError, KeyError, UnicodeError, struct.error) as error:
                raise self.damaged(f"{type(error).__name__}: {error}") from None
            except (ValueError, TypeError, OverflowError, SyntaxError, MemoryError) as error:
                raise self.damaged(str(error) or type(error).__name__) from None
        else:
            raise self.refused(f"takes more than {MOST_STEPS} steps, far more than a table needs")
        if len(self.stack) != 1:
            raise self.damaged(f"it ends with {len(self.stack)} values, not with one")
        return self.settled(self.stack[0])

    def damaged(self, why: str) -> DataError:
        return DataError(
            f"{self.path} is cut short, damaged, or no pickle of numpy arrays: at byte "
            f"{self.start}, {why}; fetch it again"
        )

    def refused(self, what: str) -> DataError:
        return DataError(
            f"{self.path} {what} (at byte {self.start}); a data set needs nothing but numpy "
            f"arrays. {ADVICE}"
        )

    # -- reading bytes --------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        if count < 0 or count > len(self.content) - self.at:
            raise self.damaged(
                f"{count} bytes are announced, {len(self.content) - self.at} are left"
            )
        self.at += count
        return self.content[self.at - count : self.at]

    def line(self) -> bytes:
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise self.damaged("a line has no end")
        out = self.content[self.at : end]
        self.at = end + 1
        return out

    def number(self, form: str) -> int:
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    # -- the stack ------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise self.damaged("a value is missing")
        return value

    def since_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[i], _Mark):
                out = self.stack[i + 1 :]
                del self.stack[i:]
                return out
        raise self.damaged("a container has no beginning")

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise self.damaged(f"a {kind.__name__} was expected, not {type(value).__name__}")
        return value

    # -- words ----------------------------------------------------------------------------------

    def name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}"
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self.damaged("a name is no text")
        if (module, name) not in ALLOWED:
            raise self.refused(f"asks for {full}")
        self.push(_Name(ALLOWED[module, name], full))

    def global_line(self) -> None:
        module = self.line().decode("utf-8")
        self.name(module, self.line().decode("utf-8"))

    def global_stack(self) -> None:
        name = self.pop()
        self.name(self.pop(), name)

    def instance_line(self) -> None:
        module = self.line().decode("utf-8", "replace")
        raise self.refused(
            f"asks to make an instance of {module}.{self.line().decode('utf-8', 'replace')}"
        )

    def instance(self) -> None:
        named = [v.full for v in self.stack if isinstance(v, _Name)]
        raise self.refused(f"asks to make an instance of {named[-1] if named else 'a class'}")

    def extension(self) -> None:
        raise self.refused("asks for an object of Python's extension registry (copyreg)")

    def persistent(self) -> None:
        raise self.refused("asks for an object outside the file (a persistent id)")

    def out_of_band(self) -> None:
        raise self.refused("asks for a buffer outside the file")

    def call(self) -> None:
        """Build what a call of numpy's would return."""
        arguments = self.pop()
        called = self.pop()
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise self.damaged("a call of what is no function")
        make: dict[str, Callable[..., Any]] = {
            "_reconstruct": self.empty_array,
            "_frombuffer": self.array_of_buffer,
            "scalar": self.scalar,
            "dtype": self.dtype,
            "encode": self.encoded,
            "bytes": self.plain_bytes,
            "bytearray": self.plain_bytes,
        }
        if called.word not in make:
            raise self.refused(f"asks to call {called.full}")
        self.push(make[called.word](*arguments))

    def encoded(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "iso-8859-1"):
            raise self.refused(f"asks to encode in {encoding!r}, where bytes are latin1")
        return text.encode("latin-1")

    def plain_bytes(self, content: Any = b"", encoding: Any = None) -> bytes:
        if encoding is not None:
            return self.encoded(content, encoding)
        if not isinstance(content, bytes):
            raise self.refused(f"asks for bytes of a {type(content).__name__}")
        return content

    def build(self) -> None:
        """Give a numpy type or array its state."""
        state = self.pop()
        target = self.stack[-1]
        if isinstance(target, _Dtype):
            self.complete_dtype(target, state)
        elif isinstance(target, _Array):
            self.complete_array(target, state)
        else:
            raise self.refused(f"asks to set the state of a {type(target).__name__}")

    # -- numpy ----------------------------------------------------------------------------------

    def dtype(self, code: Any, align: Any = False, copy: Any = True) -> _Dtype:
        if isinstance(code, _Name):
            if code.word not in ("record", "void"):
                raise self.refused(f"asks for an array of {code.full}")
            return _Dtype("V1")
        code = _text(code)
        if not isinstance(code, str) or not DTYPE_CODE.fullmatch(code):
            raise self.refused(f"asks for an array of type {code!r}")
        # An object's size is that of a pointer of the machine that wrote the file.
        return _Dtype("O" if "O" in code else code)

    def complete_dtype(self, target: _Dtype, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 7 or state[0] not in (3, 4):
            raise self.damaged("the state of a type has a form unknown here")
        order, sub, names, fields, itemsize = (_text(v) for v in state[1:6])
        if sub is not None:
            base, shape = sub
            target.dtype = np.dtype((self.finished_dtype(base), _shape(shape)))
        elif names is not None:
            target.dtype = self.record_dtype(names, fields, itemsize)
        elif order in ("<", ">", "="):
            target.dtype = target.dtype.newbyteorder(order)
        elif order != "|":
            raise self.damaged(f"a type has the byte order {order!r}")
        if target.dtype.kind == "V" and names is None and sub is None:
            target.dtype = np.dtype(f"V{_count(itemsize)}")

    def record_dtype(self, names: Any, fields: Any, itemsize: Any) -> np.dtype:
        if not isinstance(names, tuple) or not isinstance(fields, dict):
            raise self.damaged("a record type has no fields")
        by_name = {_text(k): v for k, v in fields.items()}
        keys = [_text(n) for n in names]
        formats = [self.finished_dtype(by_name[k][0]) for k in keys]
        offsets = [_count(by_name[k][1]) for k in keys]
        if any(f.hasobject for f in formats):
            # Fields are laid out anew: an object is a pointer, whose size the file need not share.
            return np.dtype(list(zip(keys, formats, strict=True)))
        ends = sorted(zip(offsets, formats, strict=True), key=lambda f: f[0])
        place = 0
        for offset, form in ends:
            if offset < place:
                raise self.damaged("fields of a record overlap")
            place = offset + form.itemsize
        return np.dtype(
            {"names": keys, "formats": formats, "offsets": offsets, "itemsize": _count(itemsize)}
        )

    def finished_dtype(self, value: Any) -> np.dtype:
        if not isinstance(value, _Dtype):
            raise self.damaged("an array has no type")
        return value.dtype

    def empty_array(self, kind: Any, shape: Any, code: Any) -> _Array:
        if not isinstance(kind, _Name) or kind.word not in ARRAY_TYPES:
            asked = kind.full if isinstance(kind, _Name) else type(kind).__name__
            raise self.refused(f"asks to make an array of the class {asked}")
        return _Array()

    def complete_array(self, target: _Array, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise self.damaged("the state of an array has a form unknown here")
        shape, form, fortran, content = state[-4:]
        target.values = self.array(
            content, self.finished_dtype(form), shape, "F" if fortran else "C"
        )

    def array_of_buffer(
        self, content: Any, form: Any, shape: Any, order: Any, axes: Any = None
    ) -> _Array:
        out = _Array()
        form = self.finished_dtype(form)
        if form.hasobject:
            raise self.damaged("an array of objects cannot come from a buffer")
        if _text(order) == "K" and axes is not None:
            values = self.array(content, form, shape, "C")
            out.values = values.transpose(_shape(axes))
        else:
            out.values = self.array(content, form, shape, "F" if _text(order) == "F" else "C")
        return out

    def array(self, content: Any, form: np.dtype, shape: Any, order: str) -> np.ndarray:
        """Return an array, of which content, type and shape must agree."""
        sizes = _shape(shape)
        count = prod(sizes)
        if isinstance(content, list):
            if not form.hasobject:
                raise self.damaged(f"an array of {form} is spelled as a list")
            if len(content) != count:
                raise self.damaged(f"an array of shape {sizes} has {len(content)} elements")
            out = np.empty(count, dtype=form)
            for i, value in enumerate(content):
                value = self.settled(value)
                out[i] = value if form.names is None else tuple(value)
            return out.reshape(sizes, order="F" if order == "F" else "C")
        if isinstance(content, str):
            content = content.encode("latin-1")
        if not isinstance(content, bytes) or form.hasobject:
            raise self.damaged(f"an array of {form} has a {type(content).__name__} as its content")
        if form.itemsize == 0 or count * form.itemsize != len(content):
            raise self.damaged(
                f"an array of shape {sizes} of {form} takes {count * form.itemsize} bytes, "
                f"{len(content)} are there"
            )
        return np.frombuffer(content, dtype=form).reshape(sizes, order="F" if order == "F" else "C")

    def scalar(self, form: Any, content: Any = None) -> Any:
        kind = self.finished_dtype(form)
        if kind.hasobject:
            return self.settled(content)
        value = self.array(content, kind, (), "C")[()]
        return value.tolist() if kind.names is None else value

    def settled(self, value: Any, depth: int = 0) -> Any:
        """Return a value with arrays and types in place of what stood for them."""
        if isinstance(value, _Array):
            if value.values is None:
                raise self.damaged("an array has no content")
            return value.values
        if isinstance(value, _Dtype):
            return value.dtype
        if isinstance(value, _Name):
            raise self.refused(f"holds {value.full} as a value")
        if isinstance(value, _Mark):
            raise self.damaged("a container has no end")
        if not isinstance(value, dict | list | tuple):
            return value
        # A container that stands in many places is settled once: nested copies would explode.
        if id(value) not in self.containers:
            if depth > DEEPEST:
                raise self.damaged(f"containers lie within each other, more than {DEEPEST} deep")
            if isinstance(value, dict):
                out: Any = {k: self.settled(v, depth + 1) for k, v in value.items()}
            else:
                out = type(value)([self.settled(v, depth + 1) for v in value])
            # The original is kept too, so that no other object gets its id.
            self.containers[id(value)] = value, out
        return self.containers[id(value)][1]


def _text(value: Any) -> Any:
    """Return bytes as the text that they are in a type's description."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(_count(v) for v in (value if isinstance(value, tuple) else (value,)))


# -- the words of the language ------------------------------------------------------------------


def _constant(value: Any) -> Callable[[_Reader], None]:
    return lambda r: r.push(value)


def _container(make: type) -> Callable[[_Reader], None]:
    return lambda r: r.push(make())


def _sized(form: str, decode: Callable[[bytes], Any]) -> Callable[[_Reader], None]:
    return lambda r: r.push(decode(r.take(r.number(form))))


def _integer(form: str) -> Callable[[_Reader], None]:
    return lambda r: r.push(r.number(form))


def _latin(content: bytes) -> str:
    return content.decode("latin-1")


def _utf(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


def _long(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


def _int_line(r: _Reader) -> None:
    text = r.line()
    r.push(text == b"01" if text in (b"00", b"01") else int(text))


def _string_line(r: _Reader) -> None:
    text = r.line()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise r.damaged("text is not quoted")
    r.push(_latin(codecs.escape_decode(text[1:-1])[0]))


def _tuple(count: int) -> Callable[[_Reader], None]:
    def step(r: _Reader) -> None:
        values = [r.pop() for _ in range(count)]
        r.push(tuple(reversed(values)))

    return step


def _append(r: _Reader) -> None:
    value = r.pop()
    r.top(list).append(value)


def _appends(r: _Reader) -> None:
    values = r.since_mark()
    r.top(list).extend(values)


def _set_item(r: _Reader) -> None:
    value = r.pop()
    key = r.pop()
    r.top(dict)[_key(r, key)] = value


def _set_items(r: _Reader) -> None:
    values = r.since_mark()
    r.top(dict).update(_pairs(r, values))


def _pairs(r: _Reader, values: list[Any]) -> dict[Any, Any]:
    if len(values) % 2:
        raise r.damaged("a key has no value")
    return {_key(r, k): v for k, v in zip(values[::2], values[1::2], strict=True)}


def _key(r: _Reader, key: Any) -> Any:
    if not isinstance(key, str | bytes | int | float | None):
        raise r.damaged(f"a {type(key).__name__} is no key")
    return key


def _dict(r: _Reader) -> None:
    r.push(_pairs(r, r.since_mark()))


def _put(read: Callable[[_Reader], int]) -> Callable[[_Reader], None]:
    def step(r: _Reader) -> None:
        r.memo[read(r)] = r.top(object)

    return step


def _get(read: Callable[[_Reader], int]) -> Callable[[_Reader], None]:
    return lambda r: r.push(r.memo[read(r)])


def _memoize(r: _Reader) -> None:
    r.memo[len(r.memo)] = r.top(object)


def _drop(r: _Reader) -> None:
    r.stack.pop()


def _drop_since_mark(r: _Reader) -> None:
    r.since_mark()


def _protocol(r: _Reader) -> None:
    version = r.number("<B")
    if version > 5:
        raise r.damaged(f"it has protocol {version}; 0 to 5 are known")


def _frame(r: _Reader) -> None:
    size = r.number("<Q")
    if size > len(r.content) - r.at:
        raise r.damaged(f"{size} bytes are announced, {len(r.content) - r.at} are left")


def _line_number(r: _Reader) -> int:
    return int(r.line())


STEPS: dict[bytes, Callable[[_Reader], None]] = {
    b"\x80": _protocol,
    b"\x95": _frame,
    # numbers
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"I": _int_line,
    b"L": lambda r: r.push(int(r.line().rstrip(b"L"))),
    b"F": lambda r: r.push(float(r.line())),
    b"J": _integer("<i"),
    b"K": _integer("<B"),
    b"M": _integer("<H"),
    b"\x8a": _sized("<B", _long),
    b"\x8b": _sized("<i", _long),
    b"G": lambda r: r.push(struct.unpack(">d", r.take(8))[0]),
    # text and bytes
    b"S": _string_line,
    b"T": _sized("<i", _latin),
    b"U": _sized("<B", _latin),
    b"V": lambda r: r.push(r.line().decode("raw-unicode-escape")),
    b"X": _sized("<I", _utf),
    b"\x8c": _sized("<B", _utf),
    b"\x8d": _sized("<Q", _utf),
    b"B": _sized("<I", bytes),
    b"C": _sized("<B", bytes),
    b"\x8e": _sized("<Q", bytes),
    b"\x96": _sized("<Q", bytes),
    # containers
    b"(": _container(_Mark),
    b"]": _container(list),
    b"}": _container(dict),
    b")": _constant(()),
    b"l": lambda r: r.push(r.since_mark()),
    b"d": _dict,
    b"t": lambda r: r.push(tuple(r.since_mark())),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"a": _append,
    b"e": _appends,
    b"s": _set_item,
    b"u": _set_items,
    # the stack and the memo
    b"0": _drop,
    b"1": _drop_since_mark,
    b"2": lambda r: r.push(r.top(object)),
    b"p": _put(_line_number),
    b"q": _put(lambda r: r.number("<B")),
    b"r": _put(lambda r: r.number("<I")),
    b"\x94": _memoize,
    b"g": _get(_line_number),
    b"h": _get(lambda r: r.number("<B")),
    b"j": _get(lambda r: r.number("<I")),
    # names, calls and states
    b"c": _Reader.global_line,
    b"\x93": _Reader.global_stack,
    b"R": _Reader.call,
    b"b": _Reader.build,
    b"i": _Reader.instance_line,
    b"o": _Reader.instance,
    b"\x81": _Reader.instance,
    b"\x92": _Reader.instance,
    b"\x82": _Reader.extension,
    b"\x83": _Reader.extension,
    b"\x84": _Reader.extension,
    b"P": _Reader.persistent,
    b"Q": _Reader.persistent,
    b"\x97": _Reader.out_of_band,
    b"\x98": lambda r: None,
}
