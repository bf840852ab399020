"""No space left: writes are refused with a code, everything else goes on (08 §1).

Three ways to run out of space: the setting ``max_file_bytes``, a small file system, and a
limit on the size of files, which needs no rights.
"""

from __future__ import annotations

import resource
import signal
from itertools import count
from typing import Any

from tests.durability.durability_case import DATA, DurabilityCase
from tests.durability.link import MISSING, Link, Refused
from tests.durability.mounts import tmpfs

MIB = 1024 * 1024
VALUE = "x" * 4_000
MANY = 10_000


class Full(DurabilityCase):
    """08 §1: "a refused write says so"."""

    def write_until_refused(self, link: Link) -> tuple[int, Refused]:
        """How many values were accepted, and what the next one was told."""
        for number in count():
            self.assertLess(number, MANY, "nothing was ever refused")
            try:
                self.set(link, f"k{number}", VALUE)
            except Refused as refused:
                return number, refused
        raise AssertionError

    def assert_goes_on(self, link: Link, accepted: int) -> None:
        """What was accepted can be read, what was refused is not there, lists work."""
        self.assertEqual(self.get(link, "k0"), VALUE)
        self.assertEqual(self.get(link, f"k{accepted - 1}"), VALUE)
        self.assertIs(self.get(link, f"k{accepted}"), MISSING)
        self.assertEqual(len(link.call("state::list", {"scope": "s"})), accepted)
        self.assertTrue(link.call("engine::functions::list", {}))

    def assert_survives(self, accepted: int, later: dict[str, Any]) -> None:
        """After a kill exactly the accepted values are there."""
        engine = self.start()
        link = self.link(engine)
        for number in range(accepted):
            self.assertEqual(self.get(link, f"k{number}"), later.get(f"k{number}", VALUE))
        self.assertIs(self.get(link, f"k{accepted}"), later.get(f"k{accepted}", MISSING))
        self.assertNotIn("[ERROR]", engine.output)

    def assert_says(self, refused: Refused, reason: str) -> None:
        """Code and text of the refusal."""
        self.assertEqual(refused.code, "SET_ERROR")
        self.assertTrue(refused.message.startswith("Failed to set value: "), refused.message)
        self.assertIn(f"{self.file('state')}: {reason}", refused.message)

    def test_a_file_at_its_limit_takes_values_again_after_deletes(self) -> None:
        """08 §1: `max_file_bytes`."""
        limit = {"max_file_bytes": MIB}
        self.configure(state=limit, kv=limit)
        engine = self.start()
        link = self.link(engine)
        self.assert_all_in_flight_are_told(link)
        accepted, refused = self.write_until_refused(link)
        self.assertGreater(accepted, 100)
        self.assert_says(refused, "no space left")
        self.assert_goes_on(link, accepted)
        with self.assertRaises(Refused) as caught:
            for number in range(MANY):
                link.call("kv_server::set", {"index": "i", "key": f"k{number}", "value": VALUE})
        self.assertEqual(caught.exception.code, "store_full")
        self.assertEqual(link.call("stream::set", _item("1"))["new_value"], 1)

        self.delete(link, "k0")
        self.delete(link, "k1")
        self.assertEqual(self.set(link, "k0", VALUE)["new_value"], VALUE)
        self.end(engine, signal.SIGKILL)
        self.assert_survives(accepted, {"k1": MISSING})

    def test_a_full_disk_takes_values_again_once_there_is_space(self) -> None:
        """08 §1: a file system of 2 MiB."""
        self.configure()
        directory = self.directory / DATA / "state"
        tmpfs(self, directory, 2 * MIB)
        filler = directory / "filler"
        filler.write_bytes(bytes(MIB))
        engine = self.start()
        link = self.link(engine)
        accepted, refused = self.write_until_refused(link)
        self.assert_says(refused, "no space left")
        self.assert_goes_on(link, accepted)
        self.assertEqual(link.call("stream::set", _item("1"))["new_value"], 1)

        filler.unlink()
        self.assertEqual(self.set(link, "k0", 1)["new_value"], 1)
        self.end(engine, signal.SIGKILL)
        self.assert_survives(accepted, {"k0": 1})

    def test_a_file_that_may_not_grow_takes_values_again_once_it_may(self) -> None:
        """08 §1: a limit on file sizes (RLIMIT_FSIZE)."""
        self.configure()
        engine = self.start()
        pid = engine.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (MIB, hard))
        link = self.link(engine)
        accepted, refused = self.write_until_refused(link)
        self.assert_says(refused, "")
        self.assert_goes_on(link, accepted)

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        self.assertEqual(self.set(link, "k0", 1)["new_value"], 1)

    def assert_all_in_flight_are_told(self, link: Link) -> None:
        """Accepted or refused, and that is how it is; the second half was computed too late."""
        sent = {}
        for number in range(400):
            data = {"scope": "flight", "key": f"k{number}", "value": VALUE}
            sent[link.send("state::set", data)] = f"k{number}"
        kept, refused = set(), set()
        while sent:
            for answer in link.receive():
                (refused if answer.error else kept).add(sent.pop(answer.invocation_id))
            self.assertFalse(link.ended)
        self.assertTrue(refused)
        for key in kept:
            self.assertEqual(self.get(link, key, "flight"), VALUE)
            self.delete(link, key, "flight")
        for key in refused:
            self.assertIs(self.get(link, key, "flight"), MISSING)


def _item(item: str) -> dict[str, Any]:
    return {"stream_name": "s", "group_id": "g", "item_id": item, "data": 1}
