"""A file that Keras would not open under its name is told the name that it needs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from edgenet.errors import UsageError
from edgenet.models.savedfile import check_container


def file_of(kind: str, path: Path) -> Path:
    if kind == "zip":
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_bytes(b"\x89HDF\r\n\x1a\n")
    return path


@pytest.mark.parametrize(
    ("kind", "name"), [("zip", "m.keras"), ("hdf5", "m.h5"), ("hdf5", "m.hdf5")]
)
def test_what_keras_opens_passes(tmp_path: Path, kind: str, name: str) -> None:
    check_container(file_of(kind, tmp_path / name))


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("zip", "m.h5", "a zip archive, as Keras 3 saves: rename it to m.keras"),
        ("zip", "m.hdf5", "a zip archive, as Keras 3 saves: rename it to m.keras"),
        ("zip", "UP.KERAS", "a zip archive, as Keras 3 saves: rename it to UP.keras"),
        ("zip", "UP.H5", "a zip archive, as Keras 3 saves: rename it to UP.keras"),
        ("hdf5", "m.keras", "an HDF5 file: rename it to m.h5"),
        ("hdf5", "UP.H5", "an HDF5 file: rename it to UP.h5"),
        ("hdf5", "UP.HDF5", "an HDF5 file: rename it to UP.hdf5"),
        ("hdf5", "UP.Keras", "an HDF5 file: rename it to UP.h5"),
    ],
)
def test_another_name_is_told(tmp_path: Path, kind: str, name: str, told: str) -> None:
    path = file_of(kind, tmp_path / name)
    with pytest.raises(UsageError) as caught:
        check_container(path)
    assert str(caught.value) == f"{path}: {told}"
