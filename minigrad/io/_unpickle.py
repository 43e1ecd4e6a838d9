"""A pickle reader that cannot run code: an interpreter of pickle's instructions, written for files nobody vouches for.

It differs from `pickle.Unpickler` in what it refuses, not in what it reads (protocols 0 to 5):
- a global is what `find_global` gives, and may be called only through the rule that comes with it (minigrad/io/_globals.py);
- objects are filled (BUILD, SETITEMS, APPENDS) only if their kind is known here, or was registered by the user;
- keys of dicts and members of sets are measured before they are hashed: hashing a deeply nested tuple overflows the C
  stack, and hashing a tuple of itself twice, sixty levels deep, takes forever;
- every size is compared with the bytes that are there before anything is allocated.
Every failure is a `pickle.UnpicklingError`, but for those of the storages behind persistent ids: they are passed on.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

UnpicklingError = pickle.UnpicklingError

_MARK = object()
_KEY_NODES = 10_000  # tuples and frozensets inside one key
_KEY_DEPTH = 100
_DICTS = (dict, OrderedDict, Counter, defaultdict)


class Rules:
    """What a pickle may name and do; the base class allows nothing."""

    def find_global(self, module: str, name: str) -> Any:
        """The object behind a global; UnpicklingError for one that is not allowed."""
        raise UnpicklingError(f"unsupported global {module}.{name}")

    def call(self, function: Any, args: tuple) -> Any:
        """What REDUCE gives."""
        raise UnpicklingError("nothing may be called")

    def new(self, cls: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What NEWOBJ gives."""
        raise UnpicklingError("no objects may be made")

    def build(self, instance: Any, state: Any) -> Any:
        """What BUILD leaves: the object with its state."""
        raise UnpicklingError("no objects may be filled")

    def is_registered(self, cls: type) -> bool:
        """Whether the user vouched for this class."""
        return False


def check_key(key: Any) -> Any:
    """The key itself, once it is known to be cheap to hash."""
    level, depth, nodes = [key], 0, 0
    while level:
        inner = []
        for item in level:
            if type(item) in (tuple, frozenset) or (isinstance(item, tuple) and not isinstance(item, str)):
                inner.extend(item)
        nodes += len(inner)
        depth += 1
        if nodes > _KEY_NODES or depth > _KEY_DEPTH:
            raise UnpicklingError("a key of a dict or a member of a set is nested too deeply")
        level = inner
    return key


