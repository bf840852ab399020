"""From a request to an answer: finds the handler, keeps what may not be from happening.

Errors have the one form of the interface, ``{"error": text}``.  Whatever changes something is
logged with the client's address, when it was done and when it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw
from twisted.logger import Logger

from iii.errors import Code, IIIError
from iii.modules.console.asking import Answer, Asked, HandlerError
from iii.modules.console.backend import Backend, NotConnected, TooLate
from iii.modules.console.calls import ROUTES
from iii.modules.console.routes import Found, Route, Table

log = Logger()

#: One answer; lists have limits and cursors.
MAX_ANSWER_BYTES = 5 * 1024 * 1024
#: Of the log line about a change.
_SHOWN_CHARS = 200
#: Fields of a body that say what is changed; everything else may be anybody's data.
_NAMING = (
    "function_id",
    "trigger_id",
    "scope",
    "key",
    "topic",
    "to",
    "action",
    "seconds",
    "method",
    "path",
)


class Api:
    """The interface over one engine.

    :param more: calls that need more than the engine
    :param read_only: refuse whatever changes something
    """

    def __init__(
        self, engine: Backend, more: Iterable[Route] = (), *, read_only: bool = False
    ) -> None:
        self._engine = engine
        self._read_only = read_only
        self._table = Table((*ROUTES, *more))

    async def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, client: str
    ) -> Answer:
        """Answer one request.

        :param path: below ``_console/``
        :param client: whose it is, for the log
        """
        found = self._table.find(method, path)
        if isinstance(found, list):
            if not found:
                return error(404, f"there is no {path} in this interface")
            allow = {"allow": ", ".join(found)}
            return error(405, f"{method} is not offered here", allow)
        if found.route.does and self._read_only:
            return error(403, "the console is read-only")
        asked = Asked(self._engine, found.params, query, body)
        answer = await _answered(asked, found)
        if found.route.does:
            _tell(found, asked, client, answer)
        return answer


def error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An error as the interface tells it."""
    return Answer(msgspec.json.encode({"error": text}), status=status, headers=headers)


async def _answered(asked: Asked, found: Found) -> Answer:
    try:
        return _written(await found.route.handler(asked))
    except HandlerError as wrong:
        return error(wrong.status, f"Handler error: {wrong}")
    except TooLate:
        return error(504, "Invocation timed out")
    except NotConnected:
        return error(503, "Bridge is not connected")
    except IIIError as failed:
        if failed.code == Code.INVOCATION_TIMEOUT:
            return error(504, "Invocation timed out")
        return error(502, f"Remote error ({failed.code}): {failed.message}")
    except Exception as failed:
        log.failure("the console's {path} failed", path=found.route.path)
        return error(500, f"Runtime error: {type(failed).__name__}")


def _written(result: object) -> Answer:
    if isinstance(result, Answer):
        answer = result
    elif isinstance(result, Raw):
        answer = Answer(bytes(result))
    else:
        try:
            answer = Answer(msgspec.json.encode(result))
        except (TypeError, ValueError, msgspec.MsgspecError) as failed:
            return error(500, f"Serialization error: {failed}")
    if len(answer.body) > MAX_ANSWER_BYTES:
        text = f"the answer has {len(answer.body)} bytes, at most {MAX_ANSWER_BYTES} are sent"
        return error(502, f"Remote error ({Code.PAYLOAD_TOO_LARGE}): {text}")
    return answer


def _tell(found: Found, asked: Asked, client: str, answer: Answer) -> None:
    about = dict(found.params)
    if answer.status != 400:  # else the body can't be read
        about |= {name: asked.fields[name] for name in _NAMING if name in asked.fields}
    shown = " ".join(f"{name}={value!r}"[:_SHOWN_CHARS] for name, value in about.items())
    log.info(
        "console: {client} {does}{about}: {outcome}",
        client=client,
        does=found.route.does,
        about=f" ({shown})" if shown else "",
        outcome="done" if answer.status < 400 else f"refused ({answer.status})",
    )
