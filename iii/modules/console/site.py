"""What is at which path, and what is checked before anybody gets it.

The order: is this host ours, may this page send, was the token shown; then the path.
Health checks and the files of the pages need no token, for there is nothing in them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from html import escape
from math import ceil
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from iii.modules.console.api import Api, error
from iii.modules.console.asking import Answer
from iii.modules.console.entrance import Entrance, Refusal
from iii.modules.console.facts import Facts
from iii.modules.console.files import INDEX, File, Files, is_current
from iii.modules.console.visit import MAX_BODY_BYTES, ConsoleRequest, Visit

log = Logger()

HTML = "text/html; charset=utf-8"
API = ("_console/", "api/engine/_console/")
LOGIN, LOGOUT = "login", "logout"

Upgrade = Callable[[Visit], None]
"""Takes over a request that becomes a WebSocket, or answers it."""


class Root(Resource):
    """Everything on the console's port.

    :param base: the path it is under, with a slash at both ends
    :param upgrades: path below ``base`` → who serves WebSockets there
    """

    isLeaf = True

    def __init__(
        self,
        api: Api,
        facts: Facts,
        entrance: Entrance,
        files: Files,
        upgrades: Mapping[str, Upgrade],
        base: str = "/",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._api = api
        self._facts = facts
        self._entrance = entrance
        self._files = files
        self._upgrades = upgrades
        self._base = base

    def render(self, request: Request) -> int:
        """Twisted: answer."""
        assert isinstance(request, ConsoleRequest)
        visit = Visit(request)
        self._serve(visit)
        return NOT_DONE_YET

    # Checks ----------------------------------------------------------------------------

    def _serve(self, visit: Visit) -> None:
        path = visit.path.removeprefix("/")
        if path in ("healthz", "readyz") and visit.reads:
            asked = self._facts.alive() if path == "healthz" else self._facts.readiness()
            self._later(visit, asked)
            return
        refusal = self._entrance.check_host(visit.headers)
        if refusal is None and (not visit.reads or visit.upgrades):
            refusal = self._entrance.check_page(visit.headers)
        if refusal is not None:
            visit.send(_refused(refusal))
        elif visit.request.too_large:
            visit.send(error(413, f"a request has at most {MAX_BODY_BYTES} bytes"))
        elif visit.path.startswith(self._base):
            self._find(visit, visit.path[len(self._base) :])
        elif f"{visit.path}/" == self._base:
            visit.send(Answer(b"", HTML, status=308, headers={"location": self._base}))
        else:
            visit.send(error(404, f"the console is below {self._base}"))

    def _find(self, visit: Visit, path: str) -> None:
        if path in (LOGIN, LOGOUT):
            self._session(visit, path)
            return
        refusal = self._entrance.check_token(visit.headers, visit.client)
        prefix = next((prefix for prefix in API if path.startswith(prefix)), None)
        if prefix is not None or path == "api/config" or path in self._upgrades:
            if refusal is not None:
                visit.send(_refused(refusal))
            elif prefix is not None:
                self._call(visit, path.removeprefix(prefix))
            elif path == "api/config":
                self._config(visit)
            else:
                self._upgrade(visit, self._upgrades[path])
        else:
            self._file(visit, path, refusal)

    # Paths -----------------------------------------------------------------------------

    def _call(self, visit: Visit, path: str) -> None:
        asked = self._api.answer(visit.method, path, visit.query, visit.body(), visit.client)
        self._later(visit, asked)

    def _config(self, visit: Visit) -> None:
        if visit.reads:
            self._later(visit, self._facts.config())
        else:
            visit.send(error(405, "this can only be read", {"allow": "GET, HEAD"}))

    def _upgrade(self, visit: Visit, upgrade: Upgrade) -> None:
        if visit.upgrades and visit.method == "GET":
            upgrade(visit)
        else:
            visit.send(error(426, "this is for WebSockets", {"upgrade": "websocket"}))

    def _file(self, visit: Visit, path: str, refusal: Refusal | None) -> None:
        if not visit.reads:
            visit.send(error(405, "this can only be read", {"allow": "GET, HEAD"}))
            return
        file = self._files.find(unquote(path))
        if file is None:
            visit.send(Answer(b"there is no such file\n", "text/plain; charset=utf-8", status=404))
        elif refusal is not None and file.name == INDEX:
            visit.send(self._login_page(refusal, visit.path))
        else:
            visit.send(_file_answer(file, visit))

    def _later(self, visit: Visit, asked: Coroutine[Any, Any, Answer]) -> None:
        answering: Deferred[Any] = Deferred.fromCoroutine(asked)
        answering.addCallbacks(visit.send, self._failed, errbackArgs=(visit,))
        answering.addErrback(lambda failure: log.failure("an answer is lost", failure))

    def _failed(self, failure: Failure, visit: Visit) -> None:
        log.failure("the console's {path} failed", failure, path=visit.path)
        visit.send(error(500, "Runtime error: the console failed"))

    # Sessions --------------------------------------------------------------------------

    def _session(self, visit: Visit, path: str) -> None:
        if path == LOGOUT and visit.method == "POST":
            cookie = {"set-cookie": self._entrance.no_session(), "location": self._base}
            visit.send(Answer(b"", HTML, status=303, headers=cookie))
        elif visit.method == "POST":
            self._log_in(visit)
        elif path == LOGIN and visit.reads:
            visit.send(self._login_page(None, self._base))
        else:
            visit.send(error(405, "this is for POST", {"allow": "POST"}))

    def _log_in(self, visit: Visit) -> None:
        is_form = visit.headers.get("content-type", "").startswith("application/x-www-form")
        token, following = _shown(visit.body(), is_form=is_form)
        refusal = self._entrance.check_credential(token, visit.client)
        if refusal is not None:
            if not refusal.wait_s:
                log.warn("console: {client}: {why}", client=visit.client, why=refusal.text)
            page = self._login_page(refusal, following, tried=True)
            visit.send(page if is_form else _refused(refusal))
            return
        cookie = {"set-cookie": self._entrance.session()} if self._entrance.asks else {}
        if is_form:
            goes_to = {"location": _inside(following, self._base)}
            visit.send(Answer(b"", HTML, status=303, headers=cookie | goes_to))
        else:
            visit.send(Answer(b'{"ok":true}', headers=cookie))

    def _login_page(
        self, refusal: Refusal | None, following: str, *, tried: bool = False
    ) -> Answer:
        """A form for the token; it needs no script.

        Its referrer policy is its own: without a referrer the browser would say of the form
        that it comes from nowhere (``Origin: null``), and that is refused.
        """
        status = 200 if refusal is None else refusal.status
        why = escape(refusal.text) if tried and refusal is not None else ""
        wrong = f'<p class="error" role="alert">{why}</p>' if why else ""
        base = escape(self._base, quote=True)
        goes_to = escape(_inside(following, self._base), quote=True)
        text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>iii console: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="same-origin">
<link rel="stylesheet" href="{base}plain.css">
</head>
<body>
<main>
<h1>iii console</h1>
{wrong}
<form method="post" action="{base}login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input name="next" type="hidden" value="{goes_to}">
<button>Log in</button>
</form>
</main>
</body>
</html>
"""
        return Answer(text.encode(), HTML, status=status, headers=_wait(refusal))


