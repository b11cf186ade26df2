// Starts the page: the shell with its pages where there is a server, the Learn panels alone where there is none.
//
//   index.html            the studio
//   learn.html            all Learn panels        learn.html?panel=ink      one, to embed       &theme=dark

import { at, hasServer } from "./api.js";
import { PAGES } from "./pages.js";
import { router } from "./router.js";
import { h } from "./ui/dom.js";
import { themeSwitch } from "./ui/theme.js";

const MARK = "http://www.w3.org/2000/svg";

/** The sign of the house: a disc that comes apart into grains. */
function mark() {
  const svg = document.createElementNS(MARK, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("aria-hidden", "true");
  const grains = [[11, 16, 8], [22, 10, 2.4], [24, 17, 2], [21, 23, 1.8], [28, 12, 1.4], [28.5, 21, 1.2]];
  for (const [cx, cy, r] of grains) {
    const circle = document.createElementNS(MARK, "circle");
    for (const [name, value] of Object.entries({ cx, cy, r })) circle.setAttribute(name, value);
    svg.append(circle);
  }
  return svg;
}

function startStudio() {
  const links = PAGES.filter(({ name }) => name).map(({ name, title }) => h("a", { href: `#/${name}` }, title));
  const main = h("main", { id: "main", tabindex: "-1" });
  document.body.prepend(
    h("a", { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), main.focus()) }, "Skip to the page"),
    h(
      "header",
      { class: "shell-header" },
      h("a", { class: "wordmark", href: "#/", "aria-label": "undiffuse, home" }, mark(), h("span", { class: "word" }, "undiffuse")),
      h("nav", { class: "shell-nav", "aria-label": "Pages" }, links),
      themeSwitch(),
    ),
    main,
    h("footer", { class: "shell-footer" }, h("p", {}, "Everything here runs on this machine; nothing is sent anywhere."), h("p", {}, h("a", { href: at("/docs") }, "The API behind this page"))),
  );
  const onPage = (page) => {
    for (const link of links) {
      if (link.hash === `#/${page.name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  router({ root: main, pages: PAGES, onPage });
}

async function startPanels() {
  const panel = new URLSearchParams(location.search).get("panel");
  document.documentElement.dataset.embedded = "";
  const main = h("main", { id: "main" });
  document.body.prepend(main);
  const { show } = await import("./learn/page.js");
  const path = [panel ?? location.hash.replace(/^#\/?/, "")].filter(Boolean);
  show(main, { path, only: panel, signal: new AbortController().signal });
}

if (hasServer()) startStudio();
else startPanels();
