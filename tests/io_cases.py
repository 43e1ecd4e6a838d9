"""Files for the tests of minigrad.io: hostile pickles, and random damage to good files."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import minigrad as mg

REFUSALS = (RuntimeError, pickle.UnpicklingError, EOFError)


def good_files() -> dict[str, bytes]:
    """One file per format, with all kinds of contents."""
    base = mg.arange(12.0)
    state = OrderedDict(
        w=base.reshape(3, 4), view=base[2:5], b=mg.tensor([True, False]), h=mg.ones(3, dtype=mg.bfloat16), n=[1, 2.5, {"k": ("v", None)}],
        p=mg.nn.Parameter(mg.zeros(2, 2)), s={1, 2}, c=mg.ones(2, dtype=mg.complex64), size=base.shape, dtype=mg.float16, raw=b"\x00\xff",
    )  # fmt: skip
    files = {}
    for name, options in {
        "minigrad": {"format": "minigrad"}, "torch": {}, "protocol 5": {"pickle_protocol": 5},
        "legacy": {"_use_new_zipfile_serialization": False},
    }.items():  # fmt: skip
        buffer = io.BytesIO()
        mg.save(state, buffer, **options)
        files[name] = buffer.getvalue()
    flat = {k: v for k, v in state.items() if isinstance(v, mg.Tensor)}
    files["safetensors"] = mg.io.safetensors.serialize(flat, {"k": "v"})
    return files


def rezipped(pickled: bytes, entries: dict[str, bytes] | None = None) -> bytes:
    """A PyTorch zip checkpoint around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        for name, data in {"x/byteorder": b"little", "x/data/0": bytes(16), "x/version": b"3\n", **(entries or {})}.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def mutate(data: bytes, rng, others: list[bytes], checksums: bool) -> bytes:
    """One damaged file: bits, bytes, cuts, insertions, repetitions, numbers, parts of other files."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        kind, at = int(rng.integers(9)), int(rng.integers(max(len(out), 1)))
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << int(rng.integers(8))
        elif kind == 1 and out:
            out[at % len(out)] = int(rng.integers(256))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + int(rng.integers(1, 64))]
        elif kind == 4:
            out[at:at] = rng.bytes(int(rng.integers(1, 32)))
        elif kind == 5:
            out[at:at] = out[at : at + int(rng.integers(1, 200))]
        elif kind == 6:
            edge = [0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 255, 65535][int(rng.integers(9))]
            form = ["<q", "<i", "<h"][int(rng.integers(3))]
            size = struct.calcsize(form)
            out[at : at + size] = struct.pack("<q", edge)[:size]
        elif kind == 7:
            other = others[int(rng.integers(len(others)))]
            start = int(rng.integers(len(other)))
            out[at : at + 40] = other[start : start + 40]
        elif out:
            out[at % len(out)] = b"(.0cRbt}]uqhXQ\x81\x85\x8a\x93"[int(rng.integers(18))]
    return without_checksums(bytes(out)) if not checksums else bytes(out)


def without_checksums(data: bytes) -> bytes:
    """The archive with all CRC fields zero (how PyTorch writes with checksums off), so that damage reaches what lies inside."""
    out = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = out.find(signature)
        while at >= 0:
            if at + offset + 4 <= len(out):
                out[at + offset : at + offset + 4] = bytes(4)
            at = out.find(signature, at + 4)
    return bytes(out)


def inside(data: bytes, entry: str, rng, others: list[bytes]) -> bytes:
    """A sound archive around one damaged entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, mutate(content, rng, others, checksums=True) if info.filename.endswith(entry) else content)
    return buffer.getvalue()


# --- hostile pickles -------------------------------------------------------------------------------------------------
def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def _call(name: str, *args: bytes) -> bytes:
    return _global(name) + b"(" + b"".join(args) + b"tR"


STORAGE = b"(" + _text("storage") + _global("torch.FloatStorage") + _text("0") + _text("cpu") + b"K\x04tQ"
HOOKS = _global("collections.OrderedDict") + b")R"


