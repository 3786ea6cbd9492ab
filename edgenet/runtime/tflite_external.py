"""TFLite files on a delegate that the user brings as a shared library: Edge TPU and its like."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgenet.runtime.delegates import UnusableError
from edgenet.runtime.placement import PartialError, share, tally
from edgenet.runtime.records import Loaded
from edgenet.runtime.tflite import TfliteSession, split


class ExternalSession(TfliteSession):
    """An interpreter whose operators all go to the library, or else it does not open.

    What the library drives, the user knows and edgenet does not: it is reported as the device that
    was asked for.
    """

    # A library decides what it takes when it is given the file, by the shapes that stand in it.
    resizes = False

    def _load(self) -> Loaded:
        library = import_module(self._plan.engine.module)
        delegate = self._delegate(library)
        # Without the default delegate, every part that is taken is the library's.
        plain = library.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = self._interpreter(
            experimental_delegates=[delegate], experimental_op_resolver_type=plain
        )
        parts = split(interpreter)
        if parts is None:
            raise UnusableError(f"{self._plan.engine.name} does not tell what runs where")
        taken, left = parts
        device = self._plan.delegate.device
        placements = tally([(name, device) for name in taken] + [(name, "cpu") for name in left])
        if left and not self._plan.allow_fallback:
            raise PartialError(device, self._plan.delegate.name, placements)
        if left:
            interpreter = self._interpreter(experimental_delegates=[delegate])
        # The handle keeps the library's delegate alive through the interpreter.
        return Loaded(
            self._handle_of(interpreter),
            self._plan.delegate.name,
            share((len(taken), len(left))),
            elsewhere=tuple(placement for placement in placements if placement.device == "cpu"),
            name=self._plan.delegate.library,
        )

    def _delegate(self, library: Any) -> Any:
        path = self._plan.delegate.library
        try:
            return library.load_delegate(path, dict(self._plan.options))
        # ctypes raises OSError for no library, AttributeError for one without the two functions of
        # an external delegate; the delegate itself, ValueError for options that it refuses.
        except (OSError, AttributeError, ValueError) as error:
            raise UnusableError(
                f"{path} does not load as a TFLite delegate ({error})", self._plan.delegate.driver
            ) from error
