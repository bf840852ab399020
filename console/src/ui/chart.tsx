/** Lines over time, and small ones without axes. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useCell } from "../lib/cell";
import { theme } from "../lib/theme";

export interface Line {
  name: string;
  /** A custom property of the style sheet, such as `--accent`. */
  color: string;
  values: (number | null)[];
}

const HEIGHT_PX = 170;

/** `times` in ms, one for each value of each line. */
export function Chart(props: {
  label: string;
  times: number[];
  lines: Line[];
  show: (value: number) => string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const chosen = useCell(theme);
  const { times, lines, show, label } = props;
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: color("--dim"),
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
    };
    const plot = new uPlot(
      {
        width: element.clientWidth || 300,
        height: HEIGHT_PX,
        ms: 1,
        legend: { show: true, live: true },
        cursor: { points: { size: 6 }, drag: { x: false, y: false } },
        scales: { y: { range: (_, low, high) => [Math.min(low ?? 0, 0), Math.max(high ?? 1, 0.001) * 1.1] } },
        axes: [
          { ...axis, space: 70, values: (_, all) => all.map(minute) },
          { ...axis, size: 62, values: (_, all) => all.map(show) },
        ],
        series: [
          { value: (_, ms) => (ms === null ? "–" : new Date(ms).toLocaleTimeString()) },
          ...lines.map((line) => ({
            label: line.name,
            stroke: color(line.color),
            width: 1.5,
            points: { show: times.length < 3, size: 5 },
            value: (_: uPlot, value: number | null) => (value === null ? "–" : show(value)),
          })),
        ],
      },
      [times, ...lines.map((line) => line.values)] as uPlot.AlignedData,
      element,
    );
    const watch = new ResizeObserver(() =>
      plot.setSize({ width: element.clientWidth, height: HEIGHT_PX }),
    );
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [times, lines, chosen]);
  return <div class="chart" ref={box} role="img" aria-label={label} />;
}

function minute(ms: number): string {
  return new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

/** A line as high as a row of text; where `bad` is not 0 it is marked. */
export function Sparkline({ values, bad, label }: { values: number[]; bad?: number[]; label: string }) {
  const most = Math.max(...values, 1);
  const x = (at: number) => (values.length > 1 ? (at / (values.length - 1)) * 78 + 1 : 40);
  const y = (value: number) => 17 - (value / most) * 15;
  return (
    <svg class="spark" viewBox="0 0 80 18" role="img" aria-label={label}>
      <polyline points={values.map((value, at) => `${x(at)},${y(value)}`).join(" ")} />
      {bad?.map((value, at) => value > 0 && <circle key={at} cx={x(at)} cy={y(values[at] ?? 0)} r="1.8" />)}
    </svg>
  );
}
