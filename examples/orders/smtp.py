"""A mail server: as much of SMTP (RFC 5321) as smtplib speaks, and a ledger of what it took.

Like real ones, it takes whatever it is sent: the same mail twice is two mails.
"""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .services import Service

REFUSALS = {"fail": b"451 internal error\r\n", "rate_limit": b"450 too many mails, try later\r\n"}


async def serve_smtp(service: Service) -> asyncio.Server:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(service, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client has gone: whatever was not accepted by now never will be
        finally:
            writer.close()

    return await asyncio.start_server(session, "127.0.0.1", 0, backlog=1024)


async def converse(
    service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(b"220 mail.example.org\r\n")
    while True:
        line = await reader.readuntil(b"\r\n")
        verb = line[:4].upper().strip()
        if verb == b"MAIL":
            writer.write(await welcome(service, line))
        elif verb == b"DATA":
            writer.write(b"354 go on\r\n")
            accept(service, await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"250 accepted\r\n")
        elif verb == b"QUIT":
            writer.write(b"221 bye\r\n")
            return
        else:
            writer.write(b"250 ok\r\n")


async def welcome(service: Service, line: bytes) -> bytes:
    """Take the time that a mail server takes, all of it before it has accepted anything."""
    mode = service.trouble(line.decode().strip())
    await asyncio.sleep(60.0 if mode == "hang" else service.latency)
    return REFUSALS.get(mode, b"250 ok\r\n")


def accept(service: Service, data: bytes) -> None:
    mail = message_from_bytes(data)
    fields = ("To", "Subject", "Message-ID")
    service.ledger.append({name.lower(): str(mail[name]) for name in fields})
