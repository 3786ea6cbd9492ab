"""ONNX files on what ONNX Runtime calls an execution provider other than the CPU's."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import numpy as np

from edgenet.images import Pixels
from edgenet.runtime.delegates import UnusableError
from edgenet.runtime.onnx import FATAL_ONLY, OnnxSession
from edgenet.runtime.onnx_profile import profiled, time_on_cpu
from edgenet.runtime.placement import PartialError, Placement, counts, share, tally
from edgenet.runtime.records import Loaded
from edgenet.runtime.session import Floats

_STRICT = "session.disable_cpu_ep_fallback"
# Since ONNX Runtime 1.24; older ones run as well, and cannot list what would run where.
_RECORD = "session.record_ep_graph_assignment_info"
_REFUSAL = "assigned to the default CPU EP"


class AcceleratedSession(OnnxSession):
    """A session in which a provider runs every operator, or else it does not open.

    A provider overrides `_add_provider` and `_found`.
    """

    reentrant = False
    resizes = False

    @abstractmethod
    def _add_provider(self, library: Any, options: Any) -> None:
        """Adds the provider to the options; UnusableError if it is not here."""

    @abstractmethod
    def _found(self, library: Any) -> tuple[str, str]:
        """The device's kind and its name."""

    def _load(self) -> Loaded:
        library = import_module(self._plan.engine.module)
        # Its own default logger speaks before a session's options can silence it.
        library.set_default_logger_severity(FATAL_ONLY)
        try:
            session = self._open(library, self._options_of(library, _STRICT))
            return self._loaded(library, session, 1.0)
        except library.capi.onnxruntime_pybind11_state.Fail as error:
            if _REFUSAL not in str(error):
                raise
        options = self._options_of(library, _RECORD)
        if not self._plan.allow_fallback:
            placements = self._placements(self._open(library, options))
            raise PartialError(self._plan.delegate.device, self._plan.delegate.name, placements)
        with profiled(options) as end_profile:
            session = self._open(library, options)
            self._warm_up(session)
            time = time_on_cpu(end_profile(session))
        placements = self._placements(session)
        fraction = share(counts(placements, self._plan.delegate.device))
        return self._loaded(library, session, fraction, placements, time)

    def _options_of(self, library: Any, entry: str) -> Any:
        options = self._options(library)
        options.add_session_config_entry(entry, "1")
        self._add_provider(library, options)
        return options

    def _open(self, library: Any, options: Any) -> Any:
        session = library.InferenceSession(
            str(self._plan.model), options, providers=self._providers(), enable_fallback=False
        )
        name = self._plan.delegate.name
        # One whose own libraries are missing is left out with no more than a warning.
        if name not in session.get_providers():
            raise UnusableError(f"{name} does not start", self._plan.delegate.driver)
        return session

    def _providers(self) -> list[str] | None:
        """The providers by name; None where the options hold them."""
        return None

    def _warm_up(self, session: Any) -> None:
        """Two runs, of which the first still compiles."""
        blank = np.zeros(self._plan.input.shape, self._plan.input.dtype)
        for _ in range(2):
            super()._run(self._handle_of(session), blank, self._answer)

    def _loaded(
        self,
        library: Any,
        session: Any,
        fraction: float | None,
        placements: tuple[Placement, ...] = (),
        time_elsewhere: float | None = None,
    ) -> Loaded:
        delegate = self._plan.delegate
        kind, name = self._found(library)
        handle = [self._handle_of(session)]
        # A provider may be torn down before a session that was left open at the process's end.
        weakref.finalize(self, _drop, handle, self._lock)
        return Loaded(
            handle,
            delegate.name,
            fraction,
            elsewhere=tuple(p for p in placements if p.device != delegate.device),
            kind=kind,
            name=name,
            time_elsewhere=time_elsewhere,
        )

    def _placements(self, session: Any) -> tuple[Placement, ...]:
        """Every operator's place, from the partition that ONNX Runtime itself made."""
        if not hasattr(session, "get_provider_graph_assignment_info"):
            return ()
        delegate = self._plan.delegate
        return tally(
            (node.op_type, delegate.device if part.ep_name == delegate.name else "cpu")
            for part in session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
        )

    def _run(self, handle: Any, images: Pixels, output: str) -> Floats:
        return super()._run(handle[0], images, output)

    def _close(self, handle: Any) -> None:
        handle.clear()


class BuiltinSession(AcceleratedSession):
    """A provider that is compiled into the ONNX Runtime that is installed: CUDA and its like."""

    def _add_provider(self, library: Any, options: Any) -> None:
        name = self._plan.delegate.name
        if name not in library.get_available_providers():
            raise UnusableError("this build of onnxruntime does not have it")
        # Needed for the libraries that come as packages of their own; a no-op elsewhere.
        if hasattr(library, "preload_dlls"):
            library.preload_dlls()

    def _providers(self) -> list[str] | None:
        return [self._plan.delegate.name]

    def _found(self, library: Any) -> tuple[str, str]:
        """These providers drive hardware only; the name is the driver's where it gives one."""
        name = self._plan.delegate.name
        devices = [d for d in _ep_devices(library) if d.ep_name == name]
        told = [d.device.metadata.get("Description") for d in devices]
        return "hardware", next(filter(None, told), name)


def _drop(handle: list[Any], turn: AbstractContextManager[Any]) -> None:
    with turn:
        handle.clear()


def _ep_devices(library: Any) -> list[Any]:
    return list(library.get_ep_devices()) if hasattr(library, "get_ep_devices") else []
