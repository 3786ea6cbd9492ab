"""The devices of this machine: what each engine can use here, and if not, why and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgenet.errors import DeviceError, UsageError
from edgenet.runtime.delegates import DELEGATES, DEVICES, Delegate, delegates, named
from edgenet.runtime.engines import Engine, by_name, version_of
from edgenet.runtime.probing import Finding, examine
from edgenet.runtime.processors import processors

# Of two usable devices the one nearer to hardware is taken; a compiler runs nothing.
_RANKS = {"hardware": 0, "software": 1, "emulator": 2}


@dataclass(frozen=True)
class DeviceRow:
    """One device as one engine sees it.

    Attributes:
        engine: The engine's name, or a compiler's.
        device: "cpu", "gpu" or "npu".
        delegate: The engine's own word for what reaches the device.
        usable: Whether a session can run there now, or a compiler compile for it.
        kind: "hardware", "software", "emulator" or "compiler".
        name: The device's name, as its driver gives it; where it is not usable, the delegate's.
        version: Of the engine, or of the package that the delegate comes in; None if not installed.
        reason: Why it is not usable; None if it is.
        fix: What makes it usable; None if it is.
    """

    engine: str
    device: str
    delegate: str
    usable: bool
    kind: str
    name: str
    version: str | None
    reason: str | None
    fix: str | None


def probe() -> list[DeviceRow]:
    """Looks at every delegate of `DELEGATES`, each in a process of its own, some at a time.

    One that crashes or hangs is a row with its reason, not the end of the probe.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(processors())) as pool:
        return list(pool.map(_row, DELEGATES))


def _row(delegate: Delegate) -> DeviceRow:
    found = examine(delegate)
    engine = None if delegate.package else by_name(delegate.engine)
    return DeviceRow(
        engine=delegate.engine,
        device=delegate.device,
        delegate=delegate.name,
        usable=found.usable,
        kind=found.kind,
        name=found.name,
        version=engine.version if engine else version_of(delegate.package),
        reason=found.reason,
        fix=found.fix,
    )


def resolve(
    device: str,
    engines: Sequence[Engine],
    name: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Delegate:
    """The delegate to open on the device asked for.

    The CPU is taken as it is; anything else is tried out first, in a process of its own.

    Args:
        device: "cpu", "gpu" or "npu".
        engines: Those that are installed and have a file to run, the preferred one first.
        name: A delegate's name, or the path of a delegate library; None takes the best.
        options: For a delegate library, its own options.

    Raises:
        UsageError: No such device or delegate.
        DeviceError: The device cannot be used; the message says why, and what would change that.
    """
    if device not in DEVICES:
        raise UsageError(f"no device {device!r}: choose one of auto, {', '.join(DEVICES)}")
    if device == "cpu" and name is None:
        return delegates(engines[0].name, "cpu")[0]
    able = _able(device, engines, name)
    found = {delegate: examine(delegate, options) for delegate in able}
    usable = [d for d, finding in found.items() if finding.usable and finding.kind in _RANKS]
    if not usable:
        raise _refusal(device, engines, found, name)
    return min(usable, key=lambda delegate: _RANKS[found[delegate].kind])


def hardware(
    engines: Sequence[Engine],
    name: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Iterator[Delegate]:
    """The GPUs and NPUs that are hardware and work here, for "auto" to choose from.

    Each is tried out, in a process of its own, only as it is asked for.

    Args:
        engines: As for `resolve`.
        name: As for `resolve`; one device's delegate is no other's.
        options: As for `resolve`.

    Raises:
        UsageError: No engine has a delegate of that name for any device.
    """
    for delegate in _accelerators(engines, name):
        found = examine(delegate, options)
        if found.usable and found.kind == "hardware":
            yield delegate


def no_hardware(
    engines: Sequence[Engine], name: str, options: Mapping[str, str] | None = None
) -> DeviceError:
    """The error for "auto" where `hardware` found no device behind the delegate of that name.

    Args:
        engines: As for `hardware`.
        name: As for `hardware`.
        options: As for `hardware`.
    """
    found = {delegate: examine(delegate, options) for delegate in _accelerators(engines, name)}
    for delegate, finding in found.items():
        if finding.usable:
            return DeviceError(
                f"{delegate.name} reaches no hardware here ({finding.kind}: {finding.name}), and "
                f"--device auto takes nothing else: add --device {delegate.device}, or leave "
                "--delegate off"
            )
    devices = dict.fromkeys(delegate.device for delegate in found)
    return _refusal(" or ".join(devices), engines, found, name)


def _accelerators(engines: Sequence[Engine], name: str | None) -> list[Delegate]:
    able: list[Delegate] = []
    refusals: list[UsageError] = []
    devices = [device for device in DEVICES if device != "cpu"]
    for device in devices:
        try:
            able += _able(device, engines, name)
        except UsageError as error:
            refusals.append(error)
    if len(refusals) == len(devices):
        raise refusals[0]
    return able


def _able(device: str, engines: Sequence[Engine], name: str | None) -> list[Delegate]:
    if name is None:
        return [d for engine in engines for d in delegates(engine.name, device)]
    refusal: UsageError | None = None
    for engine in engines:
        try:
            return [named(engine.name, device, name)]
        except UsageError as error:
            refusal = refusal or error
    raise refusal or UsageError(f"no engine has a delegate {name!r}")


def _refusal(
    device: str,
    engines: Sequence[Engine],
    found: Mapping[Delegate, Finding],
    name: str | None,
) -> DeviceError:
    """Why none of the delegates found can be used: the reason and the fix of the last of them.

    The last in the table is the one that most machines can install.
    """
    names = " and ".join(engine.name for engine in engines)
    if not found:
        return DeviceError(
            f"{names} cannot reach a {device}: use --device cpu, or see edgenet devices"
        )
    delegate, finding = list(found.items())[-1]
    without = "" if name is None else " without --delegate"
    return DeviceError(
        f"{delegate.engine} cannot use the {device} ({delegate.name}): {finding.reason}; "
        f"{finding.fix}; or use --device cpu{without} (edgenet devices lists all)"
    )
