"""What nobody gets to see of calls."""

from __future__ import annotations

from msgspec import Raw, json
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.redacting import REDACTED, Redactor


class Redacting(SynchronousTestCase):
    """``Redactor``."""

    def shown(self, value: bytes, *keys: str) -> object:
        """``value`` as it is shown."""
        return json.decode(Redactor(keys).redacted(Raw(value)))

    def test_whole_keys_in_any_case_at_any_depth(self) -> None:
        value = b'{"PassWord": {"a": 1}, "passwords": 2, "list": [{"password": 3}]}'
        expected = {"PassWord": REDACTED, "passwords": 2, "list": [{"password": REDACTED}]}
        self.assertEqual(self.shown(value, "password"), expected)

    def test_what_is_clean_is_not_read(self) -> None:
        value = Raw(b'{"a":  1}')
        self.assertIs(Redactor(["password"]).redacted(value), value)

    def test_a_key_that_is_spelled_with_escapes(self) -> None:
        value = b'{"p\\u0061ssword": 1}'
        self.assertEqual(self.shown(value, "password"), {"password": REDACTED})

    def test_keys_of_channels_always(self) -> None:
        self.assertEqual(self.shown(b'{"access_key": "k"}'), {"access_key": REDACTED})

    def test_what_cannot_be_read_or_is_too_deep(self) -> None:
        self.assertEqual(self.shown(b'{"password": ', "password"), REDACTED)
        deep = b'{"a":' * 150 + b'{"password": 1}' + b"}" * 150
        self.assertNotIn("password", str(self.shown(deep, "password")))
