// The home page: what this is, and the doors.

import { h } from "./ui/dom.js";
import { dissolving } from "./learn/dissolving.js";

export function show(root, { pages, signal }) {
  root.append(
    h(
      "section",
      { class: "hero" },
      h(
        "div",
        {},
        h("h1", {}, "Noise, taken back one step at a time."),
        h(
          "p",
          { class: "lead" },
          "A diffusion model learns to undo noise. Begin with nothing but noise, undo it again and again, and a picture " +
            "appears that nobody drew. Here you can watch that, understand it, and do it.",
        ),
        h(
          "div",
          { class: "actions" },
          h("a", { class: "button primary", href: "#/learn" }, "Understand it in ten minutes"),
          h("a", { class: "button", href: "#/create" }, "Make a picture"),
        ),
      ),
      h("figure", { class: "hero-picture" }, dissolving({ signal })),
    ),
    h(
      "nav",
      { class: "doors", "aria-label": "What you can do here" },
      pages.filter(({ door }) => door).map(({ name, title, door, go }) =>
        h("a", { class: "door", href: `#/${name}` }, h("h2", {}, title), h("p", {}, door), h("span", { class: "go" }, `${go} →`)),
      ),
    ),
  );
}
