/** JSON, folded and coloured; and an editor of it. */
import { useState } from "preact/hooks";
import { JsonView, collapseAllNested } from "react-json-view-lite";
import type { Json as Value } from "../lib/types";
import { Copy } from "./basics";

const STYLE = {
  container: "json",
  basicChildStyle: "json-child",
  childFieldsContainer: "json-fields",
  label: "json-label",
  clickableLabel: "json-label",
  nullValue: "json-null",
  undefinedValue: "json-null",
  numberValue: "json-number",
  stringValue: "json-string",
  booleanValue: "json-boolean",
  otherValue: "json-string",
  punctuation: "json-punctuation",
  expandIcon: "json-expand",
  collapseIcon: "json-collapse",
  collapsedContent: "json-collapsed",
  stringifyStringValues: true,
};

const SMALL_CHARS = 2_000;
const SHOWN_CHARS = 200_000;

/** A value to look at. */
export function Json({ value, label }: { value: Value | undefined; label?: string }) {
  if (value === undefined) return <span class="dim">nothing</span>;
  const text = JSON.stringify(value, null, 2);
  const small = text.length < SMALL_CHARS;
  const plain = typeof value !== "object" || value === null || text.length > SHOWN_CHARS;
  return (
    <div class="json-box">
      <div class="json-copy">
        <Copy text={text} label={`Copy ${label ?? "JSON"}`} />
      </div>
      {plain ? (
        <pre class="json" tabIndex={0}>
          {text.slice(0, SHOWN_CHARS)}
          {text.length > SHOWN_CHARS && "\n… copy it to see all of it"}
        </pre>
      ) : (
        <JsonView
          data={value}
          style={STYLE as any}
          shouldExpandNode={small ? () => true : collapseAllNested}
          aria-label={label ?? "JSON"}
        />
      )}
    </div>
  );
}

/** Text that should be JSON: the value, or why it is none. */
export function parsed(text: string): { value: Value } | { error: string } {
  try {
    return { value: JSON.parse(text) };
  } catch (failed) {
    return { error: (failed as Error).message };
  }
}

/** Edits JSON as text. Ctrl+Enter submits the form it is in. */
export function JsonEditor(props: {
  label: string;
  text: string;
  set: (text: string) => void;
  rows?: number;
}) {
  const [left, setLeft] = useState(false);
  const found = parsed(props.text);
  const wrong = left && "error" in found ? found.error : null;
  return (
    <div class="editor">
      <textarea
        class="mono"
        aria-label={props.label}
        aria-invalid={wrong !== null}
        spellcheck={false}
        rows={props.rows ?? Math.min(Math.max(props.text.split("\n").length + 1, 5), 20)}
        value={props.text}
        onInput={(event) => props.set(event.currentTarget.value)}
        onBlur={() => setLeft(true)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            event.currentTarget.form?.requestSubmit();
          }
        }}
      />
      {wrong && <p class="wrong">{wrong}</p>}
    </div>
  );
}
