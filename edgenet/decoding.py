"""Decoding: from whatever holds a photo to 8-bit RGB pixels, the right way up."""

from __future__ import annotations

import errno
import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from edgenet.errors import EdgenetError, UsageError

if TYPE_CHECKING:
    from PIL import Image

_Bytes = bytes | bytearray | memoryview
ImageSource = Union[str, "os.PathLike[str]", _Bytes, IO[bytes], "Image.Image", npt.NDArray[Any]]

# How a photo that does not lie as it was taken is turned: EXIF 2.32, table 4.
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
IN_MEMORY = "the image in memory"
"""What messages call an image without a name."""
# The keys under which Pillow keeps headers that hold the orientation.
_HEADERS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")

_WRONG_PATH = (FileNotFoundError, NotADirectoryError, PermissionError)
# Pillow's own errors have no number; a place that a damaged file points to may lie before its
# start, which the system finds invalid.
_OF_DAMAGE = (None, errno.EINVAL)
# Where Pillow has 16-bit grey in 32 bits: always of PPM, whose full scale it brings to 65535, and
# before its version 10.3 of PNG.
_DEEP_GREY = ("PNG", "PPM")


class ImageError(EdgenetError):
    """A file that is no image, is damaged, or is of a kind that is refused (exit code 1)."""


class _RangeError(ValueError):
    """Pixels of which nothing tells what black is, and what white."""


def decode(source: ImageSource) -> Image.Image:
    """Decodes a photo to 8-bit RGB, turned as its EXIF orientation says, where that can be read.

    Transparent parts are laid over white; 16-bit grey keeps its upper 8 bits; CMYK is converted
    without a colour profile. A PIL image that is all that already is returned as it is.

    Args:
        source: A path, the bytes of a file, a file open for reading, a PIL image, or a uint8 array
            of H×W, H×W×1, H×W×3 (RGB) or H×W×4 (RGBA).

    Raises:
        UsageError: There is no such file, or an array of another dtype or shape.
        ImageError: What was read is no image, a damaged one, one of more pixels than Pillow reads,
            or one of 32-bit values, whose range is not known; the message names the file.
        EdgenetError: The system did not let it be read to its end, or memory ran out.
    """
    from PIL import Image

    if isinstance(source, np.ndarray):
        return _from_array(source)
    file: Any = io.BytesIO(source) if isinstance(source, _Bytes) else source
    if not (isinstance(file, str | os.PathLike | Image.Image) or hasattr(file, "read")):
        raise UsageError(
            "an image is a path, bytes, an open file, a PIL image or an array, not "
            f"{type(source).__name__}"
        )
    with pillow_reads(_name(source)):
        if isinstance(file, Image.Image):
            return _to_rgb(_upright(file), file.format)
        # Else a file of several frames stays open for the others.
        with Image.open(file) as opened:
            return _to_rgb(_upright(opened), opened.format)


@contextmanager
def pillow_reads(name: str) -> Iterator[None]:
    """Turns Pillow's errors into edgenet's, which name the image; Pillow warns of no size.

    Raises:
        UsageError: There is no such file, or it is a folder.
        ImageError: It is no image, a damaged one, or one of more pixels than Pillow reads.
        EdgenetError: The system did not let it be read to its end, or memory ran out.
    """
    from PIL import Image, UnidentifiedImageError

    unread = f"cannot read {name if name == IN_MEMORY else f'the image {name}'}"
    try:
        with _any_size():
            yield
    except IsADirectoryError as error:
        raise UsageError(f"{name} is a folder: name the images in it") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        told, *_ = str(error).split(",")
        raise ImageError(f"{name} is more than Pillow reads ({told}): shrink it") from error
    except _RangeError as error:
        raise ImageError(
            f"{name} has {error} pixels, whose range is not known: scale them to 0..255, in 8 bits"
        ) from error
    except MemoryError as error:
        raise EdgenetError(f"{unread}: memory ran out") from error
    # Pillow's parsers let through whatever a damaged file makes them meet: OSError, SyntaxError,
    # ValueError, struct.error, ...
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _OF_DAMAGE:
            kind = UsageError if isinstance(error, _WRONG_PATH) else EdgenetError
            raise kind(f"{unread}: {error.strerror}") from error
        raise ImageError(f"{name} is a damaged image ({error})") from error


class _Reading(threading.local):
    """Whether Pillow is at work for `pillow_reads`, in this thread."""

    now = False


_reading = _Reading()


class _WhileReading(type):
    """Takes Pillow's warning of large photos for a subclass, but only while we read one."""

    def __subclasscheck__(cls, other: type) -> bool:
        if not _reading.now:
            return False
        from PIL import Image

        return issubclass(other, Image.DecompressionBombWarning)


class _LargePhotoWarning(UserWarning, metaclass=_WhileReading):
    """What the filter of `_any_size` ignores."""


@contextmanager
def _any_size() -> Iterator[None]:
    """Photos above 89 megapixels, as phones take them, are read without Pillow's warning.

    Pillow's limit and the filters of warnings belong to the whole process, and what
    `catch_warnings` puts back may be what another thread has left by then. So this filter stays,
    and is of no effect but while we read.
    """
    if not warnings.filters or warnings.filters[0][2] is not _LargePhotoWarning:
        warnings.simplefilter("ignore", _LargePhotoWarning)
    _reading.now = True
    try:
        yield
    finally:
        _reading.now = False


def _name(source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    named = getattr(source, "name", "") or getattr(source, "filename", "")
    return str(named or IN_MEMORY)


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    from PIL import Image

    squeezed = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    plausible = squeezed.ndim == 2 or (squeezed.ndim == 3 and squeezed.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not plausible or not array.size:
        raise UsageError(
            f"an image array must be uint8, H×W, H×W×3 or H×W×4, with values 0..255; "
            f"this one is {array.dtype}, {'×'.join(map(str, array.shape))}"
        )
    return _to_rgb(Image.fromarray(np.ascontiguousarray(squeezed)))


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the header says, without the header.

    Pillow's `exif_transpose` writes the rest of the header anew, which fails where any of it is
    damaged.
    """
    from PIL import Image

    image.load()
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(Image.Transpose[turn])
    for header in _HEADERS:
        turned.info.pop(header, None)
    return turned


def _orientation(image: Image.Image) -> Any:
    """None where the header has none, or cannot be read: the pixels are none the worse for that."""
    try:
        return image.getexif().get(_ORIENTATION)
    except MemoryError:
        raise
    except Exception:
        return None


def _to_rgb(image: Image.Image, format: str | None = None) -> Image.Image:
    """In 8-bit RGB; `format` is the file's, which Pillow does not tell of an image turned."""
    from PIL import Image

    image.load()
    clear = image.info.get("transparency")
    # Of RGB a clear colour is a triple; what else stands there is left over from another mode.
    if image.mode == "RGB" and not isinstance(clear, tuple):
        return image
    if image.mode == "F":
        raise _RangeError("floating-point")
    if image.mode == "I" and format not in _DEEP_GREY:
        raise _RangeError("32-bit integer")
    if image.mode.startswith("I"):
        # convert() would clip 16-bit values at 255 instead of scaling them.
        deep = np.asarray(image)
        grey = np.where(deep == clear, 255, deep >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if "A" in image.getbands() or clear is not None:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
