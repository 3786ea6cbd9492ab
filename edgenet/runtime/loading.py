"""From a bundle, a format and a device to an open session."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module

from edgenet.arguments import whole
from edgenet.bundle import FORMATS, Artifact, Bundle
from edgenet.errors import BundleError, DeviceError, EdgenetError, UsageError
from edgenet.runtime.delegates import Delegate
from edgenet.runtime.devices import hardware, no_hardware, resolve
from edgenet.runtime.engines import Engine, installed, known
from edgenet.runtime.processors import cpu_threads
from edgenet.runtime.records import Plan
from edgenet.runtime.session import Session


class FixedBatchError(UsageError):
    """A file's batch is fixed in this engine, and another was asked for."""


@dataclass(frozen=True)
class Reach:
    """How to reach a device: what was asked for beside its name.

    Attributes:
        delegate: A delegate's name, or the path of a delegate library; None takes the best.
        options: The library's own options.
        allow_fallback: Whether operators that the device refuses may run on the CPU.
    """

    delegate: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    allow_fallback: bool = False


@dataclass(frozen=True)
class _Place:
    """Where and how to run: those of `load`'s arguments that hold for every candidate."""

    device: str
    threads: int | None
    reach: Reach
    batch: int | None


def load(
    bundle: str | os.PathLike[str],
    format: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    *,
    engine: str | None = None,
    reference: bool = False,
    delegate: str | None = None,
    delegate_options: Mapping[str, str] | None = None,
    allow_fallback: bool = False,
    batch: int | None = None,
) -> Session:
    """Opens a bundle's model in an engine.

    Args:
        bundle: The folder, or an open `Bundle`.
        format: "tflite", "onnx" or "openvino"; None takes the first that the folder holds and
            whose engine is installed and reaches the device.
        device: "cpu", "gpu" or "npu": all of the model runs there, or this is an error. "auto"
            takes a GPU or NPU if it is hardware and runs all of the model, else the CPU; of a
            delegate that is named, that is its device or this is an error.
        threads: For the engine, 1 or more; None takes one for each physical core that this process
            may use.
        engine: "litert", "tflite-runtime", "onnxruntime" or "openvino"; None takes the first that
            is installed.
        reference: The fp32 reference instead of the model; `format` must then be None or its own.
        delegate: A name that `edgenet devices` lists, or the path of a TFLite delegate library;
            None takes the best for the device.
        delegate_options: The delegate library's own options.
        allow_fallback: Whether operators that the device refuses may run on the CPU;
            `session.info` then says how many do.
        batch: Images that the engine takes in one run; None is the file's own, which CPUs and
            OpenVINO's devices can change.

    Raises:
        FixedBatchError: The device keeps the file's own batch.
        UsageError: No such bundle, format, engine, device or delegate, or `threads` or `batch`
            below 1 or no integer.
        BundleError: The bundle is damaged.
        MissingExtraError: The engine is not installed.
        DeviceError: The device cannot be used, or not for all operators.
        EdgenetError: The engine refuses the file.
    """
    opened = Bundle.open(bundle)
    named = engine is not None or delegate is not None
    candidates = _candidates(opened, format, reference, named)
    reach = Reach(delegate, delegate_options or {}, allow_fallback)
    return _open(opened, candidates, _Place(device, threads, reach, batch), engine)


def load_artifact(
    bundle: Bundle,
    artifact: Artifact,
    device: str = "cpu",
    threads: int | None = None,
    *,
    reach: Reach | None = None,
    batch: int | None = None,
) -> Session:
    """Opens one artifact of an open bundle, its `manifest.reference` included; else as `load`."""
    return _open(bundle, (artifact,), _Place(device, threads, reach or Reach(), batch))


def _candidates(
    bundle: Bundle, format: str | None, reference: bool, named: bool
) -> tuple[Artifact, ...]:
    """The artifacts that may be opened, the preferred one first: those whose files are here.

    Where an engine or a delegate is `named`, all of them: if its file is the one that is missing,
    the error must say so.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"no format {format!r}: choose one of {', '.join(FORMATS)}")
    if not reference:
        every = bundle.manifest.artifacts if named else bundle.at_hand
        return every if format is None else (bundle.artifact(format),)
    found = bundle.manifest.reference
    if found is None:
        raise BundleError(f"{bundle.path} has no fp32 reference: name a bundle that has one")
    if format not in (None, found.format):
        raise UsageError(f"the reference of {bundle.path} is a {found.format} file, not {format}")
    return (found,)


def _open(
    bundle: Bundle,
    candidates: Sequence[Artifact],
    place: _Place,
    engine: str | None = None,
) -> Session:
    if place.batch is not None:
        place = replace(place, batch=_at_least_one(place.batch))
    engines = installed(tuple(artifact.format for artifact in candidates), engine)
    name, options = place.reach.delegate, place.reach.options
    if place.device != "auto":
        delegate = resolve(place.device, engines, name, options)
        return _open_with(bundle, candidates, place, delegate)
    refusal: EdgenetError | None = None
    for delegate in hardware(engines, name, options):
        try:
            return _open_with(bundle, candidates, place, delegate)
        except (DeviceError, FixedBatchError) as error:
            refusal = error
    if name is not None:
        raise refusal or no_hardware(engines, name, options)
    return _open_with(bundle, candidates, place, resolve("cpu", engines))


def _at_least_one(asked: int) -> int:
    batch = whole("batch", asked)
    if batch < 1:
        raise UsageError(f"a batch has 1 image or more, not {batch}")
    return batch


def _open_with(
    bundle: Bundle,
    candidates: Sequence[Artifact],
    place: _Place,
    delegate: Delegate,
) -> Session:
    if place.reach.options and not delegate.library:
        raise UsageError(
            f"delegate options are for a delegate library, which {delegate.name} is not: leave "
            "--delegate-option off"
        )
    engine = known(delegate.engine)
    artifact = next(a for a in candidates if a.format == engine.format)
    plan = Plan(
        model=bundle.model_path(artifact),
        precision=artifact.precision,
        engine=engine,
        input=bundle.manifest.input,
        outputs=bundle.manifest.outputs,
        labels=bundle.labels(),
        device=place.device,
        delegate=delegate,
        threads=cpu_threads(place.threads),
        allow_fallback=place.reach.allow_fallback,
        options=place.reach.options,
        made_with=bundle.manifest.versions.get(engine.package),
    )
    _require_import(engine)
    opens: type[Session] = delegate.load()
    return opens(plan if place.batch is None else _resized(plan, place.batch, opens))


def _resized(plan: Plan, batch: int, opens: type[Session]) -> Plan:
    own = plan.input.shape[0]
    if batch == own:
        return plan
    if not opens.resizes:
        raise FixedBatchError(
            f"{plan.engine.name} on the {plan.delegate.device} runs {plan.model} at its own batch "
            f"of {own} only: edgenet convert --batch {batch} makes one of {batch}"
        )
    return plan.with_batch(batch)


def _require_import(engine: Engine) -> None:
    try:
        import_module(engine.module)
    # A library with broken or missing native parts raises more than ImportError as it is imported.
    except Exception as error:
        again = f"pip install --force-reinstall 'edgenet[{engine.extra}]'"
        reason = " ".join(str(error).split())
        raise EdgenetError(
            f"{engine.name} is installed but fails to start ({reason}): {again}"
        ) from error
