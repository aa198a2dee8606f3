"""What a torch.save pickle would build, worked out without building it: no global is looked up, no function called.

Only what plain tensors in plain dicts need is understood. Everything else is refused by name, before torch's own
`weights_only` loader ever sees the file. It knows nothing of zip archives or files.
"""

import pickle
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TENSOR_BUILDERS = {
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
}
PARAMETER_BUILDER = "torch._utils._rebuild_parameter"
DICT_BUILDERS = {"collections.OrderedDict", "builtins.dict"}
HARMLESS = {"torch.Size", "torch.device", "builtins.set", "builtins.complex", "builtins.bytearray", "_codecs.encode"}
"""Values beside the tensors: kept as `Other`, so that an error can say what they are."""
DTYPE_OF_STORAGE = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.storage.UntypedStorage": "bytes",
}


class UnsafePickleError(ValueError):
    """The pickle needs code; `name` is the global that it asks for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class InvalidPickleError(ValueError):
    """The pickle is damaged, or does something that torch.save never does with tensors.

    Messages name types, not values: nested tuples can have a representation of any length.
    """


@dataclass(frozen=True, slots=True)
class Global:
    """A dotted name that the pickle mentions; never resolved."""

    name: str


@dataclass(frozen=True, slots=True)
class StoredValues:
    """A storage of the archive: its key there, its dtype ("bytes" for an untyped one), its elements."""

    key: str
    dtype: str
    elements: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A strided view of a storage. Offset and strides count elements."""

    storage: StoredValues
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Other:
    """A value that is harmless and no tensor; `kind` says what it is."""

    kind: str


def walk(data: bytes) -> Any:
    """What the pickle holds: dicts, lists, tuples, numbers and strings, `StoredTensor`, `Other`.

    Raises:
        UnsafePickleError: it asks for code.
        InvalidPickleError: it is damaged or of an unknown kind.
    """
    machine = _Machine()
    try:
        # Damaged names can hold escapes that Python warns about; they are refused below all the same.
        with warnings.catch_warnings(action="ignore"):
            for operation, argument, _ in pickletools.genops(data):
                if operation.name == "STOP":
                    return machine.stack.pop()
                machine.run(operation.name, argument)
    except (UnsafePickleError, InvalidPickleError):
        raise
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, UnicodeError, pickle.UnpicklingError) as cause:
        raise InvalidPickleError(f"{type(cause).__name__}: {cause}") from cause
    raise InvalidPickleError("it has no end")


class _Machine:
    """The pickle machine's stack and memo, for the operations that protocol 2 writes for tensors."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self.memo[argument] = self.stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.stack.append(_name_global(argument))
        elif name in _OPERATIONS:
            _OPERATIONS[name](self)
        elif name != "PROTO":
            raise InvalidPickleError(f"operation {name} is not one that torch.save writes for tensors")

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def tuple(self) -> None:
        items = tuple(self.pop_to_mark())
        self.stack.append(items)

    def short_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise InvalidPickleError("a tuple of more values than there are")
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set_items(self.stack[-1], [key, value])

    def set_items(self) -> None:
        items = self.pop_to_mark()
        _set_items(self.stack[-1], items)

    def append(self) -> None:
        item = self.stack.pop()
        _extend(self.stack[-1], [item])

    def appends(self) -> None:
        items = self.pop_to_mark()
        _extend(self.stack[-1], items)

    def load_storage(self) -> None:
        kind, storage, key, _, elements = self.stack.pop()
        dtype = DTYPE_OF_STORAGE.get(storage.name) if isinstance(storage, Global) else None
        if kind != "storage" or dtype is None or type(key) is not str or type(elements) is not int or elements < 0:
            raise InvalidPickleError("a storage of unknown kind")
        self.stack.append(StoredValues(key, dtype, elements))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(_understand_call(function, arguments))

    def build(self) -> None:
        """An OrderedDict's attributes, for example a state dict's `_metadata`: nothing of theirs is a tensor's."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise InvalidPickleError(f"sets attributes of {type(self.stack[-1]).__name__}")


_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_OPERATIONS: dict[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple,
    "TUPLE1": lambda machine: machine.short_tuple(1),
    "TUPLE2": lambda machine: machine.short_tuple(2),
    "TUPLE3": lambda machine: machine.short_tuple(3),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "BINPERSID": _Machine.load_storage,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}


def _name_global(argument: str) -> Global:
    """The global of a GLOBAL operation, "module name"; refused unless tensors need it."""
    module, _, attribute = argument.partition(" ")
    name = f"{module.replace('__builtin__', 'builtins')}.{attribute}"
    known = TENSOR_BUILDERS | DICT_BUILDERS | HARMLESS | DTYPE_OF_STORAGE.keys() | {PARAMETER_BUILDER}
    if name not in known and not _is_dtype(name):
        raise UnsafePickleError(name)
    return Global(name)


def _is_dtype(name: str) -> bool:
    return name.removeprefix("torch.").startswith(("float", "bfloat", "int", "uint", "complex", "bool")) and (
        name.startswith("torch.") and name.count(".") == 1
    )


def _understand_call(function: Any, arguments: Any) -> Any:
    if not isinstance(function, Global) or type(arguments) is not tuple:
        raise InvalidPickleError(f"calls {type(function).__name__}")
    if function.name in TENSOR_BUILDERS:
        return _understand_tensor(function.name, arguments)
    if function.name == PARAMETER_BUILDER and arguments and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    if function.name in DICT_BUILDERS:
        built: dict[Any, Any] = {}
        for pair in arguments[0] if arguments else ():
            _set_items(built, list(pair))
        return built
    if function.name == "torch.Size" and len(arguments) == 1:
        return arguments[0]
    if function.name in HARMLESS:
        return Other(function.name)
    raise InvalidPickleError(f"calls {function.name} in a way that torch.save does not")


def _understand_tensor(builder: str, arguments: tuple[Any, ...]) -> StoredTensor:
    storage, offset, shape, strides, *rest = arguments
    if not isinstance(storage, StoredValues) or type(offset) is not int:
        raise InvalidPickleError("a tensor without a storage")
    sizes = (offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(size) is not int or size < 0 for size in sizes):
        raise InvalidPickleError("a tensor whose shape, strides or offset are no sizes")
    dtype = storage.dtype
    if builder.endswith("_v3"):
        named = rest[2]
        dtype = named.name.removeprefix("torch.") if isinstance(named, Global) else "unnamed"
    return StoredTensor(storage, dtype, offset, tuple(shape), tuple(strides))


def _set_items(target: Any, items: list[Any]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise InvalidPickleError(f"sets an item of {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # A nested tuple as a key can take for ever to hash; no checkpoint needs one.
        if not isinstance(key, str | int | float | None):
            raise InvalidPickleError(f"a dict key of type {type(key).__name__}")
        target[key] = value


def _extend(target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        raise InvalidPickleError(f"appends to {type(target).__name__}")
    target.extend(items)
