"""The files of the pages: which there are, how they are cached, how they are sent."""

from __future__ import annotations

import gzip
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from iii.modules.console import server
from iii.modules.console.files import FOR_EVER, STATIC, Files, is_current
from iii.modules.console.routes import Route, Table
from tests.console.cases import TOKEN, ConsoleCase
from tests.http.support import Truncated
from tests.support.probes import probe

SCRIPT = b"console.log(1)\n"


class Folder(SynchronousTestCase):
    """``Files``."""

    def setUp(self) -> None:
        folder = self.folder = Path(self.mktemp())
        (folder / "assets").mkdir(parents=True)
        (folder / "index.html").write_bytes(b'<base href="/"><p>pages')
        (folder / "index.html.gz").write_bytes(b"other")
        (folder / "assets" / "main-Bx3k9_ab.js").write_bytes(SCRIPT)
        (folder / "assets" / "main-Bx3k9_ab.js.gz").write_bytes(gzip.compress(SCRIPT))
        (folder / "logo.svg").write_bytes(b"<svg/>")
        (folder.parent / "secret.txt").write_text("secret")
        self.files = Files(folder)

    def name(self, path: str) -> str | None:
        found = self.files.find(path)
        return None if found is None else found.name

    def test_pages_are_the_index(self) -> None:
        """Whatever is in the ids of functions and topics."""
        for path in ("", "functions", "functions/math.add", "queues/a/b", "x.y.z", "flows/f.v2"):
            self.assertEqual(self.name(path), "index.html", path)

    def test_absent_files_are_absent(self) -> None:
        for path in ("x.js", "assets/x", "assets/main-old00000.js", "a/b.css", "main.js.map"):
            self.assertIsNone(self.name(path), path)

    def test_no_path_leads_out(self) -> None:
        for path in ("../secret.txt", "/etc/passwd", "assets/../../secret.txt", "..", "."):
            self.assertIn(self.name(path), (None, "index.html"), path)

    def test_what_has_a_hash_is_kept_for_ever(self) -> None:
        script, logo = self.files.find("assets/main-Bx3k9_ab.js"), self.files.find("logo.svg")
        assert script is not None and logo is not None
        self.assertEqual((script.cache_control, logo.cache_control), (FOR_EVER, "no-cache"))
        self.assertEqual(script.content_type, "text/javascript; charset=utf-8")

    def test_what_was_compressed_is_sent_to_who_takes_it(self) -> None:
        script = self.files.find("assets/main-Bx3k9_ab.js")
        assert script is not None
        for accepted, encoding in (("gzip, br", "gzip"), ("", ""), ("gzip;q=0", ""), ("br", "")):
            self.assertEqual(script.variant(accepted).encoding, encoding, accepted)
        tags = {variant.etag for variant in script.variants}
        self.assertEqual(len(tags), 2)

    def test_a_base_path_is_written_into_the_index(self) -> None:
        """So what was compressed without it is not sent."""
        index = Files(self.folder, "/ops/").find("")
        assert index is not None
        self.assertEqual([v.body for v in index.variants], [b'<base href="/ops/"><p>pages'])

    def test_etags_are_compared(self) -> None:
        for sent, known in (('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True)):
            self.assertEqual(is_current('"a"', sent), known, sent)
        self.assertFalse(is_current('"a"', ""))

    def test_the_built_pages_know_their_base(self) -> None:
        """The place in the index page where the base path goes."""
        self.assertEqual((STATIC / "index.html").read_bytes().count(b'<base href="/"'), 1)

    def test_nothing_is_loaded_from_elsewhere(self) -> None:
        """No page of ours names another host."""
        for path in STATIC.rglob("*"):
            if path.suffix in (".html", ".css", ".js"):
                text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
                self.assertNotIn("<script>", text, path)
                self.assertNotRegex(text, r'(?:src|href)="(?:https?:)?//', path)


class Tables(SynchronousTestCase):
    """``Table``."""

    def test_literals_go_first(self) -> None:
        """And a slash in a name is written as ``%2F``."""

        async def handler(asked: object) -> None:
            """Nothing."""

        routes = [Route("GET", p, handler) for p in ("s/:scope", "s/groups", "s/:scope/item/:key")]
        table = Table(routes)
        for path, wanted in (
            ("s/groups", ("s/groups", {})),
            ("s/a%2Fb", ("s/:scope", {"scope": "a/b"})),
            ("s/x/item/%20", ("s/:scope/item/:key", {"scope": "x", "key": " "})),
        ):
            found = table.find("GET", path)
            assert not isinstance(found, list)
            self.assertEqual((found.route.path, found.params), wanted)
        for absent in ("s", "s/", "s/..", "s/a/b", "s//item/k"):
            self.assertEqual(table.find("GET", absent), [], absent)
        self.assertEqual(table.find("POST", "s/x"), ["GET"])


class Served(ConsoleCase):
    """The same over HTTP."""

    @probe("06.9")
    async def test_pages_and_files(self) -> None:
        await self.serve()
        index = await self.get("/")
        self.assertEqual((index.status, index.headers["content-type"][:9]), (200, "text/html"))
        self.assertEqual((await self.get("/functions")).body, index.body)
        self.assertEqual((await self.get("/functions/a%2Eb?tab=x")).body, index.body)
        for absent in ("/x.js", "/assets/x-12345678.js", "/assets/..%2f..%2fmodule.py"):
            self.assertEqual((await self.get(absent)).status, 404, absent)
        head = await self.send("HEAD", "/")
        self.assertEqual(int(head.headers["content-length"]), len(index.body))
        again = await self.get("/", if_none_match=index.headers["etag"])
        self.assertEqual((again.status, again.body), (304, b""))

    @probe("06.10")
    async def test_config(self) -> None:
        await self.serve({"class": "modules::api::RestApiModule"}, enable_flow=True)
        said = await self.ok("/api/config")
        ready = self.engine.ready
        self.assertEqual((said["enginePort"], said["consolePort"]), (ready["http"], self.port))
        self.assertEqual((said["engineHost"], said["wsPort"]), ("127.0.0.1", None))
        self.assertEqual(
            (said["enableFlow"], said["authRequired"], said["readOnly"]), (True, False, False)
        )
        self.assertEqual(said["version"], said["instance"]["version"])
        self.assertEqual((said["features"]["http"], said["features"]["queues"]), (True, False))
        self.assertEqual((await self.get("/api/config")).headers["cache-control"], "no-store")

    async def test_below_a_base_path(self) -> None:
        await self.serve(base_path="/ops", token=TOKEN)
        moved = await self.get("/ops")
        self.assertEqual((moved.status, moved.headers["location"]), (308, "/ops/"))
        self.assertEqual((await self.get("/api/config")).status, 404)
        self.assertEqual((await self.get("/ops/api/config")).status, 401)
        self.credentials = {"authorization": f"Bearer {TOKEN}"}
        self.assertEqual((await self.ok("/ops/api/config"))["basePath"], "/ops/")
        self.assertIn(b'<base href="/ops/"', (await self.get("/ops/queues")).body)
        login = await self.post("/ops/login", {"token": TOKEN})
        self.assertIn("Path=/ops/;", login.headers["set-cookie"])

    async def test_health(self) -> None:
        """For supervisors: without a token, whatever they call us."""
        await self.serve(token=TOKEN)
        for path in ("/healthz", "/readyz"):
            answer = await self.get(path, host="10.0.0.7")
            self.assertEqual((answer.status, answer.json), (200, {"status": "ok"}))
        self.engine.engine.not_ready = lambda: ["iii-queue"]
        answer = await self.get("/readyz")
        wanted = {"status": "unavailable", "not_ready": ["iii-queue"]}
        self.assertEqual((answer.status, answer.json), (503, wanted))

    async def test_connections_have_an_end(self) -> None:
        """More than so many are closed at once."""
        self.patch(server, "MAX_CONNECTIONS", 0)
        await self.serve()
        with self.assertRaises(Truncated):
            await self.get("/")
