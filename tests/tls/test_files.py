"""The files of ``tls:``: what is wrong with them is said before a port opens."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.internet.task import Clock as VirtualTime
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from iii.checking import Kind
from iii.config import check_modules, examine
from iii.engine.clock import Clock
from iii.errors import Code, ConfigError
from iii.tls import Tls, TlsError, load
from iii.tlscheck import check_certificates
from iii.tlsport import Certificates
from tests.support.certificates import Authority

DAY = timedelta(days=1)


class FilesCase(SynchronousTestCase):
    """An authority in a directory of its own."""

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory(prefix="iii-tls-")
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)
        self.authority = Authority(self.directory)
        self.now = datetime.now(UTC)

    def good(self) -> Tls:
        cert, key = self.authority.issue()
        return Tls(str(cert), str(key))

    def file(self, name: str, text: str) -> str:
        (self.directory / name).write_text(text)
        return str(self.directory / name)


class Loading(FilesCase):
    """``load``."""

    def test_good_files_tell_what_they_are(self) -> None:
        loaded = load(self.good(), self.now)
        self.assertEqual(loaded.names, ("localhost", "127.0.0.1", "::1"))
        self.assertEqual(loaded.days_left(self.now), 30)
        self.assertRegex(str(loaded), r"^certificate for localhost, .*, valid until 20\d\d-")

    def refused(self, tls: Tls, key: str, why: str) -> str:
        """It is refused for ``key`` with its absolute path and ``why``; the message."""
        with self.assertRaises(TlsError) as caught:
            load(tls, self.now)
        error = caught.exception
        self.assertIsInstance(error, ConfigError)
        self.assertEqual((error.key, error.code), (key, Code.CONFIG_ERROR))
        path = str(Path(getattr(tls, key)).absolute())
        self.assertTrue(error.message.startswith(f"tls.{key}: {path} "), error.message)
        self.assertIn(why, error.message)
        return error.message

    def test_missing(self) -> None:
        good = self.good()
        gone = str(self.directory / "gone")
        self.refused(Tls(gone, good.key), "cert", "No such file")
        self.refused(Tls(good.cert, gone), "key", "No such file")
        self.refused(Tls(good.cert, good.key, gone), "client_ca", "No such file")

    def test_a_relative_path_starts_at_the_working_directory(self) -> None:
        self.refused(Tls("no-such.pem", "x"), "cert", "No such file")

    def test_a_directory(self) -> None:
        self.refused(Tls(str(self.directory), "x"), "cert", "Is a directory")

    def test_something_else(self) -> None:
        good, text = self.good(), self.file("notes.txt", "hello")
        self.refused(Tls(text, good.key), "cert", "is not PEM")
        self.refused(Tls(good.cert, text), "key", "is not PEM")
        self.refused(Tls(good.cert, good.key, text), "client_ca", "is not PEM")

    def test_exchanged(self) -> None:
        good = self.good()
        self.refused(Tls(good.key, good.cert), "cert", "no certificate")
        self.refused(Tls(good.cert, good.cert), "key", "no private key")

    def test_damaged(self) -> None:
        good = self.good()
        half = self.file("half.pem", Path(good.cert).read_text()[:300])
        self.refused(Tls(half, good.key), "cert", "no certificate")
        secret = Path(good.key).read_text()[:120]
        message = self.refused(Tls(good.cert, self.file("half.key", secret)), "key", "no private")
        self.assertNotIn(secret.splitlines()[1], message)

    def test_a_key_of_another_certificate(self) -> None:
        good = self.good()
        _, other = self.authority.issue("other")
        message = self.refused(Tls(good.cert, str(other)), "key", "does not belong")
        self.assertIn(good.cert, message)

    def test_a_passphrase(self) -> None:
        cert, key = self.authority.issue(passphrase="open sesame")
        self.refused(Tls(str(cert), str(key)), "key", "passphrase")

    def test_expired(self) -> None:
        cert, key = self.authority.issue(begins=-9 * DAY, ends=-DAY)
        self.refused(Tls(str(cert), str(key)), "cert", "expired on 20")

    def test_not_yet_valid(self) -> None:
        cert, key = self.authority.issue(begins=DAY)
        self.refused(Tls(str(cert), str(key)), "cert", "is not valid before 20")


class Renewing(FilesCase):
    """``Certificates.renew``: good files are taken, bad ones change nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.tls = self.good()
        clock = Clock.virtual(VirtualTime(), epoch=self.now.timestamp())
        self.lines: list[str] = []

        def observer(event: dict[str, object]) -> None:
            self.lines.append(f"{event['log_level'].name}: {formatEvent(event)}")  # type: ignore[attr-defined]

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.certificates = Certificates(self.tls, clock, "the worker port")

    def test_a_new_certificate(self) -> None:
        before = self.certificates.context
        self.authority.issue()
        self.assertTrue(self.certificates.renew())
        self.assertIsNot(self.certificates.context, before)

    def test_bad_files_change_nothing_and_are_told(self) -> None:
        before = self.certificates.context
        Path(self.tls.key).write_text("oops")
        self.assertFalse(self.certificates.renew())
        self.assertIs(self.certificates.context, before)
        [line] = [line for line in self.lines if line.startswith("error")]
        self.assertIn("the worker port: the certificate was not renewed", line)
        self.assertIn(self.tls.key, line)

    def test_one_that_ends_soon_is_a_warning(self) -> None:
        self.authority.issue(ends=3.5 * DAY)
        self.assertTrue(self.certificates.renew())
        self.assertTrue(
            [line for line in self.lines if line.startswith("warn") and "3 day" in line]
        )


