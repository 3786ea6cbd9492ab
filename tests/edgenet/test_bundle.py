from __future__ import annotations

import json
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.bundle import (
    FORMATS,
    MANIFEST,
    PRECISIONS,
    Artifact,
    Bundle,
    Compiled,
    FileRecord,
    InputSpec,
    Manifest,
    OutputSpec,
    Verification,
    record_of,
    summary,
)
from edgenet.errors import BundleError, UsageError
from tests.bundles import CONTENT, write

names = st.text("abcdefghij.-_äß", min_size=1, max_size=12)
counts = st.integers(1, 10**9)
paths = names.filter(lambda name: name not in (".", ".."))
records = st.builds(FileRecord, path=paths, bytes=counts, sha256=st.just("0" * 64))
finite = st.floats(allow_nan=False, allow_infinity=False)
verifications = st.builds(
    Verification,
    images=counts,
    agreement=st.floats(0, 1),
    sqnr_db=st.none() | finite,
    max_error=finite,
)
artifacts = st.builds(
    Artifact,
    format=st.sampled_from(FORMATS),
    precision=st.sampled_from(PRECISIONS),
    files=st.lists(records, min_size=1, max_size=2).map(tuple),
    verified=verifications,
)
documents = st.dictionaries(names, st.none() | st.integers() | names, max_size=3)
recipes = st.fixed_dictionaries(
    {}, optional={"ranges": documents, "rewrites": st.dictionaries(names, documents, max_size=2)}
)
compiled = st.builds(
    Compiled,
    device=names,
    format=st.sampled_from(FORMATS),
    compiler=names,
    file=records,
    report=documents,
)
# A target, with what was compiled for it, or neither.
targets = st.just((None, ())) | st.tuples(documents, st.lists(compiled, max_size=2).map(tuple))
untargeted = st.builds(
    Manifest,
    source=documents,
    precision=st.sampled_from(PRECISIONS),
    input=st.builds(
        InputSpec,
        name=names,
        shape=st.tuples(counts, counts, counts, st.just(3)),
        dtype=st.just("uint8"),
        layout=st.just("NHWC"),
        preprocessing=names,
        crop_fraction=st.floats(0.1, 1),
        interpolation=names,
    ),
    outputs=st.lists(st.builds(OutputSpec, names, st.tuples(counts, counts))).map(
        lambda others: (*others, OutputSpec("logits", (1, 2)))
    ),
    labels=st.none() | records,
    recipe=st.none() | recipes,
    calibration=st.none() | documents,
    artifacts=st.lists(artifacts, min_size=1, max_size=3).map(tuple),
    reference=st.none() | artifacts,
    versions=st.dictionaries(names, names, max_size=3),
)
manifests = st.builds(
    lambda manifest, aim: replace(manifest, target=aim[0], compiled=aim[1]), untargeted, targets
)


