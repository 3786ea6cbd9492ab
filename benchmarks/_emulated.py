"""A device with an Arm CPU, emulated by QEMU: Debian's Python, and the registry's engines for it.

Debian's packages and the wheels for aarch64 are unpacked into one folder, and nothing is installed.
QEMU computes each instruction as the processor does, so that answers are those of the kernels that
run there; its times mean nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from edgenet.errors import EdgenetError, UsageError

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venv-aarch64"
QEMU = "qemu-aarch64-static"
_NEEDED = {QEMU: "qemu-user-static", "apt-get": "apt", "dpkg": "dpkg"}
_DEBIAN = ("python3", "libstdc++6", "libgomp1")
_WHEELS = ("numpy", "pillow", "ai-edge-litert", "onnxruntime", "openvino")
# OpenVINO's wheels for aarch64 want this glibc; Debian 12 has 2.36.
_PLATFORM = "aarch64-manylinux_2_35"
_BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_DOT = f"{_BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Cpu:
    """A processor: QEMU's name of it, and what Linux says of it in /proc/cpuinfo."""

    qemu: str
    part: str
    features: str


CPUS: Mapping[str, Cpu] = {
    # Raspberry Pi 4: no instruction for products of bytes.
    "cortex-a72": Cpu("cortex-a72", "0xd08", _BASE),
    # Raspberry Pi 5, and phones of 2019 on: dot products of bytes.
    "cortex-a76": Cpu("cortex-a76", "0xd0b", _DOT),
    # Phones of 2022 on: products of matrices of bytes. QEMU has no such one by name.
    "cortex-a710": Cpu("max,sve=off", "0xd47", f"{_DOT} i8mm bf16"),
}


def missing() -> str | None:
    """What this machine lacks to emulate another, or None."""
    lacking = [package for tool, package in _NEEDED.items() if shutil.which(tool) is None]
    commands = [f"apt install {' '.join(lacking)}"] if lacking else []
    if find_spec("uv") is None:
        commands.append("pip install -e '.[benchmarks]'")
    return f"no emulated device: {' && '.join(commands)}" if commands else None


@dataclass(frozen=True)
class Device:
    """A Python for aarch64 under `home`, and what makes it run."""

    home: Path

    def python(self, cpu: str, *arguments: str) -> str:
        """What Python prints on a processor of `CPUS`.

        Raises:
            EdgenetError: It failed; the message ends with what it said.
        """
        root = self._root(cpu)
        (interpreter,) = (root / "usr" / "bin").glob("python3.[0-9]*[0-9]")
        command = [QEMU, "-cpu", CPUS[cpu].qemu, "-L", str(root), str(interpreter), *arguments]
        done = subprocess.run(
            command, env=self._environment(root), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise EdgenetError(f"on {cpu} Python failed ({done.returncode}): {done.stderr[-2000:]}")
        return done.stdout

    def _root(self, cpu: str) -> Path:
        """Where a process on that processor finds its files first: all but what the kernel says."""
        root = self.home / cpu
        if not (root / "proc").is_dir():
            (root / "proc").mkdir(parents=True)
            for folder in (self.home / "root").iterdir():
                (root / folder.name).symlink_to(folder)
            (root / "proc" / "cpuinfo").write_text(_cpuinfo(CPUS[cpu]))
        return root

    def _environment(self, root: Path) -> dict[str, str]:
        libraries = [f"{root}/{folder}/aarch64-linux-gnu" for folder in ("lib", "usr/lib")]
        return {
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PYTHONHOME": f"{root}/usr",
            "PYTHONPATH": f"{ROOT}:{self.home / 'site'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            # Debian's Python looks for more of Debian's packages there, and finds this machine's.
            "PYTHONNOUSERSITE": "1",
        }


def device(home: Path = HOME) -> Device:
    """The device, unpacked where it was not before.

    Raises:
        UsageError: This machine lacks what emulates it.
        EdgenetError: A registry did not have what is needed.
    """
    if lacking := missing():
        raise UsageError(lacking)
    if not (home / "site").is_dir():
        shutil.rmtree(home, ignore_errors=True)
        print(f"unpacking Python and engines for aarch64 into {home}", file=sys.stderr)
        _unpack_debian(home)
        _unpack_wheels(home)
    return Device(home)


def _unpack_debian(home: Path) -> None:
    """Python and its libraries, of the release that this machine's sources name."""
    state, cache = home / "apt", home / "apt" / "cache"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
        "Dir::State": state,
        "Dir::State::status": os.devnull,
        "Dir::Cache": cache,
    }
    apt = ["apt-get", "--quiet=2", *(f"-o{name}={value}" for name, value in options.items())]
    _call([*apt, "update"])
    _call([*apt, "install", "--yes", "--no-install-recommends", "--download-only", *_DEBIAN])
    for package in sorted((cache / "archives").glob("*.deb")):
        _call(["dpkg", "-x", str(package), str(home / "root")])
    shutil.rmtree(state)


def _unpack_wheels(home: Path) -> None:
    """The engines in the versions that are installed here."""
    (interpreter,) = (home / "root" / "usr" / "bin").glob("python3.[0-9]*[0-9]")
    wanted = [f"{name}=={metadata.version(name)}" for name in _WHEELS]
    made = home / "unpacking"
    _call(
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(made)),
            *("--python-platform", _PLATFORM, "--only-binary", ":all:"),
            *("--python-version", interpreter.name.removeprefix("python"), *wanted),
        ]
    )
    made.rename(home / "site")


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgenetError(
            f"{' '.join(command[:2])} failed: {(done.stderr or done.stdout)[-2000:]}"
        )


def _cpuinfo(cpu: Cpu) -> str:
    """As Linux prints it on arm64 (arch/arm64/kernel/cpuinfo.c): engines choose kernels by it."""
    lines: Iterable[str] = (
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {cpu.features}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {cpu.part}\nCPU revision\t: 1\n"
        for number in range(os.cpu_count() or 1)
    )
    return "\n".join(lines)
