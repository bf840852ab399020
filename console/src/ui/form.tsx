/** A form made from a JSON Schema: one input for a property, with what is required marked. */
import { useId } from "preact/hooks";
import { type Wrong, initial, kindOf, resolved } from "../lib/schema";
import type { Json, Schema } from "../lib/types";
import { JsonEditor, parsed } from "./json";
import { useState } from "preact/hooks";

interface Field {
  schema: Schema;
  root: Schema;
  value: Json | undefined;
  set: (value: Json | undefined) => void;
  problems: Wrong[];
  at: string;
}

/** The inputs for a value of `schema`. */
export function SchemaForm(props: Omit<Field, "root" | "at">) {
  return <ObjectFields {...props} root={props.schema} at="" />;
}

function ObjectFields({ schema, root, value, set, problems, at }: Field) {
  const found = resolved(schema, root);
  const all = (value && typeof value === "object" && !Array.isArray(value) ? value : {}) as {
    [key: string]: Json;
  };
  const change = (name: string, to: Json | undefined) => {
    const next = { ...all };
    if (to === undefined) delete next[name];
    else next[name] = to;
    set(next);
  };
  const required: string[] = found["required"] ?? [];
  return (
    <div class="fields">
      {Object.entries<Schema>(found["properties"] ?? {}).map(([name, each]) => (
        <Named
          key={name}
          name={name}
          required={required.includes(name)}
          schema={each}
          root={root}
          value={all[name]}
          set={(to) => change(name, to)}
          problems={problems}
          at={`${at}/${name}`}
        />
      ))}
    </div>
  );
}

function Named(props: Field & { name: string; required: boolean }) {
  const id = useId();
  const schema = resolved(props.schema, props.root);
  const wrong = props.problems.filter((each) => each.at === props.at);
  const kind = kindOf(schema);
  const group = kind === "object";
  const title = (
    <>
      {props.name}
      {props.required ? (
        <span class="required" title="required">
          {" "}
          * <span class="hidden">required</span>
        </span>
      ) : null}
      <span class="dim type"> {schema["type"] ?? (schema["enum"] ? "choice" : "any")}</span>
    </>
  );
  const input = <Input {...props} schema={schema} id={id} required={props.required} />;
  const rest = (
    <>
      {schema["description"] && <p class="hint">{schema["description"]}</p>}
      {wrong.map((each) => (
        <p key={each.message} class="wrong">
          {each.message}
        </p>
      ))}
    </>
  );
  if (group)
    return (
      <fieldset class="field">
        <legend>{title}</legend>
        {rest}
        {input}
      </fieldset>
    );
  return (
    <div class="field">
      <label for={id}>{title}</label>
      {input}
      {rest}
    </div>
  );
}

function Input(props: Field & { id: string; required: boolean; name: string }) {
  const { schema, value, set, id, required } = props;
  const emptied = (text: string, to: Json) => set(text === "" && !required ? undefined : to);
  switch (kindOf(schema)) {
    case "choice": {
      const options: Json[] = schema["enum"];
      return (
        <select
          id={id}
          value={value === undefined ? "" : String(options.indexOf(value))}
          onChange={(event) => {
            const chosen = event.currentTarget.value;
            set(chosen === "" ? undefined : options[Number(chosen)]);
          }}
        >
          {(!required || value === undefined) && <option value="">–</option>}
          {options.map((option, at) => (
            <option key={at} value={String(at)}>
              {typeof option === "string" ? option : JSON.stringify(option)}
            </option>
          ))}
        </select>
      );
    }
    case "text": {
      const text = typeof value === "string" ? value : "";
      const change = (event: { currentTarget: { value: string } }) =>
        emptied(event.currentTarget.value, event.currentTarget.value);
      return (schema["maxLength"] ?? 0) > 300 || text.includes("\n") ? (
        <textarea id={id} value={text} rows={4} onInput={change} aria-required={required} />
      ) : (
        <input id={id} value={text} onInput={change} aria-required={required} autocomplete="off" />
      );
    }
    case "number":
      return (
        <input
          id={id}
          type="number"
          step={schema["type"] === "integer" ? 1 : "any"}
          min={schema["minimum"]}
          max={schema["maximum"]}
          aria-required={required}
          value={typeof value === "number" ? value : ""}
          onInput={(event) => {
            const text = event.currentTarget.value;
            if (text === "") set(undefined);
            else set(Number(text));
          }}
        />
      );
    case "boolean":
      return (
        <input
          id={id}
          type="checkbox"
          checked={value === true}
          onChange={(event) => set(event.currentTarget.checked)}
        />
      );
    case "object":
      return <ObjectFields {...props} />;
    case "list":
      return <ListInput {...props} />;
    default:
      return <AnyInput {...props} />;
  }
}

function ListInput(props: Field & { id: string; name: string }) {
  const items = Array.isArray(props.value) ? props.value : [];
  const schema: Schema = props.schema["items"];
  return (
    <div class="list-input">
      {items.map((item, at) => (
        <div key={at} class="row">
          <Input
            {...props}
            id={at ? `${props.id}-${at}` : props.id}
            schema={resolved(schema, props.root)}
            required
            value={item}
            at={`${props.at}/${at}`}
            set={(to) => props.set(items.map((each, place) => (place === at ? (to ?? null) : each)))}
          />
          <button
            type="button"
            aria-label={`Remove item ${at + 1} of ${props.name}`}
            onClick={() => props.set(items.filter((_, place) => place !== at))}
          >
            −
          </button>
        </div>
      ))}
      <button
        type="button"
        id={items.length ? undefined : props.id}
        onClick={() => props.set([...items, initial(schema, props.root)])}
      >
        + add
      </button>
    </div>
  );
}

function AnyInput(props: Field & { id: string; name: string }) {
  const [text, setText] = useState(
    props.value === undefined ? "" : JSON.stringify(props.value, null, 2),
  );
  return (
    <JsonEditor
      label={props.name}
      text={text}
      rows={3}
      set={(to) => {
        setText(to);
        const found = parsed(to);
        if (to.trim() === "") props.set(undefined);
        else if ("value" in found) props.set(found.value);
      }}
    />
  );
}
