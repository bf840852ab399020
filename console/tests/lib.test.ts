import { describe, expect, test } from "vitest";
import { path } from "../src/lib/api";
import { bytes, duration, percent, rate, relative } from "../src/lib/format";
import { applied } from "../src/lib/live";
import { read, to } from "../src/lib/router";
import { initial, kindOf, problems, resolved } from "../src/lib/schema";
import { fit, matches, parse } from "../src/lib/search";
import { curl, literal, node, python, rust } from "../src/lib/snippets";
import { label, rows } from "../src/lib/trace";
import type { Span } from "../src/lib/types";

describe("numbers and times", () => {
  test("durations have the unit that fits", () => {
    const said = [0.0714, 12.34, 250, 1_234, 125_000, 7_260_000, null].map(duration);
    expect(said).toEqual(["71 µs", "12.3 ms", "250 ms", "1.23 s", "2 min 5 s", "2 h 1 min", "–"]);
  });

  test("times are relative, before and after now", () => {
    const at = 1_000_000_000;
    const said = [0, 12_000, 3_700_000, -90_000].map((ago) => relative(at - ago, at));
    expect(said).toEqual(["now", "12 s ago", "1 h ago", "in 1 min"]);
  });

  test("sizes, rates and shares", () => {
    expect([512, 1536, 3 << 20].map(bytes)).toEqual(["512 B", "1.5 KiB", "3.0 MiB"]);
    expect([0, 0.42, 12.34, 1204.4].map(rate)).toEqual(["0", "0.42", "12.3", "1,204"]);
    expect([0, 0.032, 0.5].map(percent)).toEqual(["0 %", "3.2 %", "50 %"]);
  });
});

describe("addresses", () => {
  test("a segment keeps whatever is in it", () => {
    const address = to(["functions", "a::b/c d"], { tab: "calls", q: "" });
    expect(address).toBe("functions/a%3A%3Ab%2Fc%20d?tab=calls");
    const [pathname, search] = address.split("?");
    expect(read(`/ops/${pathname}`, `?${search}`, "/ops/")).toEqual({
      path: ["functions", "a::b/c d"],
      query: { tab: "calls" },
    });
  });

  test("what can't be decoded is taken as it is", () => {
    expect(read("/functions/%zz", "", "/").path).toEqual(["functions", "%zz"]);
  });

  test("calls escape what they are about", () => {
    expect(path`queues/${"a/b"}/messages`).toBe("queues/a%2Fb/messages");
  });
});

describe("search", () => {
  const found = (text: string) => (key: string) => ({ level: "error", order: { id: 7 } })[key] ?? text;

  test("words and pairs must all fit", () => {
    const query = parse('refused level:error order:"id":7');
    expect(parse('a "b c" k:"d e"')).toEqual({ words: ["a", "b c"], pairs: [["k", "d e"]] });
    expect(query.words[0]).toBe("refused");
    expect(matches(parse("Refused level:err"), "it was refused", found(""))).toBe(true);
    expect(matches(parse("accepted level:err"), "it was refused", found(""))).toBe(false);
    expect(matches(parse("level:warn"), "it was refused", found(""))).toBe(false);
  });

  test("the id of a function is a word, not a pair", () => {
    expect(parse("shop::place")).toEqual({ words: ["shop::place"], pairs: [] });
  });

  test("the palette prefers what has the letters together", () => {
    expect(fit("shpl", "shop::place")).toBeGreaterThan(0);
    expect(fit("xyz", "shop::place")).toBeNull();
    expect(fit("place", "shop::place")!).toBeGreaterThan(fit("place", "plan::race::e")!);
  });
});

