// Choosing what is learned from: what is here, or what is dropped; with the contact sheet and what the checks say.

import { at, get, post, remove } from "../api.js";
import { button, field, select } from "../ui/controls.js";
import { h } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { droppable, filePicker } from "../create/source.js";
import { folded } from "../create/fields.js";

/** All files of a drop, folders opened: [path, File][]. */
async function opened(transfer) {
  const found = [];
  async function walk(entry, path) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push([path + entry.name, file]);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      // A reader gives a hundred at a time, then none.
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const each of some) await walk(each, `${path}${entry.name}/`);
    }
  }
  for (const entry of [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean)) await walk(entry, "");
  return found;
}

/** Paths without the folder that holds them all, so that its subfolders are the classes. */
function relative(files) {
  const heads = new Set(files.map(([path]) => path.split("/")[0]));
  const one = heads.size === 1 && files.every(([path]) => path.includes("/"));
  return files.map(([path, file]) => [one ? path.slice(path.indexOf("/") + 1) : path, file]);
}

const ARCHIVE = /\.(zip|tar|tgz|tar\.gz|npz|npy|idx|gz)$/i;

/**
 * @param {object} options limits: of the server; onChange: data or null; onRows: all data that are here -> void; signal.
 * @returns {{ element, refresh, chosen, cut }} `chosen` is the data set that passed its checks; `cut` how pictures are made
 *   one size: { size?, channels?, crop? }.
 */
export function dataPane({ limits, onChange, onRows, signal }) {
  let checked = null;
  let rows = [];
  let asked = 0;
  const chooser = select({ label: "Data", choices: [], value: "", onChange: () => look() });
  const size = field({ label: "Size", inputmode: "numeric", autocomplete: "off", hint: "Pixels a side; empty: as they are.", onChange: () => look() });
  const channels = select({ label: "Colours", choices: [["", "as they are"], ["grey", "grey"], ["rgb", "RGB"]], value: "", onChange: () => look() });
  const forget = button("Delete this upload", drop, { kind: "danger", hidden: true });
  const said = h("p", { class: "status", role: "status" });
  const sheet = h("div", { class: "sheet" });
  const report = h("div", { class: "checks" });
  const zone = h(
    "div",
    { class: "drop" },
    h("p", {}, "Drop a folder of pictures, or a zip, tar, npz or idx file. Subfolders become classes."),
    h(
      "div",
      { class: "row" },
      filePicker("A folder", (files) => upload([...files].map((file) => [file.webkitRelativePath || file.name, file])), { webkitdirectory: true, multiple: true }),
      filePicker("An archive", ([file]) => upload([[file.name, file]]), { accept: ".zip,.tar,.tgz,.gz,.npz,.npy,.idx" }),
    ),
  );
  droppable(zone, async (_, transfer) => upload(await opened(transfer)));

  async function upload(files) {
    const total = files.reduce((sum, [, file]) => sum + file.size, 0);
    if (!files.length) return;
    if (total > limits.upload_bytes) {
      said.textContent = `These are ${megabytes(total)}, and the studio takes ${megabytes(limits.upload_bytes)}: train on them with \`undiffuse train FOLDER\`.`;
      return;
    }
    const body = new FormData();
    const archive = files.length === 1 && ARCHIVE.test(files[0][0]);
    if (archive) body.append("archive", files[0][1], files[0][0]);
    else relative(files).forEach(([path, file]) => body.append("files", file, path));
    body.append("request", JSON.stringify({ name: files[0][0].split("/")[0].replace(ARCHIVE, "") }));
    said.textContent = `Taking in ${megabytes(total)} …`;
    try {
      const made = await post("/v1/data", body, { signal });
      await refresh(made.id);
    } catch (error) {
      if (!signal.aborted) said.textContent = error.message;
    }
  }

  async function drop() {
    try {
      await remove(`/v1/data/${encodeURIComponent(chooser.value)}`);
      toast("The upload is deleted.");
      await refresh();
    } catch (error) {
      said.textContent = error.message;
    }
  }

  const cut = () => ({
    ...(size.value.trim() && { size: size.value.trim() }),
    ...(channels.value && { channels: channels.value }),
  });

  /** Have the chosen data checked, and show what they are. */
  async function look() {
    const now = (asked += 1);
    const id = chooser.value;
    checked = null;
    onChange(null);
    forget.hidden = rows.find((row) => row.id === id)?.kind !== "upload";
    if (!id) return;
    said.textContent = "Looking at every picture …";
    const query = new URLSearchParams(cut());
    const path = `/v1/data/${encodeURIComponent(id)}`;
    try {
      const data = await get(`${path}?${query}`, { signal });
      if (now === asked) show(data, `${path}/sheet.png?${query}`);
    } catch (error) {
      if (now !== asked || signal.aborted) return;
      said.textContent = error.message;
      sheet.replaceChildren();
      report.replaceChildren();
    }
  }

  function show(data, picture) {
    const { info, error } = data;
    said.textContent = error ?? summary(info);
    said.classList.toggle("form-error", Boolean(error));
    sheet.replaceChildren(...(info ? [h("img", { class: "pixels", src: at(picture), alt: `A sheet of pictures from ${data.name}` })] : []));
    const refusals = data.refusals ?? [];
    report.replaceChildren(
      ...(data.report?.length ? [folded("What the checks say", h("pre", { tabindex: "0" }, data.report.join("\n")))] : []),
      ...(refusals.length
        ? [folded(`${refusals.length} refused, and why`, h("ul", { class: "plain-list" }, refusals.map(([name, why]) => h("li", {}, h("code", {}, name), ` ${why}`))))]
        : []),
    );
    checked = info ? data : null;
    onChange(checked);
  }

  async function refresh(wanted = chooser.value) {
    try {
      rows = (await get("/v1/data", { signal })).data;
    } catch (error) {
      if (!signal.aborted) said.textContent = error.message;
      return;
    }
    onRows(rows);
    const chosen = rows.some(({ id }) => id === wanted) ? wanted : (rows[0]?.id ?? "");
    chooser.offer(rows.map(({ id, name, kind }) => [id, kind === "builtin" ? `${name}, comes with undiffuse` : name]), chosen);
    chooser.element.hidden = rows.length === 0;
    if (rows.length) await look();
    else said.textContent = "There are no data yet: drop some.";
  }

  return {
    element: h(
      "div",
      { class: "stack" },
      chooser.element,
      zone,
      folded("Make them one size", h("div", { class: "pair" }, size.element, channels.element)),
      said,
      sheet,
      report,
      h("div", {}, forget),
    ),
    refresh,
    cut,
    get chosen() {
      return checked;
    },
  };
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 24 ? 1 : 0)} MB`;

function summary({ count, shape, classes, refused }) {
  const [channels, ...sides] = shape;
  const kind = { 1: "grey", 3: "colour" }[channels] ?? `${channels}-channel`;
  const parted = classes?.length ? ` in ${classes.length} classes` : "";
  const left = refused ? `; ${refused} refused` : "";
  return `${count.toLocaleString("en-GB")} ${kind} pictures of ${sides.join(" × ")}${parted}${left}.`;
}
