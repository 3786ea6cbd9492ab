from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgenet.bundle import FORMATS, Bundle, InputSpec, OutputSpec
from edgenet.errors import DeviceError, EdgenetError, UsageError
from edgenet.runtime import Session, SessionInfo, load
from edgenet.runtime.delegates import delegates
from edgenet.runtime.engines import ENGINES
from edgenet.runtime.records import Loaded, Plan
from edgenet.runtime.session import Floats
from tests.networks import CLASSES, SIZE, VALUES, Textures

Pixels = npt.NDArray[np.uint8]


def images(count: int, seed: int = 0) -> Pixels:
    return Textures.make(count, seed).images


@pytest.fixture(scope="module", params=FORMATS)
def session(tiny_bundle: Path, request: pytest.FixtureRequest) -> Iterator[Session]:
    with load(tiny_bundle, request.param, threads=2) as opened:
        yield opened


class Sums(Session):
    """An engine in numpy: its logits are the sums of an image's channels."""

    def _load(self) -> Loaded:
        return Loaded(self._plan.input.shape, "numpy", None)

    def _run(self, handle: tuple[int, ...], images: Pixels, output: str) -> Floats:
        assert images.shape == handle
        assert images.flags.c_contiguous
        return images.sum(axis=(1, 2), dtype=np.float32)


class Fails(Sums):
    def _run(self, handle: tuple[int, ...], images: Pixels, output: str) -> Floats:
        raise RuntimeError("no kernel for Conv\nat some place")


class Refuses(Sums):
    def _load(self) -> Loaded:
        raise ValueError("Op builtin_code out of range: 206\nat some place")


class Frees(Sums):
    freed = 0

    def _close(self, handle: tuple[int, ...]) -> None:
        assert handle == self._plan.input.shape
        self.freed += 1


def plan_of(size: int) -> Plan:
    return Plan(
        model=Path("model"),
        precision="fp32",
        engine=ENGINES[0],
        input=InputSpec("image", (size, SIZE, SIZE, 3), "uint8", "NHWC", "none", 1.0, "bicubic"),
        outputs=(OutputSpec("logits", (size, 3)),),
        labels=None,
        device="cpu",
        delegate=delegates(ENGINES[0].name, "cpu")[0],
        threads=1,
    )


@given(count=st.integers(0, 9), size=st.integers(1, 4))
def test_batches_are_split_and_the_last_is_filled(count: int, size: int) -> None:
    batch = images(count)
    np.testing.assert_array_equal(Sums(plan_of(size)).run(batch), batch.sum(axis=(1, 2)))


def test_an_engine_that_fails_to_run_is_one_error() -> None:
    with pytest.raises(EdgenetError, match=r"cannot run model: no kernel for Conv$"):
        Fails(plan_of(1)).run(images(1))


def test_an_engine_that_fails_to_run_on_a_device_has_not_honoured_it() -> None:
    plan = replace(plan_of(1), delegate=delegates("litert", "gpu")[0])
    with pytest.raises(DeviceError, match=r"cannot run model on the gpu \(WebGPU\): no kernel for"):
        Fails(plan).run(images(1))


def test_an_engine_that_fails_to_open_on_the_cpu_is_one_error() -> None:
    with pytest.raises(EdgenetError, match=r"^litert \S+ cannot open model: Op .*: 206$") as caught:
        Refuses(plan_of(1))
    assert caught.type is EdgenetError


def test_an_engine_that_fails_to_open_on_a_device_has_not_honoured_it() -> None:
    plan = replace(plan_of(1), delegate=delegates("litert", "gpu")[0], made_with="99.1")
    told = r"cannot open model on the gpu \(WebGPU\): Op .*: 206; use --device cpu, or see edgenet"
    with pytest.raises(DeviceError, match=told):
        Refuses(plan)


@pytest.mark.parametrize(("made_with", "told"), [("99.1", True), ("1.0", False), (None, False)])
def test_an_engine_that_is_older_than_the_files_is_told(made_with: str | None, told: bool) -> None:
    with pytest.raises(EdgenetError) as caught:
        Refuses(replace(plan_of(1), made_with=made_with))
    end = (
        f": 206; it was made with litert 99.1 and here is {ENGINES[0].version}: "
        "pip install 'edgenet[tflite]' 'ai-edge-litert>=99.1'"
    )
    assert str(caught.value).endswith(end if told else ": 206")


def test_an_engine_of_no_known_version_is_named_without_one() -> None:
    engine = replace(ENGINES[0], package="no-such-package", module="no_such_module")
    with pytest.raises(EdgenetError, match=r"^litert cannot open model: "):
        Refuses(replace(plan_of(1), engine=engine, made_with="99.1"))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 5), seed=st.integers(0, 99))
