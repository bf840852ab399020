"""Authentication (02 B2, B4)."""

from __future__ import annotations

import os
from unittest import TestCase

import msgspec

from iii.modules.http_functions.auth import AnyAuth, Hmac, Variables, sign
from iii.modules.http_functions.codes import Refused
from tests.support.probes import probe

ENVIRON = {"SECRET": "s", "TOKEN": "t", "KEY": "k", "USER": "u", "PASSWORD": "p:q"}


def headers(auth: dict[str, object], allowed: list[str] | None = None) -> dict[str, str]:
    """What a registration's ``auth`` sends."""
    return msgspec.convert(auth, AnyAuth).headers(Variables(ENVIRON, allowed), 0, b"null")


class Signature(TestCase):
    """``hmac``."""

    @probe("02.54")
    def test_the_vector(self) -> None:
        self.assertEqual(
            sign("top-secret", 1700000000, b'{"event":"created"}'),
            "sha256=841cf68c6269cc481938125cee9f81460251ba789a1cb8eb96595d7092bc5320",
        )


class Headers(TestCase):
    """What each kind sends."""

    def test_each(self) -> None:
        self.assertEqual(
            headers({"type": "bearer", "token_key": "TOKEN"}), {"authorization": "Bearer t"}
        )
        self.assertEqual(
            headers({"type": "api_key", "header": "X-Key", "value_key": "KEY"}), {"x-key": "k"}
        )
        self.assertEqual(
            headers({"type": "basic", "username_key": "USER", "password_key": "PASSWORD"}),
            {"authorization": "Basic dTpwOnE="},
        )
        self.assertEqual(
            headers({"type": "custom", "headers": {"X-A": "KEY", "X-B": "TOKEN"}}),
            {"x-a": "k", "x-b": "t"},
        )

    def test_a_variable_that_is_missing(self) -> None:
        for auth, text in (
            ({"type": "hmac", "secret_key": "NO"}, "secret_not_found: Secret not found: NO"),
            ({"type": "bearer", "token_key": "NO"}, "token_not_found: Token not found: NO"),
            (
                {"type": "api_key", "header": "a", "value_key": "NO"},
                "api_key_not_found: API key not found: NO",
            ),
            (
                {"type": "basic", "username_key": "USER", "password_key": "NO"},
                "missing_env_var: Environment variable not found: NO",
            ),
            (
                {"type": "custom", "headers": {"a": "NO"}},
                "missing_env_var: Environment variable not found: NO",
            ),
        ):
            with self.assertRaises(Refused) as caught:
                headers(auth)
            self.assertEqual(str(caught.exception), text)

    def test_a_variable_that_is_no_text_counts_as_missing(self) -> None:
        secret = Hmac("S")
        with self.assertRaisesRegex(Refused, "Secret not found: S"):
            secret.headers(Variables({"S": os.fsdecode(b"\xff")}, None), 0, b"")

    def test_an_operator_chooses_which_variables_may_be_named(self) -> None:
        bearer = {"type": "bearer", "token_key": "TOKEN"}
        self.assertEqual(headers(bearer, ["TOK*"]), {"authorization": "Bearer t"})
        for allowed in ([], ["SECRET"], ["token"]):
            with self.assertRaises(Refused):
                headers(bearer, allowed)
