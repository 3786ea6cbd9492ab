"""PyTorch files are read exactly, run nothing, and when damaged are refused in one line."""

from __future__ import annotations

import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgenet.errors import UsageError
from edgenet.models.torchfile import read_state_dict

STORAGES = {"f": "FloatStorage", "d": "DoubleStorage", "q": "LongStorage", "b": "CharStorage"}
DTYPES = st.sampled_from(["<f4", "<f8", "<i8", "|i1"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=1, max_side=4))
)
STATES = st.dictionaries(st.text("abc._", min_size=1), ARRAYS, min_size=1, max_size=4)


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def tensor(array: np.ndarray, key: str, view: bytes, **wrong: Any) -> bytes:
    """The opcodes that torch.save writes for a tensor; `wrong` forges shape, strides or storage."""
    storage = wrong.get("storage", f"ctorch\n{STORAGES[array.dtype.char.replace('l', 'q')]}\n")
    shape = wrong.get("shape", array.shape)
    strides = wrong.get("strides", [step // array.itemsize for step in array.strides])
    identifier = tuple_of(
        text("storage"), storage.encode(), text(key), text("cpu"), integer(array.size), view
    )
    arguments = tuple_of(
        identifier + b"Q",
        integer(0),
        tuple_of(*map(integer, shape)),
        tuple_of(*map(integer, strides)),
        b"\x89",
        b"ccollections\nOrderedDict\n)R",
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def state_pickle(state: dict[str, np.ndarray], view: bytes = b"", **wrong: Any) -> bytes:
    items = b"".join(
        text(name) + tensor(array, str(index), view, **wrong)
        for index, (name, array) in enumerate(state.items())
    )
    metadata = b"}" + text("_metadata") + b"}sb"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u" + metadata + b"."


def raw(array: np.ndarray) -> bytes:
    """The storage's bytes, in the order that the array's strides walk."""
    return array.tobytes(order="A")


def legacy(state: dict[str, np.ndarray], pickled: bytes | None = None, **wrong: Any) -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    keys = [str(index) for index in range(len(state))]
    parts = [pickle.dumps(part, 2) for part in head]
    parts.append(state_pickle(state, view=b"N", **wrong) if pickled is None else pickled)
    parts.append(pickle.dumps(keys, 2))
    parts += [struct.pack("<q", array.size) + raw(array) for array in state.values()]
    return b"".join(parts)


def zipped(
    path: Path, state: dict[str, np.ndarray], packing: int = zipfile.ZIP_STORED, **wrong: Any
) -> None:
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("model/data.pkl", state_pickle(state, **wrong))
        archive.writestr("model/byteorder", "little")
        for index, array in enumerate(state.values()):
            archive.writestr(f"model/data/{index}", raw(array))


def assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array)


@given(state=STATES, transposed=st.booleans())
def test_both_layouts_give_back_what_was_saved(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, np.ndarray], transposed: bool
) -> None:
    if transposed:
        state = {name: array.T for name, array in state.items()}
    folder = tmp_path_factory.mktemp("torch")
    (folder / "legacy.pth").write_bytes(legacy(state))
    zipped(folder / "zip.pth", state)
    assert_same(read_state_dict(folder / "legacy.pth"), state)
    assert_same(read_state_dict(folder / "zip.pth"), state)


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_os_system_is_refused_and_not_run(
    tmp_path: Path, protocol: int
) -> None:
    mark = tmp_path / "ran"
    pickled = pickle.dumps(OrderedDict(weight=Evil(mark)), protocol)
    (tmp_path / "evil.pth").write_bytes(legacy({}, pickled))
    with pytest.raises(UsageError, match=r"names (posix|nt)\.system"):
        read_state_dict(tmp_path / "evil.pth")
    with zipfile.ZipFile(tmp_path / "evil-zip.pth", "w") as archive:
        archive.writestr("model/data.pkl", pickled)
    with pytest.raises(UsageError, match=r"names (posix|nt)\.system"):
        read_state_dict(tmp_path / "evil-zip.pth")
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    ["cbuiltins\neval\n", "ctorch\nload\n", "ctorch._utils\n__builtins__\n", "ccollections\nabc\n"],
)
def test_only_the_listed_names_are_known(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.pth").write_bytes(legacy({}, b"\x80\x02" + name.encode() + b"."))
    with pytest.raises(UsageError, match="which no state dict needs"):
        read_state_dict(tmp_path / "m.pth")


STATE = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.arange(4, dtype="<i8")}


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, fraction: float) -> None:
    whole = legacy(STATE)
    (tmp_path / "m.pth").write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(UsageError, match="not a readable PyTorch state dict"):
        read_state_dict(tmp_path / "m.pth")


@given(st.binary(max_size=200))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("torch") / "m.pth"
    path.write_bytes(noise)
    with pytest.raises(UsageError):
        read_state_dict(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (200, 300)},
        {"strides": (1000, 1)},
        {"strides": (-3, 1)},
        {"strides": (1,)},
        {"storage": "cposix\nsystem\n"},
        {"storage": "ctorch\nQInt8Storage\n"},
    ],
)
def test_a_forged_tensor_reaches_no_memory_of_others(tmp_path: Path, wrong: dict[str, Any]) -> None:
    state = {"a": STATE["a"]}
    (tmp_path / "m.pth").write_bytes(legacy(state, **wrong))
    zipped(tmp_path / "z.pth", state, **wrong)
    for name in ("m.pth", "z.pth"):
        with pytest.raises(UsageError):
            read_state_dict(tmp_path / name)


@given(deflated=st.booleans(), place=st.integers(0, 2**16), flip=st.integers(1, 255))
def test_a_zip_with_a_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, deflated: bool, place: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("torch") / "m.pth"
    zipped(path, STATE, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    changed = bytearray(path.read_bytes())
    changed[place % len(changed)] ^= flip
    path.write_bytes(changed)
    with suppress(UsageError):
        assert_same(read_state_dict(path), STATE)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("flag_bits", 1, "encrypted"),
        ("flag_bits", 0x20, "patched data"),
        ("compress_type", zipfile.ZIP_DEFLATED, "Error -3"),
        ("compress_type", zipfile.ZIP_LZMA, "compressed in a way that PyTorch does not read"),
        ("compress_type", 99, "compressed in a way that PyTorch does not read"),
    ],
)
def test_a_zip_whose_entries_cannot_be_unpacked_is_refused(
    tmp_path: Path, field: str, value: int, message: str
) -> None:
    place = {"flag_bits": 8, "compress_type": 10}[field]
    zipped(tmp_path / "m.pth", STATE)
    content = bytearray((tmp_path / "m.pth").read_bytes())
    for magic, offset in ((b"PK\1\2", place), (b"PK\3\4", place - 2)):
        for found in re.finditer(re.escape(magic), bytes(content)):
            struct.pack_into("<H", content, found.start() + offset, value)
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(UsageError, match=rf"not a readable PyTorch state dict .*{message}"):
        read_state_dict(tmp_path / "m.pth")


def test_a_checkpoint_around_a_state_dict_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "m.pth").write_bytes(legacy({}, pickle.dumps({"epoch": 3}, 2)))
    with pytest.raises(UsageError, match="checkpoint around a state dict"):
        read_state_dict(tmp_path / "m.pth")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_state_dict(tmp_path / "m.pth")
