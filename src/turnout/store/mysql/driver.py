"""Which driver speaks to the server: mysqlclient where it is installed, PyMySQL everywhere else.

Both are DB-API with the same error classes and numbers. mysqlclient is C and costs a worker half as
much; it has no wheels for Linux, so nobody is made to build it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

driver: Any = import_module("MySQLdb" if find_spec("MySQLdb") else "pymysql")

Connection = Any
Error: type[Exception] = driver.Error
IS_C = driver.__name__ == "MySQLdb"


def number_of(error: BaseException) -> int:
    """Return the server's (or the client library's) number of an error; 0 when it has none."""
    first = error.args[0] if error.args else 0
    return first if isinstance(first, int) else 0
