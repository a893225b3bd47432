// Small graphs of a figure over the last minutes.

import { svg } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 44;
const KEPT = 180;
/** So many figures fill the width; more make it denser. */
const FEWEST = 30;

/** Figures over time. One is added at each look. */
export class Series {
  values = [];

  add(value) {
    if (!Number.isFinite(value)) return;
    this.values.push(value);
    if (this.values.length > KEPT) this.values.shift();
  }
}

/** A line with the area below it. `limit`: where the figure should not go. */
export function graph({ values }, { label, limit = null, floor = 0 } = {}) {
  const top = Math.max(...values, limit ?? -Infinity, floor + 1);
  const x = (index) => WIDTH - (Math.max(values.length, 2) - 1 - index) * (WIDTH / (Math.max(values.length, FEWEST) - 1));
  const y = (value) => HEIGHT - 2 - ((value - floor) / (top - floor)) * (HEIGHT - 6);
  // The first look has a line too.
  const points = (values.length === 1 ? [values[0], values[0]] : values).map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "graph", role: "img", "aria-label": label, preserveAspectRatio: "none" });
  if (limit !== null && limit > 0) drawing.append(svg("line", { class: "limit", x1: 0, x2: WIDTH, y1: y(limit), y2: y(limit) }));
  if (points.length > 1) {
    drawing.append(svg("polygon", { points: `${x(0).toFixed(1)},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` }), svg("polyline", { points: points.join(" ") }));
  }
  return drawing;
}
