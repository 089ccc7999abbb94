"""Interprets a pickle without Python's unpickler: nothing in it is imported, called or hashed.

What lives here: the stack machine of the pickle format (documented in `pickletools`) over plain
values, within a budget of steps. What does not: zip files and tensors (see `unpickle`), which
functions of the file are known. A value is a str, int, float, bool, bytes, None, list, tuple, dict
with plain keys, or an `InertObject`; sets become lists, as nothing that is read later is one.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detkit.core.errors import ArtifactError

MAX_STEPS = 4_000_000  # a YOLOX-x with its optimiser takes 0.1 M
MAX_INT_BITS = 256
PLAIN_KEYS = (str, int, float, bytes, type(None))
IGNORED = ("PROTO", "FRAME", "STOP")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
SCALARS = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING"
    " UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8"
).split()


@dataclass(frozen=True, eq=False, repr=False)
class Global:
    """The name of a class or function that the file mentions; never looked up."""

    module: str
    name: str


@dataclass(eq=False, repr=False)  # contents may hold themselves, or much by few references
class InertObject:
    """Stands for an object that the file asks to be made by `origin`: its contents, inert."""

    origin: str
    args: tuple[Any, ...] = ()
    state: Any = None


class PickleMachine:
    """Runs one pickle.

    Args:
        make: what a call of a `Global` with a tuple of arguments gives.
        load: what a persistent id, such as that of a storage, gives.
    """

    def __init__(
        self, make: Callable[[Global, tuple[Any, ...]], Any], load: Callable[[Any], Any]
    ) -> None:
        self.make, self.load = make, load
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # stacks below the marks
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self, data: bytes) -> Any:
        """The value of the pickle.

        Raises:
            ArtifactError: it takes more steps than any checkpoint, or does what none does.
            ValueError, IndexError, KeyError: it is no whole pickle.
        """
        for opcode, arg, _ in pickletools.genops(data):
            self._spend(1)
            name = opcode.name
            if name in SCALARS:
                self._push_scalar(arg)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name not in IGNORED:
                step = STEPS.get(name)
                if step is None:
                    raise ArtifactError(f"its pickle has the opcode {name}, as no checkpoint has")
                step(self, arg)
        return self.stack.pop()

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise ArtifactError(
                f"its pickle takes more than {MAX_STEPS / 1e6:.0f} million steps, as no checkpoint"
                " does"
            )

    # --- values and the memo ----------------------------------------------------------------------

    def _push_scalar(self, value: Any) -> None:
        if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
            raise ArtifactError("its pickle has an integer of absurd size")
        self.stack.append(bytes(value) if isinstance(value, bytearray) else value)

    def _pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def _mark(self, _: Any) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._pop_to_mark()

    def _pop_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    # --- containers -------------------------------------------------------------------------------

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        _extend(self.stack[-1], [item])

    def _appends(self, _: Any) -> None:
        items = self._pop_to_mark()
        _extend(self.stack[-1], items)

    def _set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set_items(self.stack[-1], [key, value])

    def _set_many(self, _: Any) -> None:
        items = self._pop_to_mark()
        _set_items(self.stack[-1], items)

    def _list(self, _: Any) -> None:
        items = self._pop_to_mark()
        self.stack.append(items)

    def _tuple(self, _: Any) -> None:
        items = self._pop_to_mark()
        self.stack.append(tuple(items))

    def _dict(self, _: Any) -> None:
        items = self._pop_to_mark()
        self.stack.append(new_dict(items))

    # --- objects ----------------------------------------------------------------------------------

    def _call(self, function: Any, args: Any) -> None:
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise ArtifactError("its pickle calls what is no function of a module")
        self._spend(sum(len(arg) for arg in args if isinstance(arg, (str, bytes, list, tuple))))
        self.stack.append(self.make(function, args))

    def _build(self, _: Any) -> None:
        """Gives an object its state, which is kept for inert ones and dropped for dicts."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, InertObject):
            target.state = state
        elif not isinstance(target, dict):  # state dicts carry `_metadata`
            raise ArtifactError("its pickle gives state to what has none")

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ArtifactError("its pickle names a function by what is no text")
        self.stack.append(Global(module, name))

    def _reduce(self, _: Any) -> None:
        args = self.stack.pop()
        self._call(self.stack.pop(), args)

    def _new_object_with_keywords(self, _: Any) -> None:
        self.stack.pop()
        self._reduce(None)

    def _instance(self, names: str) -> None:
        self._call(Global(*names.split(" ", 1)), tuple(self._pop_to_mark()))

    def _object(self, _: Any) -> None:
        function, *args = self._pop_to_mark()
        self._call(function, tuple(args))

    def _load_popped(self, _: Any) -> None:
        self.stack.append(self.load(self.stack.pop()))


Step = Callable[[PickleMachine, Any], None]


def new_dict(items: list[Any]) -> dict[Any, Any]:
    """A dict of keys and values in turns."""
    made: dict[Any, Any] = {}
    _set_items(made, items)
    return made


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, InertObject):  # no list-like class matters to an import
        raise ArtifactError("its pickle appends to what is no list")


def _set_items(target: Any, items: list[Any]) -> None:
    if isinstance(target, dict):
        pairs = zip(items[::2], items[1::2], strict=True)
        target.update((_plain_key(key), value) for key, value in pairs)
    elif not isinstance(target, InertObject):
        raise ArtifactError("its pickle sets items of what is no dict")


def _plain_key(key: Any) -> Any:
    """A key whose hash takes no time: any other is replaced by one that equals none."""
    return key if isinstance(key, PLAIN_KEYS) else InertObject("a key of another kind")


def _tuple_of(count: int) -> Step:
    def step(machine: PickleMachine, _: Any) -> None:
        items = tuple(machine.stack.pop() for _ in range(count))
        machine.stack.append(items[::-1])

    return step


STEPS: dict[str, Step] = {
    "MARK": PickleMachine._mark,
    "POP": PickleMachine._pop,
    "POP_MARK": PickleMachine._pop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), PickleMachine._get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), PickleMachine._put),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), lambda machine, _: machine.stack.append([])),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    **dict.fromkeys(("LIST", "FROZENSET"), PickleMachine._list),
    "TUPLE": PickleMachine._tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "DICT": PickleMachine._dict,
    "APPEND": PickleMachine._append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), PickleMachine._appends),
    "SETITEM": PickleMachine._set_item,
    "SETITEMS": PickleMachine._set_many,
    "GLOBAL": lambda machine, names: machine.stack.append(Global(*names.split(" ", 1))),
    "STACK_GLOBAL": PickleMachine._stack_global,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), PickleMachine._reduce),
    "NEWOBJ_EX": PickleMachine._new_object_with_keywords,
    "INST": PickleMachine._instance,
    "OBJ": PickleMachine._object,
    "BUILD": PickleMachine._build,
    "BINPERSID": PickleMachine._load_popped,
}
