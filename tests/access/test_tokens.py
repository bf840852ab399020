"""Static worker tokens (decision 26)."""

from __future__ import annotations

import secrets

from twisted.internet.task import Clock as VirtualTime
from twisted.trial.unittest import SynchronousTestCase

from iii.access.credentials import Credentials
from iii.access.failures import MAX_ADDRESSES, FailedAttempts, network_of
from iii.access.proxies import Proxies
from iii.access.tokens import Tokens
from iii.engine.clock import Clock
from tests.access.cases import LATER, OTHER, REFUSED, TOKEN, AccessCase

BEARER = f"Bearer {TOKEN}"


class TokenCase(AccessCase):
    """A port that two tokens open."""

    auth = {"tokens": [TOKEN, {"name": "ci", "token": OTHER}]}


class Admission(TokenCase):
    """Decision 26: ``Authorization: Bearer``, checked before anything else."""

    async def test_a_token_opens_the_port(self) -> None:
        """Either of them, as a header or, for browsers, in the query."""
        for path, header in (
            ("/", BEARER),
            ("/", f"bearer  {TOKEN}"),
            ("/", f"Bearer {OTHER}"),
            (f"/?token={TOKEN}", None),
            ("/?token=another%2Dtoken-nobody-would-guess&x=1", None),
        ):
            with self.subTest(path=path, header=header):
                worker = await self.enter(path, authorization=header)
                listed = await worker.call("engine::workers::list", {})
                self.assertIn(worker.id, [row["id"] for row in listed["workers"]])

    async def test_without_a_token_nobody_gets_in(self) -> None:
        """It is told what is missing; 1008, so that every SDK tries again (decision 31)."""
        for header in (None, "", "Bearer", "Basic YTpi"):
            error = await self.refused(authorization=header)
            self.assertEqual((error["code"], error["closed"]), ("AUTH_ERROR", REFUSED))
            self.assertIn("Authorization: Bearer <token>", error["message"])
        self.assertEqual(self.engine.workers.connections(), [])

    async def test_a_wrong_token_is_refused(self) -> None:
        """A part of one, more than one, another spelling; the header wins over the query."""
        for path, token in (
            ("/", TOKEN[:-1]),
            ("/", f"{TOKEN}x"),
            ("/", TOKEN.upper()),
            (f"/?token={TOKEN}", "wrong"),
            ("/?token=wrong", None),
        ):
            header = None if token is None else f"Bearer {token}"
            error = await self.refused(path, authorization=header)
            self.assertEqual((error["code"], error["closed"]), ("AUTH_ERROR", REFUSED))
            self.assertEqual(error["message"], "the token is not valid")

    async def test_what_a_refused_client_sends_is_nobodys(self) -> None:
        """Messages behind the upgrade request are not handled."""
        socket = await self.knock()
        socket.text('{"type":"registerfunction","id":"stolen"}')
        await self.turned_away(socket)
        await self.assert_lost(socket)
        self.assertIsNone(self.engine.functions.get("stolen"))

    async def test_telemetry_needs_a_token_too(self) -> None:
        """05: ``/otel`` is behind the same gate."""
        error = await self.refused("/otel")
        self.assertEqual((error["code"], error["closed"]), ("AUTH_ERROR", REFUSED))
        otel = await self.knock("/otel", authorization=BEARER)
        await otel.until(lambda: otel.status == 101, "upgrade")
        otel.binary(b"OTLP{}")
        await self.eventually(lambda: self.engine.telemetry_dropped == 1)

    async def test_a_session_with_a_token_is_a_plain_one(self) -> None:
        """Without rbac and middleware a frame costs no more than on an open port."""
        guarded, plain = await self.enter(authorization=BEARER), await self.worker()
        kinds = {
            type(connection._role)
            for listener in (self.gated, self.listener)
            for connection in listener.factory.connections
        }
        self.assertEqual([kind.__name__ for kind in kinds], ["Session"])
        await self.quiet(guarded, plain)


