"""What ``iii check`` and the start say about ``auth:`` and ``rbac:``, besides their types.

No value of a token is ever part of a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from iii.access.proxies import Proxies
from iii.access.rules import parse_rule
from iii.access.settings import SHORT_TOKEN_CHARS, Auth, Rbac, deciding_functions
from iii.checking import Kind, Place, Problem


class Listener(Protocol):
    """A worker port of a configuration."""

    @property
    def rbac(self) -> Rbac | None: ...

    @property
    def middleware_function_id(self) -> str | None: ...

    @property
    def place(self) -> Place: ...


def check_nothing_is_null(
    written: Mapping[str, Any], keys: Iterable[str], place: Place
) -> Iterator[Problem]:
    """A key that is there without a value: a variable that is not set, most likely.

    :param keys: those whose absence opens something
    """
    for key in keys:
        if key in written and written[key] is None:
            text = "has no value; leave the key out, or give it one"
            yield (place / key).error(text)


def check_auth(auth: Auth | None, place: Place) -> Iterator[Problem]:
    """Tokens that can't be sent, or can be guessed."""
    if auth is None:
        return
    for index, fault in auth.faults():
        yield (place / "tokens" / index).error(fault)
    for index in auth.short():
        where = place / "tokens" / index
        text = (
            f"{where}: fewer than {SHORT_TOKEN_CHARS} characters can be guessed; "
            "`openssl rand -hex 32` makes a good token"
        )
        yield where.problem(Kind.WARNING, text)


def check_reachable(listeners: Sequence[Listener]) -> Iterator[Problem]:
    """Who decides needs a worker port that lets him register his functions."""
    if any(listener.rbac is None for listener in listeners):
        return
    for listener in listeners:
        names = deciding_functions(listener.rbac, listener.middleware_function_id)
        if names:
            text = (
                f"nobody can offer {', '.join(names)}: every worker port has rbac; add one "
                "without, for trusted workers"
            )
            yield listener.place.problem(Kind.WARNING, text)


def check_proxies(networks: Iterable[str], place: Place) -> Iterator[Problem]:
    """Addresses that are none."""
    for index, network in enumerate(networks):
        try:
            Proxies([network])
        except ValueError as error:
            yield (place / index).error(f"expected an address or a network: {error}")


def check_rbac(rbac: Rbac | None, written: Any, place: Place) -> Iterator[Problem]:
    """Rules that can't be read, and functions that are named by nothing."""
    if rbac is None:
        return
    if isinstance(written, Mapping):
        keys = [key for key in Rbac.__struct_fields__ if key != "expose_functions"]
        yield from check_nothing_is_null(written, keys, place)
    for index, rule in enumerate(rbac.expose_functions):
        try:
            parse_rule(rule)
        except ValueError as error:
            yield (place / "expose_functions" / index).error(str(error))