def test_many_images_answer_as_one_by_one(session: Session, count: int, seed: int) -> None:
    batch = images(count, seed)
    logits = session.run(batch)
    assert (logits.shape, logits.dtype) == ((count, CLASSES), np.float32)
    for image, row in zip(batch, logits, strict=True):
        np.testing.assert_array_equal(session.run(image)[0], row)


def test_different_images_answer_differently(session: Session) -> None:
    logits = session.run(images(4))
    assert np.isfinite(logits).all()
    assert len(np.unique(logits, axis=0)) == 4


def test_an_answer_is_the_callers_own(session: Session) -> None:
    first, second = images(2)
    logits = session.run(first)
    kept = logits.copy()
    session.run(second)
    np.testing.assert_array_equal(logits, kept)


def test_the_layout_in_memory_does_not_matter(session: Session) -> None:
    batch = images(1)
    strided = np.asfortranarray(batch)
    frozen = batch.copy()
    frozen.flags.writeable = False
    expected = session.run(batch)
    np.testing.assert_array_equal(session.run(strided), expected)
    np.testing.assert_array_equal(session.run(batch[:, ::-1, ::-1][:, ::-1, ::-1]), expected)
    np.testing.assert_array_equal(session.run(frozen), expected)


@pytest.mark.parametrize(
    ("unfit", "told"),
    [
        (np.zeros((1, SIZE, SIZE, 3), np.float32), f"1×{SIZE}×{SIZE}×3 float32"),
        (np.zeros((1, SIZE, SIZE, 3), np.int8), "int8"),
        (np.zeros((1, 3, SIZE, SIZE), np.uint8), f"1×3×{SIZE}×{SIZE} uint8"),
        (np.zeros((SIZE, SIZE), np.uint8), f"{SIZE}×{SIZE} uint8"),
        (np.zeros((1, SIZE + 1, SIZE, 3), np.uint8), f"1×{SIZE + 1}×{SIZE}×3"),
        ([[0]], "a list"),
        ("cat.jpg", "a str"),
    ],
)
def test_anything_else_is_refused(session: Session, unfit: object, told: str) -> None:
    with pytest.raises(UsageError, match=f"takes N×{SIZE}×{SIZE}×3 uint8 images .*, not .*{told}"):
        session.run(unfit)  # type: ignore[arg-type]


def test_probabilities_are_the_softmax_of_the_logits(session: Session) -> None:
    batch = images(3)
    exponents = np.exp(session.run(batch).astype(np.float64))
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(session.probabilities(batch), expected, atol=1e-5)


def test_what_overflows_is_no_answer(session: Session) -> None:
    with pytest.raises(EdgenetError, match=r"NaN or infinity on the cpu: take another precision$"):
        session.rank(np.array([0.5, np.nan], np.float32), 1)


def test_classify_ranks_what_run_computes(session: Session) -> None:
    image = images(1)[0]
    found = session.classify(Image.fromarray(image), top=3)
    order = np.argsort(-session.probabilities(session.prepare(image))[0], kind="stable")
    assert [p.index for p in found] == order[:3].tolist()
    assert [p.probability for p in found] == sorted((p.probability for p in found), reverse=True)
    assert all(p.label for p in found)


def test_of_equal_classes_the_first_is_the_first() -> None:
    found = Sums(plan_of(1)).rank(np.tile(np.float32([0.01, 0.02]), 100), 3)
    assert [(p.index, p.label) for p in found] == [(1, "1"), (3, "3"), (5, "5")]


def test_labels_name_what_run_answers(session: Session) -> None:
    assert session.labels == tuple(f"stripes {index}" for index in range(CLASSES))
    found = [session.labels[index] for index in session.run(images(8)).argmax(1)]
    assert found == [session.classify(image, top=1)[0].label for image in images(8)]
    assert len(set(found)) > 3


def test_without_labels_there_are_none() -> None:
    assert Sums(plan_of(1)).labels is None