class Channels(TokenCase):
    """01 §9, §17.9: a channel's key is what opens it; published SDKs send nothing else."""

    async def opened(self) -> str:
        """The path of a fresh channel's writing end."""
        worker = await self.enter(authorization=BEARER)
        reference = (await worker.call("engine::channels::create", {}))["writer"]
        id, key = reference["channel_id"], reference["access_key"]
        return f"/ws/channels/{id}?key={key}&dir=write"

    async def test_the_key_is_enough(self) -> None:
        """SDKs before 0.24.6 send no header with it."""
        socket = await self.knock(await self.opened())
        await socket.until(lambda: socket.status == 101, "upgrade")

    async def test_a_token_beside_it_must_be_right(self) -> None:
        """SDKs from 0.24.6 send it."""
        path = await self.opened()
        wrong = await self.knock(path, authorization="Bearer wrong")
        self.assertEqual(await wrong.answer(), (403, "the token is not valid"))
        right = await self.knock(path, authorization=BEARER)
        await right.until(lambda: right.status == 101, "upgrade")

    async def test_keys_can_not_be_guessed_for_ever(self) -> None:
        """A wrong key is a failed attempt like a wrong token."""
        for number in range(self.per_minute):
            socket = await self.knock(f"/ws/channels/x?key={number}&dir=read")
            self.assertEqual(await socket.answer(), (404, "Channel not found"))
        socket = await self.knock(await self.path_of_a_channel())
        status, text = await socket.answer()
        self.assertEqual(status, 429)
        self.assertIn("too many failed attempts", text)

    async def path_of_a_channel(self) -> str:
        worker = await self.worker()
        reference = (await worker.call("engine::channels::create", {}))["reader"]
        id, key = reference["channel_id"], reference["access_key"]
        return f"/ws/channels/{id}?key={key}&dir=read"


class TimelessTokenCase(TokenCase):
    """Time is in the test's hand."""

    def make_clock(self) -> Clock:
        """EngineCase: a clock that only the test moves."""
        self.time = VirtualTime()
        return Clock.virtual(self.time)

    async def refused(self, *args: object, **kwargs: object) -> dict[str, object]:
        """AccessCase: what is due at once is done."""
        answer = super().refused(*args, **kwargs)  # type: ignore[arg-type]
        self.time.advance(0)
        return await answer

    async def tearDown(self) -> None:
        for socket in self._sockets:
            socket.drop()
        for socket in self._sockets:
            await socket.ended()
        self.time.advance(5)
        await super().tearDown()


class Guessing(TimelessTokenCase):
    """Issue, part 6: failed attempts are limited by address."""

    async def test_who_guesses_has_to_wait(self) -> None:
        """Not even the right token is taken then; after the minute it is."""
        for number in range(self.per_minute):
            error = await self.refused(authorization=f"Bearer guess-{number}")
            self.assertEqual(error["closed"], REFUSED)
        error = await self.refused(authorization=BEARER)
        self.assertEqual((error["code"], error["closed"]), ("AUTH_ERROR", LATER))
        self.assertEqual(
            error["message"], "too many failed attempts from this address, try again in 60 s"
        )
        self.time.advance(60)
        await self.enter(authorization=BEARER)

    async def test_one_wrong_token_again_and_again_is_one_guess(self) -> None:
        """A worker with an old token keeps nobody else of its host out."""
        for _ in range(3 * self.per_minute):
            error = await self.refused(authorization="Bearer the-old-one")
            self.assertEqual(error["closed"], REFUSED)
        await self.enter(authorization=BEARER)
        self.assertEqual(self.log_text().count("not let in"), 1)

    async def test_a_client_without_a_token_guesses_nothing(self) -> None:
        """Telemetry sockets of old SDKs send none."""
        for _ in range(2 * self.per_minute):
            await self.refused("/otel")
        await self.enter(authorization=BEARER)


class Unlimited(TimelessTokenCase):
    """``auth_failures_per_minute: 0``."""

    per_minute = 0

    async def test_who_guesses_has_to_wait(self) -> None:
        """Nobody has."""
        for number in range(20):
            await self.refused(authorization=f"Bearer guess-{number}")
        await self.enter(authorization=BEARER)


class Secrets(TokenCase):
    """Issue, part 6: nothing secret in logs and errors."""

    async def test_what_a_client_shows_is_in_no_log_line(self) -> None:
        """Neither right nor wrong tokens, wherever they stood."""
        wrong = secrets.token_hex(16)
        for path, header in (
            ("/", f"Bearer {wrong}"),
            (f"/?token={wrong}", None),
            (f"/otel?token={wrong}", None),
            (f"/?token={wrong}&key={TOKEN}", "Basic " + TOKEN),
        ):
            error = await self.refused(path, authorization=header)
            self.assertNotIn(wrong, error["message"])
        await self.enter(authorization=BEARER)
        socket = await self.knock(f"/nothing?token={TOKEN}", authorization=BEARER)
        await socket.answer()
        said = "\n".join([self.log_text(), *map(repr, self.events)])
        self.assertIn("not let in", said)
        for secret in (wrong, TOKEN, OTHER):
            self.assertNotIn(secret, said)


class OwnTokens(AccessCase):
    """A listener's own tokens replace those of the top level."""

    auth = {"tokens": [TOKEN]}
    own_auth = {"tokens": [OTHER]}

    async def test_only_its_own_open_it(self) -> None:
        """So each port can have its own."""
        await self.enter(authorization=f"Bearer {OTHER}")
        error = await self.refused(authorization=f"Bearer {TOKEN}")
        self.assertEqual(error["message"], "the token is not valid")


