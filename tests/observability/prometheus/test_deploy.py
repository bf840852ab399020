"""The dashboard and the alerts name what a running engine shows, and ``promtool`` agrees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest, TestCase

import yaml

from iii.engine.callcounts import Durations
from iii.engine.module import ModuleApi
from tests.observability.prometheus.cases import PrometheusCase, Scraped, number

DEPLOY = Path(__file__).parent.parent.parent.parent / "deploy"
DASHBOARD = DEPLOY / "grafana" / "iii-engine.json"
RULES = DEPLOY / "prometheus" / "iii-rules.yml"
EXAMPLE = DEPLOY / "prometheus" / "prometheus.yml"

#: Names that 05 A10 sets, whatever promtool thinks of them (errata).
FIXED = frozenset(
    (
        "iii_worker_cpu_percent",
        "iii_worker_event_loop_lag_ms",
        "iii_worker_event_loop_lag_milliseconds",
    )
)
#: Labels that Prometheus adds to every series.
ADDED = frozenset(("instance", "job"))

_METRIC = re.compile(r"\b((?:iii|process|target)_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_VALUES = re.compile(r"label_values\(.*,\s*(\w+)\)")


def promtool(*arguments: str, text: str = "") -> tuple[int, str]:
    """Run it; its exit code and what it said."""
    program = shutil.which("promtool")
    if program is None:
        raise SkipTest("promtool is missing: apt install prometheus")
    done = subprocess.run(
        (program, *arguments), input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def dashboard_expressions() -> Iterator[str]:
    """Every query of the dashboard."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def rules() -> list[dict[str, Any]]:
    """Every alert."""
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


class Deployed(PrometheusCase):
    """An engine that has seen everything once."""

    async def everything(self) -> Scraped:
        """Calls that worked and failed, and what modules and workers measure."""
        worker = await self.worker("f")
        for outcome in ({"result": 1}, {"error": {"code": "broken", "message": "no"}}):
            call = worker.invoke("f")
            await worker.answer("f", **outcome)
            await worker.result_of(call)
        await worker.trigger("engine::functions-available", "f")
        self.hub.drop("spans.queue_full")
        who = {"worker.id": worker.id, "worker.name": "shop"}
        for name in (
            *("memory.heap_used", "memory.heap_total", "memory.rss", "memory.external"),
            *("cpu.percent", "cpu.user_micros", "cpu.system_micros"),
            *("event_loop.lag_ms", "uptime_seconds"),
        ):
            self.hub.add_metrics([number(f"iii.worker.{name}", 1, attributes=who)])
        durations = Durations()
        durations.add(0.1)
        show = ModuleApi(self.engine, "fake").instrument
        route = ("GET", "/orders")
        show("iii_queue_depth", "gauge", "Messages", lambda: [(("q",), 3)], ("queue",))
        show("iii_queue_dlq_depth", "gauge", "Dead letters", lambda: [(("q",), 1)], ("queue",))
        show(
            "iii_http_requests_total",
            "counter",
            "Requests",
            lambda: [((*route, "200"), 1)],
            ("method", "route", "status"),
        )
        show(
            "iii_http_request_duration_seconds",
            "histogram",
            "Durations of requests",
            lambda: [(route, durations)],
            ("method", "route"),
        )
        show("iii_stream_connections", "gauge", "Clients", lambda: [((), 2)])
        return await self.scrape()

    async def test_every_metric_and_label_of_dashboard_and_alerts_exists(self) -> None:
        seen = await self.everything()
        wrong: list[str] = []
        expressions = [*dashboard_expressions(), *(rule["expr"] for rule in rules())]
        self.assertGreater(len(expressions), 30)
        for expression in expressions:
            wrong += wrong_in(expression, seen)
        self.assertEqual(wrong, [])

    async def test_promtool_likes_the_metrics(self) -> None:
        """Errata: all but names that 05 A10 sets."""
        await self.everything()
        text = (await self.ask()).body.decode()
        _, said = promtool("check", "metrics", text=text)
        complaints = [line for line in said.splitlines() if line.split(" ")[0] not in FIXED]
        self.assertEqual(complaints, [])

    def test_a_wrong_name_would_be_found(self) -> None:
        """The test above can fail."""
        known = Scraped([])
        self.assertEqual(wrong_in("sum(iii_nothing)", known), ["iii_nothing: no such metric"])


def wrong_in(expression: str, seen: Scraped) -> list[str]:
    """What of ``expression`` the engine does not show."""
    wrong = []
    known = set(ADDED)
    for name, matchers in _METRIC.findall(expression):
        if name == "up":  # Prometheus' own
            continue
        if name not in seen.names:
            wrong.append(f"{name}: no such metric")
        labels = seen.labels_of(name) | ADDED
        known |= labels
        wrong += [
            f"{name} has no label {label}"
            for label in _MATCHED.findall(matchers)
            if label not in labels
        ]
    grouped = [
        label.strip() for labels in _GROUPED.findall(expression) for label in labels.split(",")
    ]
    grouped += _VALUES.findall(expression)
    wrong += [f"{label}: no label in {expression}" for label in grouped if label not in known]
    return wrong


class Files(TestCase):
    """What ``promtool`` and Grafana read."""

    def test_promtool_likes_the_rules(self) -> None:
        code, said = promtool("check", "rules", str(RULES))
        self.assertEqual(code, 0, said)
        self.assertIn(f"{len(rules())} rules found", said)

    def test_promtool_likes_the_example(self) -> None:
        code, said = promtool("check", "config", str(EXAMPLE))
        self.assertEqual(code, 0, said)

    def test_there_is_an_alert_for_everything_that_wakes_people(self) -> None:
        names = {rule["alert"] for rule in rules()}
        self.assertEqual(
            names,
            {
                "IIIEngineDown",
                "IIINoWorkers",
                "IIIErrorRate",
                "IIISlowCalls",
                "IIIQueueBacklog",
                "IIIDeadLetters",
                "IIITelemetryDropped",
            },
        )

    def test_the_alerts_fire_when_they_should(self) -> None:
        """``promtool test rules``: an engine in trouble, and a healthy one."""
        code, said = promtool("test", "rules", str(Path(__file__).with_name("rules_test.yml")))
        self.assertEqual(code, 0, said)

    def test_the_panels_of_the_dashboard_do_not_overlap(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text())
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        cells: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            self.assertFalse(cells & taken, panel["title"])
            cells |= taken
