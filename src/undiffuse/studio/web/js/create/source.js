// A place for one picture: from the gallery, from a file, or dropped there.

import { button } from "../ui/controls.js";
import { h } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { shown } from "./canvas.js";

/** Let a person drop files on an element: onFiles(FileList or File[]). */
export function droppable(element, onFiles) {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", (event) => element.contains(event.relatedTarget) || element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.remove("over");
    if (event.dataTransfer.files.length) onFiles(event.dataTransfer.files, event.dataTransfer);
  });
}

/** A button that lets a person choose files; `attributes` are those of its <input>. */
export function filePicker(text, onFiles, attributes = {}) {
  const input = h("input", { type: "file", class: "visually-hidden", tabindex: "-1", "aria-label": text, ...attributes });
  input.addEventListener("change", () => {
    if (input.files.length) onFiles(input.files);
    input.value = "";
  });
  return h("span", {}, input, button(text, () => input.click(), { sign: "upload" }));
}

/**
 * @param {object} options label, such as "The picture"; pick(): resolves to an item of the gallery or null;
 *   onChange(loaded <img>) -> whether it has brought something else into view.
 * @returns {{ element, filled, put, append }} append(form, name) adds what was chosen to a request.
 */
export function source({ label, what, pick, onChange }) {
  let chosen = null;
  const frame = h("div", { class: "source-frame" }, h("span", {}, "None yet"));

  async function put(item) {
    const url = item instanceof File ? URL.createObjectURL(item) : item.url;
    const image = shown(url, label);
    try {
      await image.decode();
    } catch {
      toast("This file is no picture that the browser can show.", { error: true });
      return true;
    }
    if (image.naturalWidth > 128) image.classList.remove("pixels");
    chosen = item;
    frame.replaceChildren(image);
    return onChange?.(image) ?? false;
  }

  const fromGallery = async () => {
    const item = await pick(what);
    if (!item) return;
    if (!(await put(item))) element.scrollIntoView({ block: "center" });
    element.querySelector("button").focus({ preventScroll: true });
  };
  const element = h(
    "div",
    { class: "source", role: "group", "aria-label": label },
    frame,
    h("div", {}, h("p", { class: "label" }, label), h("div", { class: "row" }, button("From the gallery", fromGallery), filePicker("A file", ([file]) => put(file), { accept: "image/*" }))),
  );
  droppable(element, ([file]) => put(file));
  return {
    element,
    put,
    get filled() {
      return chosen !== null;
    },
    append(form, name) {
      if (chosen instanceof File) form.append(name, chosen, chosen.name);
      else form.append(`${name}_id`, chosen.id);
    },
  };
}
