"""Where each acceptance probe of 01 to 07 has its test.

``here()``: a test under ``tests/`` in this release.  ``SDKS``: a check of the published
SDKs (``make test-sdks``).  ``LATER``: with the part of the engine that brings it.
``VOID``: overruled; the reason says by what.  ``tests.probes.test_complete`` compares
all of it with the tests.
"""

from __future__ import annotations

DOCUMENTS = {"01": 65, "02": 63, "03": 66, "04": 60, "05": 60, "06": 40, "07": 56}
"""Document → its last probe."""

VOID: dict[str, str] = {
    "03.44": "decision 24: the original's files are not read",
    "04.27": "decision 24: the original's files are not read",
    "07.17": "decision 27: no pending-list objects of older generations",
    "07.24": "decision 27: handlers run on the caller's loop",
    "07.25": "decision 27: one asyncio client",
    "07.26": "decision 27: one asyncio client",
    "07.28": "decision 27: lists are coroutines",
    "07.29": "decision 27: one shutdown",
    "07.30": "decision 27: the caller's loop decides when a program ends",
    "07.32": "decision 27: one signature",
    "07.33": "decision 27: one signature",
    "07.43": "decision 27: not the union of all generations",
    "07.49": "decision 27: no context heuristics",
    "07.56": "decision 27: published suites run with the published SDKs",
}

SDKS: dict[str, tuple[str, ...]] = {
    "01.33": (
        "its lists show functions and workers while a JSON-Schema worker is connected",
        "pypi:0.4.1",
        "pypi:0.8.3",
    ),
    "01.62": ("connects and tells its name, runtime and version", "pypi:0.25.0"),
    "07.18": (
        "HTTP POST: path parameter, JSON body, typed response",
        "pypi:0.4.1",
        "pypi:0.8.3",
        "pypi:0.10.0",
    ),
    "07.2": ("it starts with no greetings", "quickstart:python-example"),
    "07.54": (
        "its lists show functions and workers while a JSON-Schema worker is connected",
        "pypi:0.8.3",
    ),
}
"""Number → names of checks and releases that ``tests/sdks`` must have."""

LATER: dict[str, str] = {
    **{f"06.{number}": "the console's pages: make test-pages" for number in range(35, 41)},
    "07.34": "schemas from type hints",
    "07.45": "OpenTelemetry of the client",
    "07.51": "streams",
}


def every() -> set[str]:
    """Every probe of these documents."""
    return {
        f"{document}.{number}"
        for document, last in DOCUMENTS.items()
        for number in range(1, last + 1)
    }


def here() -> set[str]:
    """Every probe that must have a test of its own now."""
    return every() - VOID.keys() - LATER.keys() - SDKS.keys()
