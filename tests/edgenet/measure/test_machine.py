"""The machine's description is JSON and names what is installed."""

from __future__ import annotations

import json
import os

import numpy as np

from edgenet.measure import machine


def test_the_description_is_json_with_the_known_keys():
    found = json.loads(json.dumps(machine.describe()))
    assert list(found) == ["cpu", "cores", "os", "python", "numpy", "engines", "isa"]
    assert found["cpu"]
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)


def test_installed_engines_have_versions():
    assert machine.describe()["engines"]["litert"][0].isdigit()


def test_numpys_version_needs_no_package(monkeypatch):
    monkeypatch.setattr(np, "__version__", "9.9")
    assert machine.describe()["numpy"] == "9.9"


def test_flags_are_read_from_both_kinds_of_cpuinfo(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "_CPUINFO", path)
    path.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n\nflags\t\t: fpu\n")
    assert machine.describe()["isa"] == ["avx2", "avx512_vnni"]
    path.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n")
    assert machine.describe()["isa"] == ["asimd", "asimddp"]
    path.unlink()
    assert machine.describe()["isa"] == []


def test_x86_without_vnni_adds_in_16_bits():
    assert machine.adds_in_16_bits(["avx2"])
    assert machine.adds_in_16_bits(["avx2", "avx512f"])
    for isa in (["avx2", "avx_vnni"], ["avx2", "avx512f", "avx512_vnni"], ["asimd"], []):
        assert not machine.adds_in_16_bits(isa)
