"""The settings of the cron module and of a ``cron`` trigger (docs/cron.md)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from iii.engine.bindings import Binding
from iii.engine.inputs import explain
from iii.errors import Code, RegistrationError
from iii.modules.cron.schedule import Schedule, parse_schedule

DAY_MS = 24 * 3600 * 1000


class CronConfig(Struct):
    """The ``config:`` block of ``iii-cron``."""

    #: True: only six and seven fields, as the original engine.
    strict_expressions: bool = False


class CronTrigger(Struct):
    """The ``config`` of a ``cron`` trigger."""

    expression: str
    #: An IANA name.  None: UTC.
    timezone: str | None = None
    #: Asked before each run; ``false`` skips it.
    condition_function_id: str | None = None
    #: The name SDKs up to 0.8 use.
    condition_path: str | None = field(name="_condition_path", default=None)
    #: What happens to runs that were missed because the engine or the worker was away.
    catch_up: Literal["none", "one"] | None = "none"
    #: What happens to a run that is due while the one before it goes on.
    overlap: Literal["skip", "allow"] | None = "skip"
    #: Each run starts up to this much later, at random.
    jitter_ms: Annotated[int, Meta(ge=0, le=DAY_MS)] | None = None
    #: A run that takes longer is given up: nobody waits for it any more.
    max_run_ms: Annotated[int, Meta(ge=1)] | None = None

    @property
    def condition(self) -> str | None:
        """The condition function, by whichever name."""
        return self.condition_function_id or self.condition_path or None


_DECODER = msgspec.json.Decoder(CronTrigger)


def read_trigger(binding: Binding, *, strict: bool) -> tuple[CronTrigger, Schedule]:
    """The configuration of a trigger, and its schedule.

    :param strict: refuse expressions of five fields
    :raises RegistrationError: something in it is wrong
    """
    try:
        trigger = _DECODER.decode(binding.config)
    except msgspec.MsgspecError as error:
        text = str(error)
        if "`expression`" in text or "$.expression" in text or "`$." not in text:
            raise _refused("Cron expression is required") from error
        raise _refused(f"Failed to parse trigger config: {explain(error)}") from error
    if not trigger.expression:
        raise _refused("Cron expression is required")
    return trigger, parse_schedule(trigger.expression, trigger.timezone or "UTC", strict=strict)


def _refused(text: str) -> RegistrationError:
    return RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, text)
