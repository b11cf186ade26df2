// Runs before the first paint, so that a remembered dark page does not flash white; see theme.js. No module: those wait.
(() => {
  let theme = new URLSearchParams(location.search).get("theme");
  try {
    theme ??= localStorage.getItem("undiffuse-theme");
  } catch {
    // a frame may have no storage
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = ["light", "dark"].includes(theme) ? theme : dark ? "dark" : "light";
})();
