/** A call as people write it elsewhere. */
import type { Json } from "./types";

export interface Call {
  function_id: string;
  input: Json;
}

export interface Where {
  /** The console's own address, with a slash at its end. */
  console: string;
  /** The worker port. */
  engine: string;
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** For a shell; the token is left to the environment. */
export function curl({ function_id, input }: Call, where: Where, token: boolean): string {
  const body = JSON.stringify({ function_id, input });
  const header = token ? ` -H "Authorization: Bearer $III_CONSOLE_TOKEN"` : "";
  return `curl -s ${where.console}_console/invoke${header} -d ${quoted(body)}`;
}

/** The Node SDK. */
export function node({ function_id, input }: Call, where: Where): string {
  return `import { registerWorker } from "iii-sdk";

const iii = registerWorker(${JSON.stringify(where.engine)});
const result = await iii.trigger({
  function_id: ${JSON.stringify(function_id)},
  payload: ${indented(JSON.stringify(input, null, 2), "  ")},
});
console.log(result);`;
}

/** The client of this package. */
export function python({ function_id, input }: Call, where: Where): string {
  return `import asyncio

from iii import III


async def main() -> None:
    iii = III(${JSON.stringify(where.engine)})
    await iii.connect()
    print(await iii.invoke(${JSON.stringify(function_id)}, ${literal(input, "    ")}))
    await iii.disconnect()


asyncio.run(main())`;
}

/** The Rust SDK. */
export function rust({ function_id, input }: Call, where: Where): string {
  return `use iii_sdk::{register_worker, InitOptions, TriggerRequest};
use serde_json::json;

let iii = register_worker(${JSON.stringify(where.engine)}, InitOptions::default());
let result = iii
    .trigger(TriggerRequest {
        function_id: ${JSON.stringify(function_id)}.into(),
        payload: json!(${indented(JSON.stringify(input, null, 4), "        ")}),
        action: None,
        timeout_ms: None,
    })
    .await?;
println!("{result}");`;
}

const indented = (text: string, by: string) => text.replaceAll("\n", `\n${by}`);

/** JSON as Python writes it. */
export function literal(value: Json, by = ""): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${by}    `;
  const items = Array.isArray(value)
    ? value.map((each) => literal(each, inner))
    : Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${literal(each, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (!items.length) return `${open}${close}`;
  const line = `${open}${items.join(", ")}${close}`;
  if (line.length < 60) return line;
  return `${open}\n${items.map((item) => `${inner}${item},`).join("\n")}\n${by}${close}`;
}
