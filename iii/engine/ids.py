"""Identifiers as UUID version 4 text, made from random bytes fetched in bulk.

``uuid.uuid4()`` costs a system call and an object each; a request needs up to
five ids.  The bytes still come from ``os.urandom``, so the ids that serve as
keys (channels, reattach tokens) can't be guessed.  ``next_id`` is for ids that are
no secret: a random prefix and a number.
"""

from __future__ import annotations

import itertools
import os
import re

_POOL_IDS = 1_024
_UUID = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
_VERSION_4 = bytes((byte & 0x0F) | 0x40 for byte in range(256))
_VARIANT = bytes((byte & 0x3F) | 0x80 for byte in range(256))
# Canonical spelling only: an executor may answer under a normalised id.
is_uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch

_PREFIX_MASK = 0xFFFFF  # a new random prefix every million ids
_NUMBER_MASK = 0xFFFFFFFFFFFF

_pool: list[str] = []
_prefix: list[str] = []
_numbers = itertools.count(1)


def texts(template: str, random: bytes | bytearray) -> list[str]:
    """As many texts like ``template`` as the random bytes are good for.

    :param template: its every ``x`` becomes a hexadecimal digit; it has no spaces
    :param random: half as many bytes for each text
    """
    places = [place for place, char in enumerate(template) if char == "x"]
    digits = random.hex().encode()
    width = len(template) + 1
    found = bytearray(f"{template} ".encode() * (len(digits) // len(places)))
    # Digit by digit for all of them at once: half the price of cutting each out.
    for number, place in enumerate(places):
        found[place::width] = digits[number :: len(places)]
    return found.decode().split()


def _refill() -> None:
    raw = bytearray(os.urandom(16 * _POOL_IDS))
    raw[6::16] = raw[6::16].translate(_VERSION_4)
    raw[8::16] = raw[8::16].translate(_VARIANT)
    _pool.extend(texts(_UUID, raw))


def uuid4_text() -> str:
    """A fresh random UUID, hyphenated lower case."""
    if not _pool:
        _refill()
    return _pool.pop()


def next_id() -> str:
    """A fresh UUID that is unique but not secret: half the price of a random one."""
    number = next(_numbers)
    if not number & _PREFIX_MASK or not _prefix:
        _prefix[:] = [uuid4_text()[:24]]
    return f"{_prefix[0]}{number & _NUMBER_MASK:012x}"


def _forget_randomness() -> None:
    """A forked child must not hand out its parent's ids."""
    _pool.clear()
    _prefix.clear()


os.register_at_fork(after_in_child=_forget_randomness)
