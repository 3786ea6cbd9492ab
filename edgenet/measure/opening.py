"""Opening what is to be measured: a bundle's formats, and the float model to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from edgenet.bundle import Bundle
from edgenet.errors import DeviceError, EdgenetError, MissingExtraError, UsageError
from edgenet.runtime import Session, load, load_artifact
from edgenet.runtime.engines import ENGINES
from edgenet.runtime.loading import FixedBatchError, Reach
from edgenet.runtime.placement import PartialError, RefusedError

# Of several formats that do not open for these reasons, the error of the kind that stands first is
# raised. A fixed batch was found on a device that was reached, and a device's reason comes from an
# engine that is installed: both say more than that another engine is missing.
_TELLING = (FixedBatchError, DeviceError, MissingExtraError)


def open_formats(
    stack: ExitStack,
    bundle: Bundle,
    formats: Sequence[str] | None = None,
    device: str = "cpu",
    threads: int | None = None,
    on_missing: Callable[[str], None] | None = None,
    reach: Reach | None = None,
    batch: int | None = None,
) -> list[Session]:
    """Opens a bundle in several formats; the stack closes the sessions.

    Args:
        stack: What owns the sessions.
        bundle: The bundle.
        formats: Those asked for; None takes all whose engine is installed and reaches the device.
        device: As for `edgenet.load`.
        threads: As for `edgenet.load`.
        on_missing: Told of a format that is left out because its files were left behind, its engine
            is not installed or does not reach the device, or it does not run with that batch.
        reach: As for `edgenet.load`: which delegate, and whether the CPU may help.
        batch: As for `edgenet.load`.

    Raises:
        FixedBatchError: The device is reached, and no file runs there with that batch.
        MissingExtraError: The engine of a format asked for is not installed, or none is.
        DeviceError: No engine reaches the device, or one does and would not run all of the model.
        EdgenetError: As `edgenet.load`.
    """
    sessions: list[Session] = []
    lacking: list[EdgenetError] = []
    at_hand = tuple(artifact.format for artifact in bundle.at_hand)
    for format in bundle.formats:
        if not formats and format not in at_hand and on_missing:
            on_missing(f"{format} is left out: its files are not here")
    for format in dict.fromkeys(formats or at_hand):
        try:
            session = load_artifact(
                bundle, bundle.artifact(format), device, threads, reach=reach, batch=batch
            )
        # The device works and refuses this file, whole or in part: no other file may hide that.
        except (PartialError, RefusedError):
            raise
        except _TELLING as error:
            # Of several batches to measure, a format that was asked for may run with some.
            if formats and not isinstance(error, FixedBatchError):
                raise
            lacking.append(error)
            if on_missing:
                on_missing(f"{format} is left out: {error}")
            continue
        sessions.append(stack.enter_context(session))
    if lacking and not sessions:
        raise min(lacking, key=_rank)
    return sessions


def _rank(error: EdgenetError) -> int:
    return next(rank for rank, kind in enumerate(_TELLING) if isinstance(error, kind))


def open_reference(stack: ExitStack, holder: Bundle, threads: int | None = None) -> Session:
    """Opens the fp32 reference that a bundle holds, on the CPU; the stack closes the session.

    Args:
        stack: What owns the session.
        holder: The bundle that holds it, in reference/ or as its own model: the one that is
            measured, or another.
        threads: As for `edgenet.load`.

    Raises:
        UsageError: There is no float model in the bundle, or it was left off this device.
        MissingExtraError: Its engine is not installed; the message names what serves instead.
        EdgenetError: As `edgenet.load`.
    """
    artifact = holder.manifest.reference
    if artifact is None and holder.manifest.precision != "fp32":
        raise UsageError(
            f"{holder.path} holds no fp32 reference: "
            "name a bundle that does with --reference BUNDLE"
        )
    if artifact and not (holder.path / artifact.files[0].path).exists():
        raise UsageError(
            f"{holder.path} has no {artifact.files[0].path} here: "
            "name a bundle that does with --reference BUNDLE"
        )
    try:
        return stack.enter_context(load(holder, threads=threads, reference=artifact is not None))
    except MissingExtraError as error:
        raise MissingExtraError(
            f"running the fp32 reference of {holder.path}",
            error.extra,
            f"{error.install}{_another_reference()}",
        ) from error


def _another_reference() -> str:
    """How to make one for the engine that is here, as the end of a message."""
    format = next((engine.format for engine in ENGINES if engine.installed), None)
    if format is None:
        return ""
    made = f"edgenet convert MODEL --precision fp32 --to {format}"
    return f", or name with --reference BUNDLE what this makes: {made}"


def reference_bytes(holder: Bundle, session: Session) -> int:
    """The size of the reference that `session` runs, in bytes."""
    return (holder.manifest.reference or holder.artifact(session.info.format)).bytes
