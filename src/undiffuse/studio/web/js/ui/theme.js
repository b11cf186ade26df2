// Light and dark: the system's choice until a person makes their own, which is remembered.
//
// early-theme.js sets the first one. Canvases read their colours from the stylesheet's variables, so whoever draws
// listens for the event "themechange" on document.

import { h, icon } from "./dom.js";

const KEY = "undiffuse-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function apply(theme) {
  document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new Event("themechange"));
}

/** The button that turns light into dark and back; follows the system until it is pressed. */
export function themeSwitch() {
  const button = h("button", { class: "icon-button theme-switch", type: "button" });
  const show = () => {
    const dark = document.documentElement.dataset.theme === "dark";
    button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
    button.replaceChildren(icon(dark ? "sun" : "moon"));
  };
  button.addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // not remembered, then
    }
    apply(theme);
  });
  system.addEventListener("change", () => remembered() ?? apply(system.matches ? "dark" : "light"));
  document.addEventListener("themechange", show);
  show();
  return button;
}

let palette = null;
document.addEventListener("themechange", () => (palette = null));

/** The colour of a variable of tokens.css in the theme of now, as canvases need it: colour("signal"). */
export function colour(name) {
  palette ??= new Map();
  if (!palette.has(name)) {
    palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }
  return palette.get(name);
}
