"""Makes `python -m turnout` the same program as `turnout`."""

from __future__ import annotations

from turnout.cli import main

if __name__ == "__main__":
    main(prog_name="turnout")
