"""One call of the console's interface: what was asked, and what may be answered.

A handler gets an ``Asked`` and returns JSON: ``Raw`` is passed on as it is, anything else is
written, an ``Answer`` says more.  What it raises becomes the error that the interface
prescribes (``iii.modules.console.api``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from iii.modules.console.backend import ACT_S, ASK_S, Backend

NULL = Raw(b"null")
TRUE = ("1", "true", "yes")


class HandlerError(Exception):
    """What was asked can't be done as it was asked.

    :ivar status: the answer's
    """

    def __init__(self, text: str, status: int = 500) -> None:
        super().__init__(text)
        self.status = status


class Answer:
    """An answer that is not simply JSON with status 200.

    :ivar headers: further ones
    """

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        body: bytes,
        content_type: str = "application/json",
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body
        self.content_type = content_type
        self.status = status
        self.headers = dict(headers or {})


class Asked:
    """A request to the interface.

    :ivar params: the path's parameters, decoded
    :ivar query: name → value, the last of several
    :ivar engine: what is asked about
    """

    def __init__(
        self,
        engine: Backend,
        params: dict[str, str],
        query: Mapping[str, str],
        body: bytes,
    ) -> None:
        self.engine = engine
        self.params = params
        self.query = query
        self._body = body
        self._fields: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The body as an object; an empty body is an empty object.

        :raises HandlerError: it is something else
        """
        if self._fields is None:
            try:
                read = msgspec.json.decode(self._body) if self._body.strip() else {}
            except (msgspec.DecodeError, RecursionError) as error:
                raise HandlerError(f"the request body is not JSON: {error}", 400) from error
            if read is None:
                read = {}
            if not isinstance(read, dict):
                raise HandlerError("the request body is not an object", 400)
            self._fields = read
        return self._fields

    def given(self, name: str, where: str = "request body") -> Any:
        """A field of the body that has to be there; it may be null.

        :raises HandlerError: it isn't there
        """
        if name not in self.fields:
            raise HandlerError(f"Missing {name} in {where}")
        return self.fields[name]

    def text(self, name: str, where: str = "request") -> str:
        """The same for a text that is not empty."""
        value = self.given(name, where)
        if not isinstance(value, str) or not value:
            raise HandlerError(f"Missing {name} in {where}")
        return value

    def flag(self, name: str) -> bool:
        """Whether the query says so."""
        return self.query.get(name, "").lower() in TRUE

    def number(self, name: str, absent: int | None = None) -> int | None:
        """A number of the query.

        :raises HandlerError: it is none
        """
        text = self.query.get(name)
        if text is None or text == "":
            return absent
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise HandlerError(f"{name} is not a number", 400)
        return int(text)

    async def ask(self, function_id: str, data: Any = None, timeout_s: float = ASK_S) -> Raw:
        """What a function of the engine says; looked up without being seen."""
        found = await self.engine.ask(function_id, data, timeout_s)
        return NULL if found is None else found

    async def read(self, function_id: str, data: Any = None, timeout_s: float = ASK_S) -> Any:
        """The same, decoded."""
        return msgspec.json.decode(await self.ask(function_id, data, timeout_s))

    async def act(self, function_id: str, data: Any = None, timeout_s: float = ACT_S) -> Raw:
        """Have a function do something."""
        done = await self.engine.act(function_id, data, timeout_s)
        return NULL if done is None else done


Handler = Callable[[Asked], Awaitable[Any]]
