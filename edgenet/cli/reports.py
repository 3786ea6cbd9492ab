"""Where a report goes beside the screen, the same in `bench` and `check`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from edgenet.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    group = parser.add_argument_group("reports")
    group.add_argument("--json", action="store_true", help="print one JSON document")
    group.add_argument("--html", metavar="FILE", help="also write one self-contained HTML page")
    group.add_argument("--markdown", metavar="FILE", help="also write Markdown for a pull request")


def require_places(args: argparse.Namespace) -> None:
    """Checks that reports can be written, before minutes of work go into them.

    Raises:
        UsageError: One of them cannot be.
    """
    from edgenet.report.files import require_writable

    if args.html is not None and args.html == args.markdown:
        raise UsageError(f"--html and --markdown would both be {args.html}: name two files")
    require_writable(args.html, "--html")
    require_writable(args.markdown, "--markdown")


def write(args: argparse.Namespace, html: Callable[[], str], markdown: Callable[[], str]) -> None:
    """Writes those that were asked for; the others are not even made.

    Raises:
        UsageError: A file cannot be written.
    """
    from edgenet.report.files import write_text

    if args.html is not None:
        write_text(args.html, html(), "--html")
    if args.markdown is not None:
        write_text(args.markdown, markdown(), "--markdown")