class SafeUnpickler:
    """Reads one pickle out of `data`, starting at `position`; `position` is behind it afterwards.

    Args:
        data: the bytes.
        rules: what is allowed.
        persistent_load: gives the object behind a persistent id.
        encoding: of the 8-bit strings of Python 2; "bytes" keeps them as bytes.
    """

    def __init__(
        self, data: Any, rules: Rules, persistent_load: Callable[[Any], Any], *, position: int = 0, encoding: str = "utf-8"
    ) -> None:
        self.data = memoryview(data).cast("B")
        self.position = position
        self.rules = rules
        self.persistent_load = persistent_load
        self.encoding = encoding

    def load(self) -> Any:
        """The object.

        Raises:
            pickle.UnpicklingError: the pickle is malformed, or asks for what is not allowed.
        """
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.outside: BaseException | None = None
        start = self.position
        try:
            while True:
                code = self._take(1)[0]
                handler = _HANDLERS[code]
                if handler is None:
                    if code == 0x2E:  # STOP
                        return self._pop()
                    raise UnpicklingError(f"unknown instruction {bytes([code])!r} at byte {self.position - 1 - start}")
                handler(self)
        except UnpicklingError:
            raise
        except (
            ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError, struct.error, MemoryError,
            LookupError, AssertionError, ArithmeticError,
        ) as error:  # fmt: skip
            if error is self.outside:
                raise
            raise UnpicklingError(f"malformed pickle near byte {self.position - start}: {_short(error)}") from error

    # --- bytes ---
    def _take(self, count: int) -> memoryview:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise UnpicklingError(f"the pickle ends too early: {count} bytes wanted at byte {self.position} of {len(self.data)}")
        part = self.data[self.position : end]
        self.position = end
        return part

    def _number(self, form: str) -> int:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> bytes:
        block = bytes(self.data[self.position : self.position + 4096])
        end = block.find(b"\n")
        if end < 0:
            block = bytes(self.data[self.position :])
            end = block.find(b"\n")
            if end < 0:
                raise UnpicklingError("the pickle ends within a line")
        self.position += end + 1
        return block[:end]

    def _text(self, count: int) -> str:
        return str(self._take(count), "utf-8", "surrogatepass")

    def _old_text(self, raw: bytes) -> Any:
        return raw if self.encoding == "bytes" else raw.decode(self.encoding)

    # --- stack ---
    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise UnpicklingError("the stack of the pickle is empty")
        return self.stack.pop()

    def _pop_mark(self) -> list[Any]:
        for k in range(len(self.stack) - 1, -1, -1):
            if self.stack[k] is _MARK:
                items = self.stack[k + 1 :]
                del self.stack[k:]
                return items
        raise UnpicklingError("a mark is missing on the stack of the pickle")

    def _pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self._pop() for _ in range(count)]))

    def _top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise UnpicklingError("the stack of the pickle is empty")
        return self.stack[-1]

    # --- what instructions do ---
    def _put(self, index: int) -> None:
        if index < 0:
            raise UnpicklingError("negative number in the memo")
        self.memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self.memo:
            raise UnpicklingError(f"the memo has no entry {index}")
        self._push(self.memo[index])

    def _global(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise UnpicklingError("the name of a global is no text")
        self._push(self.rules.find_global(module, name))

    def _global_line(self) -> None:
        self._global(self._line().decode("utf-8"), self._line().decode("utf-8"))

    def _stack_global(self) -> None:
        self._global(*self._pop_many(2))

    def _reduce(self) -> None:
        function, args = self._pop_many(2)
        if type(args) is not tuple:
            raise UnpicklingError("arguments of a call are no tuple")
        self._push(self.rules.call(function, args))

    def _newobj(self) -> None:
        cls, args = self._pop_many(2)
        if type(args) is not tuple:
            raise UnpicklingError("arguments of an object are no tuple")
        self._push(self.rules.new(cls, args, {}))

    def _newobj_ex(self) -> None:
        cls, args, kwargs = self._pop_many(3)
        if type(args) is not tuple or type(kwargs) is not dict:
            raise UnpicklingError("arguments of an object are no tuple and dict")
        self._push(self.rules.new(cls, args, kwargs))

    def _build(self) -> None:
        instance, state = self._pop_many(2)
        self._push(self.rules.build(instance, state))

    def _set_items(self, flat: list[Any]) -> None:
        target = self._top()
        if type(target) not in _DICTS and not self.rules.is_registered(type(target)):
            raise UnpicklingError(f"items cannot be set on a {type(target).__name__}")
        if len(flat) % 2:
            raise UnpicklingError("an odd number of keys and values")
        for k in range(0, len(flat), 2):
            target[check_key(flat[k])] = flat[k + 1]

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not list and not self.rules.is_registered(type(target)):
            raise UnpicklingError(f"items cannot be appended to a {type(target).__name__}")
        target.extend(items)

    def _add_items(self) -> None:
        items = self._pop_mark()
        target = self._top()
        if type(target) is not set and not self.rules.is_registered(type(target)):
            raise UnpicklingError(f"members cannot be added to a {type(target).__name__}")
        target.update(check_key(item) for item in items)

    def _dict(self) -> None:
        flat = self._pop_mark()
        self._push({})
        self._set_items(flat)

    def _frozenset(self) -> None:
        self._push(frozenset(check_key(item) for item in self._pop_mark()))

    def _int_line(self) -> None:
        line = self._line()
        self._push(line == b"01" if line in (b"00", b"01") else int(line, 0) if len(line) < 4000 else _too_long())

    def _long_line(self) -> None:
        line = self._line()
        self._push(int(line.rstrip(b"L"), 0) if len(line) < 4000 else _too_long())

    def _string_line(self) -> None:
        line = self._line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise UnpicklingError("a string lacks its quotes")
        self._push(self._old_text(codecs.escape_decode(line[1:-1])[0]))

    def _long(self, count: int) -> None:
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    def _proto(self) -> None:
        protocol = self._take(1)[0]
        if protocol > 5:
            raise UnpicklingError(f"unsupported pickle protocol {protocol}")

    def _persistent(self, saved_id: Any) -> None:
        try:
            self._push(self.persistent_load(saved_id))
        except Exception as error:  # of the container, or of map_location: not the pickle's fault
            self.outside = error
            raise

    def _unsupported(self) -> None:
        raise UnpicklingError("the instruction is not allowed here (classes called by INST/OBJ, extension codes, outside buffers)")


def _too_long() -> int:
    raise UnpicklingError("a number has too many digits")


def _short(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}" if type(error) is not MemoryError else "MemoryError"
    return text if len(text) < 300 else text[:300] + "…"


def _handlers() -> list[Callable[[SafeUnpickler], None] | None]:
    p, u = SafeUnpickler, pickle
    table: dict[bytes, Callable[[SafeUnpickler], Any]] = {
        u.PROTO: p._proto, u.FRAME: lambda s: s._take(8), u.MARK: lambda s: s._push(_MARK), u.POP_MARK: lambda s: s._pop_mark(),
        u.POP: lambda s: s.stack.pop(), u.DUP: lambda s: s._push(s._top()),
        u.NONE: lambda s: s._push(None), u.NEWTRUE: lambda s: s._push(True), u.NEWFALSE: lambda s: s._push(False),
        u.INT: p._int_line, u.LONG: p._long_line, u.FLOAT: lambda s: s._push(float(s._line())),
        u.BININT: lambda s: s._push(s._number("<i")), u.BININT1: lambda s: s._push(s._take(1)[0]),
        u.BININT2: lambda s: s._push(s._number("<H")), u.LONG1: lambda s: s._long(s._take(1)[0]),
        u.LONG4: lambda s: s._long(s._number("<i")), u.BINFLOAT: lambda s: s._push(s._number(">d")),
        u.STRING: p._string_line, u.BINSTRING: lambda s: s._push(s._old_text(bytes(s._take(s._number("<i"))))),
        u.SHORT_BINSTRING: lambda s: s._push(s._old_text(bytes(s._take(s._take(1)[0])))),
        u.UNICODE: lambda s: s._push(s._line().decode("raw-unicode-escape")),
        u.BINUNICODE: lambda s: s._push(s._text(s._number("<I"))), u.BINUNICODE8: lambda s: s._push(s._text(s._number("<Q"))),
        u.SHORT_BINUNICODE: lambda s: s._push(s._text(s._take(1)[0])),
        u.BINBYTES: lambda s: s._push(bytes(s._take(s._number("<I")))), u.BINBYTES8: lambda s: s._push(bytes(s._take(s._number("<Q")))),
        u.SHORT_BINBYTES: lambda s: s._push(bytes(s._take(s._take(1)[0]))),
        u.BYTEARRAY8: lambda s: s._push(bytearray(s._take(s._number("<Q")))),
        u.EMPTY_LIST: lambda s: s._push([]), u.EMPTY_DICT: lambda s: s._push({}), u.EMPTY_TUPLE: lambda s: s._push(()),
        u.EMPTY_SET: lambda s: s._push(set()), u.LIST: lambda s: s._push(s._pop_mark()), u.TUPLE: lambda s: s._push(tuple(s._pop_mark())),
        u.DICT: p._dict, u.FROZENSET: p._frozenset, u.TUPLE1: lambda s: s._push(s._pop_many(1)),
        u.TUPLE2: lambda s: s._push(s._pop_many(2)), u.TUPLE3: lambda s: s._push(s._pop_many(3)),
        u.APPEND: lambda s: s._extend([s._pop()]), u.APPENDS: lambda s: s._extend(s._pop_mark()),
        u.SETITEM: lambda s: s._set_items(list(s._pop_many(2))), u.SETITEMS: lambda s: s._set_items(s._pop_mark()),
        u.ADDITEMS: p._add_items, u.GLOBAL: p._global_line, u.STACK_GLOBAL: p._stack_global, u.REDUCE: p._reduce,
        u.NEWOBJ: p._newobj, u.NEWOBJ_EX: p._newobj_ex, u.BUILD: p._build,
        u.BINPERSID: lambda s: s._persistent(s._pop()), u.PERSID: lambda s: s._persistent(s._line().decode("ascii")),
        u.PUT: lambda s: s._put(int(s._line())), u.BINPUT: lambda s: s._put(s._take(1)[0]),
        u.LONG_BINPUT: lambda s: s._put(s._number("<I")),
        u.MEMOIZE: lambda s: s._put(len(s.memo)), u.GET: lambda s: s._get(int(s._line())), u.BINGET: lambda s: s._get(s._take(1)[0]),
        u.LONG_BINGET: lambda s: s._get(s._number("<I")), u.INST: p._unsupported, u.OBJ: p._unsupported,
        u.EXT1: p._unsupported, u.EXT2: p._unsupported, u.EXT4: p._unsupported, u.NEXT_BUFFER: p._unsupported,
        u.READONLY_BUFFER: p._unsupported,
    }  # fmt: skip
    return [table.get(bytes([code])) for code in range(256)]


_HANDLERS = _handlers()
