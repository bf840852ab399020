"""The certificates of a configuration, for ``iii check``: which there are, and their faults."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from iii.catalogue import Role
from iii.checking import Kind, Place, Problem
from iii.entries import Configuration
from iii.net import effective_host, show_address
from iii.tls import EXPIRES_SOON_DAYS, Tls, TlsError, load


def check_certificates(configuration: Configuration, now: datetime) -> list[Problem]:
    """Read the files of every ``tls:``: an error for what is wrong, a note for what is right.

    Blocks of a wrong shape are told by those who check the shape.
    """
    problems: list[Problem] = []
    for where, tls, place in _ports(configuration):
        try:
            loaded = load(tls, now)
        except TlsError as error:
            text = f"{where}: {error.message}"
            problems.append((place / error.key).problem(Kind.ERROR, text))
            continue
        days = loaded.days_left(now)
        if days < EXPIRES_SOON_DAYS:
            text = f"{where}: the certificate ends in {days} day(s)"
            problems.append((place / "cert").problem(Kind.WARNING, text))
        clients = "" if tls.client_ca is None else "; clients need a certificate of theirs"
        problems.append(place.problem(Kind.NOTE, f"{where}: {loaded}{clients}"))
    return problems


def _ports(configuration: Configuration) -> Iterator[tuple[str, Tls, Place]]:
    """What has TLS: its address, its ``tls:`` block and where that stands."""
    for listener in configuration.worker_listeners:
        if listener.tls is not None:
            where = _shown("wss", listener.host, listener.port)
            yield where, listener.tls, listener.place / "tls"
    for entry in configuration.entries:
        written = entry.config.get("tls")
        if written is None or entry.module.role is not Role.MODULE or entry.module.missing:
            continue
        try:
            tls = msgspec.convert(written, Tls)
        except msgspec.ValidationError:
            continue
        port = entry.config.get("port", entry.module.port)
        if entry.name == "iii-observability":
            port = entry.config.get("prometheus_port", 9464)
        scheme = "wss" if entry.name == "iii-stream" else "https"
        yield _shown(scheme, entry.config.get("host"), port), tls, entry.place_of("tls")


def _shown(scheme: str, host: object, port: object) -> str:
    name = effective_host(host if isinstance(host, str) else None) or "localhost"
    return f"{scheme}://{show_address(name, port)}"
