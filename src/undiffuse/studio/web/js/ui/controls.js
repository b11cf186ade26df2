// Things to move and choose. Each function returns { element, ... } with what its user needs to read or set it; native
// inputs underneath, so that keyboard, screen reader and touch work as everywhere.

import { freshId, h, icon } from "./dom.js";

/** A button with words; `kind` is "primary", "danger" or "". */
export function button(text, onclick, { kind = "", sign = null, ...attributes } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, onclick, ...attributes }, sign && icon(sign), text);
}

/** A round button with a sign only; its name is spoken. */
export function iconButton(sign, name, onclick) {
  return h("button", { type: "button", class: "icon-button", "aria-label": name, title: name, onclick }, icon(sign));
}

/**
 * A slider with its label and its value in words.
 *
 * @param {object} options
 *   label, min, max, step, value; format: number -> text, shown and spoken; onInput: number -> void.
 * @returns {{ element, input, value, set }} `set` moves it without calling onInput.
 */
export function slider({ label, min, max, step = 1, value, format = String, onInput, hint = null }) {
  const id = freshId("slider");
  // seen only: the slider itself speaks its value, and a slider that plays would not stop talking
  const output = h("output", { class: "value", for: id, "aria-live": "off" });
  const input = h("input", { type: "range", id, min, max, step, value });
  const show = () => {
    const now = Number(input.value);
    output.textContent = format(now);
    input.setAttribute("aria-valuetext", format(now));
    input.style.setProperty("--filled", `${(100 * (now - Number(input.min))) / (Number(input.max) - Number(input.min) || 1)}%`);
  };
  input.addEventListener("input", () => {
    show();
    onInput?.(Number(input.value));
  });
  show();
  const element = h(
    "div",
    { class: "control" },
    h("div", { class: "label label-row" }, h("label", { for: id }, label), output),
    input,
    hint && h("p", { class: "hint" }, hint),
  );
  return {
    element,
    input,
    get value() {
      return Number(input.value);
    },
    set(next) {
      input.value = next;
      show();
    },
    refresh: show,
  };
}

/**
 * One of a few, all of them visible: radio buttons in a row.
 *
 * @param {object} options label; choices: [value, text][]; value; onChange: value -> void; tight: for single letters.
 */
export function segments({ label, choices, value, onChange, tight = false }) {
  const name = freshId("segments");
  const inputs = new Map();
  const labels = choices.map(([key, text]) => {
    const input = h("input", { type: "radio", name, value: key, checked: key === value });
    input.addEventListener("change", () => onChange?.(key));
    inputs.set(key, input);
    return h("label", {}, input, text);
  });
  const element = h(
    "fieldset",
    { class: "control" },
    h("legend", { class: "label" }, label),
    h("div", { class: tight ? "segments tight" : "segments" }, labels),
  );
  return {
    element,
    get value() {
      return choices.find(([key]) => inputs.get(key).checked)?.[0];
    },
    set(key) {
      inputs.get(key).checked = true;
    },
    setDisabled(disabled) {
      for (const input of inputs.values()) input.disabled = disabled;
    },
  };
}

/** On or off. */
export function toggle({ label, value = false, onChange }) {
  const input = h("input", { type: "checkbox", role: "switch", checked: value });
  input.addEventListener("change", () => onChange?.(input.checked));
  return { element: h("label", { class: "switch" }, input, label), input };
}

/**
 * A field to type in, with its label, a hint and a place for what is wrong with it.
 *
 * @param {object} options label; type: as of <input>, or "textarea"; value; hint; other attributes as they are.
 */
