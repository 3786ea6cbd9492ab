"""What a file tells of itself, as its readers ask: its pixels and the names of its classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import onnxruntime
import openvino
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import Float32Flags
from flatbuffers.table import Table

from converters.description import Description
from converters.formats import LOWERINGS, lower
from converters.graph import Graph
from converters.head import with_named_outputs
from tests.converters.graphs import Chain, answers, pixels

LABELS = ("tench, Tinca tinca", "<ćma> & 'x'", "c")
DESCRIBED = Description(0.875, "bicubic", LABELS)


def network(description: Description | None, function: str = "softmax") -> Graph:
    chain = Chain(8, 8).normalize().convolution(8, (3, 3)).activation("silu")
    graph = chain.head(len(LABELS))
    last = replace(graph.operators[-1], function=function)
    graph = replace(graph, operators=(*graph.operators[:-1], last), description=description)
    return with_named_outputs(graph)


def written(folder: Path, format: str, graph: Graph) -> Path:
    return lower(graph, format, "fp32", None, folder)[0]


class Fields:
    """A flatbuffer's table, its fields by their place in the schema."""

    def __init__(self, data: bytes, place: int) -> None:
        self.table = Table(data, place)

    @classmethod
    def of(cls, data: bytes) -> Fields:
        return cls(data, int.from_bytes(data[:4], "little"))

    def _at(self, place: int) -> int:
        return int(self.table.Pos + self.table.Offset(4 + 2 * place))

    def has(self, place: int) -> bool:
        return bool(self.table.Offset(4 + 2 * place))

    def text(self, place: int) -> str:
        return str(self.table.String(self._at(place)).decode())

    def byte(self, place: int) -> int:
        return int(self.table.Bytes[self._at(place)])

    def one(self, place: int) -> Fields:
        return Fields(self.table.Bytes, self.table.Indirect(self._at(place)))

    def all(self, place: int) -> list[Fields]:
        offset = self.table.Offset(4 + 2 * place)
        start = self.table.Vector(offset)
        starts = [start + 4 * k for k in range(self.table.VectorLen(offset))]
        return [Fields(self.table.Bytes, self.table.Indirect(each)) for each in starts]


def metadata(path: Path) -> Fields:
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (entry,) = model.metadata
    assert entry.name == b"TFLITE_METADATA"
    data = bytes(model.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    return Fields.of(data)


@pytest.mark.parametrize("format", LOWERINGS)
def test_a_description_changes_no_answer(tmp_path, format):
    images, found = pixels(3, 8, 8), list[Any]()
    for description in (None, DESCRIBED, replace(DESCRIBED, labels=None)):
        graph, folder = network(description), tmp_path / str(len(found))
        folder.mkdir()
        found.append(answers(graph, format, "fp32", None, images, folder)["logits"])
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


def test_tflite_has_the_class_names_in_an_archive_that_its_metadata_names(tmp_path):
    path = written(tmp_path, "tflite", network(DESCRIBED))
    with ZipFile(path) as archive:
        (labels,) = archive.infolist()
        # MediaPipe reads them in place.
        assert labels.compress_type == ZIP_STORED
        assert archive.read(labels).decode().splitlines() == list(LABELS)
    (subgraph,) = metadata(path).all(3)
    logits, probabilities, features = subgraph.all(3)
    for head in (logits, probabilities):
        (file,) = head.all(6)
        assert (file.text(0), file.byte(2)) == (labels.filename, 2)
    assert not features.has(6)
    assert [head.text(0) for head in (logits, probabilities)] == ["logits", "probabilities"]


def test_tflite_tells_of_its_pixels(tmp_path):
    (subgraph,) = metadata(written(tmp_path, "tflite", network(DESCRIBED))).all(3)
    (image,) = subgraph.all(2)
    assert image.text(0) == "image"
    assert "0.875" in image.text(1)
    assert "bicubic" in image.text(1)
    content = image.one(3)
    assert content.byte(0) == 2  # ImageProperties
    assert content.one(1).byte(0) == 1  # RGB
    assert not image.has(4)


def test_tflite_of_float_pixels_says_that_they_are_not_normalized(tmp_path):
    graph = replace(network(DESCRIBED), pixels="float32")
    (subgraph,) = metadata(written(tmp_path, "tflite", graph)).all(3)
    (unit,) = subgraph.all(2)[0].all(4)
    assert unit.byte(0) == 1  # NormalizationOptions
    options = unit.one(1)
    for place, value in ((0, 0.0), (1, 1.0)):
        start = options.table.Vector(options.table.Offset(4 + 2 * place))
        assert options.table.Get(Float32Flags, start) == value


def test_tflite_without_class_names_is_followed_by_no_archive(tmp_path):
    path = written(tmp_path, "tflite", network(replace(DESCRIBED, labels=None)))
    assert b"labels.txt" not in path.read_bytes()
    (subgraph,) = metadata(path).all(3)
    assert not any(head.has(6) for head in subgraph.all(3))


def test_onnx_tells_in_its_metadata(tmp_path):
    path = written(tmp_path, "onnx", network(DESCRIBED))
    told = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(told["labels"]) == list(LABELS)
    assert told["pixels"] == DESCRIBED.pixels


def info_of(path: Path) -> dict[str, str]:
    info = openvino.Core().read_model(path).get_rt_info()["model_info"]
    return {name: value.astype(str) for name, value in info.items()}


def test_openvino_tells_as_its_model_api_asks(tmp_path):
    info = info_of(written(tmp_path, "openvino", network(DESCRIBED)))
    # Names are parted by spaces.
    assert info["labels"].split() == ["tench,_Tinca_tinca", "<ćma>_&_'x'", "c"]
    assert info["model_type"] == "Classification"
    assert info["multilabel"] == "False"
    assert info["resize_type"] == "crop"


def test_openvino_tells_of_several_sigmoids_and_of_photos_that_are_not_cropped(tmp_path):
    graph = network(Description(1.0, "tf-bilinear", None), function="sigmoid")
    info = info_of(written(tmp_path, "openvino", graph))
    assert info["multilabel"] == "True"
    assert info["resize_type"] == "standard"
    assert "labels" not in info
