// The plot of schedules: alpha and sigma, or the log-SNR, over t, with a point to drag.

import { draggable, font, knob, line, scale, stage } from "../ui/canvas.js";
import { colour } from "../ui/theme.js";

const POINTS = 201;

/**
 * Curves of two schedules over t, the chosen one bold.
 *
 * @param {object} options
 *   schedules: { name: schedule }; lines: [{ of: marginal -> y, colour, name, at: share of t where the name stands }]; range: [low, high] of y;
 *   ticks: values of y that get a line; state: () -> { name, t }; onDrag: t -> void; describe: state -> words; signal.
 */
export function curves({ schedules, lines, range, ticks, state, onDrag, describe, signal }) {
  const tables = Object.fromEntries(Object.entries(schedules).map(([name, schedule]) => [name, table(schedule, lines)]));
  const tMax = Object.values(schedules)[0].tMax;
  const margin = { left: 34, right: 12, top: 10, bottom: 24 };
  const view = stage({ description: "", className: "curve", draw, signal });
  draggable(view.element, (x) => {
    const t = scale([0, tMax], [margin.left, view.width - margin.right]).back(x);
    onDrag(Math.round(Math.min(tMax, Math.max(0, t))));
  });

  function draw(context, width, height) {
    const { name, t } = state();
    const x = scale([0, tMax], [margin.left, width - margin.right]);
    const y = scale(range, [height - margin.bottom, margin.top]);
    context.font = font(11.5);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const tick of ticks) {
      context.fillStyle = colour("line");
      context.fillRect(margin.left, y(tick), width - margin.left - margin.right, 1);
      context.fillStyle = colour("muted");
      context.fillText(String(tick).replace("-", "−"), margin.left - 7, y(tick));
    }
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) context.fillText(String(tMax * tick), x(tMax * tick) - (tick === 1 ? 10 : 0), height - 6);
    context.save();
    context.beginPath();
    context.rect(margin.left, 0, width, height - margin.bottom + 2);
    context.clip();
    for (const other of Object.keys(tables).sort((a) => (a === name ? 1 : -1))) {
      lines.forEach((row, k) => {
        context.strokeStyle = colour(row.colour);
        context.lineWidth = other === name ? 2.5 : 1.25;
        context.setLineDash(other === name ? [] : [3, 4]);
        line(context, tables[other].t, tables[other].values[k], x, y);
      });
    }
    context.setLineDash([]);
    context.restore();
    context.fillStyle = colour("ink");
    context.fillRect(x(t) - 0.5, margin.top, 1, height - margin.top - margin.bottom);
    const marginal = schedules[name].at(t);
    for (const row of lines) {
      const value = Math.min(range[1], Math.max(range[0], row.of(marginal)));
      knob(context, x(t), y(value), colour("surface"), colour(row.colour));
    }
    label(context, tables[name], x, y, width);
  }

  /** The name of each line, written on it where there is room. */
  function label(context, { t, values }, x, y, width) {
    context.font = font(13, 600);
    context.textAlign = "left";
    lines.forEach((row, k) => {
      if (!row.name) return;
      const at = Math.round(row.at * (POINTS - 1));
      context.fillStyle = colour(row.colour);
      context.fillText(row.name, Math.min(x(t[at]) + 6, width - 40), y(values[k][at]) - 8);
    });
  }

  return {
    element: view.element,
    update() {
      view.describe(describe(state()));
      view.redraw();
    },
  };
}

function table(schedule, lines) {
  const t = Array.from({ length: POINTS }, (_, i) => (schedule.tMax * i) / (POINTS - 1));
  return { t, values: lines.map(({ of }) => t.map((time) => of(schedule.at(time)))) };
}
