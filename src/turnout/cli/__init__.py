"""The `turnout` program: what a person types to run, see and rescue jobs.

Each command parses and calls one function. Nothing below this floor imports it, so a web process
never pays for click or rich.
"""

from __future__ import annotations

from turnout.cli.group import main

__all__ = ["main"]
