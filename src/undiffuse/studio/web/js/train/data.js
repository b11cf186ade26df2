// Choosing what is learned from: what is here, or what is dropped; with the contact sheet and what the checks say.

import { at, get, post, remove } from "../api.js";
import { button, field, select } from "../ui/controls.js";
import { h } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { droppable, filePicker } from "../create/source.js";
import { controls, folded } from "../create/fields.js";
import { plural } from "../create/job.js";

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

/** Files that may be a data set by themselves; the server finds out what they are. Of volumes one is none. */
const ARCHIVE = /(\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz|npz|npy|idx|parquet|pq|mdb)|-ubyte)$/i;
/** Settings of data that have a control of their own, or none before a training. */
const OWN = ["size", "channels", "flip", "vectors", "stream", "buffer", "validation"];
const VOLUME = /\.nii(\.gz)?$/i;
const PICKED = ".zip,.tar,.tgz,.tbz,.tbz2,.txz,.gz,.bz2,.xz,.npz,.npy,.idx,.parquet,.pq,.mdb,.tif,.tiff,.mp4,.mov,.mkv,.webm,.avi";

/**
 * @param {object} options limits: of the server; descriptions: of the settings of data; onChange: data or null; onRows: all data that are here -> void; signal.
 * @returns {{ element, refresh, chosen, cut }} `chosen` is the data set that passed its checks; `cut` how pictures are made
 *   alike: { size?, channels?, crop?, ... }.
 */
export function dataPane({ limits, descriptions, onChange, onRows, signal }) {
  let checked = null;
  let rows = [];
  let asked = 0;
  const chooser = select({ label: "Data", choices: [], value: "", onChange: () => look() });
  const size = field({ label: "Size", inputmode: "numeric", autocomplete: "off", hint: "Pixels a side; empty: as they are (--size).", onChange: () => look() });
  const channels = select({ label: "Colours", choices: [["", "as they are"], ["grey", "grey"], ["rgb", "RGB"], ["rgba", "RGB and opacity"]], value: "", hint: "--channels", onChange: () => look() });
  const others = controls(descriptions.filter(({ name }) => !OWN.includes(name)), () => look());
  const alike = folded("Make them one size and kind", h("div", { class: "pair" }, size.element, channels.element), others.element);
  const forget = button("Delete this upload", drop, { kind: "danger", hidden: true });
  const said = h("p", { class: "status", role: "status" });
  const sheet = h("div", { class: "sheet" });
  const report = h("div", { class: "checks" });
  const zone = h(
    "div",
    { class: "drop" },
    h("p", {}, "Drop a folder of pictures, or a zip, tar, npz, idx or parquet file. Subfolders become classes."),
    h(
      "div",
      { class: "row" },
      filePicker("A folder", (files) => upload([...files].map((file) => [file.webkitRelativePath || file.name, file])), { webkitdirectory: true, multiple: true }),
      filePicker("An archive", ([file]) => upload([[file.name, file]], true), { accept: PICKED }),
      filePicker("Pictures", (files) => upload([...files].map((file) => [file.name, file])), { accept: "image/*,video/*,.nii,.nii.gz", multiple: true }),
    ),
  );
  droppable(zone, async (_, transfer) => {
    try {
      await upload(await opened(transfer));
    } catch (error) {
      complain(`What was dropped cannot be read: ${error.message}`);
    }
  });

  function complain(sentence) {
    said.textContent = sentence;
    said.classList.add("form-error");
  }

  /** Send files: [path, File][]. They are called what their folder or archive is called; the server sees to that. */
  async function upload(files, archive = files.length === 1 && ARCHIVE.test(files[0][0]) && !VOLUME.test(files[0][0])) {
    const total = files.reduce((sum, [, file]) => sum + file.size, 0);
    const most = limits.data_bytes ?? Infinity;
    if (!files.length) return complain("There is no file in what was dropped.");
    if (total > most || files.length > (limits.files ?? Infinity)) {
      const [these, taken] = total > most ? [megabytes(total), megabytes(most)] : [plural(files.length, "file"), limits.files.toLocaleString("en-GB")];
      return complain(`These are ${these}, and the studio takes ${taken}: train on them with \`undiffuse train FOLDER\`.`);
    }
    const body = new FormData();
    for (const [path, file] of files) body.append(archive ? "archive" : "files", file, path);
    body.append("request", "{}");
    said.classList.remove("form-error");
    said.textContent = `Taking in ${megabytes(total)} …`;
    try {
      const made = await post("/v1/data", body, { signal });
      await refresh(made.id);
    } catch (error) {
      if (!signal.aborted) complain(error.message);
    }
    return undefined;
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

  /** What a data set is called in the list; of several of one name, also when it came. */
  function offered({ name, kind, created }) {
    if (kind === "builtin") return `${name}, comes with undiffuse`;
    const alone = rows.filter((other) => other.name === name).length === 1;
    return alone || !created ? name : `${name}, of ${new Date(created).toLocaleString()}`;
  }

  const cut = () => ({
    ...(size.value.trim() && { size: size.value.trim() }),
    ...(channels.value && { channels: channels.value }),
    ...others.touched(),
  });

  /** Have the chosen data checked, and show what they are. */
  async function look() {
    const now = (asked += 1);
    const id = chooser.value;
    checked = null;
    onChange(null);
    forget.hidden = rows.find((row) => row.id === id)?.kind !== "upload";
    if (!id) return;
    said.classList.remove("form-error");
    said.textContent = "Looking at every picture …";
    let query;
    try {
      query = new URLSearchParams(cut());
    } catch (error) {
      complain(error.message);
      return;
    }
    const path = `/v1/data/${encodeURIComponent(id)}`;
    try {
      const data = await get(`${path}?${query}`, { signal });
      if (now === asked) show(data, `${path}/sheet.png?${query}`);
    } catch (error) {
      if (now !== asked || signal.aborted) return;
      complain(error.message);
      sheet.replaceChildren();
      report.replaceChildren();
    }
  }

  function show(data, picture) {
    const { info, error } = data;
    said.textContent = error ?? summary(info);
    said.classList.toggle("form-error", Boolean(error));
    if (error) alike.open = true; // where what it advises can be done
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
    chooser.offer(rows.map((row) => [row.id, offered(row)]), chosen);
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
      alike,
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
  const parted = classes?.length ? ` in ${classes.length} ${classes.length === 1 ? "class" : "classes"}` : "";
  const left = refused ? `; ${refused} refused` : "";
  return `${plural(count, `${kind} picture`)} of ${sides.join(" × ")}${parted}${left}.`;
}
