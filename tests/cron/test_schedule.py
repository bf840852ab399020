"""Expressions and their runs (03 §3.6–3.8, decision 20)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import TestCase
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from iii.modules.cron.grammar import Fields, Unreadable, parse
from iii.modules.cron.schedule import MAX_EXPRESSION_CHARS, ScheduleError, parse_schedule
from tests.support.probes import probe

VECTORS = Path(__file__).with_name("vectors.jsonl")
BASE = datetime(2026, 3, 4, 10, tzinfo=UTC)

# 03 §3.8: expression → the runs after BASE, the date left out where it is that of BASE.
TABLE = (
    ("*/10 * * * * *", "10:00:10 10:00:20 10:00:30"),
    ("0 */5 * * * *", "10:05:00 10:10:00 10:15:00"),
    ("0 5-50/15 * * * *", "10:05:00 10:20:00 10:35:00"),
    ("0 0 2 * * *", "2026-03-05T02 2026-03-06T02 2026-03-07T02"),
    ("0 0 2 * * * *", "2026-03-05T02 2026-03-06T02 2026-03-07T02"),
    ("0 0 9-17 * * MON-FRI", "11:00:00 12:00:00 13:00:00"),
    ("0 0 9 * * 1 *", "2026-03-08T09 2026-03-15T09 2026-03-22T09"),
    ("0 0 0 * * 7", "2026-03-07 2026-03-14 2026-03-21"),
    ("0 0 0 * * 2-6", "2026-03-05 2026-03-06 2026-03-09"),
    ("0 0 0 * * 2/2", "2026-03-06 2026-03-09 2026-03-11"),
    ("0 0 0 * * */2", "2026-03-05 2026-03-07 2026-03-08"),
    ("0 0 0 * * */7", "2026-03-08 2026-03-15 2026-03-22"),
    ("0 0 0 1,15 * ?", "2026-03-15 2026-04-01 2026-04-15"),
    ("0 0 0 13 * FRI", "2026-03-13 2026-11-13 2027-08-13"),
    ("0 0 0 29 2 *", "2028-02-29 2032-02-29 2036-02-29"),
    ("0 0 0 31 * *", "2026-03-31 2026-05-31 2026-07-31"),
    ("0 0 0 1 */3 *", "2026-04-01 2026-07-01 2026-10-01"),
    ("*/59 * * * * *", "10:00:59 10:01:00 10:01:59"),
    ("0 0 0 1 1 ? 2020-2040/10", "2030-01-01 2040-01-01"),
    ("0 0 0 1 1 ? 2026/2", "2028-01-01 2030-01-01 2032-01-01"),
    ("0 0 0 1 1 * 2100", "2100-01-01"),
    ("@weekly", "2026-03-08 2026-03-15 2026-03-22"),
    ("@hourly", "11:00:00 12:00:00 13:00:00"),
    ("@yearly", "2027-01-01 2028-01-01 2029-01-01"),
    ("0 0 0 30 2 *", ""),
    ("0 0 0 1 1 * 1970", ""),
)

# 03 §3.8 and §3.7: expression → what its error says.
ERRORS = (
    ("0 0 0 * * 0", "Days of Week must be greater than or equal to 1. ('0' specified.)"),
    ("0 0 0 * * 8", "Days of Week must be less than 7. ('8' specified.)"),
    ("0 0 22-2 * * *", "Invalid range for Hours: 22-2"),
    ("0 0 0 * * FRI-MON", "Invalid named range for Days of Week: FRI-MON"),
    ("0 0 0 * * MON/2", "Days of Week"),
    ("0 0 0 * * 5L", ""),
    ("0 0 0 * * MON#2", "Days of Week"),
    ("0 0 0 L * *", "The 'Days of Month' field does not support using names. 'L' specified."),
    ("0 0 0 15W * *", ""),
    ("? * * * * *", "Seconds"),
    ("*/60 * * * * *", "Seconds must be between 1 and 59. ('60' specified.)"),
    ("0 0 */24 * * *", "Hours must be between 1 and 23. ('24' specified.)"),
    ("*/0 * * * * *", "range step cannot be zero"),
    ("60 * * * * *", "Seconds must be less than 59. ('60' specified.)"),
    ("0 0 0 1 1 * 2101", "Years must be less than 2100. ('2101' specified.)"),
    ("0 0 0 1 sept *", "'sept' is not a valid month name."),
    ("0 0 0 * * thur", "'thur' is not a valid day of the week."),
    ("@annually", "@yearly"),
    ("@DAILY", ""),
    ("@every 5m", ""),
    ("0 0 0 * * * * *", "expected 6 or 7 fields"),
    ("* * * *", "expected 6 or 7 fields"),
    ("", "expected 6 or 7 fields"),
    ("0 0 0 * * 2-WED", "Days of Week"),
    ("* /5 * * * * *", ""),
    ("-1 * * * * *", "Seconds"),
    ("1.5 * * * * *", "Seconds"),
    ("4294967296 * * * * *", "Seconds"),
    ("99999999999999999999999 * * * * *", "Seconds"),
    ("0 0 0 * * MON,", "Days of Week"),
)

# 03 §3.6: what parses although it looks odd → what it means.
ODDITIES = (
    ("1 - 5 * * * * *", "1-5 * * * * *"),
    ("0 , 30 * * * * *", "0,30 * * * * *"),
    ("0 10 / 20 * * * *", "0 10/20 * * * *"),
    ("******", "* * * * * *"),
    ("0 0 0 1 1 ?2030", "0 0 0 1 1 * 2030"),
    ("007 * * * * *", "7 * * * * *"),
    (" \n 0 0 2 * * *\t\r\n", "0 0 2 * * *"),
    ("0 0 0 * jAnUaRy TUES , Thurs", "0 0 0 * 1 3,5"),
    ("0,0,0 0 2 * * *", "0 0 2 * * *"),
    (" @daily ", "0 0 0 * * *"),
    ("0 0 0 * * MON-FRI/2", "0 0 0 * * 2,4,6"),
    ("0 0 0 ?/2 * *", "0 0 0 */2 * *"),
)


def runs(expression: str, count: int, after: datetime = BASE, zone: str = "UTC") -> list[datetime]:
    """The next runs."""
    schedule = parse_schedule(expression, zone)
    found: list[datetime] = []
    at = schedule.next(after)
    while at is not None and len(found) < count:
        found.append(at)
        at = schedule.next(at)
    return found


def meant(text: str) -> datetime:
    """A time of the table."""
    if text[2] == ":":
        text = f"2026-03-04T{text}"
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class SixAndSeven(TestCase):
    """Decision 20: exactly the original's grammar."""

    def test_every_golden_vector_is_equal(self) -> None:
        """Decision 20: `vectors/cron.jsonl`."""
        for line in VECTORS.read_text().splitlines():
            row = json.loads(line)
            expression = row["expression"]
            with self.subTest(expression=expression):
                if row.get("error"):
                    with self.assertRaises(ScheduleError):
                        parse_schedule(expression)
                    continue
                after = datetime.fromisoformat(row["after"])
                found = [f"{run:%Y-%m-%dT%H:%M:%SZ}" for run in runs(expression, 3, after)]
                self.assertEqual(found, row["next"])

    @probe("03.58")
    def test_the_table_of_the_specification(self) -> None:
        """03 §3.8: next runs."""
        for expression, expected in TABLE:
            with self.subTest(expression=expression):
                self.assertEqual(runs(expression, 3), [meant(text) for text in expected.split()])

    @probe("03.58")
    def test_what_is_refused_says_why(self) -> None:
        """03 §3.7: the prefix, and the reason where one is listed."""
        for expression, reason in ERRORS:
            with self.subTest(expression=expression):
                with self.assertRaises(ScheduleError) as caught:
                    parse_schedule(expression)
                message = caught.exception.message
                self.assertTrue(message.startswith(f"Invalid cron expression '{expression}': "))
                self.assertIn(reason, message)

    def test_sunday_as_zero_is_told_the_right_spelling(self) -> None:
        """03 §3.8: the text suggests `SUN` or `1`."""
        for days in ("0", "0-4", "0/2", "MON,0"):
            with self.assertRaises(ScheduleError) as caught:
                parse_schedule(f"0 0 0 * * {days}")
            self.assertIn("SUN or 1", caught.exception.message)
            self.assertEqual(caught.exception.field, "Days of Week")

    def test_oddities_parse(self) -> None:
        """03 §3.6: blanks inside items, none between fields, zeros in front."""
        for odd, plain in ODDITIES:
            with self.subTest(expression=odd):
                self.assertEqual(parse(odd), parse(plain))

    def test_other_white_space_is_none(self) -> None:
        """03 §3.6: space, tab, CR, LF."""
        for blank in ("\x0b", "\x0c", "\xa0", "\u2003"):
            with self.assertRaises(ScheduleError):
                parse_schedule(f"0 0 0{blank}* * *")
            with self.assertRaises(ScheduleError):
                parse_schedule(f"٣ * * *{blank}* *")

    def test_long_expressions_are_refused_quickly(self) -> None:
        """Bounded memory: they would be kept."""
        for text in ("0" * MAX_EXPRESSION_CHARS + " * * * * *", "1," * 10**6 + "1 * * * * *"):
            with self.assertRaises(ScheduleError) as caught:
                parse_schedule(text)
            self.assertLess(len(caught.exception.message), 200)

    def test_times_outside_of_the_years(self) -> None:
        """03 §3.6: nothing before 1970 and after 2100."""
        start = datetime(1, 1, 1, tzinfo=UTC)
        self.assertEqual(runs("@yearly", 1, start), [datetime(1970, 1, 1, tzinfo=UTC)])
        for expression in ("* * * * * *", "* * * * *"):
            for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
                end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
                self.assertEqual(runs(expression, 1, end, zone), [])
                last = datetime(2100, 12, 31, 23, 59, 58, tzinfo=ZoneInfo(zone))
                self.assertLess(len(runs(expression, 3, last, zone)), 3)

    def test_fractions_of_a_second_don_t_repeat_a_run(self) -> None:
        """03 §3.6: greater than floor(after)."""
        at = BASE + timedelta(seconds=1, microseconds=999_999)
        self.assertEqual(runs("* * * * * *", 1, at), [BASE + timedelta(seconds=2)])