def test_classify_takes_any_source(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    image = Image.fromarray(images(1)[0]).resize((61, 47))
    image.save(path)
    data = path.read_bytes()
    buffers = (data, bytearray(data), memoryview(data))
    answers = [session.classify(s) for s in (path, str(path), *buffers, image, np.asarray(image))]
    assert all(answer == answers[0] for answer in answers)


def test_top_is_at_most_all_and_at_least_one(session: Session) -> None:
    assert len(session.classify(images(1)[0], top=99)) == CLASSES
    with pytest.raises(UsageError, match="0 classes"):
        session.classify(images(1)[0], top=0)
    with pytest.raises(UsageError, match=r"top=1\.5: an integer is needed"):
        session.classify(images(1)[0], top=1.5)  # type: ignore[arg-type]
    assert len(session.classify(images(1)[0], top=np.int64(2))) == 2


@pytest.mark.parametrize("format", FORMATS)
def test_values_have_their_names(regression_bundle: Path, format: str) -> None:
    with load(regression_bundle, format) as session:
        assert (session.info.task, session.info.classes) == ("regression", 2)
        assert session.labels == VALUES
        image = images(1)[0]
        found = session.values(Image.fromarray(image))
        assert [(value.index, value.label) for value in found] == list(enumerate(VALUES))
        assert [value.value for value in found] == pytest.approx(session.run(image)[0].tolist())


def test_classes_and_values_are_not_taken_for_each_other(
    session: Session, regression_bundle: Path
) -> None:
    with pytest.raises(UsageError, match="knows classes and is no regression"):
        session.values(images(1)[0])
    with load(regression_bundle) as regression:
        for ask in (regression.classify, regression.probabilities):
            with pytest.raises(UsageError, match="is a regression, which has no classes"):
                ask(images(1)[0])


def test_values_that_overflow_are_no_answer(session: Session) -> None:
    with pytest.raises(EdgenetError, match="NaN or infinity"):
        session.named(np.array([1.0, np.nan], np.float32))


def test_embed_gives_the_features(session: Session, tiny_bundle: Path) -> None:
    outputs = {output.name: output.shape for output in Bundle.open(tiny_bundle).manifest.outputs}
    features = session.embed(images(1)[0])
    assert (features.shape, features.dtype) == (outputs["features"][1:], np.float32)


def test_features_of_many_images_are_those_that_embed_gives(session: Session) -> None:
    batch = images(3)
    features = session.features(batch)
    for image, row in zip(batch, features, strict=True):
        np.testing.assert_array_equal(session.embed(image), row)
    assert len(np.unique(features, axis=0)) == 3


@pytest.mark.parametrize("format", FORMATS)
def test_without_features_embed_says_so(tiny_bundle: Path, format: str) -> None:
    bundle = Bundle.open(tiny_bundle)
    outputs = tuple(o for o in bundle.manifest.outputs if o.name != "features")
    bare = replace(bundle, manifest=replace(bundle.manifest, outputs=outputs))
    with load(bare, format) as session:
        for ask in (session.embed, session.features):
            with pytest.raises(UsageError, match="no features output"):
                ask(images(1)[0])


def test_several_threads_may_share_a_session(session: Session) -> None:
    batches = [images(1, seed) for seed in range(40)]
    expected = [session.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(session.run, batches), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("format", FORMATS)
def test_a_closed_session_says_so(tiny_bundle: Path, format: str) -> None:
    with load(tiny_bundle, format) as session:
        session.run(images(1))
    session.close()
    with pytest.raises(EdgenetError, match="the session is closed"):
        session.run(images(1))


@pytest.mark.parametrize("forked", [False, True])
def test_a_model_is_freed_once_and_by_the_process_that_opened_it(forked: bool) -> None:
    session = Frees(plan_of(1))
    if forked:
        session._after_fork()
    session.close()
    session.close()
    assert session.freed == (0 if forked else 1)


@pytest.mark.parametrize("format", FORMATS)
def test_closing_under_running_threads_does_no_harm(tiny_bundle: Path, format: str) -> None:
    def until_closed(seed: int) -> int:
        for done in range(10_000):
            try:
                session.run(images(1, seed))
            except EdgenetError:
                return done
        return 0

    session = load(tiny_bundle, format, threads=1)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(until_closed, seed) for seed in range(3)]
        session.run(images(50))
        session.close()
        assert all(thread.result() >= 0 for thread in running)


def test_info_says_what_runs_and_where(session: Session, tiny_bundle: Path) -> None:
    info = session.info
    assert isinstance(info, SessionInfo)
    assert info.precision == Bundle.open(tiny_bundle).artifact(info.format).precision
    assert (info.device, info.device_used, info.threads) == ("cpu", "cpu", 2)
    assert (info.batch, info.input_shape, info.classes) == (1, (1, SIZE, SIZE, 3), CLASSES)
    assert info.delegated_fraction is not None
    assert 0 < info.delegated_fraction <= 1


def test_the_formats_agree(tiny_float_bundle: Path) -> None:
    batch = images(4)
    answers = []
    for format in FORMATS:
        with load(tiny_float_bundle, format) as session:
            answers.append(session.run(batch))
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-3)


@pytest.mark.parametrize(
    ("device", "delegate", "place"),
    [
        ("cpu", "XNNPACK", ("cpu", "")),
        ("cpu", "none", ("cpu", "")),
        ("gpu", "GPU.0", ("gpu", "GPU.0")),
        ("gpu", "GPU.0,CPU", ("gpu", "GPU.0")),
    ],
)
def test_what_is_left_to_the_cpu_makes_no_other_place(
    tiny_bundle: Path, device: str, delegate: str, place: tuple[str, str]
) -> None:
    with load(tiny_bundle, "onnx") as session:
        info = replace(session.info, device_used=device, delegate=delegate)
    assert info.place == place
