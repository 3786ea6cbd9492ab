"""The engines: which format each runs, and how it is installed.

A new engine is one file in this package, one entry in `ENGINES` and its rows in
`edgenet.runtime.delegates.DELEGATES`; the one of a new format has its name in
`edgenet.bundle.FORMATS` besides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from edgenet.errors import MissingExtraError, UsageError


@dataclass(frozen=True)
class Engine:
    """One library that runs one format.

    Attributes:
        name: What `--engine` and reports call it.
        format: What it runs.
        package: The distribution that its extra installs; others may bring the same module.
        module: What to import to use it.
        extra: The extra of edgenet that installs it.
        python: The Python versions that its wheels are for, where that is not all.
    """

    name: str
    format: str
    package: str
    module: str
    extra: str
    python: str = ""

    @property
    def installed(self) -> bool:
        """Whether it can be found; nothing is imported."""
        return find_spec(self.module.partition(".")[0]) is not None

    @property
    def version(self) -> str | None:
        """The version installed, by whichever distribution, or None."""
        found = version_of(self.package)
        return _version_providing(self.module) if found is None and self.installed else found

    @property
    def install_line(self) -> str:
        """The command that installs it."""
        return f"pip install 'edgenet[{self.extra}]'"

    @property
    def install(self) -> str:
        """That command, and the Python that it needs: with another it installs nothing."""
        return self.install_line + (f" (it needs {self.python})" if self.python else "")


# In order of preference within a format.
ENGINES = (
    Engine(
        "litert",
        format="tflite",
        package="ai-edge-litert",
        module="ai_edge_litert.interpreter",
        extra="tflite",
    ),
    Engine(
        "tflite-runtime",
        format="tflite",
        package="tflite-runtime",
        module="tflite_runtime.interpreter",
        extra="tflite-runtime",
        python="Python 3.10 or 3.11",
    ),
    Engine(
        "onnxruntime",
        format="onnx",
        package="onnxruntime",
        module="onnxruntime",
        extra="onnx",
    ),
    Engine(
        "openvino",
        format="openvino",
        package="openvino",
        module="openvino",
        extra="openvino",
    ),
)


def version_of(package: str) -> str | None:
    """The version of an installed distribution, or None."""
    # Imported late: a session that nobody asks for its engine's version does without it.
    from importlib import metadata

    try:
        return metadata.version(package) if package else None
    except metadata.PackageNotFoundError:
        return None


@cache
def _version_providing(module: str) -> str | None:
    """Of the distribution that brings a module: a nightly, or one that is built for a GPU.

    It reads the list of each distribution's modules, which takes a tenth of a second.
    """
    from importlib import metadata

    packages = metadata.packages_distributions().get(module.partition(".")[0], [])
    return next(filter(None, map(version_of, packages)), None)


def newer(version: str, than: str) -> bool:
    """Whether a version is later than another, as 1.10 is than 1.9; only their numbers count."""
    return _numbers(version) > _numbers(than)


def _numbers(version: str) -> list[int]:
    (release,) = re.findall(r"^[\d.]*", version)
    return [int(part) for part in release.split(".") if part]


def by_name(name: str) -> Engine | None:
    """The engine of a name, or None."""
    return next((engine for engine in ENGINES if engine.name == name), None)


def choose(formats: tuple[str, ...], engine: str | None = None) -> Engine:
    """The engine to use: the one named, else the first that is installed, formats in this order.

    Args:
        formats: What there is to run, in order of preference.
        engine: A name of `ENGINES`, or None.

    Raises:
        UsageError: There is no engine of that name, or it runs none of the formats.
        MissingExtraError: What could run them is not installed.
    """
    return installed(formats, engine)[0]


def installed(formats: tuple[str, ...], engine: str | None = None) -> tuple[Engine, ...]:
    """As `choose`, but all that are installed, the preferred one first; there is at least one."""
    able = [e for format in formats for e in ENGINES if e.format == format]
    if engine is not None:
        named = known(engine)
        if named not in able:
            raise UsageError(f"{engine} runs {named.format} files, not {' or '.join(formats)}")
        able = [named]
    found = tuple(candidate for candidate in able if candidate.installed)
    if found:
        return found
    first = able[0]
    raise MissingExtraError(
        f"running {first.format} files in {first.name}", first.extra, first.install
    )


def known(name: str) -> Engine:
    """The engine of a name; UsageError where there is none."""
    found = by_name(name)
    if found is None:
        raise UsageError(f"no engine {name!r}: choose one of {', '.join(e.name for e in ENGINES)}")
    return found
