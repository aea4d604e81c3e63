"""Plain values out of a pickle that is never loaded.

The files of Planetoid are pickles, and loading a pickle runs whatever it says. This reads one as data instead: the
standard library's disassembler turns the bytes into opcodes, and an interpreter of the few opcodes that numbers,
strings, containers, NumPy arrays and SciPy matrices need rebuilds those. Names of classes and functions stay names;
nothing is imported or called for the file's sake, and any other opcode or name ends the reading.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

_NUMBERS = ("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "BINFLOAT", "FLOAT")
_STRINGS = ("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES")
_LITERALS = frozenset((*_NUMBERS, *_STRINGS))
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PUT = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GET = frozenset(("GET", "BINGET", "LONG_BINGET"))
_KINDS = "biuf"  # dtypes of numbers; objects, records and strings stay out


class UnreadablePickleError(ValueError):
    """The bytes are no pickle, or one that asks for more than plain values."""


@dataclass(frozen=True)
class _Name:
    """A class or function that the file names; only ever compared."""

    name: str


@dataclass
class _Made:
    """What the file would build by a name; becomes a value when its state is known."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


_MARK = object()
_ARRAY = "numpy.core.multiarray _reconstruct"
_NDARRAY = "numpy ndarray"
_DTYPE = "numpy dtype"
_MATRICES = ("scipy.sparse.csr csr_matrix", "scipy.sparse._csr csr_matrix")
_DICT = "collections defaultdict"


def read_arrays(data: bytes) -> Any:
    """The value that a pickle of protocol 2 or less holds, as Python 2 and NumPy wrote it in the 2010s.

    Arguments:
        data: the whole file.

    Returns:
        Numbers, strings (of bytes, as latin-1), lists, tuples, dicts (also for `defaultdict`), arrays of numbers, and
        `scipy.sparse.csr_array` for `csr_matrix`.

    Raises:
        UnreadablePickleError: for everything else.
    """
    try:
        return _finished(_interpret(data))
    except UnreadablePickleError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, UnicodeError, RecursionError) as error:
        raise UnreadablePickleError(f"it is damaged ({error})") from error


def _interpret(data: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = max(place for place, value in enumerate(stack) if value is _MARK)
        values = stack[start + 1 :]
        del stack[start:]
        return values

    opcode: pickletools.OpcodeInfo
    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        code = opcode.name
        if code in _LITERALS:
            stack.append(argument)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code in _PUT:
            memo[argument] = stack[-1]
        elif code in _GET:
            stack.append(memo[argument])
        elif code == "GLOBAL":
            stack.append(_Name(argument))
        elif code == "MARK":
            stack.append(_MARK)
        elif code in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(code[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif code == "TUPLE":
            values = since_mark()
            stack.append(tuple(values))
        elif code in ("APPEND", "APPENDS"):
            values = [stack.pop()] if code == "APPEND" else since_mark()
            _of_type(stack[-1], list).extend(values)
        elif code in ("SETITEM", "SETITEMS"):
            values = [stack.pop(-2), stack.pop()] if code == "SETITEM" else since_mark()
            _of_type(stack[-1], dict).update(zip(values[::2], values[1::2], strict=True))
        elif code in ("REDUCE", "NEWOBJ"):
            arguments = _of_type(stack.pop(), tuple)
            stack.append(_make(_of_type(stack.pop(), _Name).name, arguments))
        elif code == "BUILD":
            state = stack.pop()
            _of_type(stack[-1], _Made).state = state
        elif code == "STOP":
            break
        elif code != "PROTO":
            raise UnreadablePickleError(f"it has the opcode {code}, which plain values do not need")
    (value,) = stack
    return value


def _make(name: str, arguments: tuple[Any, ...]) -> Any:
    if name == _DICT and arguments in ((), (_Name("__builtin__ list"),), (_Name("builtins list"),)):
        return {}
    if name == _ARRAY and arguments[:1] != (_Name(_NDARRAY),):
        raise UnreadablePickleError("it has an array of a class of its own")
    if name not in (_ARRAY, _DTYPE, *_MATRICES):
        raise UnreadablePickleError(f"it names `{name}`, which is neither array nor matrix nor dict")
    return _Made(name, arguments)


def _finished(value: Any) -> Any:
    """The same value with arrays and matrices in it made."""
    if isinstance(value, _Made):
        return _array(value) if value.name == _ARRAY else _matrix(value)
    if isinstance(value, dict):
        return {key: _finished(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_finished, value))
    if value is not None and not isinstance(value, int | float | str | bytes):
        raise UnreadablePickleError("it holds a class or function instead of a value")
    return value


def _array(made: _Made) -> Any:
    _, shape, dtype, by_column, content = _of_type(made.state, tuple)
    kind = _dtype(dtype)
    raw = content.encode("latin-1") if isinstance(content, str) else _of_type(content, bytes)
    return np.frombuffer(raw, kind).reshape(shape, order="F" if by_column else "C").copy()


def _dtype(made: _Made) -> np.dtype[Any]:
    if _of_type(made, _Made).name != _DTYPE:
        raise UnreadablePickleError("it has an array without a dtype")
    order: Any = made.state[1] if made.state else "|"
    code = made.arguments[0]
    if not (isinstance(code, str) and code[:1] in _KINDS and code[1:].isdecimal() and order in ("<", ">", "|", "=")):
        raise UnreadablePickleError(f"it has an array of {code!r}, not of numbers")
    return np.dtype(code).newbyteorder(order)


def _matrix(made: _Made) -> sparse.csr_array:
    if made.name not in _MATRICES:
        raise UnreadablePickleError(f"it holds a bare `{made.name}`")
    state = _of_type(made.state, dict)
    data, indices, indptr = (_array(_of_type(state[key], _Made)) for key in ("data", "indices", "indptr"))
    matrix = sparse.csr_array((data, indices, indptr), shape=state.get("_shape", state.get("shape")))
    matrix.check_format(full_check=True)
    return matrix


def _of_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise UnreadablePickleError(f"it is damaged (a {type(value).__name__} stands where a {kind.__name__} belongs)")
    return value