def _int(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([16]) + raw


def tensor(offset: int = 0, size: tuple = (4,), stride: tuple = (1,), storage: bytes = STORAGE) -> bytes:
    """The pickle of a tensor, without frame."""
    shape = b"(" + b"".join(map(_int, size)) + b"t"
    strides = b"(" + b"".join(map(_int, stride)) + b"t"
    return _call("torch._utils._rebuild_tensor_v2", storage, _int(offset), shape, strides, b"\x89", HOOKS)


def hostile_pickles(flag: str) -> dict[str, bytes]:
    """Pickles that must be refused; those that run code would make the folder `flag`."""
    def storage(count: bytes = b"K\x04", key: str = "0", kind: str = "torch.FloatStorage", place: str = "cpu") -> bytes:
        return b"(" + _text("storage") + _global(kind) + _text(key) + _text(place) + count + b"tQ"

    deep = b")" + b"\x85" * 5_000  # a tuple in a tuple in a tuple …
    deeper = b")" + b"\x85" * 100_000  # hashing this overflows the C stack
    shared = b")" + b"".join(b"\x85q\x00h\x00h\x00\x86" for _ in range(70))  # 2**70 nodes, were it a tree
    many = {
        "os.system": _call("os.system", _text(f"mkdir {flag}")),
        "posix.mkdir": _call("posix.mkdir", _text(flag)),
        "eval": _call("builtins.eval", _text(f"__import__('os').mkdir({flag!r})")),
        "python 2 eval": _call("__builtin__.eval", _text("1")),
        "exec": _call("builtins.exec", _text("1")),
        "getattr": _call("builtins.getattr", _global("collections.OrderedDict"), _text("__subclasses__")),
        "__import__": _call("builtins.__import__", _text("os")),
        "open": _call("builtins.open", _text(flag), _text("w")),
        "numpy load": _call("numpy.load", _text(flag)),
        "torch.load": _call("torch.load", _text(flag)),
        "torch.hub": _call("torch.hub.load", _text(flag)),
        "minigrad internals": _call("minigrad.io.serialization.load", _text(flag)),
        "dotted name": b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
        "dotted dtype": b"ctorch\nfloat32.__class__\n.",
        "stack global": _text("os") + _text("system") + b"\x93" + _text(f"mkdir {flag}") + b"\x85R",
        "inst": b"(" + _text(f"mkdir {flag}") + b"ios\nsystem\n",
        "obj": b"(" + _global("os.system") + _text(f"mkdir {flag}") + b"o",
        "extension": b"\x82\x01",
        "newobj": _global("subprocess.Popen") + _text(f"mkdir {flag}") + b"\x85\x81",
        "newobj of a safe class": _global("torch.Size") + _text("x") + b"\x85\x81",
        "call of a result": _call("collections.OrderedDict") + b")R",
        "call of a dtype": _global("torch.float32") + b")R",
        "call of a class that may only be named": _global("torch.Tensor") + _int(2**50) + b"\x85R",
        "call of list": _global("builtins.list") + b")R",
        "call of a string": _text("print") + b")R",
        "build on a function": _global("torch._utils._rebuild_tensor_v2") + b"}" + _text("__code__") + b"K\x01sb",
        "build on a class": _global("collections.OrderedDict") + b"}" + _text("x") + b"K\x01sb",
        "build hides methods": HOOKS + b"}" + _text("items") + b"K\x01sb",
        "build hides __class__": HOOKS + b"}" + _text("__class__") + b"K\x01sb",
        "build on a dict": b"}}b",
        "items on a class": _global("collections.OrderedDict") + b"K\x01K\x02s",
        "items on a tensor": tensor() + b"K\x00K\x05s",
        "append to a tuple": b")K\x01a",
        "append to a tensor": tensor() + b"K\x01a",
        "attribute of a tensor": _call("torch._tensor._rebuild_from_type_v2", _global("torch._utils._rebuild_tensor_v2"),
                                       _global("torch.Tensor"), b")", b"}"),
        "subclass of tensor": _call("torch._tensor._rebuild_from_type_v2", _global("torch.Size"), _global("torch.Size"), b")", b"}"),
        "deep key": b"}" + deeper + b"K\x01s",
        "deep member of a set": b"\x8f(" + deep + b"\x90",
        "deep frozenset": b"(" + deep + b"\x91",
        "deep pair": _call("collections.OrderedDict", b"](" + deep + b"K\x01\x86e"),
        "shared key": b"}" + shared + b"K\x01s",
        "list as key": b"}]K\x01s",
        "memo far away": b"K\x01r\xff\xff\xff\xffj\xfe\xff\xff\xff",
        "text of 4 GB": b"X\xff\xff\xff\xffabc",
        "bytes of 2**63": b"\x8e" + b"\xff" * 7 + b"\x7f",
        "bytes of 2**64": b"\x8e" + b"\xff" * 8,
        "number of 2 GB": b"\x8b\xff\xff\xff\x7f",
        "negative length": b"\x8b\xff\xff\xff\xff",
        "decimal bomb": b"I" + b"9" * 500_000 + b"\n",
        "bytearray bomb": _call("builtins.bytearray", _int(2**40)),
        "bytes bomb": _call("builtins.bytes", _int(2**40)),
        "size bomb": _call("torch.Size", _int(2**40)),
        "numpy bomb": _call("numpy.core.multiarray._reconstruct", _global("numpy.ndarray"), b"(" + _int(2**40) + b"t", _text("b")),
        "numpy objects": _call("numpy.dtype", _text("O8"), b"\x89", b"\x88"),
        "numpy structure": _call("numpy.dtype", _text("i4,O"), b"\x89", b"\x88"),
        "numpy huge element": _call("numpy.core.multiarray.scalar", _call("numpy.dtype", _text("S999999999"), b"\x89", b"\x88"), b"C\x01a"),
        "numpy short": _call("numpy.core.multiarray.scalar", _call("numpy.dtype", _text("f8"), b"\x89", b"\x88"), _text("abc")),
        "offset beyond": tensor(offset=1),
        "offset far beyond": tensor(offset=2**62),
        "offset negative": tensor(offset=-1),
        "offset of 128 bits": tensor(offset=2**100),
        "size beyond": tensor(size=(5,)),
        "size far beyond": tensor(size=(2**62, 2**62), stride=(1, 1)),
        "size overflows in bytes": tensor(size=(2**61,), stride=(0,)),
        "size negative": tensor(size=(-1,)),
        "stride negative": tensor(offset=3, stride=(-1,)),
        "stride beyond": tensor(size=(2,), stride=(4,)),
        "stride overflows": tensor(size=(3,), stride=(2**63 - 1,)),
        "stride missing": tensor(stride=()),
        "100 dimensions": tensor(size=(1,) * 100, stride=(1,) * 100),
        "storage too large": tensor(storage=storage(_int(2**40))),
        "storage too small": tensor(storage=storage(b"K\x03")),
        "storage negative": tensor(storage=storage(_int(-4))),
        "storage missing": tensor(storage=storage(key="1")),
        "storage path": tensor(storage=storage(key="../../../etc/passwd")),
        "storage of another kind": tensor(storage=storage(kind="collections.OrderedDict")),
        "storage of no dtype": tensor(storage=storage(_int(16), kind="torch.UntypedStorage")),
        "storage unknown": tensor(storage=storage(kind="torch.QInt8Storage")),
        "no storage": tensor(storage=b"N"),
        "tensor as storage": tensor(storage=tensor()),
        "place unknown": tensor(storage=storage(place="mars:0")),
        "persistent id no tuple": b"K\x01Q",
        "empty persistent id": b")Q",
        "no stop": b"K\x01",
        "empty stack": b"",
        "mark only": b"(",
        "pop beyond": b"000",
        "odd items": b"}(K\x01u",
        "no mark": b"K\x01t",
        "unknown instruction": b"\xf0",
        "protocol 9": b"\x80\x09K\x01",
    }  # fmt: skip
    return {name: b"\x80\x02" + body + b"." if name != "no stop" else b"\x80\x02" + body for name, body in many.items()}
