"""What may go wrong with RabbitMQ, and the codes of it."""

from __future__ import annotations

from iii.errors import Code, IIIError

NOT_FOUND, PRECONDITION_FAILED, ACCESS_REFUSED, RESOURCE_LOCKED = 404, 406, 403, 405


class BrokerError(IIIError):
    """RabbitMQ refused something; ``message`` has its words.

    :ivar reply: its reply code, 0 when there is none
    """

    def __init__(self, message: str, code: str = Code.RABBITMQ_ERROR, reply: int = 0) -> None:
        super().__init__(code, message)
        self.reply = reply


class BrokerAway(BrokerError):
    """RabbitMQ is not there.  Whether it has kept a message under way, nobody knows."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.RABBITMQ_UNAVAILABLE)


class Unroutable(BrokerError):
    """A published message was for no queue; it is not kept."""
