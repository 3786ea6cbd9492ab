"""Every error that edgenet raises for a user's mistake or a machine's lack, with its exit code.

The command line prints the message as one line and exits with `exit_code`, 1 for what the system
refuses (`OSError`); anything else is a defect of edgenet and keeps its traceback.
"""

from __future__ import annotations

# Packages beside TensorFlow that converting imports; each is installed under its module's name.
_BESIDE = ("flatbuffers", "h5py", "onnx", "threadpoolctl")


class EdgenetError(Exception):
    """The base of edgenet's errors: the work failed (exit code 1).

    `details` is more than one line holds, a table for example; the command line prints it first.
    """

    exit_code = 1
    details = ""


class UsageError(EdgenetError):
    """What was asked for cannot be: a wrong path, option or value (exit code 2)."""

    exit_code = 2


class UnsupportedModelError(EdgenetError):
    """The Keras model holds something outside the EfficientNet family (exit code 1)."""


class BundleError(EdgenetError):
    """A bundle lacks its manifest, or a file is not the one that was verified (exit code 1)."""


class AccuracyError(EdgenetError):
    """The accuracy gate refused the result (exit code 3)."""

    exit_code = 3


class DeviceError(EdgenetError):
    """The device that was asked for cannot be used in full (exit code 4)."""

    exit_code = 4


class MissingExtraError(EdgenetError):
    """A library of one of edgenet's extras is not installed (exit code 5).

    Args:
        purpose: What needs it, as in "running a TFLite file".
        extra: The extra's name in pyproject.toml.
        install: The command that adds the one package, where the extra holds far more.
    """

    exit_code = 5

    def __init__(self, purpose: str, extra: str, install: str = "") -> None:
        self.extra = extra
        self.install = install or f"pip install 'edgenet[{extra}]'"
        super().__init__(f"{purpose} needs a package that is not here: {self.install}")

    @classmethod
    def of_host(cls, doing: str, error: ModuleNotFoundError) -> MissingExtraError:
        """The error for a package that what runs on the host, `converters`, could not import.

        Where TensorFlow is installed the one package is named, else the extra with all of them: a
        device has none.

        Args:
            doing: What needs it, as in "converting".
            error: What importing `converters` failed with.
        """
        from importlib.util import find_spec

        name = (error.name or "").partition(".")[0]
        alone = name in _BESIDE and find_spec("tensorflow") is not None
        return cls(f"{doing} ({error.name})", "all", f"pip install {name}" if alone else "")
