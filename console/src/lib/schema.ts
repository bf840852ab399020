/** JSON Schema as far as a form shows it: references, defaults, one input for a property. */
import { Validator } from "@cfworker/json-schema";
import type { Json, Schema } from "./types";

export type Kind = "text" | "number" | "boolean" | "choice" | "object" | "list" | "json";

const MAX_DEPTH = 12;

/** The schema that a `$ref` within `root` means, with what stands beside it. */
export function resolved(schema: Schema | undefined, root: Schema): Schema {
  let found: Schema = schema ?? {};
  for (let depth = 0; depth < MAX_DEPTH && typeof found["$ref"] === "string"; depth++) {
    const { $ref, ...beside } = found;
    found = { ...pointed($ref, root), ...beside };
  }
  return withoutNull(found, root);
}

function pointed(ref: string, root: Schema): Schema {
  if (!ref.startsWith("#")) return {};
  const steps = ref.slice(1).split("/").filter(Boolean);
  const names = steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce<any>((at, name) => at?.[name], root) ?? {};
}

// "A string or null" is a string that may be left out.
function withoutNull(schema: Schema, root: Schema): Schema {
  const choices: Schema[] | undefined = schema["anyOf"] ?? schema["oneOf"];
  const others = choices?.filter((choice) => choice["type"] !== "null");
  if (choices && others?.length === 1 && others.length < choices.length) {
    const { anyOf: _any, oneOf: _one, ...beside } = schema;
    return { ...resolved(others[0], root), ...beside };
  }
  if (Array.isArray(schema["type"])) {
    const types = schema["type"].filter((type: string) => type !== "null");
    if (types.length === 1) return { ...schema, type: types[0] };
  }
  return schema;
}

/** Which input a (resolved) schema gets. */
export function kindOf(schema: Schema): Kind {
  if (Array.isArray(schema["enum"])) return "choice";
  switch (schema["type"]) {
    case "string":
      return "text";
    case "integer":
    case "number":
      return "number";
    case "boolean":
      return "boolean";
    case "object":
      return Object.keys(schema["properties"] ?? {}).length ? "object" : "json";
    case "array":
      return schema["items"] ? "list" : "json";
  }
  return schema["properties"] ? "object" : "json";
}

/** What a form begins with: defaults and constants, and what is required. */
export function initial(schema: Schema | undefined, root: Schema, depth = 0): Json {
  const found = resolved(schema, root);
  if (found["default"] !== undefined && found["default"] !== null) return found["default"];
  if (found["const"] !== undefined) return found["const"];
  switch (kindOf(found)) {
    case "choice":
      return found["enum"][0];
    case "text":
      return "";
    case "number":
      return found["minimum"] ?? 0;
    case "boolean":
      return false;
    case "list":
      return [];
    case "object":
      return properties(found, root, depth);
    default:
      return found["type"] === "array" ? [] : {};
  }
}

function properties(schema: Schema, root: Schema, depth: number): Json {
  const value: { [key: string]: Json } = {};
  if (depth > MAX_DEPTH) return value;
  const required: string[] = schema["required"] ?? [];
  for (const [name, each] of Object.entries<Schema>(schema["properties"] ?? {})) {
    const given = resolved(each, root)["default"];
    if (required.includes(name)) value[name] = initial(each, root, depth + 1);
    else if (given !== undefined && given !== null) value[name] = given;
  }
  return value;
}

export interface Wrong {
  /** `/address/zip`; empty: the whole value. */
  at: string;
  message: string;
}

/** What is wrong with a value; nothing when the schema itself can't be used. */
export function problems(value: Json, schema: Schema): Wrong[] {
  try {
    const { errors } = new Validator(schema as any, "2020-12", false).validate(value);
    return errors
      .filter((each) => !["properties", "items", "$ref", "allOf"].includes(each.keyword))
      .map((each) => ({ at: each.instanceLocation.replace(/^#/, ""), message: each.error }));
  } catch {
    return [];
  }
}
