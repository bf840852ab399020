import { render } from "preact";
import { afterEach, describe, expect, test } from "vitest";
import { attributePairs } from "../src/pages/traces";
import { byError } from "../src/pages/deadletters";
import { givenInput } from "../src/pages/invocation";
import { belongs } from "../src/pages/invocations";
import { points } from "../src/pages/overview";
import { waitsFor } from "../src/pages/triggers";
import { Badge, Facts } from "../src/ui/basics";
import { SchemaForm } from "../src/ui/form";
import { Json, parsed } from "../src/ui/json";
import { found } from "../src/ui/palette";

const draw = (what: any) => {
  const box = document.createElement("div");
  document.body.append(box);
  render(what, box);
  return box;
};

afterEach(() => document.body.replaceChildren());

describe("parts", () => {
  test("markup in values is text", () => {
    const markup = "<img src=x onerror=alert(1)>";
    const box = draw(<><Json value={{ a: markup }} /><Facts facts={[["k", markup]]} /><Badge>{markup}</Badge></>);
    expect(box.querySelector("img")).toBeNull();
    expect(box.textContent!.split(markup).length).toBe(4);
  });

  test("a form has one input for a property, with what is required marked", () => {
    const schema = {
      type: "object",
      required: ["a"],
      properties: { a: { type: "string" }, b: { type: "integer" }, c: { type: "boolean" }, d: { enum: ["x"] } },
    };
    const set: any[] = [];
    const box = draw(<SchemaForm schema={schema} value={{ a: "1" }} set={(value) => set.push(value)} problems={[]} />);
    expect(box.querySelectorAll("input, select").length).toBe(4);
    expect(box.querySelectorAll(".required").length).toBe(1);
    const number = box.querySelector<HTMLInputElement>("input[type=number]")!;
    number.value = "5";
    number.dispatchEvent(new Event("input", { bubbles: true }));
    expect(set).toEqual([{ a: "1", b: 5 }]);
  });

  test("text that is no JSON says why", () => {
    expect(parsed('{"a": 1}')).toEqual({ value: { a: 1 } });
    expect(parsed("{")).toHaveProperty("error");
  });
});

describe("pages", () => {
  test("a pushed call is shown where its filters are", () => {
    const row: any = {
      invocation_id: "i", function_id: "f", status: "error", duration_ms: 5, worker_id: "w",
      error: { code: "invocation_failed", message: "No money" },
    };
    const none = { status: "", search: "", fields: {}, min: 0 };
    expect(belongs(row, none)).toBe(true);
    expect(belongs(row, { ...none, status: "ok" })).toBe(false);
    expect(belongs(row, { ...none, search: "no money" })).toBe(true);
    expect(belongs(row, { ...none, min: 6 })).toBe(false);
    expect(belongs(row, { ...none, fields: { worker_id: "v" } })).toBe(false);
    expect(belongs(row, { ...none, fields: { error_code: "invocation_failed", worker_id: "w" } })).toBe(true);
  });

  test("a restart of the engine is a hole in the rates", () => {
    const at = (timestamp: number, total: number): any => ({
      timestamp, memory_rss: 1, invocations: { total, error: 0 }, performance: { p95_duration_ms: null },
    });
    expect(points([at(0, 0), at(10_000, 50), at(20_000, 5)]).rates).toEqual([5, null]);
  });

  test("the engine's own field is no part of what is edited", () => {
    expect(givenInput({ a: 1, _caller_worker_id: "w" })).toEqual({ a: 1 });
    expect(givenInput([1])).toEqual([1]);
  });

  test("dead letters are grouped by what killed them", () => {
    const letter = (id: string, message: string): any => ({ id, attempts: [{ message }] });
    const groups = byError([letter("1", "a"), letter("2", "b"), letter("3", "b")]);
    expect(groups.map(([why, letters]) => [why, letters.length])).toEqual([["b", 2], ["a", 1]]);
  });

  test("triggers say what they wait for", () => {
    const waits = (config: any) => waitsFor({ config } as any);
    expect(waits({ api_path: "/orders/:id", http_method: "POST" })).toBe("POST /orders/:id");
    expect(waits({ topic: "mail" })).toBe("mail");
    expect(waits({})).toBe("everything");
  });

  test("attributes are pairs", () => {
    expect(attributePairs('order=7 name="Ada L" loose')).toEqual([["order", "7"], ["name", "Ada L"]]);
  });

  test("the palette knows ids by their form", () => {
    const trace = "0123456789abcdef0123456789abcdef";
    expect(found(trace, [])[0]).toEqual({ kind: "trace", text: trace, path: ["traces", trace] });
    const entry = { kind: "function", text: "shop::place", path: ["functions", "shop::place"] };
    expect(found("place", [entry])).toEqual([entry]);
    expect(found("zzz", [entry])).toEqual([]);
  });
});
