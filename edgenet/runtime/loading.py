"""From a bundle, a format and a device to an open session."""

from __future__ import annotations

import os
from importlib import import_module

from edgenet.bundle import FORMATS, Artifact, Bundle
from edgenet.errors import BundleError, EdgenetError, UsageError
from edgenet.runtime.devices import cpu_threads, resolve
from edgenet.runtime.engines import Engine, choose
from edgenet.runtime.session import Plan, Session


def load(
    bundle: str | os.PathLike[str] | Bundle,
    format: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    *,
    engine: str | None = None,
    reference: bool = False,
) -> Session:
    """Opens a bundle's model in an engine.

    Args:
        bundle: The folder, or one already open.
        format: "tflite", "onnx" or "openvino"; None takes the first whose engine is installed.
        device: "cpu"; "auto" lets edgenet choose, which is the CPU too.
        threads: For the engine, 1 or more; None takes one for each physical core that this process
            may use.
        engine: "litert", "tflite-runtime", "onnxruntime" or "openvino"; None takes the first that
            is installed.
        reference: The fp32 reference instead of the model; `format` must then be None or its own.

    Raises:
        UsageError: No such bundle, format, engine or device, or `threads` below 1.
        BundleError: The bundle is damaged.
        MissingExtraError: The engine is not installed.
        DeviceError: The device cannot be used.
        EdgenetError: The engine refuses the file.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    candidates = _candidates(opened, format, reference)
    chosen = choose(tuple(artifact.format for artifact in candidates), engine)
    artifact = next(a for a in candidates if a.format == chosen.format)
    return _open(opened, artifact, chosen, device, threads)


def load_artifact(
    bundle: Bundle,
    artifact: Artifact,
    device: str = "cpu",
    threads: int | None = None,
    *,
    engine: str | None = None,
) -> Session:
    """Opens one artifact of an open bundle, its `manifest.reference` included; else as `load`."""
    return _open(bundle, artifact, choose((artifact.format,), engine), device, threads)


def _candidates(bundle: Bundle, format: str | None, reference: bool) -> tuple[Artifact, ...]:
    if format is not None and format not in FORMATS:
        raise UsageError(f"no format {format!r}: choose one of {', '.join(FORMATS)}")
    if not reference:
        return bundle.manifest.artifacts if format is None else (bundle.artifact(format),)
    found = bundle.manifest.reference
    if found is None:
        raise BundleError(f"{bundle.path} has no fp32 reference: name a bundle that has one")
    if format not in (None, found.format):
        raise UsageError(f"the reference of {bundle.path} is a {found.format} file, not {format}")
    return (found,)


def _open(
    bundle: Bundle, artifact: Artifact, engine: Engine, device: str, threads: int | None
) -> Session:
    device_used = resolve(device, engine)
    plan = Plan(
        model=bundle.model_path(artifact),
        precision=artifact.precision,
        engine=engine,
        input=bundle.manifest.input,
        outputs=bundle.manifest.outputs,
        labels=bundle.labels(),
        device=device,
        device_used=device_used,
        threads=cpu_threads(threads),
    )
    return _session_class(engine)(plan)


def _session_class(engine: Engine) -> type[Session]:
    try:
        import_module(engine.module)
    # A library with broken or missing native parts raises more than ImportError as it is imported.
    except Exception as error:
        again = f"pip install --force-reinstall {engine.package}"
        reason = " ".join(str(error).split())
        raise EdgenetError(
            f"{engine.name} is installed but fails to start ({reason}): {again}"
        ) from error
    home = import_module(f"edgenet.runtime.{engine.format}")
    found: type[Session] = getattr(home, f"{engine.format.capitalize()}Session")
    return found
