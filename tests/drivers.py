"""Vulkan drivers that go wrong, written by hand so that no test needs a compiler."""

from __future__ import annotations

import json
import struct
from pathlib import Path

# What their initializers do, in x86-64.
CRASH = b"\x0f\x0b"  # ud2
HANG = b"\xeb\xfe"  # jmp to itself
EXIT = b"\xbf\x07\x00\x00\x00\xb8\xe7\x00\x00\x00\x0f\x05"  # exit_group(7)

_HEADER, _SEGMENT, _ENTRY, _SYMBOL = 64, 56, 16, 24
_X86_64 = 62


def shared_library(path: Path, code: bytes = b"\xc3") -> Path:
    """An ELF library that exports nothing and runs `code` as it is loaded; by default it returns.

    System V ABI, "Object Files" and "Dynamic Linking": a header, two segments (LOAD, DYNAMIC), the
    code, and the six entries without which glibc loads no library.
    """
    text = _HEADER + 2 * _SEGMENT
    dynamic = _aligned(text + len(code))
    strings = dynamic + 6 * _ENTRY
    symbols = _aligned(strings + 1)
    size = symbols + _SYMBOL
    # DT_INIT, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_NULL
    entries = ((12, text), (5, strings), (6, symbols), (10, 1), (11, _SYMBOL), (0, 0))
    image = bytearray(size)
    ident = b"\x7fELF\x02\x01\x01"
    sizes = (_HEADER, _SEGMENT, 2, 0, 0, 0)
    struct.pack_into("<16sHHIQQQIHHHHHH", image, 0, ident, 3, _X86_64, 1, 0, _HEADER, 0, 0, *sizes)
    struct.pack_into("<IIQQQQQQ", image, _HEADER, 1, 7, 0, 0, 0, size, size, 4096)
    where = (dynamic, dynamic, dynamic, 6 * _ENTRY, 6 * _ENTRY, 8)
    struct.pack_into("<IIQQQQQQ", image, _HEADER + _SEGMENT, 2, 6, *where)
    image[text : text + len(code)] = code
    for index, entry in enumerate(entries):
        struct.pack_into("<QQ", image, dynamic + index * _ENTRY, *entry)
    path.write_bytes(image)
    return path


def vulkan_driver(folder: Path, code: bytes) -> Path:
    """A driver's manifest, for `VK_DRIVER_FILES`, whose library runs `code` as it is loaded."""
    library = shared_library(folder / "driver.so", code)
    manifest = folder / "driver.json"
    driver = {"library_path": str(library), "api_version": "1.1.0"}
    manifest.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": driver}))
    return manifest


def _aligned(offset: int) -> int:
    return (offset + 15) // 16 * 16
