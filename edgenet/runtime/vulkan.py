"""Vulkan on Linux: finding its loader and a driver, and asking which adapters there are.

Both WebGPU engines reach the GPU through `libvulkan.so.1`. Debian's chromium-common brings a loader
and SwiftShader, a driver that computes on the CPU; they lie where no engine looks for them.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edgenet.runtime.delegates import UnusableError

_LOADER = "libvulkan.so.1"
_CHROMIUM = Path("/usr/lib/chromium")
_SOFTWARE_DRIVER = _CHROMIUM / "vk_swiftshader_icd.json"
_CHOSEN = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES")

# Vulkan 1.3 specification: VkPhysicalDeviceType, VkStructureType, and where
# VkPhysicalDeviceProperties holds deviceType and deviceName.
_TYPE_CPU = 4
_APPLICATION_INFO, _INSTANCE_CREATE_INFO = 0, 1
_API_1_1 = 1 << 22 | 1 << 12
_PROPERTIES_BYTES = 4096
_TYPE_AT, _NAME_AT, _NAME_BYTES = 16, 20, 256


@dataclass(frozen=True)
class Adapter:
    """A GPU as its driver describes it; `software` if the driver computes on the CPU."""

    name: str
    software: bool

    @property
    def kind(self) -> str:
        """As in `edgenet devices`."""
        return "software" if self.software else "hardware"


class _ApplicationInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("version", ctypes.c_uint32),
        ("engine", ctypes.c_char_p),
        ("engine_version", ctypes.c_uint32),
        ("api_version", ctypes.c_uint32),
    )


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.POINTER(_ApplicationInfo)),
        ("layers", ctypes.c_uint32),
        ("layer_names", ctypes.c_void_p),
        ("extensions", ctypes.c_uint32),
        ("extension_names", ctypes.c_void_p),
    )


@lru_cache(maxsize=1)
def loader() -> ctypes.CDLL:
    """Loads Vulkan into this process, so that an engine finds it there.

    Where the user chose no driver (`VK_DRIVER_FILES`, `VK_ICD_FILENAMES`) and none is installed for
    the whole machine, SwiftShader of chromium-common is taken: it never stands before a driver of
    hardware. The choice is made in this process's environment, before the loader reads it.

    Raises:
        UnusableError: There is no Vulkan loader.
    """
    chosen = any(map(os.environ.get, _CHOSEN)) or _installed_drivers()
    if not chosen and _SOFTWARE_DRIVER.exists():
        os.environ["VK_DRIVER_FILES"] = str(_SOFTWARE_DRIVER)
    for place in (_LOADER, str(_CHROMIUM / _LOADER)):
        try:
            # By its soname, a library that is loaded is found by whoever asks for it later.
            return ctypes.CDLL(place, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    raise UnusableError(f"there is no Vulkan loader ({_LOADER})")


def _installed_drivers() -> list[Path]:
    """The manifests where the loader searches: `LoaderDriverInterface.md` of Vulkan-Loader."""
    home = Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser()
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    folders = [home, *map(Path, shared.split(":")), Path("/etc"), Path("/usr/local/etc")]
    return [path for folder in folders for path in (folder / "vulkan/icd.d").glob("*.json")]


def adapter() -> Adapter:
    """The adapter that an engine gets: the first that is no software, else the first.

    Raises:
        UnusableError: There is no loader, no driver, or no adapter.
    """
    found = adapters(loader())
    if not found:
        raise UnusableError("no Vulkan driver offers an adapter")
    return next((each for each in found if not each.software), found[0])


def adapters(vulkan: ctypes.CDLL) -> list[Adapter]:
    """All adapters of all drivers, in the loader's order; none if no driver starts."""
    instance = ctypes.c_void_p()
    application = _ApplicationInfo(type=_APPLICATION_INFO, api_version=_API_1_1)
    wanted = _InstanceCreateInfo(
        type=_INSTANCE_CREATE_INFO, application=ctypes.pointer(application)
    )
    if vulkan.vkCreateInstance(ctypes.byref(wanted), None, ctypes.byref(instance)) != 0:
        return []
    try:
        count = ctypes.c_uint32()
        vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
        handles = (ctypes.c_void_p * count.value)()
        vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
        return [_described(vulkan, handle) for handle in handles[: count.value]]
    finally:
        vulkan.vkDestroyInstance(instance, None)


def _described(vulkan: ctypes.CDLL, handle: int | None) -> Adapter:
    properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
    vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), properties)
    kind = ctypes.c_uint32.from_buffer(properties, _TYPE_AT).value
    name = properties.raw[_NAME_AT : _NAME_AT + _NAME_BYTES].partition(b"\0")[0]
    return Adapter(name.decode(errors="replace"), kind == _TYPE_CPU)
