"""The order page: five slow calls in the request, against five durable jobs. Runs the demo."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from common import HERE, Figures, least, most, python

NAME = "order_page"
TARGETS = {"p95_better_by": least(100), "claims_failed": most(0)}


def once(*, quick: bool) -> Figures:
    with tempfile.TemporaryDirectory(prefix="order-page-") as folder:
        file = Path(folder) / "figures.json"
        size = ("--inline", "8", "--orders", "30") if quick else ()
        demo = ("-m", "examples.orders.demo", "--json", str(file), *size)
        python(*demo, folder=HERE.parent, timeout=300)
        story = json.loads(file.read_text("utf-8"))
    return {
        **{f"inline_{name}": value for name, value in story["inline"].items()},
        **{f"jobs_{name}": value for name, value in story["jobs"].items()},
        "p95_better_by": story["better_by"]["p95_ms"],
        "orders_per_s_better_by": story["better_by"].get("orders_per_s"),
        "claims": len(story["claims"]),
        "claims_failed": sum(not claim["holds"] for claim in story["claims"]),
        "web_threads": story["web_threads"],
        "seconds": story["seconds"],
    }
