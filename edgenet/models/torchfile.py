"""Reads the state dict of a PyTorch file without PyTorch, and without running anything in it.

A pickle is a program. The one here may name nothing but `OrderedDict`, the storage types and the
function that wraps a storage as a tensor, and gets stand-ins of ours for all but the first; any
other name is refused before it is looked up. Both layouts of `torch.save` are read: the old stream
of pickles followed by raw storages (`_legacy_save` in `torch/serialization.py`), and the zip.
"""

from __future__ import annotations

import math
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgenet.errors import UsageError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<b1",
}

_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    OSError,
    # What the opcodes of a damaged or hostile pickle raise when they meet the wrong operands.
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    # An entry of a zip that does not unpack, or is encrypted.
    zlib.error,
    RuntimeError,
)
# Those that PyTorch's own reader, miniz, unpacks; torch.save stores.
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage: offset and strides count elements, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads every tensor of a state dict, by its name.

    Args:
        path: A `.pth` or `.pt` file that `torch.save(model.state_dict(), path)` wrote.

    Returns:
        Arrays in the file's own shapes and dtypes (a convolution's is out, in, height, width).

    Raises:
        UsageError: There is no such file, it is cut short or damaged, it names something that no
            state dict needs, or it holds something other than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file: give the path of a .pth file")
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with path.open("rb") as file:
            return _read_legacy(file, path.stat().st_size)
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise UsageError(
            f"{path}: not a readable PyTorch state dict ({reason}): fetch the file again, "
            "or save it anew with torch.save(model.state_dict(), path)"
        ) from error


class _StateDictUnpickler(pickle.Unpickler):
    """Knows the few names of a state dict; `persistent_load` hands out storages to fill later."""

    def find_class(self, module: str, name: str) -> Any:
        """Answers from a closed list; strings and bound methods, which a pickle cannot alter."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no state dict needs")

    def persistent_load(self, pid: Any) -> _Storage:
        """Reads ("storage", type, key, device, count), and a legacy file's sixth entry, None."""
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in _DTYPES.values() or any(view):
            raise pickle.UnpicklingError(f"it refers to an unknown kind of object: {kind!r:.40}")
        return _Storage(str(key), dtype, int(count))

    def _rebuild_tensor(
        self, storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any
    ) -> _Tensor:
        return _Tensor(storage, int(offset), tuple(shape), tuple(strides))


def _read_legacy(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    if _StateDictUnpickler(file).load() != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("it does not start as torch.save starts a file")
    if _StateDictUnpickler(file).load() != _LEGACY_PROTOCOL:
        raise pickle.UnpicklingError("its protocol version is unknown")
    if not _StateDictUnpickler(file).load()["little_endian"]:
        raise pickle.UnpicklingError("it was written on a big-endian machine")
    tensors = _tensors(_StateDictUnpickler(file).load())
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    buffers = {}
    for key in _StateDictUnpickler(file).load():
        count = int.from_bytes(_read_exactly(file, 8, size), "little")
        storage = storages[key]
        if count != storage.count:
            raise pickle.UnpicklingError(f"storage {key} has {count} values, not {storage.count}")
        data = _read_exactly(file, count * np.dtype(storage.dtype).itemsize, size)
        buffers[key] = np.frombuffer(data, storage.dtype)
    return {name: _view(tensor, buffers) for name, tensor in tensors.items()}


def _read_exactly(file: BinaryIO, count: int, size: int) -> bytes:
    # Compared before reading: a count out of a damaged file must not become an allocation.
    if count > size - file.tell():
        raise EOFError(f"it is cut short at {size:,} bytes")
    return file.read(count)


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type not in _PACKINGS for entry in archive.infolist()):
            raise pickle.UnpicklingError("it is compressed in a way that PyTorch does not read")
        names = archive.namelist()
        pickled = next((name for name in names if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise pickle.UnpicklingError("the zip holds no data.pkl")
        root = pickled.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise pickle.UnpicklingError("it was written on a big-endian machine")
        # Read whole, for its checksum.
        tensors = _tensors(_StateDictUnpickler(BytesIO(archive.read(pickled))).load())
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        buffers = {
            key: np.frombuffer(archive.read(f"{root}data/{key}"), storage.dtype)
            for key, storage in storages.items()
        }
    return {name: _view(tensor, buffers) for name, tensor in tensors.items()}


def _tensors(state: Any) -> dict[str, _Tensor]:
    if not isinstance(state, Mapping):
        raise pickle.UnpicklingError("it holds no dict")
    for name, value in state.items():
        if not isinstance(value, _Tensor):
            raise pickle.UnpicklingError(
                f"{str(name)!r:.60} is no tensor: is it a checkpoint around a state dict?"
            )
    return {str(name): tensor for name, tensor in state.items()}


def _view(tensor: _Tensor, buffers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Copies the tensor out of its storage, whose bounds the file is not trusted to respect."""
    buffer = buffers[tensor.storage.key]
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise pickle.UnpicklingError("a tensor has an impossible shape")
    steps = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > buffer.size or tensor.offset + steps >= buffer.size:
        raise pickle.UnpicklingError("a tensor reaches past the end of its storage")
    bytes_strides = [stride * buffer.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(buffer[tensor.offset :], shape, bytes_strides)
    return view.copy(order="C")
