from __future__ import annotations

import errno
import io
import os
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edgenet.decoding import ImageError, decode
from edgenet.errors import EdgenetError, UsageError
from edgenet.images import Pixels
from tests.photos import JPEG, encoded, photo


def test_every_kind_of_source_decodes_alike(tmp_path: Path) -> None:
    image = photo()
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(image))
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), file, image, np.asarray(image)]
        for source in sources:
            np.testing.assert_array_equal(np.asarray(decode(source)), np.asarray(image))


def test_the_exif_orientation_is_honoured() -> None:
    image = Image.new("RGB", (20, 10), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(image, "JPEG", exif=exif)).size == (10, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert decode(Image.new(mode, (4, 3))).mode == "RGB"


def test_transparent_parts_are_white() -> None:
    image = Image.new("RGBA", (1, 1), (10, 20, 30, 0))
    assert decode(image).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.array([[0, 0x80FF, 0xFFFF]], np.uint16)
    grey = np.asarray(decode(encoded(Image.fromarray(deep))))[0, :, 0]
    assert grey.tolist() == [0, 0x80, 0xFF]


@pytest.mark.parametrize("turn", [None, 3])
def test_sixteen_bits_of_a_pixmap_are_scaled(turn: int | None) -> None:
    """Pillow holds them in 32 bits, brought to a full scale of 65535."""
    deep = Image.open(io.BytesIO(b"P5 3 1 4095\n" + bytes((0, 0, 8, 0, 15, 255))))
    assert deep.mode == "I"
    if turn is not None:
        deep.getexif()[0x0112] = turn
    grey = np.asarray(decode(deep))[0, :, 0].tolist()
    assert grey == ([0, 0x80, 0xFF] if turn is None else [0xFF, 0x80, 0])


def test_sixteen_bits_of_a_png_are_scaled_where_pillow_has_them_in_32() -> None:
    """As before Pillow 10.3."""
    deep = Image.fromarray(np.array([[0, 0x80FF, 0xFFFF]], np.int32))
    deep.format = "PNG"
    assert np.asarray(decode(deep))[0, :, 0].tolist() == [0, 0x80, 0xFF]


@pytest.mark.parametrize(("mode", "kind"), [("I", "32-bit integer"), ("F", "floating-point")])
@pytest.mark.parametrize("saved", [False, True])
def test_pixels_of_no_known_range_are_refused(
    tmp_path: Path, mode: str, kind: str, saved: bool
) -> None:
    image = photo().convert("L").convert(mode)
    source: Any = image
    if saved:
        source = tmp_path / "deep.tiff"
        image.save(source)
    named = r"deep\.tiff" if saved else "^the image in memory"
    with pytest.raises(ImageError, match=f"{named} has {kind} pixels, .*: scale them to 0..255"):
        decode(source)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.jpg: No such file"):
        decode(tmp_path / "gone.jpg")


def test_a_text_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    with pytest.raises(ImageError, match=r"text\.jpg is not an image"):
        decode(path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    path.write_bytes(JPEG[: len(JPEG) // 2])
    with pytest.raises(ImageError, match=r"half\.jpg is a damaged image"):
        decode(path)


@given(place=st.integers(0, len(JPEG) - 1), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_an_image_error_or_harmless(place: int, value: int, cut: bool) -> None:
    data = JPEG[:place] if cut else JPEG[:place] + bytes([value]) + JPEG[place + 1 :]
    with suppress(ImageError):
        assert decode(data).mode == "RGB"


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_an_unfit_array_is_refused(array: Pixels) -> None:
    with pytest.raises(UsageError, match="must be uint8"):
        decode(array)


@pytest.mark.parametrize("source", [None, ["a.png"], 3])
def test_what_is_no_image_is_told(source: Any) -> None:
    with pytest.raises(UsageError, match="an image is a path, bytes"):
        decode(source)


def turned(orientation: int) -> bytes:
    """A JPEG with a header of more than its orientation."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = orientation, "maker", 72.0
    exif.get_ifd(0x8825)[1] = "N"
    return encoded(photo(), "JPEG", exif=exif)


TURNED = turned(6)
HEADER = TURNED.index(b"Exif") + 6
BODY = HEADER - 8 + int.from_bytes(TURNED[HEADER - 8 : HEADER - 6], "big")


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_once(orientation: int) -> None:
    data = turned(orientation)
    found = decode(data)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert decode(found) is found


@given(place=st.integers(HEADER, BODY - 1), value=st.integers(0, 255))
def test_no_damage_to_the_header_is_damage_to_the_photo(place: int, value: int) -> None:
    spoiled = TURNED[:place] + bytes([value]) + TURNED[place + 1 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it found.
        assert decode(spoiled).size in ((30, 40), (40, 30))


def test_a_header_that_cannot_be_read_turns_nothing() -> None:
    image = photo()
    found = decode(encoded(image, exif=b"Exif\0\0no header at all"))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(image))


def test_a_clear_colour_is_white() -> None:
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (10, 20, 31))
    found = decode(encoded(image, transparency=(10, 20, 30)))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (10, 20, 31)]
    assert decode(found) is found


def test_a_clear_grey_of_sixteen_bits_is_white() -> None:
    deep = Image.fromarray(np.array([[0x1000, 0x1001]], np.uint16))
    deep.info["transparency"] = 0x1000
    assert np.asarray(decode(deep))[0, :, 0].tolist() == [255, 0x10]


@pytest.mark.parametrize("left_over", [None, 0, b"\0"])
def test_rgb_is_returned_as_it_is(left_over: object) -> None:
    image = photo()
    if left_over is not None:
        image.info["transparency"] = left_over
    assert decode(image) is image


def test_more_pixels_than_pillow_reads_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(photo(40, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    said = r"large\.png is more than Pillow reads \(.*1200 pixels.*1198 pixels\): shrink it"
    with pytest.raises(ImageError, match=said):
        decode(path)


class Visited(io.BytesIO):
    """A file that someone else comes by to while it is read."""

    def __init__(self, data: bytes, visit: threading.Thread) -> None:
        super().__init__(data)
        self.visit = visit

    def read(self, size: int | None = -1) -> bytes:
        if self.visit.ident is None:
            self.visit.start()
            self.visit.join()
        return super().read(size)


def test_only_our_own_reading_of_large_photos_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo(40, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    theirs: list[Exception] = []

    def open_it() -> None:
        try:
            Image.open(io.BytesIO(data))
        except Image.DecompressionBombWarning as warning:
            theirs.append(warning)

    with warnings.catch_warnings():
        for _ in range(2):
            warnings.simplefilter("error")
            assert decode(Visited(data, threading.Thread(target=open_it))).size == (40, 30)
            open_it()
    assert len(theirs) == 4
    assert Image.MAX_IMAGE_PIXELS == 700


def test_our_reading_leaves_warnings_as_they_were() -> None:
    """What was told once is not told again."""
    registry: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            decode(JPEG)
            warnings.warn_explicit("once", UserWarning, __file__, 1, registry=registry)
    assert len(told) == 1


class Failing(io.BytesIO):
    """A file that stops at its end, or before."""

    def __init__(self, data: bytes, error: Exception) -> None:
        super().__init__(data)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        if not found:
            raise self.error
        return found


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("data", [b"", JPEG[: len(JPEG) // 2]])
@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (os_error(errno.EIO), EdgenetError, "cannot read the image in memory: Input/output error"),
        (os_error(errno.EMFILE), EdgenetError, "cannot read the image in memory: Too many open"),
        (os_error(errno.EACCES), UsageError, "cannot read the image in memory: Permission denied"),
        (MemoryError(), EdgenetError, "cannot read the image in memory: memory ran out"),
        (os_error(errno.EINVAL), ImageError, "in memory is a damaged image"),
        (OSError("image file is truncated"), ImageError, "in memory is a damaged image"),
    ],
)
def test_what_the_system_refuses_is_no_damage(
    data: bytes, error: Exception, kind: type[EdgenetError], said: str
) -> None:
    with pytest.raises(EdgenetError, match=said) as caught:
        decode(Failing(data, error))
    assert type(caught.value) is kind


def test_a_path_through_a_file_is_a_wrong_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(JPEG)
    with pytest.raises(UsageError, match=r"x\.png: Not a directory"):
        decode(tmp_path / "a.png" / "x.png")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder: name the images in it"):
        decode(tmp_path)


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_a_file_of_several_frames_is_closed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "frames"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        found = decode(path)
        assert found.getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=8)
        held = {fd.resolve() for fd in Path("/proc/self/fd").iterdir()}
    assert path.resolve() not in held


def test_an_image_without_a_name_is_told_as_one() -> None:
    with pytest.raises(ImageError, match=r"^the image in memory is not an image that Pillow"):
        decode(b"abc")
