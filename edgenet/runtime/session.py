"""`Session`: a model open in an engine; what all engines share, and what each must provide."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgenet.arguments import whole
from edgenet.bundle import ANSWERS, CLASSIFICATION, FORMATS, REGRESSION, InputSpec, OutputSpec
from edgenet.errors import BundleError, EdgenetError, UsageError
from edgenet.images import ImageSource, Pixels, prepare
from edgenet.runtime.delegates import Delegate, Found, UnusableError
from edgenet.runtime.engines import choose, newer
from edgenet.runtime.forks import follow, never_free
from edgenet.runtime.placement import RefusedError
from edgenet.runtime.processors import cpu_name
from edgenet.runtime.records import Loaded, Plan, Prediction, SessionInfo, Value

Floats = npt.NDArray[np.float32]

# Stands in a forked child for the parent's handle, which must not be used there.
_INHERITED = object()

_PROBES = Path(__file__).parent / "probes"
_PROBE_FILES = {"tflite": "model.tflite", "onnx": "model.onnx", "openvino": "model.xml"}
# Half floats and eight bits keep these and their halves well within 0.5.
_PROBE_PIXEL = np.array([[[[8, 64, 250]]]], np.uint8)


class Session(ABC):
    """A model, open in an engine.

    Several threads may share one, of which one runs at a time where the engine is not `reentrant`.
    An engine overrides `_load`, `_run` and `_close`; checks, state, locking and the splitting of
    batches are here.
    """

    # Whether the engine takes calls from several threads at once; if not, they take turns.
    reentrant: ClassVar[bool] = False
    # Whether `_load` can bring a file to another batch than its own, where the plan says so.
    resizes: ClassVar[bool] = False
    # The model that `probe` opens, where the format's float one is not for the device.
    probe_file: ClassVar[str] = ""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shape = plan.input.shape
        self._outputs = {output.name: output.shape for output in plan.outputs}
        self._task = REGRESSION if ANSWERS[REGRESSION] in self._outputs else CLASSIFICATION
        self._answer = ANSWERS[self._task]
        self._lock = self._turns()
        with self._lock:
            loaded = self._load_model()
        self._handle = loaded.handle
        self._info = self._describe(loaded)
        follow(self)

    @classmethod
    def probe(cls, delegate: Delegate, options: Mapping[str, str]) -> Found:
        """Opens and runs the smallest of models with a delegate, as any bundle's would be.

        Raises:
            UnusableError: It answers wrongly.
            EdgenetError: It does not open or run.
        """
        with cls(_probe_plan(delegate, options, cls.probe_file)) as session:
            answer = session.run(_PROBE_PIXEL)
            if not np.allclose(answer, _PROBE_PIXEL.reshape(1, 3) / 2, atol=0.5):
                raise UnusableError(
                    f"it computes {answer.tolist()} for {_PROBE_PIXEL.tolist()} / 2"
                )
            return Found(session.info.kind, session.info.device_name or cls._processor())

    @staticmethod
    def _processor() -> str:
        return cpu_name()

    def _turns(self) -> AbstractContextManager[Any]:
        """The context of each call of `_load`, `_run` and `_close`: a lock admits one at a time."""
        return nullcontext() if self.reentrant else threading.Lock()

    @abstractmethod
    def _load(self) -> Loaded:
        """Opens `self._plan.model`; any exception means that the engine refuses the file."""

    @abstractmethod
    def _run(self, handle: Any, images: Pixels, output: str) -> Floats:
        """Runs one full batch (C-contiguous) and returns a fresh array of the output named."""

    def _close(self, handle: Any) -> None:  # noqa: B027 - few engines need it
        """Frees what dropping the handle would not."""

    @property
    def delegate(self) -> Delegate:
        """The delegate that was chosen; `info.delegate` is the engine's own word for what runs."""
        return self._plan.delegate

    @property
    def info(self) -> SessionInfo:
        """What runs, and where."""
        return self._info

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, or values, in the order of `run`'s; None if there are none."""
        return self._plan.labels

    def run(self, images: npt.NDArray[np.uint8]) -> Floats:
        """Computes the logits, or a regression's values, of images of the model's size.

        Args:
            images: N×H×W×3 uint8, RGB 0..255, or one image of H×W×3. More images than the model's
                batch are split, and what is missing in the last batch is filled up.

        Returns:
            N×classes float32, or N×values.

        Raises:
            UsageError: Another shape or dtype; the message says which was expected.
            DeviceError: The device failed.
            EdgenetError: The session is closed, or the engine failed.
        """
        return self._infer(images, self._answer)

    def probabilities(self, images: npt.NDArray[np.uint8]) -> Floats:
        """As `run`, but N×classes probabilities, as the model itself computes them.

        Raises:
            UsageError: As `run`, or the bundle has no probabilities output.
        """
        if self._task == REGRESSION:
            raise UsageError("the bundle is a regression, which has no classes: ask for its values")
        self._require("probabilities")
        return self._infer(images, "probabilities")

    def features(self, images: npt.NDArray[np.uint8]) -> Floats:
        """As `run`, but N×channels pooled features.

        Raises:
            UsageError: As `run`, or the bundle has no features output.
        """
        self._require("features")
        return self._infer(images, "features")

    def embed(self, image: ImageSource) -> Floats:
        """The pooled features of one image of any size, prepared as `classify` does.

        Returns:
            (channels,) float32.

        Raises:
            UsageError: The bundle has no features output; or as `classify`.
            ImageError: What was read is no image, or a damaged one.
        """
        features: Floats = self.features(self.prepare(image))[0]
        return features

    def classify(self, image: ImageSource, top: int = 5) -> list[Prediction]:
        """The most probable classes of one image.

        Args:
            image: A path, bytes, an open file, a PIL image or a uint8 array, of any size; it is
                cropped and resized as the bundle's manifest says.
            top: How many classes, at least 1; all, if there are fewer.

        Raises:
            UsageError: `top` below 1 or no integer, no such file, or a wrong array.
            ImageError: What was read is no image, or a damaged one.
        """
        return self.rank(self.probabilities(self.prepare(image))[0], top)

    def values(self, image: ImageSource) -> list[Value]:
        """What a regression answers to one image of any size, prepared as `classify` does.

        Raises:
            UsageError: The bundle is no regression; or as `classify`.
            ImageError: What was read is no image, or a damaged one.
            EdgenetError: They are no numbers: half floats overflow in some networks.
        """
        if self._task != REGRESSION:
            raise UsageError("the bundle knows classes and is no regression: ask for classify")
        return self.named(self.run(self.prepare(image))[0])

    def named(self, values: Floats) -> list[Value]:
        """One image's values with their names.

        Raises:
            EdgenetError: They are no numbers.
        """
        self._require_numbers(values)
        return [Value(i, self._label(i), float(value)) for i, value in enumerate(values)]

    def prepare(self, image: ImageSource) -> Pixels:
        """Brings one image of any size to the model's: H×W×3 uint8."""
        spec = self._plan.input
        return prepare(image, *self._shape[1:3], spec.crop_fraction, spec.interpolation)

    def rank(self, probabilities: Floats, top: int) -> list[Prediction]:
        """The `top` classes of one image's probabilities, the best first, ties by index.

        Raises:
            UsageError: `top` below 1, or no integer.
            EdgenetError: They are no numbers: half floats overflow in some networks.
        """
        top = whole("top", top)
        if top < 1:
            raise UsageError(f"cannot list {top} classes: ask for 1 or more")
        self._require_numbers(probabilities)
        best = np.argsort(-probabilities, kind="stable")[:top]
        return [Prediction(int(i), self._label(int(i)), float(probabilities[i])) for i in best]

    def close(self) -> None:
        """Frees the model; a second call does nothing."""
        with self._lock:
            handle, self._handle = self._handle, None
            if handle is not None and handle is not _INHERITED:
                self._close(handle)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _load_model(self) -> Loaded:
        try:
            return self._load()
        except EdgenetError:
            raise
        except Exception as error:
            raise self._refusal("cannot open", error) from error

    def _after_fork(self) -> None:
        """In a forked child: the parent's handle is left alone, the first run opens another."""
        # A thread that is not here may have held it.
        self._lock = self._turns()
        if self._handle is not None:
            never_free(self._handle)
            self._handle = _INHERITED

    def _open_in_child(self) -> Any:
        device = self._plan.delegate.device
        if device != "cpu":
            raise RefusedError(
                f"the {device}'s driver does not outlive a fork: load the bundle in the child, or "
                "start it by spawn"
            )
        return self._load_model().handle

    def _require_input(self, shape: Iterable[Any], dtype: npt.DTypeLike) -> None:
        """For `_load`: refuses a file whose input is not the one in the manifest."""
        found, wanted = tuple(shape), np.dtype(self._plan.input.dtype)
        if found != self._shape or np.dtype(dtype) != wanted:
            raise BundleError(
                f"{self._plan.model} takes {_shaped(found)} {np.dtype(dtype)}, "
                f"its manifest says {_shaped(self._shape)} {wanted}; convert again"
            )

    def _require_outputs(self, names: Collection[str]) -> None:
        """For `_load`: refuses a file that lacks an output of the manifest."""
        missing = [name for name in self._outputs if name not in names]
        if missing:
            raise BundleError(
                f"{self._plan.model} lacks the outputs {', '.join(missing)}; convert again"
            )

    def _infer(self, images: npt.NDArray[np.uint8], output: str) -> Floats:
        batch = self._check(images)
        if self._plan.input.dtype != "uint8":
            batch = batch.astype(self._plan.input.dtype)
        with self._lock:
            # Read once: a thread that is running keeps the handle alive while another closes.
            handle = self._handle
            if handle is None:
                raise EdgenetError("the session is closed: load the bundle again")
            if handle is _INHERITED:
                handle = self._handle = self._open_in_child()
            try:
                if batch.shape == self._shape:
                    return self._run(handle, batch, output)
                return self._split(handle, batch, output)
            except Exception as error:
                raise self._refusal("cannot run", error) from error

    def _check(self, images: npt.NDArray[np.uint8]) -> Pixels:
        if isinstance(images, np.ndarray) and images.dtype == np.uint8:
            batch = images[None] if images.ndim == 3 else images
            if batch.ndim == 4 and batch.shape[1:] == self._shape[1:]:
                return np.ascontiguousarray(batch)
        _, height, width, _ = self._shape
        raise UsageError(
            f"this model takes N×{height}×{width}×3 uint8 images with RGB values 0..255, "
            f"not {_described(images)}"
        )

    def _require(self, output: str) -> None:
        if output not in self._outputs:
            raise UsageError(
                f"{self._plan.model} has no {output} output: its logits, by session.run, are made "
                "of no single pooled vector"
            )

    def _outdated(self) -> str:
        """The end of a message where a newer version of the engine has run the file; else ""."""
        engine, made, here = self._plan.engine, self._plan.made_with, self._plan.engine.version
        if not made or not here or not newer(made, here):
            return ""
        return (
            f"; it was made with {engine.name} {made} and here is {here}: "
            f"{engine.install_line} '{engine.package}>={made}'"
        )

    def _refusal(self, what: str, error: Exception) -> EdgenetError:
        """An engine's error in one line; engines raise RuntimeError, ValueError and their own.

        A device that fails has not been honoured; on the CPU it is the file that does not suit.
        """
        reason = next(iter(self._told(str(error))), type(error).__name__)
        engine, delegate = self._plan.engine, self._plan.delegate
        told = f"{' '.join(filter(None, (engine.name, engine.version)))} {what} {self._plan.model}"
        if delegate.device == "cpu":
            return EdgenetError(f"{told}: {reason}{self._outdated()}")
        place = f"on the {delegate.device} ({delegate.name})"
        return RefusedError(f"{told} {place}: {reason}; use --device cpu, or see edgenet devices")

    @staticmethod
    def _told(message: str) -> list[str]:
        """The lines of an engine's error, the reason first."""
        return message.splitlines()

    def _split(self, handle: Any, images: Pixels, output: str) -> Floats:
        size = self._shape[0]
        results = np.empty((len(images), *self._outputs[output][1:]), np.float32)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            count = len(part)
            if count < size:
                part = np.concatenate(
                    [part, np.zeros((size - count, *self._shape[1:]), part.dtype)]
                )
            results[start : start + count] = self._run(handle, part, output)[:count]
        return results

    def _require_numbers(self, answer: Floats) -> None:
        if not np.isfinite(answer).all():
            device = self._plan.delegate.device
            raise EdgenetError(
                f"{self._plan.model} answers with NaN or infinity on the {device}: take another "
                f"precision{'' if device == 'cpu' else ', or --device cpu'}"
            )

    def _label(self, index: int) -> str:
        labels = self._plan.labels
        return labels[index] if labels is not None and index < len(labels) else str(index)

    def _describe(self, loaded: Loaded) -> SessionInfo:
        plan = self._plan
        return SessionInfo(
            format=plan.engine.format,
            precision=plan.precision,
            engine=plan.engine.name,
            device=plan.device,
            device_used=plan.delegate.device,
            delegate=loaded.delegate,
            delegated_fraction=loaded.delegated_fraction,
            threads=loaded.threads or plan.threads,
            batch=self._shape[0],
            input_shape=self._shape,
            classes=self._outputs[self._answer][1],
            task=self._task,
            kind=loaded.kind,
            device_name=loaded.name,
            elsewhere=loaded.elsewhere,
            time_elsewhere=loaded.time_elsewhere,
        )


def _probe_plan(delegate: Delegate, options: Mapping[str, str], quantized: str) -> Plan:
    """The plan for the model in `probes`, which halves the three bytes of one pixel."""
    engine = choose(FORMATS, delegate.engine)
    return Plan(
        model=_PROBES / (quantized or _PROBE_FILES[engine.format]),
        precision="int8" if quantized else "fp32",
        engine=engine,
        input=InputSpec("image", (1, 1, 1, 3), "uint8", "NHWC", "none", 1.0, "bicubic"),
        outputs=(OutputSpec("logits", (1, 3)),),
        labels=None,
        device=delegate.device,
        delegate=delegate,
        threads=1,
        # A delegate for int8 alone takes no operator of this float model, and works all the same.
        allow_fallback=bool(delegate.library),
        options=options,
    )


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{_shaped(value.shape)} {value.dtype}"
    return f"a {type(value).__name__} (classify takes paths and photos of any size)"


def _shaped(shape: tuple[Any, ...]) -> str:
    return "×".join(map(str, shape))