describe("forms", () => {
  const schema = {
    $defs: { Size: { type: "string", enum: ["s", "m"] } },
    type: "object",
    required: ["size", "count"],
    properties: {
      size: { $ref: "#/$defs/Size" },
      count: { type: "integer", minimum: 1 },
      note: { anyOf: [{ type: "string" }, { type: "null" }], default: null },
      gift: { type: "boolean", default: true },
    },
  };

  test("begin with defaults and with what is required", () => {
    expect(initial(schema, schema)).toEqual({ size: "s", count: 1, gift: true });
  });

  test("follow references, and take a nullable string for a string", () => {
    expect(kindOf(resolved(schema.properties.size, schema))).toBe("choice");
    expect(kindOf(resolved(schema.properties.note, schema))).toBe("text");
  });

  test("end with a reference to itself", () => {
    const tree = { $ref: "#/$defs/T", $defs: { T: { type: "object", required: ["t"], properties: { t: { $ref: "#/$defs/T" } } } } };
    expect(JSON.stringify(initial(tree, tree)).length).toBeLessThan(500);
  });

  test("say where something is wrong", () => {
    expect(problems({ size: "s", count: 2 }, schema)).toEqual([]);
    expect(problems({ size: "s", count: 0 }, schema).map((each) => each.at)).toContain("/count");
    expect(problems({ count: 1 }, schema)[0]?.message).toContain("size");
  });
});

describe("calls as code", () => {
  const call = { function_id: "shop::place", input: { item: "it's", gift: true, note: null } };
  const where = { console: "http://h:3113/", engine: "ws://h:49134" };

  test("a shell gets one word", () => {
    expect(curl(call, where, true)).toBe(
      `curl -s http://h:3113/_console/invoke -H "Authorization: Bearer $III_CONSOLE_TOKEN" ` +
        `-d '{"function_id":"shop::place","input":{"item":"it'\\''s","gift":true,"note":null}}'`,
    );
  });

  test("Python has its own words for true and null", () => {
    expect(literal(call.input)).toBe(`{"item": "it's", "gift": True, "note": None}`);
    expect(python(call, where)).toContain(`iii.invoke("shop::place", {"item": "it's"`);
  });

  test("Node and Rust name the function and the engine", () => {
    for (const text of [node(call, where), rust(call, where)]) {
      expect(text).toContain(`"shop::place"`);
      expect(text).toContain(`"ws://h:49134"`);
    }
  });
});

describe("live lists", () => {
  const rowsAfter = (...messages: any[]) =>
    [...messages.reduce((all, message) => applied<any>(all, message, "id"), new Map()).values()];

  test("add, update and remove by key; a snapshot begins anew", () => {
    const first = { event: "snapshot", items: [{ id: "a", n: 1 }, { id: "b", n: 1 }] };
    const changed = { event: "update", items: [{ id: "b", n: 2 }] };
    expect(rowsAfter(first, changed, { event: "remove", items: [{ id: "a" }] })).toEqual([{ id: "b", n: 2 }]);
    expect(rowsAfter(first, { event: "snapshot", items: [{ id: "c" }] })).toEqual([{ id: "c" }]);
  });
});

describe("traces", () => {
  const span = (span_id: string, start: number, took: number, children: Span[] = []): Span => ({
    trace_id: "t", span_id, parent_span_id: null, name: `call ${span_id}`, kind: "server",
    start_time_ms: start, duration_ms: took, status: "ok", attributes: [["function_id", `f::${span_id}`]],
    service_name: "s", events: [], links: [], children,
  });
  const tree = [span("a", 100, 50, [span("b", 110, 10, [span("c", 111, 1)]), span("d", 150, 50)])];

  test("rows are nested, with shares of the whole, also beyond the parent's end", () => {
    const shown = rows(tree, new Set()).map((row) => [row.span.span_id, row.depth, row.left, row.width]);
    expect(shown).toEqual([["a", 0, 0, 0.5], ["b", 1, 0.1, 0.1], ["c", 2, 0.11, 0.01], ["d", 1, 0.5, 0.5]]);
  });

  test("what is below a folded span is left out", () => {
    expect(rows(tree, new Set(["b"])).map((row) => row.span.span_id)).toEqual(["a", "b", "d"]);
  });

  test("a span is called after its function", () => {
    expect(label(tree[0]!)).toBe("f::a");
  });
});
