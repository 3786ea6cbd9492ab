"""TFLite's metadata: what MediaPipe, Android Studio and TFLite's Task Library read in a file.

It is a flatbuffer of the public schema `metadata_schema.fbs` (identifier M001) in a buffer of the
model, and a ZIP archive of the files that it names, which follows the model's own bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any
from zipfile import ZipFile, ZipInfo

import flatbuffers
import numpy as np

from converters.description import LABELS, Description, in_lines
from converters.graph import FEATURES, INPUT, Graph

BUFFER_NAME = "TFLITE_METADATA"
"""Of the model's metadata, by which readers find it."""
_IDENTIFIER = b"M001"
# The first parser of all that is used here.
_MIN_PARSER = "1.0.0"
# The fields of each table by their place in the schema.
_MODEL_NAME, _MODEL_SUBGRAPHS, _MODEL_MIN_PARSER = 0, 3, 7
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 2, 3
_TENSOR_NAME, _TENSOR_DESCRIPTION, _TENSOR_CONTENT, _TENSOR_UNITS, _TENSOR_FILES = 0, 1, 3, 4, 6
_FILE_NAME, _FILE_TYPE = 0, 2
_MEAN, _STD = 0, 1
# A union is two fields: which table it holds, and the table.
_UNION_TYPE, _UNION = 0, 1
_COLOR_SPACE = 0
# Values of the schema's enumerations and unions.
_AXIS_LABELS = np.uint8(2)
_IMAGE_PROPERTIES, _NORMALIZATION = np.uint8(2), np.uint8(1)
_RGB = np.uint8(1)

# A table's fields by their place: text, an enumeration's byte, floats, a table, or tables.
_Table = Mapping[int, Any]


def metadata(graph: Graph, description: Description) -> bytes:
    """The flatbuffer about a graph; its class names are in the file `LABELS` if there are any."""
    builder = flatbuffers.Builder(1024)
    content = {_UNION_TYPE: _IMAGE_PROPERTIES, _UNION: {_COLOR_SPACE: _RGB}}
    pixels: dict[int, Any] = {
        _TENSOR_NAME: INPUT,
        _TENSOR_DESCRIPTION: description.pixels,
        _TENSOR_CONTENT: content,
    }
    if graph.pixels == "float32":
        # Readers refuse floats without: (x - mean) / std.
        as_it_is = {_MEAN: np.zeros(1, np.float32), _STD: np.ones(1, np.float32)}
        pixels[_TENSOR_UNITS] = [{_UNION_TYPE: _NORMALIZATION, _UNION: as_it_is}]
    outputs = [_output(name, description) for name in graph.outputs]
    subgraph = {_SUBGRAPH_INPUTS: [pixels], _SUBGRAPH_OUTPUTS: outputs}
    model = {_MODEL_NAME: graph.name, _MODEL_SUBGRAPHS: [subgraph], _MODEL_MIN_PARSER: _MIN_PARSER}
    builder.Finish(_table(builder, model), _IDENTIFIER)
    return bytes(builder.Output())


def with_labels(file: bytes, description: Description) -> bytes:
    """A .tflite file followed by the archive that its metadata names, if there are class names."""
    if description.labels is None:
        return file
    whole = BytesIO()
    whole.write(file)
    # Its offsets count from the start of the file. Readers take no compressed ones, and a date of
    # its own would make two equal runs differ.
    with ZipFile(whole, "w") as archive:
        archive.writestr(ZipInfo(LABELS), in_lines(description.labels))
    return whole.getvalue()


def _output(name: str, description: Description) -> _Table:
    named: dict[int, Any] = {_TENSOR_NAME: name}
    if name != FEATURES and description.labels is not None:
        named[_TENSOR_FILES] = [{_FILE_NAME: LABELS, _FILE_TYPE: _AXIS_LABELS}]
    return named


def _table(builder: Any, fields: _Table) -> int:
    """Writes a table, what it refers to first; returns its offset."""
    written = {
        place: field if isinstance(field, np.uint8) else _referred(builder, field)
        for place, field in fields.items()
    }
    builder.StartObject(max(fields) + 1)
    for place, field in written.items():
        if isinstance(field, np.uint8):
            builder.PrependUint8Slot(place, int(field), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(place, field, 0)
    return int(builder.EndObject())


def _referred(builder: Any, field: Any) -> int:
    if isinstance(field, str):
        return int(builder.CreateString(field))
    if isinstance(field, np.ndarray):
        return int(builder.CreateNumpyVector(field))
    if isinstance(field, Mapping):
        return _table(builder, field)
    return _tables(builder, field)


def _tables(builder: Any, tables: Sequence[_Table]) -> int:
    offsets = [_table(builder, fields) for fields in tables]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
