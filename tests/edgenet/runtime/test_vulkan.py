"""Which driver is taken, asked in fresh processes: the choice is made once in each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgenet.runtime import children, vulkan
from tests.devices import GPUS, require

ASK = """
import json, os
from edgenet.runtime import vulkan
found = vulkan.adapter()
print(json.dumps([found.name, found.kind, os.environ.get("VK_DRIVER_FILES")]))
"""


@pytest.fixture(autouse=True)
def _gpu() -> None:
    require(GPUS[0])


def asked(**environment: str) -> tuple[int, str, str]:
    plain = {name: value for name, value in children.environment().items() if name[:3] != "VK_"}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=plain | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_an_adapter_is_found_without_any_variable() -> None:
    code, out, err = asked()
    assert code == 0, err
    name, kind, _ = json.loads(out)
    assert name
    assert kind == ("software" if "SwiftShader" in name else "hardware") or "llvmpipe" in name


def test_the_drivers_that_the_user_chose_are_kept() -> None:
    code, _, err = asked(VK_DRIVER_FILES="/nowhere/driver.json")
    assert code != 0
    assert "no Vulkan driver offers an adapter" in err


def test_a_software_driver_never_stands_before_an_installed_one(tmp_path: Path) -> None:
    """The installed one here is broken: it is still the machine's, and what is told."""
    folder = tmp_path / "vulkan" / "icd.d"
    folder.mkdir(parents=True)
    driver = {"library_path": "/nowhere/libgpu.so", "api_version": "1.1.0"}
    (folder / "gpu.json").write_text(json.dumps({"file_format_version": "1.0.0", "ICD": driver}))
    code, _, err = asked(XDG_DATA_DIRS=str(tmp_path))
    assert code != 0
    assert "no Vulkan driver offers an adapter" in err


@pytest.mark.skipif(not vulkan._SOFTWARE_DRIVER.exists(), reason="no chromium-common here")
def test_swiftshader_is_told_as_software() -> None:
    code, out, err = asked(VK_DRIVER_FILES=os.fspath(vulkan._SOFTWARE_DRIVER))
    assert code == 0, err
    assert json.loads(out)[:2] == ["SwiftShader Device (Subzero)", "software"]
