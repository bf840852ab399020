"""The gate of a worker port: who gets in.

A client shows its credentials with the upgrade.  First it must not have failed too often;
then its token must be one of the configured ones; then the auth function is asked, and
what that says becomes the connection's ``Grant``.  Each step is there only when it is
configured, and every step that fails, for whatever reason, refuses.

A listener with an auth function asks that *instead of* the top-level tokens; tokens of the
listener's own are checked before it.

One end of a channel needs its channel's key, which is as secret as a token and is only
told to those who were let in; published SDKs send nothing else.  A wrong token beside it
is refused all the same, and wrong keys count as failed attempts.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NoReturn

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.access.credentials import Credentials
from iii.access.failures import FailedAttempts
from iii.access.grant import Grant
from iii.access.proxies import Proxies
from iii.access.rules import parse_rules
from iii.access.settings import Auth, Rbac
from iii.access.tokens import Tokens
from iii.engine.core import Engine
from iii.engine.tracecontext import UNRECORDED
from iii.errors import Code, InvocationError

log = Logger()

AUTH_LIMIT_S = 10.0
MAX_ASKING = 1000
_SHOWN_CHARS = 300

_NO_ANSWER = frozenset(
    (
        Code.FUNCTION_NOT_FOUND,
        Code.INVOCATION_STOPPED,
        Code.INVOCATION_TIMEOUT,
        Code.OVERLOADED,
        Code.SHUTTING_DOWN,
    )
)
"""Not the function's words: it was not there, or did not answer."""


class Refusal(Exception):
    """A client is not let in.

    :ivar reason: for the client; holds nothing secret
    :ivar temporary: trying again later may help
    """

    def __init__(self, reason: str, *, temporary: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.temporary = temporary


class Gate:
    """Admission to one listener.

    :param auth: its tokens; None: it asks for none
    :param rbac: its restrictions; None: who is let in may do everything
    :param middleware: the function that calls of its connections go through
    :param failures: who has failed how often; shared by all listeners
    :param deciding: functions that decide about access, of all listeners
    :param proxies: those whose ``X-Forwarded-For`` is believed
    """

    def __init__(
        self,
        engine: Engine,
        failures: FailedAttempts,
        *,
        auth: Auth | None = None,
        rbac: Rbac | None = None,
        middleware: str | None = None,
        deciding: Set[str] = frozenset(),
        proxies: Proxies | None = None,
    ) -> None:
        self.rbac = rbac
        self.middleware = middleware
        self._engine = engine
        self._failures = failures
        self._tokens = None if auth is None else Tokens(auth.named)
        self._exposed = () if rbac is None else parse_rules(rbac.expose_functions)
        self._deciding = deciding
        self._proxies = proxies or Proxies()
        self._asking = 0

    def client(self, request: bytes, uri: str, peer: str) -> Credentials:
        """What the client of an upgrade request shows.

        :param request: the head of the request
        :param uri: from its first line
        :param peer: the address of the connection
        """
        client = Credentials(request, uri, peer)
        client.address = self._proxies.client(peer, client.headers.get("x-forwarded-for"))
        return client

    @property
    def asks(self) -> bool:
        """Whether a client has to show anything."""
        return self._tokens is not None or self._auth_function is not None

    @property
    def describe(self) -> str:
        """What there is at this gate, for people: ``token, rbac, middleware``."""
        parts = (
            ("token", self._tokens is not None),
            ("auth function", self._auth_function is not None),
            ("rbac", self.rbac is not None),
            ("middleware", self.middleware is not None),
        )
        return ", ".join(name for name, there in parts if there)

    @property
    def restricts(self) -> bool:
        """Whether a connection that was let in is watched over."""
        return self.rbac is not None or self.middleware is not None

    @property
    def _auth_function(self) -> str | None:
        return None if self.rbac is None else self.rbac.auth_function_id

    def admit(self, client: Credentials) -> Grant | Deferred[Grant | None] | None:
        """Let ``client`` in: with a ``Grant``, or None when it may do everything.

        :raises Refusal: it does not get in (or through the Deferred)
        """
        if self.asks:
            self._check_patience(client)
        self._check_token(client)
        function = self._auth_function
        if function is None:
            return None if self.rbac is None else self._grant(None)
        if self._asking >= MAX_ASKING:
            raise Refusal("too many clients are being authenticated", temporary=True)
        return Deferred.fromCoroutine(self._ask(client, function))

    def admit_to_channel(self, client: Credentials) -> None:
        """Let ``client`` show the key of a channel.

        :raises Refusal: it may not even try, or shows a wrong token beside it
        """
        if self.asks:
            self._check_patience(client)
        if client.token is not None:
            self._check_token(client)

    def wrong_key(self, client: Credentials) -> None:
        """``client`` showed no key of any channel."""
        if self.asks:
            self._failures.failed(client.address, client.shown)

    def _check_patience(self, client: Credentials) -> None:
        wait = self._failures.wait_s(client.address)
        if wait > 0:
            self._failures.failed(client.address, None)
            text = f"too many failed attempts from this address, try again in {wait:.0f} s"
            raise Refusal(text, temporary=True)

    def _check_token(self, client: Credentials) -> None:
        if self._tokens is None:
            return
        token = client.token
        if token is None:
            text = "a token is needed: send 'Authorization: Bearer <token>', or ?token=<token>"
            self._refuse(client, None, text)
        holder = self._tokens.holder(token)
        if holder is None:
            self._refuse(client, token, "the token is not valid")
        if holder:
            log.debug("{peer} shows the token {name}", peer=client.address, name=holder)

    async def _ask(self, client: Credentials, function: str) -> Grant:
        """What the auth function grants."""
        asked = {
            "headers": client.headers,
            "query_params": client.query,
            "ip_address": client.address,
        }
        self._asking += 1
        try:
            answer = await self._engine.invoke(
                # Its spans would quote what strangers show, and be as many as they like.
                *(function, asked),
                traceparent=UNRECORDED,
                timeout_s=AUTH_LIMIT_S,
            )
        except InvocationError as error:
            if error.code in _NO_ANSWER:
                self._unavailable(client, function, str(error))
            said = client.mask(error.message)[:_SHOWN_CHARS]
            self._refuse(client, client.shown or "", said or "refused")
        finally:
            self._asking -= 1
        if answer is None:
            self._refuse(client, client.shown or "", "the auth function returned nothing")
        try:
            return self._grant(answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            self._unavailable(client, function, f"its result has the wrong shape: {error}")

    def _grant(self, said: Raw | None) -> Grant:
        hook = None if self.rbac is None else self.rbac.on_trigger_registration_function_id
        return Grant(
            *(self._engine.functions, self._exposed, said, self._deciding, self),
            hooked=hook is not None,
        )

    def _refuse(self, client: Credentials, credential: str | None, reason: str) -> NoReturn:
        """It is the client's fault, and counts."""
        if self._failures.failed(client.address, credential):
            log.warn("{peer}: not let in: {reason}", peer=client.address, reason=reason)
        raise Refusal(reason)

    def _unavailable(self, client: Credentials, function: str, why: str) -> NoReturn:
        """It is not the client's fault: nobody could say whether it may come in."""
        log.warn(
            "{peer}: not let in, auth function {function}: {reason}",
            peer=client.address,
            function=function,
            reason=client.mask(why)[:_SHOWN_CHARS],
        )
        raise Refusal("authentication is not possible at the moment", temporary=True)
