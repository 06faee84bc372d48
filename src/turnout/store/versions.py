"""Which numbers of a schema a Turnout can work with.

A deploy is not one moment: a newer Turnout has migrated the schema, and workers of the one before
go on, reconnect, crash and are started again. So a schema says in its `meta` two numbers: `schema`,
its own, and `serves`, the lowest that the code at work on it may have been written for. A migration
that only adds leaves `serves` as it is; one that older code would stumble over raises it. Where it
does not stand, a schema serves its own number alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMBERS = ("schema", "serves")


def schema_number(meta: Mapping[str, object], knows: int, what: str) -> int | None:
    """Return the number of the schema in use, at most `knows`; None where it has none.

    `what` is the schema in words, `the file's schema`. Raises SchemaError when it is newer and does
    not serve code that knows up to `knows`.
    """
    found = str(meta.get("schema", ""))
    if not found.isdigit():
        return None
    number = int(found)
    serves = str(meta.get("serves", ""))
    if number > knows and not (serves.isdigit() and int(serves) <= knows):
        msg = (
            f"{what} has number {number}, this Turnout knows up to {knows}: a newer Turnout has "
            "migrated it; upgrade this one"
        )
        raise SchemaError(msg)
    return min(number, knows)
