/** A list of rows, of which only those in view are drawn. */
import { useVirtualizer } from "@tanstack/react-virtual";
import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";

export interface Column<T> {
  id: string;
  head: ComponentChildren;
  cell: (row: T) => ComponentChildren;
  /** Of a CSS grid: `minmax(0, 1fr)` without. */
  width?: string;
  /** To the right, for numbers. */
  right?: boolean;
  /** Only where there is room. */
  wide?: boolean;
}

const ROW_PX = 34;

/** `open` is what Enter and a click do; j and k, or the arrows, go through the rows. */
export function Table<T>(props: {
  label: string;
  columns: Column<T>[];
  rows: T[];
  rowKey: (row: T) => string;
  open?: (row: T) => void;
  selected?: string;
  tone?: (row: T) => string;
  rowPx?: number;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(-1);
  const { rows, columns, rowKey } = props;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => props.rowPx ?? ROW_PX,
    overscan: 12,
  });
  const narrow = matchMedia("(max-width: 720px)").matches;
  const shown = columns.filter((column) => !narrow || !column.wide);
  const template = shown.map((column) => column.width ?? "minmax(0, 1fr)").join(" ");
  const keys = (event: KeyboardEvent) => {
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (event.target !== box.current || event.ctrlKey || event.metaKey) return;
    if (step && rows.length) {
      event.preventDefault();
      const next = Math.min(Math.max(at + step, 0), rows.length - 1);
      setAt(next);
      virtual.scrollToIndex(next);
    } else if (event.key === "Enter" && rows[at]) {
      event.preventDefault();
      props.open?.(rows[at]);
    }
  };
  const cell = (column: Column<T>, content: ComponentChildren, role: "cell" | "columnheader") => (
    <div key={column.id} role={role} class={column.right ? "cell right" : "cell"}>
      {content}
    </div>
  );
  return (
    <div class="table" role="table" aria-label={props.label} aria-rowcount={rows.length + 1}>
      <div class="thead" role="rowgroup">
        <div class="tr head" role="row" style={{ gridTemplateColumns: template }}>
          {shown.map((column) => cell(column, column.head, "columnheader"))}
        </div>
      </div>
      <div class="tbody" role="rowgroup" ref={box} tabIndex={0} data-list onKeyDown={keys}>
        <div class="space" role="presentation" style={{ height: `${virtual.getTotalSize()}px` }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index]!;
            const key = rowKey(row);
            const state = `${props.tone?.(row) ?? ""} ${at === item.index ? "at" : ""}`;
            return (
              <div
                key={key}
                role="row"
                aria-rowindex={item.index + 2}
                class={`tr ${state} ${props.open ? "opens" : ""} ${props.selected === key ? "selected" : ""}`}
                style={{
                  gridTemplateColumns: template,
                  transform: `translateY(${item.start}px)`,
                  height: `${item.size}px`,
                }}
                onClick={(event) => {
                  if ((event.target as Element).closest("a, button, input")) return;
                  setAt(item.index);
                  props.open?.(row);
                }}
              >
                {shown.map((column) => cell(column, column.cell(row), "cell"))}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