class Table(SynchronousTestCase):
    """The table of failed attempts."""

    def setUp(self) -> None:
        self.time = VirtualTime()
        self.failures = FailedAttempts(Clock.virtual(self.time), 3)

    def guess(self, address: str, count: int) -> None:
        for number in range(count):
            self.failures.failed(address, f"{number}")

    def test_different_guesses_count(self) -> None:
        """And the wait gets shorter as time goes by."""
        self.guess("192.0.2.1", 2)
        self.assertEqual(self.failures.wait_s("192.0.2.1"), 0)
        self.time.advance(20)
        self.guess("192.0.2.1", 3)
        self.assertEqual(self.failures.wait_s("192.0.2.1"), 40)
        self.assertEqual(self.failures.wait_s("192.0.2.2"), 0)
        self.time.advance(40)
        self.assertEqual(self.failures.wait_s("192.0.2.1"), 0)
        self.assertEqual(len(self.failures), 0)

    def test_a_flood_counts(self) -> None:
        """Of the same credential, or of none."""
        for credential in ("same", None):
            address = f"192.0.2.{credential}"
            for _ in range(29):
                self.failures.failed(address, credential)
            self.assertEqual(self.failures.wait_s(address), 0)
            self.failures.failed(address, credential)
            self.assertEqual(self.failures.wait_s(address), 60)

    def test_the_table_is_bounded(self) -> None:
        """The address that has been in it longest goes."""
        self.guess("first", 3)
        for number in range(MAX_ADDRESSES):
            self.failures.failed(f"address {number}", "x")
        self.assertEqual(len(self.failures), MAX_ADDRESSES)
        self.assertEqual(self.failures.wait_s("first"), 0)

    def test_what_counts_as_one_peer(self) -> None:
        """A /64 of IPv6; an IPv4 address in either spelling."""
        self.assertEqual(network_of("2001:db8::1"), network_of("2001:db8::ffff:1"))
        self.assertNotEqual(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"))
        self.assertEqual(network_of("::ffff:192.0.2.1"), network_of("192.0.2.1"))
        self.assertEqual(network_of("fe80::1%eth0"), "fe80::/64")
        self.assertEqual(network_of("unknown"), "unknown")


class BehindProxies(TokenCase):
    """``trusted_proxies``: who guesses keeps only himself out."""

    trusted = ("127.0.0.0/8",)

    async def test_attempts_are_the_clients(self) -> None:
        """Not the proxy's."""
        for number in range(self.per_minute):
            await self.refused(authorization=f"Bearer {number}", x_forwarded_for="192.0.2.1")
        error = await self.refused(authorization=BEARER, x_forwarded_for="192.0.2.1")
        self.assertEqual(error["closed"], LATER)
        await self.enter(authorization=BEARER, x_forwarded_for="192.0.2.2")
        await self.enter(authorization=BEARER, x_forwarded_for="192.0.2.1, 192.0.2.3")


class Parts(SynchronousTestCase):
    """Tokens and credentials by themselves."""

    def test_the_holder_of_a_token(self) -> None:
        """Its name; the empty text for one without; None for none."""
        tokens = Tokens([(None, "one"), ("ci", "two")])
        self.assertEqual([tokens.holder(each) for each in ("one", "two", "")], ["", "ci", None])

    def test_only_trusted_proxies_are_believed(self) -> None:
        """The nearest hop that is not one of them is the client."""
        proxies = Proxies(["10.0.0.0/8", "2001:db8::1"])
        for peer, forwarded, client in (
            ("192.0.2.9", "1.2.3.4", "192.0.2.9"),
            ("10.0.0.1", None, "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
            ("2001:db8::1", "2001:db8::5", "2001:db8::5"),
            ("10.0.0.1", "unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
            ("unknown", "1.2.3.4", "unknown"),
        ):
            self.assertEqual(proxies.client(peer, forwarded), client, (peer, forwarded))
        self.assertEqual(Proxies().client("10.0.0.1", "1.2.3.4"), "10.0.0.1")

    def test_what_was_shown_is_masked(self) -> None:
        """Also what a text quotes of it in part."""
        head = b"GET / HTTP/1.1\r\nAuthorization: Bearer s3cr3t-1\r\nCookie: sid=s3cr3t-2; a=b\r\n"
        client = Credentials(head, "/?token=s3cr3t%2D3&short=abc", "192.0.2.1")
        text = "bad: s3cr3t-1, Bearer s3cr3t-1, s3cr3t-2, s3cr3t-3, s3cr3t%2D3, abc"
        masked = client.mask(text)
        self.assertNotIn("s3cr3t", masked)
        self.assertTrue(masked.endswith(", abc"), masked)