export function field({ label, type = "text", value = "", hint = null, onChange, ...attributes }) {
  const id = freshId("field");
  const note = freshId("note");
  const common = { id, class: "field", "aria-describedby": note, ...attributes };
  const input = type === "textarea" ? h("textarea", common) : h("input", { type, ...common });
  input.value = value;
  input.addEventListener("change", () => onChange?.(input.value));
  const notes = h("p", { id: note, class: "hint", "aria-live": "polite" }, hint);
  return {
    element: h("div", { class: "control" }, h("label", { class: "label", for: id }, label), input, notes),
    input,
    get value() {
      return input.value;
    },
    set(next) {
      input.value = next;
    },
    /** Show what is wrong, or with null that nothing is. */
    complain(text) {
      input.setAttribute("aria-invalid", text ? "true" : "false");
      notes.className = text ? "error" : "hint";
      notes.textContent = text ?? hint ?? "";
    },
  };
}

/** One of many: a native select. choices: [value, text][]. */
export function select({ label, choices, value, hint = null, onChange }) {
  const id = freshId("select");
  const input = h("select", { id, class: "field" });
  const offer = (pairs, chosen) => {
    input.replaceChildren(...pairs.map(([key, text]) => h("option", { value: key, selected: key === chosen }, text)));
  };
  offer(choices, value);
  input.addEventListener("change", () => onChange?.(input.value));
  return {
    element: h("div", { class: "control" }, h("label", { class: "label", for: id }, label), input, hint && h("p", { class: "hint" }, hint)),
    input,
    offer,
    get value() {
      return input.value;
    },
  };
}

/**
 * Play, pause and scrub: a button beside a slider of whole steps.
 *
 * Playing goes from where it is (from the start, if at the end) to the end in `seconds`. It stops when `signal` aborts
 * or the element leaves the screen.
 *
 * @param {object} options label, name (what plays, for the button), steps, value, seconds, format, onStep: k -> void.
 */
export function transport({ label, name, steps, value = 0, seconds = 5, format, onStep, signal }) {
  let frame = 0;
  let position = value;
  let seen = false;
  let wanted = false;
  const moved = (k) => {
    bar.set(k);
    onStep(k);
  };
  const bar = slider({ label, min: 0, max: steps, value, format, onInput: (k) => (pause(), (position = k), onStep(k)) });
  const press = h("button", { type: "button", class: "icon-button play", onclick: () => (frame ? pause() : play()) });
  const show = () => {
    press.setAttribute("aria-label", frame ? `Pause ${name}` : `Play ${name}`);
    press.replaceChildren(icon(frame ? "pause" : "play"));
  };

  function pause() {
    cancelAnimationFrame(frame);
    frame = 0;
    show();
  }

  function play() {
    wanted = false;
    if (frame) return;
    const last = Number(bar.input.max);
    if (position >= last) position = 0;
    let before = performance.now();
    const tick = (now) => {
      // A tab that slept goes on where it was: no step is longer than a tenth of a second.
      position = Math.min(last, position + (Math.min(now - before, 100) / 1000) * (last / seconds));
      before = now;
      if (Math.floor(position) !== bar.value) moved(Math.floor(position));
      if (position >= last) pause();
      else frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    show();
  }

  show();
  signal?.addEventListener("abort", pause);
  const element = h("div", { class: "transport" }, press, bar.element);
  const watch = new IntersectionObserver(
    (entries) => {
      seen = entries.at(-1).isIntersecting;
      if (!seen) pause();
      else if (wanted) play();
    },
    { threshold: 0.2 },
  );
  watch.observe(element);
  return {
    element,
    play,
    pause,
    /** Play now, or as soon as somebody sees it: it, or `moving`, what it moves, which then is what must be on the screen. */
    playWhenSeen(moving = null) {
      if (moving) {
        watch.disconnect();
        watch.observe(moving);
        seen = false;
      }
      if (seen) play();
      else wanted = true;
    },
    get value() {
      return bar.value;
    },
    /** Move there, as if dragged. */
    seek(k) {
      pause();
      position = k;
      moved(k);
    },
    /** Say anew what the place is called, where `format` has changed its mind. */
    refresh: bar.refresh,
    /** Another number of steps, standing at k. */
    resize(count, k) {
      pause();
      bar.input.max = count;
      position = k;
      bar.set(k);
    },
  };
}
