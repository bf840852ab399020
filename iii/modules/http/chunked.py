"""The chunked transfer coding of request bodies (RFC 9112 §7.1), strictly.

Pure: bytes in, bytes out.  Sizes are hexadecimal digits and nothing else, every
line ends with CRLF, extensions are skipped, trailers are checked and dropped.
"""

from __future__ import annotations

import re

MAX_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 8 * 1024

_size_line = re.compile(
    rb"([0-9A-Fa-f]{1,15})"
    rb"(?:[ \t]*;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"(?:[ \t]*=[ \t]*(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"|\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*\"))?)*"
).fullmatch
_trailer_line = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*").fullmatch


class BadChunk(Exception):
    """The body isn't in the chunked coding."""


class ChunkedDecoder:
    """Takes the bytes of a chunked body as they come.

    ``feed`` returns the decoded pieces; once ``done``, ``rest`` is what followed.
    """

    __slots__ = ("_buffer", "_in_trailer", "_left", "_need_crlf", "_trailer_bytes", "done", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._need_crlf = False
        self._in_trailer = False
        self._trailer_bytes = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Decode.

        :raises BadChunk: the coding is broken
        """
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            if self._need_crlf:
                if not b"\r\n".startswith(data[at : at + 2]):
                    raise BadChunk("a chunk must end with CRLF")
                if len(data) - at < 2:
                    break
                at += 2
                self._need_crlf = False
                continue
            end = data.find(b"\n", at)
            if end < 0:
                if len(data) - at > MAX_LINE_BYTES:
                    raise BadChunk("a line of the chunked coding is too long")
                break
            if end == at or data[end - 1] != 0x0D:
                raise BadChunk("lines of the chunked coding end with CRLF")
            self._line(data[at : end - 1])
            at = end + 1
        if self.done:
            self.rest = data[at:]
        else:
            self._buffer = data[at:]
        return pieces

    def _line(self, line: bytes) -> None:
        if len(line) > MAX_LINE_BYTES:
            raise BadChunk("a line of the chunked coding is too long")
        if self._in_trailer:
            self._trailer(line)
            return
        size = _size_line(line)
        if size is None:
            raise BadChunk("malformed chunk size")
        self._left = int(size[1], 16)
        if self._left:
            self._need_crlf = True
        else:
            self._in_trailer = True

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailer_bytes += len(line) + 2
        if not _trailer_line(line) or self._trailer_bytes > MAX_TRAILER_BYTES:
            raise BadChunk("malformed trailer")