class Five(TestCase):
    """Decision 20: the standard crontab."""

    def test_monday_is_one_and_sunday_zero_or_seven(self) -> None:
        """Decision 20."""
        rows = (
            ("0 9 * * 1", "2026-03-09T09"),
            ("0 9 * * 0", "2026-03-08T09"),
            ("0 9 * * 7", "2026-03-08T09"),
            ("0 9 * * sun", "2026-03-08T09"),
            ("0 9 * * 1-5", "2026-03-05T09"),
            ("*/5 * * * *", "10:05:00"),
            ("* * * * *", "10:01:00"),
            ("0 0 1 JAN-mar *", "2027-01-01"),
            ("30 4 1,15 * *", "2026-03-15T04:30"),
            ("0-30/10,45 * * * *", "10:10:00"),
            ("0 9 7-7 * *", "2026-03-07T09"),
            ("0 9 * * mon-1", "2026-03-09T09"),
            ("0 9 * jun-6/2 *", "2026-06-01T09"),
            ("0 9 * * 0-7", "2026-03-05T09"),
        )
        for expression, expected in rows:
            with self.subTest(expression=expression):
                self.assertEqual(runs(expression, 1), [meant(expected)])

    def test_day_and_weekday_are_or_in_five_fields_and_and_in_six(self) -> None:
        """Decision 20: the 13th or a Friday, the 13th and a Friday."""
        five = ["2026-03-06T09", "2026-03-13T09", "2026-03-20T09"]
        self.assertEqual(runs("0 9 13 * FRI", 3), [meant(text) for text in five])
        april = meant("2026-04-12T00")
        self.assertEqual(runs("0 9 13 * FRI", 1, april), [meant("2026-04-13T09")])
        six = ["2026-03-13T09", "2026-11-13T09", "2027-08-13T09"]
        self.assertEqual(runs("0 0 9 13 * FRI", 3), [meant(text) for text in six])

    def test_croniter_s_extras_are_refused_with_the_field_s_name(self) -> None:
        """Decision 20: `H`, `R`, `L`, `#`; and what only croniter takes for a number."""
        rows = (
            ("H 9 * * *", "Minutes"),
            ("R 9 * * *", "Minutes"),
            ("0 R(1-5) * * *", "Hours"),
            ("0 9 L * *", "Days of Month"),
            ("0 9 15W * *", "Days of Month"),
            ("0 9 * * 5L", "Days of Week"),
            ("0 9 * * L5", "Days of Week"),
            ("0 9 * * 1#2", "Days of Week"),
            ("0 9 0 * *", "Days of Month"),
            ("0 9 * 0 *", "Months"),
            ("0 9 ? * *", "Days of Month"),
            ("60 9 * * *", "Minutes"),
            ("0 9 * * 8", "Days of Week"),
            ("0 9 * sept *", "Months"),
            ("0 9 * * thur", "Days of Week"),
            ("*/0 9 * * *", "Minutes"),
            ("0,,5 9 * * *", "Minutes"),
        )
        for expression, field in rows:
            with self.subTest(expression=expression):
                with self.assertRaises(ScheduleError) as caught:
                    parse_schedule(expression)
                message = caught.exception.message
                self.assertTrue(message.startswith(f"Invalid cron expression '{expression}': "))
                self.assertIn(field, message)

    def test_strict_refuses_five_fields(self) -> None:
        """03 §3.8: the text of §3.7."""
        for expression in ("* * * * *", "0 9 * * 1-5"):
            with self.assertRaises(ScheduleError) as caught:
                parse_schedule(expression, strict=True)
            expected = "expected 6 or 7 fields (sec min hour day-of-month month day-of-week [year])"
            self.assertIn(expected, caught.exception.message)
        self.assertIsNotNone(parse_schedule("0 * * * * *", strict=True).next(BASE))

    def test_days_that_few_months_or_years_have(self) -> None:
        """crontab(5): as the six fields."""
        for line in ("0 31 * *", "0 29 2 *", "0 31 */2 *"):
            self.assertEqual(runs(f"0 {line}", 9), runs(f"0 0 {line}", 9))

    def test_what_never_comes_has_no_run(self) -> None:
        """03 §3.9: no exception."""
        self.assertEqual(runs("0 0 30 2 *", 1), [])


