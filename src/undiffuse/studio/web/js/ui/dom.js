// Making elements: h() for HTML, icon() for the drawn signs, and MathML by a handful of short functions.

/**
 * An element with attributes, listeners and children.
 *
 *   h("button", { class: "button", type: "button", onclick: save }, "Save")
 *
 * Attributes that are null, undefined or false are left out, true ones are set empty, functions are listeners.
 * Children may be nested arrays; null and false among them are left out.
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Give an element other children, and leave the keyboard at the place of the list where it is. */
export function exchange(element, children) {
  const stops = () => [...element.querySelectorAll("a, button")];
  const at = stops().indexOf(document.activeElement);
  element.replaceChildren(...children);
  if (at >= 0) stops()[Math.min(at, stops().length - 1)]?.focus({ preventScroll: true });
}

/** Set a text that is spoken when it changes, so that it is spoken only then. */
export function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let lastId = 0;

/** An id that no other element has, for labels and descriptions. */
export function freshId(stem = "id") {
  lastId += 1;
  return `${stem}-${lastId}`;
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  play: ["M8 5.5v13l11-6.5z", true],
  pause: ["M7 5h4v14H7zM13 5h4v14h-4z", true],
  again: ["M4 12a8 8 0 1 0 2.6-5.9M4 4v4.500h4.500", false],
  dice: ["M5 5h14v14H5zM9 9h.01M15 15h.01M12 12h.01M15 9h.01M9 15h.01", false],
  moon: ["M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500z", false],
  sun: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.500 1.500M17.500 17.500 19 19M19 5l-1.500 1.500M6.500 17.500 5 19", false],
  close: ["M6 6l12 12M18 6 6 18", false],
  arrow: ["M5 12h14M13 6l6 6-6 6", false],
  upload: ["M12 16V4M7 9l5-5 5 5M5 20h14", false],
  download: ["M12 4v12M7 11l5 5 5-5M5 20h14", false],
  stop: ["M6 6h12v12H6z", true],
};

/** One of the drawn signs; it is decoration, the button around it carries the name. */
export function icon(name) {
  const [path, filled] = ICONS[name];
  const svg = document.createElementNS(SVG, "svg");
  fill(svg, { viewBox: "0 0 24 24", class: filled ? "icon filled" : "icon", "aria-hidden": "true" }, []);
  svg.append(fill(document.createElementNS(SVG, "path"), { d: path }, []));
  return svg;
}

// MathML. Letters are <mi> in italics, strings of digits <mn>, everything else <mo>.

const MATH = "http://www.w3.org/1998/Math/MathML";

function m(tag, children, attributes = {}) {
  return fill(document.createElementNS(MATH, tag), attributes, children.map(term));
}

function term(value) {
  if (value instanceof Node) return value;
  if (/^[\d.]+$/.test(value)) return m1("mn", value);
  if (/^[\p{L}∅]+$/u.test(value)) return m1("mi", value);
  return m1("mo", value);
}

function m1(tag, text, attributes = {}) {
  return fill(document.createElementNS(MATH, tag), attributes, [text]);
}

/** Terms side by side: row("x", "=", sub("x", "t")). */
export const row = (...terms) => m("mrow", terms);
export const sub = (base, index) => m("msub", [base, index]);
export const sup = (base, power) => m("msup", [base, power]);
export const subsup = (base, index, power) => m("msubsup", [base, index, power]);
export const frac = (above, below) => m("mfrac", [above, below]);
/** The sign of a negative term, which stands close to it. */
export const minus = () => m1("mo", "−", { form: "prefix", rspace: "0.1em" });
/** A function's name, with the thin space that follows it. */
export const named = (text) => m("mrow", [m1("mi", text, { class: "upright" }), m("mspace", [], { width: "0.2em" })]);
/** A letter with a hat: what a network believes. */
export const hat = (letter, index) => {
  const hatted = m("mover", [letter, m1("mo", "^", { stretchy: "false" })], { accent: "true" });
  return index ? m("msub", [hatted, index]) : hatted;
};
/** Terms in the colour of signal or of noise. */
export const tinted = (name, ...terms) => m("mrow", terms, { class: name });
/** A whole equation; `words` is what a screen reader says where it knows no MathML. */
export function equation(words, ...terms) {
  return m("math", [m("mrow", terms)], { display: "block", "aria-label": words, role: "math" });
}

/** An equation inside a sentence. */
export function inline(...terms) {
  return m("math", [m("mrow", terms)]);
}
