"""What connections to brokers and other engines have in common: where to, whom to trust, when
to try again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import Certificate

from iii.errors import StartError

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 2.0


def retry_delay_s(failures: int) -> float:
    """How many seconds to wait before the next attempt.

    :param failures: attempts that have failed since the last one that did not
    """
    delay_s = min(FIRST_RETRY_S * 2.0 ** min(failures, 10), LONGEST_RETRY_S)
    return delay_s * (0.8 + 0.2 * random.random())  # engines don't all come at once


def endpoint_of(reactor: Any, host: str, port: int, limit_s: float, tls: Any = None) -> Any:
    """What connects there (an ``IStreamClientEndpoint``).

    :param tls: what ``optionsForClientTLS`` gave; None: without TLS
    """
    plain: Any = HostnameEndpoint(reactor, host.encode("idna"), port, timeout=limit_s)
    return plain if tls is None else wrapClientTLS(tls, plain)


def authority_in(file: str | None, refusal: Callable[[str], StartError]) -> Certificate | None:
    """Whom to trust; None: those whom the system trusts.

    :param file: of the authority's certificate
    :param refusal: makes the error, of the reason
    :raises StartError: the file can't be used
    """
    if file is None:
        return None
    try:
        return Certificate.loadPEM(Path(file).read_bytes())
    except Exception as error:  # OpenSSL's own error class has no public name
        raise refusal(f"the file of ca= can't be used: {error}") from error
