// Which page is shown: the part of the address after the #, so that any file server will do.
//
//   #/            home          #/learn/ink        the chapter "ink" of Learn         #/create?model=digits

import { h } from "./ui/dom.js";
import { trouble } from "./ui/overlays.js";

/** { path: ["learn", "ink"], query: URLSearchParams } of an address. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

/** A part of an address, as it stands where it was typed wrongly. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Show pages as the address changes.
 *
 * A page is a module with `show(root, { path, query, pages, signal })`, which fills root and may be async. `path` is what
 * follows the page's name. `signal` aborts when the page is left: give it to listeners, fetches and timers. If the
 * page is shown and only what follows changes, its `moved({ path, query })` is called where show returned one.
 *
 * @param {object} options root: <main>; pages: see pages.js; onPage: page -> void.
 */
export function router({ root, pages, onPage }) {
  let shown = null;
  let leave = null;
  let handle = null;

  async function follow(first = false) {
    const { path, query } = parse(location.hash);
    const page = pages.find(({ name }) => name === (path[0] ?? "")) ?? pages.find(({ name }) => name === "");
    if (page === shown && handle?.moved) {
      handle.moved({ path: path.slice(1), query });
      return;
    }
    leave?.abort();
    const stay = new AbortController();
    [shown, leave, handle] = [page, stay, null];
    document.title = page.name ? `${page.title} · undiffuse studio` : "undiffuse studio";
    onPage(page);
    const body = h("div", { class: `page page-${page.name || "home"}` });
    root.replaceChildren(body);
    if (!first) {
      scrollTo(0, 0);
      root.focus({ preventScroll: true });
    }
    try {
      const module = await page.load();
      if (stay.signal.aborted) return;
      handle = await module.show(body, { path: path.slice(1), query, pages, signal: stay.signal });
    } catch (error) {
      if (stay.signal.aborted) return;
      console.error(error);
      body.replaceChildren(trouble(`This page could not be shown: ${error.message}`, () => location.reload()));
    }
  }

  addEventListener("hashchange", () => follow());
  return follow(true);
}
