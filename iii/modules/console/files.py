"""The pages: files that were built before, read once and served from memory.

Only what is in the table can be asked for, so no path leads out of the folder.  A path that
looks like a page and not like a file is the index page: the page itself knows what to show.
Files with a hash in their name never change; everything else is asked for again with its
ETag.
"""

from __future__ import annotations

import hashlib
import re
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

INDEX = "index.html"
STATIC = Path(__file__).parent / "static"
#: In the index page; what it says is where relative addresses begin.
BASE = b'<base href="/"'
#: Beside a file: the same, compressed.
ENCODINGS = ((".br", "br"), (".gz", "gzip"))

_HASHED = re.compile(r"(?:^|/)assets/.+[-.][A-Za-z0-9_-]{8,}\.[a-z0-9]+$")
_FILE = re.compile(
    r"\.(?:js|mjs|css|map|json|svg|png|jpg|jpeg|gif|webp|avif|ico|woff2?|ttf|txt|html|wasm|webmanifest)$"
)
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"


class Variant(NamedTuple):
    """A file in one encoding.

    :ivar encoding: empty: as it is
    """

    body: bytes
    etag: str
    encoding: str = ""


class File:
    """One file.

    :ivar variants: the smallest encoding first, the file itself last
    """

    def __init__(self, name: str, body: bytes, encoded: dict[str, bytes]) -> None:
        self.name = name
        self.content_type = _TYPES.get(Path(name).suffix) or guess_type(name)[0] or _UNKNOWN
        self.cache_control = FOR_EVER if _HASHED.search(name) else ASK_AGAIN
        # All variants are of the same text, but each is another answer.
        tag = hashlib.sha256(body).hexdigest()[:20]
        self.variants = [
            Variant(data, f'"{tag}-{encoding}"', encoding) for encoding, data in encoded.items()
        ]
        self.variants.append(Variant(body, f'"{tag}"'))

    def variant(self, accept_encoding: str) -> Variant:
        """What somebody who accepts these encodings gets."""
        accepted = _accepted(accept_encoding)
        return next(v for v in self.variants if not v.encoding or v.encoding in accepted)


_UNKNOWN = "application/octet-stream"


class Files:
    """All files of the pages.

    :param folder: where they are
    :param base: the path the console is under, with a slash at both ends
    """

    def __init__(self, folder: Path = STATIC, base: str = "/") -> None:
        self._files: dict[str, File] = {}
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and not path.name.endswith(tuple(end for end, _ in ENCODINGS)):
                name = path.relative_to(folder).as_posix()
                self._files[name] = _read(path, name, base)

    def find(self, path: str) -> File | None:
        """The file for a path (decoded, without a slash at its beginning), or the index page.

        None: a file was meant, and there is none.
        """
        found = self._files.get(path or INDEX)
        if found is not None:
            return found
        if _FILE.search(path) or path.startswith("assets/"):
            return None
        return self._files.get(INDEX)


def _read(path: Path, name: str, base: str) -> File:
    body = path.read_bytes()
    if name == INDEX and base != "/":
        # What was compressed has the other text.
        return File(name, body.replace(BASE, b'<base href="%b"' % base.encode(), 1), {})
    encoded = {
        encoding: beside.read_bytes()
        for end, encoding in ENCODINGS
        if (beside := path.with_name(path.name + end)).is_file()
    }
    return File(name, body, encoded)


def _accepted(header: str) -> set[str]:
    accepted = set()
    for item in header.lower().split(","):
        encoding, _, quality = item.partition(";")
        if quality.strip().removeprefix("q=").strip("0.") or not quality.strip():
            accepted.add(encoding.strip())
    return accepted


def is_current(file_etag: str, if_none_match: str) -> bool:
    """Whether a client has this already."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return file_etag in tags or "*" in tags
