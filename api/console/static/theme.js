// Sets the theme before anything is painted: the chosen one, else the system's. `lib/theme.js` goes on from there.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("cogmill.theme");
  } catch {
    // a browser that is told to keep nothing
  }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
