// One picture, large, with its recipe and all that can be done with it.

import { get, getBlob, remove } from "../api.js";
import { button, iconButton } from "../ui/controls.js";
import { freshId, h } from "../ui/dom.js";
import { dialog, toast } from "../ui/overlays.js";
import { shown } from "./canvas.js";
import { spoken, typed } from "./fields.js";
import { isMorph, madeHow } from "./gallery.js";
import { begin } from "./job.js";
import { verb } from "./verbs.js";

/** Settings that every recipe shows; the others follow where they differ from the usual. */
const ALWAYS = ["sampler", "steps", "classes", "text", "guidance"];

/** Give a person bytes to keep. */
export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** What a picture is called: the wish that it was made by, where there was one. */
function title({ recipe, kind }) {
  const { text, classes = [] } = recipe.settings ?? {};
  if (text) return `“${text}”`;
  if (classes.length === 1) return `“${classes[0]}”`;
  if (kind === "sample") return `Seed ${recipe.seed}, number ${recipe.index ?? 0}`;
  return `A picture, ${madeHow(kind)}`;
}

function rows({ recipe, width, height, created, kind }, usual) {
  const told = [
    ["made", `${new Date(created).toLocaleString()}, ${madeHow(kind)}`],
    ["model", recipe.step ? `${recipe.model}, step ${recipe.step.toLocaleString("en-GB")}` : recipe.model],
    ["size", `${width} × ${height}`],
  ];
  if (recipe.seed !== null && recipe.seed !== undefined) told.push(["seed", `${recipe.seed}, number ${recipe.index}`]);
  const differs = ([name, value]) => typed(value) !== "" && typed(value) !== typed(usual.get(name));
  const always = isMorph(recipe) ? [...ALWAYS, "morph"] : ALWAYS;
  const settings = Object.entries(recipe.settings ?? {});
  told.push(...settings.filter((entry) => (always.includes(entry[0]) ? typed(entry[1]) !== "" : differs(entry))));
  told.push(...Object.entries(recipe.options ?? {}).filter(([, value]) => typed(value) !== ""));
  return told.map(([name, value]) => h("div", {}, h("dt", {}, spoken(name)), h("dd", {}, typed(value))));
}

/**
 * Show a picture of the gallery.
 *
 * @param {string} id of the picture.
 * @param {object} desk status: GET /v1/status; usual: Map of default settings; edits: names that the page offers;
 *   onEdit(name, item), onReuse(item), onChanged(); signal.
 */
export async function openDetails(id, { status, usual, edits, onEdit, onReuse, onChanged, signal }) {
  let item;
  try {
    item = await get(`/v1/gallery/${id}`, { signal });
  } catch (error) {
    if (signal.aborted) return;
    toast(error.message, { error: true });
    onChanged(); // somebody else has deleted it
    return;
  }
  const heading = freshId("picture");
  const stay = new AbortController();
  const name = `${item.model}-${item.recipe.seed ?? item.kind}-${item.recipe.index ?? 0}`;
  const said = h("p", { class: "status", role: "status" });
  const close = () => {
    stay.abort();
    element.close();
    element.remove();
  };
  const then = (act) => () => (close(), act());
  signal.addEventListener("abort", close, { signal: stay.signal });

  async function download(path, suffix, doing) {
    said.textContent = doing;
    try {
      save(await getBlob(path, { signal: stay.signal }), `${name}${suffix}`);
      said.textContent = "Saved with your downloads.";
    } catch (error) {
      if (!stay.signal.aborted) said.textContent = error.message;
    }
  }

  async function again() {
    said.textContent = "Making it again …";
    const step = ({ k, of }) => (said.textContent = `Making it again: step ${k} of ${of}`);
    try {
      const job = await begin(`/v1/gallery/${id}/again`, {}, { step }, { signal: stay.signal });
      const told = await job.finished;
      if (!told) return;
      const same = told.images[0]?.identical;
      said.textContent = same ? "Made again: the same picture, pixel by pixel." : "Made again: it differs. The new one is kept in the gallery.";
      if (!same) onChanged();
    } catch (error) {
      if (!stay.signal.aborted) said.textContent = error.message;
    }
  }

  async function forget() {
    const actions = [["keep", "Keep it"], ["delete", "Delete it", "danger"]];
    if ((await dialog({ title: "Delete this picture?", body: h("p", {}, "Its file goes too. Its recipe could make it again."), actions })) !== "delete") return;
    try {
      await remove(`/v1/gallery/${id}`);
      close();
      toast("Deleted.");
      onChanged();
    } catch (error) {
      said.textContent = error.message;
    }
  }

  const animation = (suffix, words) =>
    button(words, () => download(`/v1/gallery/${id}/walk.${suffix}`, suffix === "png" ? "-strip.png" : `.${suffix}`, `Making the ${words} …`), { sign: "download" });
  const downloads = [
    button("PNG", () => download(`${item.url}?download=1`, ".png", "Fetching the PNG …"), { sign: "download" }),
    item.walk && animation("png", "Strip"),
    item.walk && animation("gif", "GIF"),
    item.walk && status.extras.mp4 && animation("mp4", "MP4"),
  ];
  const copy = async () => {
    await navigator.clipboard.writeText(item.recipe.command);
    said.textContent = "Copied.";
  };
  const group = (title, ...children) => h("div", { class: "group", role: "group", "aria-label": title }, h("h3", {}, title), h("div", { class: "row" }, children));
  const element = h(
    "dialog",
    { class: "dialog details", "aria-labelledby": heading },
    h("div", { class: "details-picture" }, shown(item.url, `The picture: ${item.parameters ?? item.kind}`, item.width), group("Download", downloads)),
    h(
      "div",
      { class: "details-words" },
      h("header", {}, h("h2", { id: heading }, title(item)), iconButton("close", "Close", close)),
      h("dl", { class: "recipe" }, rows(item, usual)),
      h("details", { class: "folded" }, h("summary", {}, "As a command"), h("pre", { tabindex: "0" }, item.recipe.command), button("Copy", copy)),
      group(
        "Make",
        item.kind === "sample" && button("Use its settings", then(() => onReuse(item))),
        item.again && button("Make it again", again, { sign: "again" }),
      ),
      edits.length > 0 && group("Change", edits.map((edit) => button(verb(edit), then(() => onEdit(edit, item))))),
      said,
      h("div", { class: "row end" }, button("Delete", forget, { kind: "danger" })),
    ),
  );
  element.addEventListener("cancel", close);
  element.addEventListener("click", (event) => event.target === element && close());
  document.body.append(element);
  element.showModal();
  // the way out first, and the picture in view
  element.querySelector("header button").focus({ preventScroll: true });
  element.scrollTop = 0;
}
