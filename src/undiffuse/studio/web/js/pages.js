// The pages of the studio, in the order of the navigation. To add one: a line here and a module with show(); see router.js.

export const PAGES = [
  {
    name: "",
    title: "Home",
    load: () => import("./home.js"),
  },
  {
    name: "learn",
    title: "Learn",
    door: "How it works, in six moving pictures: a drop of ink, a picture that drowns, and the way back. Ten minutes.",
    go: "Begin with the ink",
    load: () => import("./learn/page.js"),
  },
  {
    name: "create",
    title: "Create",
    door: "Draw pictures with a model, change them, paint parts anew. Each keeps the recipe it was made by.",
    go: "Make a picture",
    load: () => import("./create/page.js"),
  },
  {
    name: "train",
    title: "Train",
    door: "Drop a folder of pictures, choose a budget, and watch a model learn to draw more of them.",
    go: "Train a model",
    load: () => import("./train/page.js"),
  },
  {
    name: "compare",
    title: "Compare",
    door: "Runs side by side: what differs, how they learned, what they draw from the same noise.",
    go: "Compare runs",
    load: () => import("./compare/page.js"),
  },
];
