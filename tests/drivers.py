"""Drivers and delegates that go wrong, written by hand so that no test needs a compiler."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

# What their initializers do, in x86-64.
CRASH = b"\x0f\x0b"  # ud2
HANG = b"\xeb\xfe"  # jmp to itself
EXIT = b"\xbf\x07\x00\x00\x00\xb8\xe7\x00\x00\x00\x0f\x05"  # exit_group(7)
LEAVE = EXIT.replace(b"\x07", b"\x00")  # exit_group(0)

# A TFLite delegate that takes no operator: `tflite_plugin_create_delegate` hands out a
# TfLiteDelegate (tflite/core/c/common.h: data, Prepare, …) whose Prepare does nothing.
_CREATE = (
    b"\x48\x8d\x05\x15\x00\x00\x00"  # lea rax, [the struct, 28 bytes in]
    b"\x48\x8d\x0d\x05\x00\x00\x00"  # lea rcx, [Prepare, 19 bytes in]
    b"\x48\x89\x48\x08\xc3"  # mov [rax + 8], rcx; ret
)
_PREPARE = b"\x31\xc0\xc3"  # xor eax, eax; ret
_DESTROY = b"\xc3"
_RETURN = b"\xc3"
_IDLE = _CREATE + _PREPARE + _DESTROY + bytes(5) + bytes(64) + _RETURN
_EXPORTS = {
    "tflite_plugin_create_delegate": 0,
    "tflite_plugin_destroy_delegate": len(_CREATE + _PREPARE),
}

_HEADER, _SEGMENT, _SYMBOL = 64, 56, 24
_X86_64 = 62
_GLOBAL_FUNCTION = 0x12


def shared_library(
    path: Path, code: bytes = _RETURN, start: int = 0, exports: Mapping[str, int] | None = None
) -> Path:
    """An ELF library that runs `code` from `start` as it is loaded; by default it returns.

    System V ABI, "Object Files" and "Dynamic Linking": a header, two segments (LOAD, DYNAMIC), the
    code, and what glibc asks for: symbols (`exports`: their offsets in the code) in one hash chain.
    """
    names = dict(exports or {})
    text = _HEADER + 2 * _SEGMENT
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    symbols = bytes(_SYMBOL) + b"".join(
        struct.pack(
            "<IBBHQQ", strings.index(name.encode()), _GLOBAL_FUNCTION, 0, 1, text + offset, 0
        )
        for name, offset in names.items()
    )
    count = 1 + len(names)
    chain = [*range(2, count), 0] if names else []
    hashes = struct.pack(f"<{3 + count}I", 1, count, 1 if names else 0, 0, *chain)
    places, image = _laid_out(text, code, strings, symbols, hashes)
    # DT_INIT, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_NULL
    keys = (12, 4, 5, 6, 10, 11, 0)
    values = (text + start, places[3], places[1], places[2], len(strings), _SYMBOL, 0)
    entries = zip(keys, values, strict=True)
    dynamic, table = len(image), b"".join(struct.pack("<QQ", *entry) for entry in entries)
    image += table
    sizes = (_HEADER, _SEGMENT, 2, 0, 0, 0)
    ident = b"\x7fELF\x02\x01\x01"
    struct.pack_into("<16sHHIQQQIHHHHHH", image, 0, ident, 3, _X86_64, 1, 0, _HEADER, 0, 0, *sizes)
    whole = len(image)
    struct.pack_into("<IIQQQQQQ", image, _HEADER, 1, 7, 0, 0, 0, whole, whole, 4096)
    where = (dynamic, dynamic, dynamic, len(table), len(table), 8)
    struct.pack_into("<IIQQQQQQ", image, _HEADER + _SEGMENT, 2, 6, *where)
    path.write_bytes(image)
    return path


def _laid_out(start: int, *parts: bytes) -> tuple[list[int], bytearray]:
    """The parts one after another from `start`, each aligned, and where each of them begins."""
    places, image = [], bytearray(start)
    for part in parts:
        places.append(len(image))
        image += part + bytes(-(len(image) + len(part)) % 16)
    return places, image


def idle_delegate(path: Path) -> Path:
    """A delegate library that takes no operator of any model."""
    return shared_library(path, _IDLE, len(_IDLE) - 1, _EXPORTS)


def vulkan_driver(folder: Path, code: bytes) -> Path:
    """A driver's manifest, for `VK_DRIVER_FILES`, whose library runs `code` as it is loaded."""
    library = shared_library(folder / "driver.so", code)
    manifest = folder / "driver.json"
    driver = {"library_path": str(library), "api_version": "1.1.0"}
    manifest.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": driver}))
    return manifest