class Zones(TestCase):
    """08 §3: IANA time zones (docs/cron.md, "Daylight saving time")."""

    def local(self, expression: str, zone: str, after: str, count: int) -> list[str]:
        """Runs as the zone's clock shows them."""
        at = datetime.fromisoformat(after)
        found = runs(expression, count, at, zone)
        return [f"{run.astimezone(ZoneInfo(zone)):%d %H:%M%z}" for run in found]

    def test_the_wall_clock_counts(self) -> None:
        """08 §3: nine o'clock stays nine o'clock."""
        found = self.local("0 0 9 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3)
        self.assertEqual(found, ["28 09:00+0100", "29 09:00+0200", "30 09:00+0200"])

    def test_what_the_clock_leaves_out_runs_once_at_the_shifted_instant(self) -> None:
        """08 §3: 02:30 on the night that has none is 03:30."""
        for expression in ("0 30 2 * * *", "30 2 * * *"):
            found = self.local(expression, "America/New_York", "2026-03-07T12:00:00Z", 2)
            self.assertEqual(found, ["08 03:30-0400", "09 02:30-0400"])

    def test_a_shifted_run_and_a_regular_one_at_the_same_instant_are_one(self) -> None:
        """08 §3: once."""
        found = self.local("0 0,30 2,3 * * *", "America/New_York", "2026-03-08T05:00:00Z", 3)
        self.assertEqual(found, ["08 03:00-0400", "08 03:30-0400", "09 02:00-0400"])
        found = self.local("0 */30 * * * *", "America/New_York", "2026-03-08T06:00:00Z", 4)
        self.assertEqual(
            found, ["08 01:30-0500", "08 03:00-0400", "08 03:30-0400", "08 04:00-0400"]
        )

    def test_shifted_and_regular_runs_come_in_the_order_of_time(self) -> None:
        """08 §3: 02:45 is 03:45 and comes after 03:10."""
        found = self.local("0 45 2 * * *", "America/New_York", "2026-03-08T06:59:00Z", 1)
        self.assertEqual(found, ["08 03:45-0400"])
        expression = "0 10,45 2,3 * * *"
        found = self.local(expression, "America/New_York", "2026-03-08T06:59:00Z", 3)
        self.assertEqual(found, ["08 03:10-0400", "08 03:45-0400", "09 02:10-0400"])

    def test_what_comes_twice_runs_the_first_time(self) -> None:
        """08 §3: also the hourly one."""
        for expression in ("0 30 1 * * *", "30 1 * * *"):
            found = self.local(expression, "America/New_York", "2026-11-01T00:00:00Z", 2)
            self.assertEqual(found, ["01 01:30-0400", "02 01:30-0500"])
        found = self.local("0 0 * * * *", "America/New_York", "2026-11-01T04:30:00Z", 2)
        self.assertEqual(found, ["01 01:00-0400", "01 02:00-0500"])

    def test_more_than_once_an_hour_runs_both_times(self) -> None:
        """08 §3: every half hour stays every half hour."""
        for expression in ("0 */30 * * * *", "*/30 * * * *"):
            found = runs(
                expression, 8, datetime(2026, 11, 1, 4, 30, tzinfo=UTC), "America/New_York"
            )
            first = datetime(2026, 11, 1, 5, tzinfo=UTC)
            self.assertEqual(found, [first + timedelta(minutes=30 * n) for n in range(8)])

    def test_odd_zones(self) -> None:
        """Half-hour changes, offsets of 45 minutes, a day that was left out, no changes."""
        rows = (
            ("0 15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", ["04 02:45+1100"]),
            ("0 0 9 * * *", "Asia/Kathmandu", "2026-10-03T00:00:00Z", ["03 09:00+0545"]),
            ("0 0 9 30 12 *", "Pacific/Apia", "2011-12-29T12:00:00Z", ["31 09:00+1400"]),
            ("0 0 9 * * *", "Etc/GMT+12", "2026-10-03T00:00:00Z", ["03 09:00-1200"]),
        )
        for expression, zone, after, expected in rows:
            with self.subTest(zone=zone):
                self.assertEqual(self.local(expression, zone, after, 1), expected)

    def test_years_away(self) -> None:
        """The search doesn't walk through every change on the way."""
        found = self.local("0 0 9 29 2 MON", "Europe/Berlin", "2026-01-01T00:00:00Z", 1)
        self.assertEqual(found, ["29 09:00+0100"])
        self.assertEqual(runs("0 0 0 30 2 *", 1, zone="Europe/Berlin"), [])

    def test_an_unknown_zone_is_refused(self) -> None:
        """03 §3.2."""
        for zone in ("Mars/Olympus", "America", "../../etc/passwd", "", "\0", "x" * 5000):
            with self.assertRaises(ScheduleError) as caught:
                parse_schedule("@daily", zone)
            self.assertIn("Invalid timezone", caught.exception.message)
            self.assertLess(len(caught.exception.message), 200)


class Words(TestCase):
    """Decision 20: discovery and console show the expression in words."""

    def test_words(self) -> None:
        """Common ones."""
        rows = (
            ("* * * * * *", "every second"),
            ("*/10 * * * * *", "every 10 seconds"),
            ("* * * * *", "every minute"),
            ("0 */5 * * * *", "every 5 minutes"),
            ("@hourly", "every hour"),
            ("0 0 */2 * * *", "every 2 hours"),
            ("0 15 * * * *", "at minute 15 of every hour"),
            ("0 0 2 * * *", "at 02:00, every day"),
            ("0 9 * * 1-5", "at 09:00, Monday to Friday"),
            ("0 9 13 * FRI", "at 09:00, on day 13 of the month and every Friday"),
            ("0 0 9 13 * FRI", "at 09:00, on day 13 of the month if it is Friday"),
            ("5 0 9,18 1,15 JAN ? 2030", "at 09:00:05 and 18:00:05, on days 1 and 15 of the month"),
            ("0 0 9-17 * * MON-FRI", "every hour from 09:00 to 17:59, Monday to Friday"),
            ("0 0 0 ? * SAT,SUN", "at 00:00, Sunday and Saturday"),
        )
        for expression, expected in rows:
            with self.subTest(expression=expression):
                self.assertIn(expected, parse_schedule(expression).words)

    def test_the_time_zone_is_named(self) -> None:
        """It is part of the meaning."""
        self.assertTrue(parse_schedule("@daily", "Asia/Tokyo").words.endswith(" (Asia/Tokyo)"))


# Properties --------------------------------------------------------------------------------


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    """An item of a field, or several."""
    one = st.integers(low, high)
    span = st.tuples(one, one).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.one_of(st.just("*"), span), st.integers(1, max(1, high // 2)))
    item = st.one_of(one.map(str), span, step.map(lambda pair: f"{pair[0]}/{pair[1]}"))
    return st.one_of(st.just("*"), st.lists(item, min_size=1, max_size=3).map(",".join))


SIX = st.tuples(
    numbers(0, 59), numbers(0, 59), numbers(0, 23), numbers(1, 31), numbers(1, 12), numbers(1, 7)
).map(" ".join)
CRONTAB = st.tuples(
    numbers(0, 59), numbers(0, 23), numbers(1, 31), numbers(1, 12), numbers(0, 7)
).map(" ".join)
INSTANTS = st.datetimes(datetime(1999, 1, 1), datetime(2060, 1, 1)).map(
    lambda time: time.replace(tzinfo=UTC)
)
NEAR_CHANGES = st.tuples(
    st.sampled_from((datetime(2026, 3, 29, 1), datetime(2026, 10, 25, 1))),
    st.integers(-5 * 3600, 5 * 3600),
).map(lambda pair: pair[0].replace(tzinfo=UTC) + timedelta(seconds=pair[1]))


def matches(fields: Fields, time: datetime) -> bool:
    """The plainest possible reading."""
    day = time.day in fields.days
    weekday = time.isoweekday() % 7 in fields.weekdays
    return (
        time.second in fields.seconds
        and time.minute in fields.minutes
        and time.hour in fields.hours
        and time.month in fields.months
        and time.year in fields.years
        and ((day or weekday) if fields.either else (day and weekday))
    )


class Properties(TestCase):
    """Whatever the expression."""

    @given(st.one_of(SIX, CRONTAB), INSTANTS, st.sampled_from(("UTC", "Europe/Berlin")))
    @settings(deadline=None)
    def test_runs_strictly_increase(self, expression: str, after: datetime, zone: str) -> None:
        """03 §3.6: each later than the one before."""
        times = [after, *runs(expression, 5, after, zone)]
        self.assertEqual(times, sorted(set(times)))

    @given(SIX, INSTANTS)
    @settings(deadline=None)
    def test_no_run_is_left_out(self, expression: str, after: datetime) -> None:
        """Seven sets, compared with a scan second by second."""
        fields = parse(expression)
        after = after.replace(microsecond=0)
        scan = (after + timedelta(seconds=n) for n in range(1, 4000))
        first = next((time for time in scan if matches(fields, time)), None)
        found = runs(expression, 1, after)
        if first is None:
            self.assertFalse(found and found[0] < after + timedelta(seconds=4000))
        else:
            self.assertEqual(found, [first])
        for run in found:
            self.assertTrue(matches(fields, run))

    @given(CRONTAB, INSTANTS)
    @settings(deadline=None)
    def test_no_run_of_a_crontab_line_is_left_out(self, expression: str, after: datetime) -> None:
        """croniter, compared with a scan minute by minute over three days and more."""
        minutes, hours, days, months, weekdays = expression.split()
        fields = parse(f"0 {minutes} {hours} {days} {months} *")
        sundays = set()
        for item in weekdays.split(","):
            span, _, step = item.partition("/")
            low, _, high = ("0-6" if span == "*" else span).partition("-")
            sundays |= {n % 7 for n in range(int(low), int(high or low) + 1, int(step or 1))}
        # A field restricts unless it is a star, or is as good as one beside a star.
        day_restricts = days != "*" and (len(fields.days) < 31 or "*" not in weekdays)
        weekday_restricts = weekdays != "*" and (len(sundays) < 7 or "*" not in days)
        either = day_restricts and weekday_restricts
        wanted = Fields(
            (0,), fields.minutes, fields.hours, fields.days, fields.months,
            tuple(sorted(sundays)), fields.years, either=either,
        )  # fmt: skip
        start = after.replace(second=0, microsecond=0)
        scan = (start + timedelta(minutes=n) for n in range(1, 5000))
        first = next((time for time in scan if matches(wanted, time)), None)
        found = runs(expression, 1, after)
        if first is None:
            self.assertFalse(found and found[0] < start + timedelta(minutes=5000))
        else:
            self.assertEqual(found, [first])
        for run in found:
            self.assertTrue(matches(wanted, run))

    @given(SIX, NEAR_CHANGES)
    @settings(deadline=None)
    def test_across_a_change_of_the_clock(self, expression: str, after: datetime) -> None:
        """The rules of docs/cron.md, applied to every second of five hours."""
        zone = ZoneInfo("Europe/Berlin")
        fields = parse(expression)
        often = len(fields.minutes) > 1 or len(fields.seconds) > 1
        hour = timedelta(hours=1)
        expected = []
        for number in range(1, 5 * 3600):
            instant = after + timedelta(seconds=number)
            local = instant.astimezone(zone)
            wall = local.replace(tzinfo=None)
            runs_now = matches(fields, wall) and (often or local.fold == 0)
            before = (instant - hour).astimezone(zone)
            if before.utcoffset() != local.utcoffset() and local.fold == 0:
                # In the hour after the clock went forward: also what was left out.
                runs_now = runs_now or matches(fields, wall - hour)
            if runs_now:
                expected.append(instant)
                if len(expected) == 3:
                    break
        end = after + timedelta(hours=5)
        found = [run for run in runs(expression, 3, after, "Europe/Berlin") if run < end]
        self.assertEqual(found, expected)

    @settings(deadline=None)
    @given(st.text(alphabet="0129*?-/, \tLW#SUNmonjan@", max_size=24))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        """No other exception, and both ways of reading agree."""
        try:
            fields = parse(text)
        except Unreadable:
            return
        self.assertEqual(fields, parse(f"\n{text}\r"))
