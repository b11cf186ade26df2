// A table of the API: { head: ["", "a", "b"], rows: [["recipe", "digits", "small"], ...] }.

import { h } from "../ui/dom.js";

const says = (value) => (value === null || value === undefined ? "–" : String(value));

/** The table as an element; on a narrow page it scrolls by itself. */
export function table({ head, rows }) {
  const top = h("tr", {}, head.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {}))));
  const body = rows.map(([name, ...values]) => h("tr", {}, h("th", { scope: "row" }, says(name)), values.map((value) => h("td", {}, says(value)))));
  return h("div", { class: "table-frame", tabindex: "0", role: "group", "aria-label": "A table" }, h("table", {}, h("thead", {}, top), h("tbody", {}, body)));
}
