/* Light or dark, before anything is painted: as the reader chose, else as the system has it; print is light. */
(function () {
  "use strict";
  const pdrop = (window.pdrop = window.pdrop || {});
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paper = window.matchMedia("print");
  const NAME = "pdrop-eval-theme";
  let chosen = null;
  try {
    chosen = window.localStorage.getItem(NAME);
  } catch (error) {
    chosen = null; // storage may be switched off, also for files
  }

  function current() {
    if (paper.matches) return "light";
    if (chosen === "dark" || chosen === "light") return chosen;
    return dark.matches ? "dark" : "light";
  }

  function apply() {
    const now = current();
    if (root.dataset.theme === now) return;
    root.dataset.theme = now;
    document.dispatchEvent(new CustomEvent("pdrop-theme", { detail: now }));
  }

  pdrop.theme = {
    current,
    toggle() {
      chosen = current() === "dark" ? "light" : "dark";
      try {
        window.localStorage.setItem(NAME, chosen);
      } catch (error) {
        // it holds for this visit only
      }
      apply();
      return chosen;
    },
  };
  dark.addEventListener("change", apply);
  paper.addEventListener("change", apply);
  apply();
})();
