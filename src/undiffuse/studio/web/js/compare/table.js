// A table of the API: { head: ["", "a", "b"], rows: [["recipe", "digits", "small"], ...], best: [[row, column], ...] }.

import { h } from "../ui/dom.js";

const says = (value) => (value === null || value === undefined ? "–" : String(value));

/** The table as an element; on a narrow page it scrolls by itself. */
export function table({ head, rows, best = [] }) {
  const marked = new Set(best.map(String));
  const cell = (value, row, column) => {
    const good = marked.has(String([row, column]));
    return h("td", { class: good && "best" }, says(value), good && h("span", { class: "visually-hidden" }, " (best)"));
  };
  const top = h("tr", {}, head.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {}))));
  const body = rows.map(([name, ...values], row) => h("tr", {}, h("th", { scope: "row" }, says(name)), values.map((value, k) => cell(value, row, k + 1))));
  return h("div", { class: "table-frame", tabindex: "0", role: "group", "aria-label": "A table" }, h("table", {}, h("thead", {}, top), h("tbody", {}, body)));
}