class _Login(msgspec.Struct):
    token: str


def _shown(body: bytes, *, is_form: bool) -> tuple[str, str]:
    """The token that was sent, and the page that was wanted."""
    if is_form:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
        return fields.get("token", [""])[-1], fields.get("next", [""])[-1]
    try:
        return msgspec.json.decode(body, type=_Login).token, ""
    except msgspec.MsgspecError:
        return "", ""


def _inside(path: str, base: str) -> str:
    """``path`` when it is one of ours, so nobody is led elsewhere."""
    plain = all(32 < ord(letter) < 127 and letter != "\\" for letter in path)
    return path if plain and path.startswith(base) and not path.startswith("//") else base


def _refused(refusal: Refusal) -> Answer:
    headers = _wait(refusal)
    if refusal.status == 401:
        headers["www-authenticate"] = 'Bearer realm="iii console"'
    return error(refusal.status, refusal.text, headers)


def _wait(refusal: Refusal | None) -> dict[str, str]:
    return {"retry-after": str(ceil(refusal.wait_s))} if refusal and refusal.wait_s else {}


def _file_answer(file: File, visit: Visit) -> Answer:
    variant = file.variant(visit.headers.get("accept-encoding", ""))
    headers = {"cache-control": file.cache_control, "etag": variant.etag}
    if len(file.variants) > 1:
        headers["vary"] = "Accept-Encoding"
    if is_current(variant.etag, visit.headers.get("if-none-match", "")):
        return Answer(b"", file.content_type, status=304, headers=headers)
    if variant.encoding:
        headers["content-encoding"] = variant.encoding
    return Answer(variant.body, file.content_type, headers=headers)
