"""``engine::logs::list`` and ``engine::logs::clear`` (05 A6.7, A6.8)."""

from __future__ import annotations

from iii.modules.observability.logs import queries
from tests.observability.logs.cases import LogsCase, record
from tests.support.probes import probe

MS = 1_000_000
AT_MS = 1_760_000_000_000
KEYS = {
    "start_time",
    "end_time",
    "trace_id",
    "span_id",
    "severity_min",
    "severity_text",
    "offset",
    "limit",
}


class Listing(LogsCase):
    """Five records of two traces, a millisecond apart."""

    settings = {"enabled": False, "logs_retention_seconds": 0, "logs_console_output": False}

    async def setUp(self) -> None:
        await super().setUp()
        numbers = (9, 13, 17, 13, 5)
        self.hub.add_logs(
            [
                record(str(n), number, at=(AT_MS + n) * MS, trace_id="ab"[n % 2], span_id=f"s{n}")
                for n, number in enumerate(numbers)
            ]
        )

    @probe("05.32")
    async def test_severities_are_filtered_newest_first(self) -> None:
        self.assertEqual(await self.bodies(severity_min=13), ["3", "2", "1"])
        self.assertEqual(await self.bodies(severity_text="warn"), ["3", "1"])
        self.assertEqual(await self.bodies(severity_text="war"), [])
        answer = await self.client.call("engine::logs::list", {"severity_min": 13})
        self.assertEqual(set(answer["query"]), KEYS)
        self.assertEqual(answer["query"]["severity_min"], 13)
        self.assertIsNone(answer["query"]["limit"])
        self.assertIsInstance(answer["timestamp"], int)

    async def test_without_a_limit_everything_is_listed(self) -> None:
        self.assertEqual(await self.bodies(), ["4", "3", "2", "1", "0"])
        answer = await self.client.call("engine::logs::list", None)
        self.assertEqual(answer["total"], 5)

    async def test_the_total_is_of_all_pages(self) -> None:
        answer = await self.client.call("engine::logs::list", {"offset": 1, "limit": 2})
        self.assertEqual([row["body"] for row in answer["logs"]], ["3", "2"])
        self.assertEqual(answer["total"], 5)
        self.assertEqual(await self.bodies(limit=0), [])

    async def test_ids_are_compared_exactly(self) -> None:
        self.assertEqual(await self.bodies(trace_id="b"), ["3", "1"])
        self.assertEqual(await self.bodies(trace_id="B"), [])
        self.assertEqual(await self.bodies(span_id="s2"), ["2"])
        self.assertEqual(await self.bodies(trace_id="b", span_id="s2"), [])

    async def test_times_are_inclusive(self) -> None:
        times = {"start_time": AT_MS + 1, "end_time": AT_MS + 3}
        self.assertEqual(await self.bodies(**times), ["3", "2", "1"])
        self.assertEqual(await self.bodies(**times, trace_id="a"), ["2"])
        self.assertEqual(await self.bodies(start_time=AT_MS + 3, end_time=AT_MS + 1), [])
        self.assertEqual(await self.bodies(**times, offset=1, limit=1), ["2"])
        self.assertEqual(await self.bodies(end_time=AT_MS, limit=7), ["0"])

    async def test_a_time_that_is_too_large_finds_nothing(self) -> None:
        answer = await self.client.call("engine::logs::list", {"start_time": 2**64 - 1})
        self.assertEqual((answer["logs"], answer["total"]), ([], 0))
        self.assertEqual(answer["query"]["start_time"], 2**64 - 1)

    async def test_a_wrong_question_is_refused(self) -> None:
        for question in ({"limit": "5"}, {"offset": -1}, {"trace_id": 5}):
            error = await self.client.error_of("engine::logs::list", question)
            self.assertEqual(error["code"], "deserialization_error")

    async def test_a_long_search_lets_others_in(self) -> None:
        """Design: the reactor is never kept for long."""
        self.patch(queries, "SLICE", 2)
        search = self.client.invoke("engine::logs::list", {"severity_min": 1})
        other = self.client.invoke("engine::baggage::get_all")
        answers = [
            (await self.client.expect("invocationresult"))["invocation_id"] for _ in range(2)
        ]
        self.assertEqual(answers, [other, search])

    @probe("05.33")
    async def test_clear_forgets(self) -> None:
        self.assertEqual(await self.client.call("engine::logs::clear", {}), {"success": True})
        self.assertEqual(await self.rows(), [])

    async def test_an_absent_scope_is_left_out(self) -> None:
        """05 A5.2: omitted in lists."""
        self.assertNotIn("instrumentation_scope_name", (await self.rows())[0])


class Workers(LogsCase):
    """05 A13: what workers log is printed, unless that is switched off."""

    async def test_a_workers_record_is_printed(self) -> None:
        self.hub.add_logs([record("{x}", 13, service_name="pay", attributes={"n": 1})])
        (event,) = self.printed("iii::otel_passthrough")
        self.assertEqual((event["log_text"], event["service"]), ("{x}", "pay"))
        self.assertEqual(event["data"], {"n": 1})
        self.assertEqual(len(await self.rows()), 1)


class Quiet(LogsCase):
    """05 A2: `logs_console_output: false`."""

    settings = {"enabled": False, "logs_console_output": False}

    async def test_a_workers_record_is_only_kept(self) -> None:
        self.hub.add_logs([record()])
        self.assertEqual(self.printed("iii::otel_passthrough"), [])
        self.assertEqual(len(await self.rows()), 1)
