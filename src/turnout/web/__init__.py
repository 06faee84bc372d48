"""The dashboard: one ASGI application that shows jobs, explains them, and lets people act."""

from turnout.web.app import dashboard
from turnout.web.auth import Authorize, Person, any_of, basic, local_only, token
from turnout.web.status import status_app

__all__ = [
    "Authorize",
    "Person",
    "any_of",
    "basic",
    "dashboard",
    "local_only",
    "status_app",
    "token",
]
