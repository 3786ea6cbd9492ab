"""Probes of vendors' compilers: they run nothing here, and `convert --target` calls them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from edgenet.runtime.delegates import Delegate, Found


class Vela:
    """Arm's compiler for Ethos-U."""

    @classmethod
    def probe(cls, delegate: Delegate, options: Mapping[str, str]) -> Found:
        """Imports it, its native parts too."""
        version = import_module("ethosu.vela._version").__version__
        import_module("ethosu.regor")
        return Found("compiler", f"Arm Vela {version} for Ethos-U55, U65 and U85")