@given(manifest=manifests)
def test_a_manifest_reads_back_as_it_was(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(manifest=manifests)
def test_equal_manifests_are_the_same_text(manifest: Manifest) -> None:
    versions = dict(reversed(manifest.versions.items()))
    assert replace(manifest, versions=versions).to_json() == manifest.to_json()


@given(manifest=manifests)
def test_what_was_measured_on_labelled_images_is_kept_and_may_be_absent(manifest: Manifest) -> None:
    assert "evaluation" not in json.loads(manifest.to_json())
    result = {"format": "onnx", "top1": None, "agreement": 0.9, "drop_interval": [-0.5, 0.5]}
    found = {"images": 20, "sha256": "0" * 64, "reference_top1": 0.5, "results": [result]}
    evaluated = replace(manifest, evaluation=found)
    assert Manifest.from_json(evaluated.to_json()) == evaluated


@given(manifest=manifests, data=st.data())
def test_a_manifest_without_one_of_its_keys_is_damaged(
    manifest: Manifest, data: st.DataObject
) -> None:
    document = json.loads(manifest.to_json())
    # One without a target is the manifest of another bundle, whole.
    del document[data.draw(st.sampled_from(sorted({*document} - {"target"})))]
    with pytest.raises(BundleError, match="damaged"):
        Manifest.from_json(json.dumps(document))


def places(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a JSON document, that of the whole first."""
    yield place
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, part in inner:
        yield from places(part, (*place, key))


def replaced(document: Any, place: tuple[str | int, ...], value: object) -> Any:
    """The document with another value in one place."""
    if not place:
        return value
    changed = copy(document)
    changed[place[0]] = replaced(document[place[0]], place[1:], value)
    return changed


others = st.sampled_from([None, True, 0, -1, 1.5, "", "x", [], ["x"], [[]], {}, {"x": 0}, {"": []}])


@given(manifest=manifests, data=st.data())
def test_any_other_value_is_refused_or_harmless(manifest: Manifest, data: st.DataObject) -> None:
    """As by hand: what reads the manifest of an open bundle meets no surprise."""
    document = json.loads(manifest.to_json())
    place = data.draw(st.sampled_from(list(places(document))))
    text = json.dumps(replaced(document, place, data.draw(others)))
    try:
        bundle = Bundle(Path("bundle"), Manifest.from_json(text))
    except BundleError:
        return
    assert summary(bundle.manifest)["input_dtype"] == bundle.manifest.input.dtype
    assert bundle.classes == 2 or place[0] == "outputs"
    assert all(isinstance(bundle.artifact(format).bytes, int) for format in bundle.formats)
    assert Manifest.from_json(bundle.manifest.to_json()) == bundle.manifest


def test_a_summary_counts_ranges_and_rewrites_and_keeps_the_rest(tmp_path: Path) -> None:
    recipe = {"weights": {"bits": 8}, "ranges": {"a": [0, 1]}, "rewrites": {"silu": {"a": [2.0]}}}
    manifest = replace(write(tmp_path / "bundle", CONTENT).manifest, recipe=recipe)
    expected = {"weights": {"bits": 8}, "ranges": 1, "rewrites": {"silu": 1}}
    assert summary(manifest)["recipe"] == expected


@given(manifest=manifests, share=st.floats(0, 0.99))
def test_half_a_manifest_is_damaged(manifest: Manifest, share: float) -> None:
    text = manifest.to_json().rstrip()
    with pytest.raises(BundleError):
        Manifest.from_json(text[: int(len(text) * share)])


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(BundleError):
        Manifest.from_json(text)


@pytest.mark.parametrize("version", [0, 99])
def test_another_edgenets_manifest_is_refused_with_what_helps(version: int) -> None:
    with pytest.raises(BundleError, match=rf"version {version};.* convert again, or take the edge"):
        Manifest.from_json(f'{{"schema_version": {version}}}')


@pytest.mark.parametrize("position", [0, 100, 255])
def test_a_compiled_file_is_vouched_for_to_the_last_byte(tmp_path: Path, position: int) -> None:
    bundle = write(tmp_path / "bundle", CONTENT)
    path = bundle.path / "npu.bin"
    path.write_bytes(CONTENT)
    made = Compiled("soc", "tflite", "compiler 1", record_of(bundle.path, path), {})
    bundle = replace(bundle, manifest=replace(bundle.manifest, target={}, compiled=(made,)))
    assert bundle.compiled_path("soc") == path
    path.write_bytes(CONTENT[:position] + bytes([CONTENT[position] ^ 1]) + CONTENT[position + 1 :])
    with pytest.raises(BundleError, match="its sha256 differs"):
        bundle.compiled_path("soc")
    with pytest.raises(UsageError, match="nothing compiled for other: it has for soc"):
        bundle.compiled_path("other")


def test_what_was_written_is_vouched_for(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle", CONTENT)
    assert bundle.formats == ("tflite",)
    assert bundle.model_path(bundle.artifact("tflite")).read_bytes() == CONTENT
    assert bundle.labels() == ("cat", "dog")
    assert bundle.artifact("tflite").bytes == len(CONTENT)


@given(place=st.integers(0, len(CONTENT) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    bundle = write(tmp_path_factory.mktemp("changed") / "bundle", CONTENT)
    changed = bytearray(CONTENT)
    changed[place] ^= flip
    (bundle.path / "model.tflite").write_bytes(changed)
    with pytest.raises(BundleError, match="sha256 differs"):
        bundle.model_path(bundle.artifact("tflite"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle", CONTENT)
    (bundle.path / "labels.txt").unlink()
    with pytest.raises(BundleError, match=r"labels\.txt cannot be read .*; copy the bundle again"):
        bundle.labels()


def test_a_format_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no onnx file; it has tflite"):
        write(tmp_path / "bundle", CONTENT).artifact("onnx")


def test_a_bundle_without_labels_has_none(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle", CONTENT)
    assert replace(bundle, manifest=replace(bundle.manifest, labels=None)).labels() is None


def test_no_folder_or_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no such bundle: .*gone \(edgenet convert MODEL -o .*gone"
    ):
        Bundle.open(tmp_path / "gone")
    with pytest.raises(UsageError, match="no such bundle"):
        Bundle.open(tmp_path / "gone" / "deeper" / "still")
    with pytest.raises(BundleError, match=r"is not a bundle: .* \(No such file or directory\)"):
        Bundle.open(tmp_path)


def test_what_the_system_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(BundleError, match=r"no readable manifest\.json in it \(Is a directory\)"):
        Bundle.open(tmp_path)
    # Of the folder itself Python may not tell why it is none.
    with pytest.raises((BundleError, UsageError), match=r"File name too long|no such bundle"):
        Bundle.open(tmp_path / ("long" * 100))


@pytest.mark.parametrize("name", ["model.tflite", "manifest.json", "reference/model.tflite"])
def test_of_a_file_in_a_bundle_the_bundle_is_named(tmp_path: Path, name: str) -> None:
    bundle = write(tmp_path / "bundle", CONTENT)
    (bundle.path / "reference").mkdir()
    (bundle.path / "reference" / "model.tflite").write_bytes(CONTENT)
    with pytest.raises(UsageError, match=r"is a file, .* edgenet convert writes: name .*/bundle/$"):
        Bundle.open(bundle.path / name)


def test_of_a_file_alone_it_is_told_what_a_bundle_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.tflite").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    told = "model.tflite is a file, and a bundle is the folder that edgenet convert writes: name "
    with pytest.raises(UsageError, match=f"^{told}that$"):
        Bundle.open("model.tflite")
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(UsageError, match=f"^{told}./$"):
        Bundle.open("model.tflite")


def test_a_damaged_manifest_names_its_bundle(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(BundleError, match=str(tmp_path)):
        Bundle.open(tmp_path)


OUTSIDE = ("", ".", "..", "a/../../b", "/etc/passwd", "C:/b", "a\\..\\b", "a\0b", "\ud800")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("labels", "path"), None),
        (("artifacts",), []),
        (("artifacts", 0, "files"), []),
        (("artifacts", 0, "format"), "coreml"),
        (("artifacts", 0, "precision"), "int4"),
        (("outputs", 0, "shape"), []),
        (("outputs", 0, "shape"), [2]),
        (("outputs", 0, "name"), "logit"),
        (("outputs",), []),
        (("recipe",), []),
        (("recipe",), [{"ranges": {}}]),
        (("recipe",), "int8"),
        (("recipe",), {"ranges": 3}),
        (("recipe",), {"rewrites": ["silu"]}),
        (("source",), "lite0"),
        (("calibration",), 128),
        (("evaluation",), 0.9),
        (("evaluation",), {"images": "many"}),
        (("evaluation",), {"results": [{"agreement": "most"}]}),
        (("artifacts", 0, "files", 0, "bytes"), "5 MB"),
        (("input", "shape"), [1, 8, 8]),
        (("input", "crop_fraction"), None),
        *((("artifacts", 0, "files", 0, "path"), path) for path in OUTSIDE),
        (("labels", "path"), "../labels.txt"),
        (("reference", "files", 0, "path"), "../model.tflite"),
        (("compiled", 0, "file", "path"), "../npu.bin"),
    ],
)
def test_a_manifest_with_other_values_is_damaged(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    manifest = write(tmp_path / "bundle", CONTENT).manifest
    made = Compiled("soc", "tflite", "compiler 1", manifest.artifacts[0].files[0], {})
    manifest = replace(manifest, reference=manifest.artifacts[0], target={}, compiled=(made,))
    document = json.loads(manifest.to_json())
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(BundleError, match="manifest is damaged"):
        Manifest.from_json(json.dumps(document))