class Checking(FilesCase):
    """``iii check``."""

    def problems(self, text: str) -> list[str]:
        """What is said about a file with ``text``."""
        path = self.directory / "config.yaml"
        path.write_text(text)
        configuration = examine(path, environ={}, must_exist=True).configuration
        assert configuration is not None
        found = check_certificates(configuration, self.now)
        return [f"{problem.kind.value}: {problem}" for problem in found]

    def test_a_port_with_tls_is_shown(self) -> None:
        good = self.good()
        block = f"{{cert: {good.cert}, key: {good.key}}}"
        lines = self.problems(
            f"tls: {block}\n"
            "modules:\n"
            "  - class: modules::api::RestApiModule\n"
            f"    config: {{port: 3111, tls: {block}}}\n"
            "  - class: modules::stream::StreamModule\n"
            f"    config: {{tls: {block}}}\n"
            "  - class: modules::observability::OtelModule\n"
            f"    config: {{tls: {block}}}\n"
        )
        shown = [line.partition(": certificate")[0].rpartition(" ")[2] for line in lines]
        expected = ["wss://localhost:49134", "https://localhost:3111", "wss://localhost:3112"]
        self.assertEqual(shown, [*expected, "https://localhost:9464"])
        self.assertTrue(all(line.startswith("note: ") for line in lines))

    def test_a_bad_file_is_an_error_at_its_line(self) -> None:
        good = self.good()
        [line] = self.problems(
            "workers:\n"
            "  - name: iii-worker-manager\n"
            "    config:\n"
            "      tls:\n"
            f"        cert: {good.cert}\n"
            "        key: gone.key\n"
        )
        self.assertRegex(line, r"^error: .*config\.yaml:6: wss://localhost:49134: tls\.key: /")

    def test_clients_that_need_a_certificate_are_told(self) -> None:
        good = self.good()
        block = f"{{cert: {good.cert}, key: {good.key}, client_ca: {self.authority.path}}}"
        [line] = self.problems(f"tls: {block}\n")
        self.assertTrue(line.endswith("clients need a certificate of theirs"), line)

    def test_a_certificate_that_ends_soon_is_a_warning(self) -> None:
        cert, key = self.authority.issue(ends=3.5 * DAY)
        lines = self.problems(f"tls: {{cert: {cert}, key: {key}}}\n")
        self.assertRegex(lines[0], r"^warning: .*ends in 3 day")


class Keys(FilesCase):
    """What would leave a port plain, or open, is an error and not a warning."""

    def errors(self, text: str) -> list[str]:
        """The errors of a file with ``text``."""
        path = self.directory / "config.yaml"
        path.write_text(text)
        report = examine(path, environ={}, must_exist=True)
        entries = [] if report.configuration is None else report.configuration.entries
        problems = [*report.problems, *check_modules(entries)]
        return [str(problem) for problem in problems if problem.kind is Kind.ERROR]

    def test_misspelt(self) -> None:
        good = "{cert: a.pem, key: a.key}"
        for text, meant in {
            f"tsl: {good}": "'tls'",
            "tls: {cert: a.pem, key: a.key, client_cas: ca.pem}": "'client_ca'",
            f"workers: [{{name: iii-worker-manager, config: {{tlss: {good}}}}}]": "'tls'",
            f"workers: [{{name: iii-http, config: {{tlss: {good}}}}}]": "'tls'",
            f"workers: [{{name: iii-stream, config: {{tlss: {good}}}}}]": "'tls'",
            f"workers: [{{name: iii-observability, config: {{tlss: {good}}}}}]": "'tls'",
        }.items():
            [error] = self.errors(f"{text}\n")
            self.assertIn(f"did you mean {meant}?", error)

    def test_incomplete(self) -> None:
        [error] = self.errors("tls: {cert: a.pem}\n")
        self.assertIn("the key 'key' is missing", error)

    def test_without_effect(self) -> None:
        [error] = self.errors(
            "tls: {cert: a.pem, key: a.key}\nworkers: [{name: iii-worker-manager}]\n"
        )
        self.assertIn("tls: has no effect", error)

    def test_no_origin(self) -> None:
        [error] = self.errors("allowed_origins: [localhost]\n")
        self.assertIn("allowed_origins[0]: expected an origin such as https://", error)
