// What lies over or beside the page: toasts, dialogs, tabs.

import { freshId, h } from "./dom.js";
import { button } from "./controls.js";

/** A short message that goes by itself; errors are spoken at once and stay longer. */
export function toast(text, { error = false } = {}) {
  let place = document.querySelector(".toasts");
  if (!place) {
    place = h("div", { class: "toasts" });
    document.body.append(place);
  }
  const note = h("div", { class: error ? "toast error" : "toast", role: error ? "alert" : "status" }, text);
  place.append(note);
  setTimeout(() => note.remove(), error ? 9000 : 4500);
}

/**
 * A dialog above the page; resolves to the value of the button that was pressed, null when it was closed.
 *
 * @param {object} options title; body: elements; actions: [value, text, kind][], the last one is the default.
 */
export function dialog({ title, body, actions = [["close", "Close", "primary"]] }) {
  const heading = freshId("dialog");
  return new Promise((resolve) => {
    const close = (value) => {
      element.close();
      element.remove();
      resolve(value);
    };
    const element = h(
      "dialog",
      { class: "dialog", "aria-labelledby": heading },
      h("h2", { id: heading }, title),
      body,
      h("div", { class: "dialog-actions" }, actions.map(([value, text, kind]) => button(text, () => close(value), { kind }))),
    );
    element.addEventListener("cancel", (event) => {
      event.preventDefault();
      close(null);
    });
    addEventListener("hashchange", () => element.isConnected && close(null), { once: true });
    element.addEventListener("click", (event) => event.target === element && close(null));
    document.body.append(element);
    element.showModal();
    element.querySelector(".dialog-actions button:last-child")?.focus();
  });
}

/**
 * Tabs with their panels; arrow keys move between them.
 *
 * @param {object} options label; tabs: [id, text, panel element][]; onChange: id -> void.
 * @returns {{ element, choose, offer }} offer(id, whether) shows a tab, or takes it away.
 */
export function tabs({ label, tabs: rows, onChange }) {
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": label });
  const heads = rows.map(([id, text, panel]) => {
    const head = h("button", { type: "button", class: "tab", role: "tab", id: freshId("tab"), onclick: () => choose(id) }, text);
    panel.id ||= freshId("tabpanel");
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", head.id);
    head.setAttribute("aria-controls", panel.id);
    return head;
  });
  const choose = (wanted, focus = false) => {
    rows.forEach(([id, , panel], k) => {
      const chosen = id === wanted;
      heads[k].setAttribute("aria-selected", chosen);
      heads[k].tabIndex = chosen ? 0 : -1;
      panel.hidden = !chosen;
      if (chosen && focus) heads[k].focus();
    });
    onChange?.(wanted);
  };
  list.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const open = heads.filter(({ hidden }) => !hidden);
    const next = open[(open.indexOf(document.activeElement) + move + open.length) % open.length];
    choose(rows[heads.indexOf(next)][0], true);
    event.preventDefault();
  });
  list.append(...heads);
  choose(rows[0][0]);
  const offer = (wanted, whether) => (heads[rows.findIndex(([id]) => id === wanted)].hidden = !whether);
  return { element: h("div", {}, list, rows.map(([, , panel]) => panel)), choose, offer };
}

/** What a person sees where something could not be done, with a way to try again. */
export function trouble(text, again = null) {
  return h("div", { class: "card trouble", role: "alert" }, h("p", {}, text), again && button("Try again", again, { sign: "again" }));
}
