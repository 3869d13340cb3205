/* The frame: views, focus, theme, tooltips. Starts when the index is here. */
(function (pdrop) {
  "use strict";
  const { h, replace, words, route, widgets } = pdrop;
  const NAMES = { tables: "Tables", curves: "Curves", efficiency: "Efficiency", compare: "Compare", samples: "Samples", records: "Records" };
  const main = document.getElementById("main");
  let drawn = null; // the path that is shown
  let clean = []; // what the shown view has to undo

  /** A view asks for something to be undone when it goes, as a key listener. */
  pdrop.undo = (run) => clean.push(run);

  async function start() {
    frame();
    tooltips();
    try {
      const index = await pdrop.load("index");
      if (index.format !== 2) throw new Error(`data/index.js has format ${index.format}; this page reads format 2. Build the page again.`);
      pdrop.index = index;
      pdrop.runs = new Map((index.runs || []).map((run) => [run.key, run]));
      styles(index.strategies || {});
      foot(index);
      window.addEventListener("hashchange", show);
      show();
    } catch (error) {
      replace(main, h("h1", { tabindex: "-1" }, "No results could be loaded"), widgets.problem(error));
    }
  }

  /** The views that can be drawn without the scores of the runs, which are a file of their own. */
  const PLAIN = ["tables", "efficiency"];
  let scored = false;

  /** Gives each run its scores, made when somebody looks at them: there may be thousands. */
  function score({ fields, runs }) {
    for (const run of pdrop.runs.values()) {
      const found = runs[run.key] || {};
      let made = null;
      const make = () => Object.fromEntries(Object.entries(found).map(([key, values]) => [key, Object.fromEntries(fields.map((name, at) => [name, values[at]]))]));
      Object.defineProperty(run, "scores", { enumerable: true, get: () => (made = made || make()) });
    }
    scored = true;
  }

  /** Reads the scores, then draws the view of the address, whichever it is by then. */
  async function readScores() {
    replace(main, h("p.loading", null, "Reading the scores \u2026"));
    try {
      const found = await pdrop.load("scores");
      if (!scored) score(found);
    } catch (error) {
      replace(main, h("h1", { tabindex: "-1" }, "The scores could not be loaded"), widgets.problem(error));
      return;
    }
    show();
  }

  /** Strategies by name, and their colours as properties of the page: their records say both. */
  function styles(strategies) {
    pdrop.strategies = new Map(Object.entries(strategies).map(([name, one], at) => [name, { ...one, variable: `strategy-${at}` }]));
    const rules = (ground) => [...pdrop.strategies.values()].map((one) => `--series-${one.variable}: ${one[ground]};`).join(" ");
    document.head.append(h("style", null, `:root { ${rules("color")} } :root[data-theme="dark"] { ${rules("dark")} }`));
  }

  function frame() {
    replace(document.getElementById("views"), h("ul", null, Object.entries(NAMES).map(([view, name]) =>
      h("li", null, h("a", { href: view === "tables" ? "#/tables/5" : `#/${view}`, "data-view": view }, name)))));
    const button = document.getElementById("theme");
    const label = () => {
      const dark = pdrop.theme.current() === "dark";
      button.textContent = dark ? "Light" : "Dark";
      button.setAttribute("aria-label", dark ? "Switch to the light page" : "Switch to the dark page");
      button.removeAttribute("aria-pressed");
    };
    button.addEventListener("click", () => pdrop.theme.toggle());
    document.addEventListener("pdrop-theme", label);
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address stays that of the view
      main.focus();
    });
    label();
  }

  function foot(index) {
    const code = index.code ? `code ${String(index.code.commit || "").slice(0, 10)}${index.code.dirty ? " with changes" : ""}` : "";
    replace(document.getElementById("foot"),
      (index.notices || []).length ? h("details", null, h("summary", null, words.plural(index.notices.length, "note") + " on these data"), h("ul", null, index.notices.map((text) => h("li", null, text)))) : null,
      h("p", null, [`pdrop-eval ${index.version || ""}`, code, `newest record ${words.day(index.built)} UTC`].filter(Boolean).join(" \u00b7 ")),
      (index.comparisons || []).length ? h("p", null, "Comparisons of pdrop-eval-compare: ", index.comparisons.map((one, place) => [place ? ", " : "", h("a", { href: one.file }, one.title)])) : null);
  }

  /** Draws the view of the address; the same view keeps focus and scrolling, another one begins at its heading. */
  function show() {
    const now = route.now();
    const name = Object.prototype.hasOwnProperty.call(NAMES, now.view) ? now.view : null;
    if (name && !PLAIN.includes(name) && !scored) {
      readScores();
      return;
    }
    const same = drawn === now.path;
    const kept = same ? keep() : null;
    clean.splice(0).forEach((run) => run());
    hideTip();
    let made;
    try {
      made = name ? pdrop.views[name].draw(pdrop.index, now) : widgets.nowhere(`There is no view "${words.short(now.view, 40)}".`);
    } catch (error) {
      console.error(error);
      made = { heading: NAMES[name], nodes: [widgets.problem(new Error(`This view can't be drawn: ${error.message}`))] };
    }
    const heading = h("h1", { tabindex: "-1" }, made.heading);
    replace(main, heading, made.lead || null, made.nodes);
    main.className = `wide view-${name}`;
    document.title = `${made.heading} \u2013 pdrop-eval results`;
    for (const link of document.querySelectorAll("#views a")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (same) restore(kept);
    else if (drawn !== null) {
      window.scrollTo(0, 0);
      heading.focus({ preventScroll: true });
    }
    drawn = now.path;
    main.dataset.shown = location.hash;
    if (made.after) made.after();
  }

  function keep() {
    const active = document.activeElement;
    const key = active && active.dataset ? active.dataset.key : null;
    const typed = key && active.type === "search" ? [active.selectionStart, active.selectionEnd, active.value] : null;
    const scrolled = [...main.querySelectorAll("[data-scroll]")].map((box) => [box.dataset.scroll, box.scrollLeft, box.scrollTop]);
    const open = [...main.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key);
    return { key, typed, scrolled, open, top: window.scrollY };
  }

  function restore({ key, typed, scrolled, open, top }) {
    for (const one of main.querySelectorAll("details[data-key]")) {
      if (!open.includes(one.dataset.key)) continue;
      one.open = true;
      one.dispatchEvent(new Event("toggle")); // now, not when this is done: what is drawn then has a height below
    }
    for (const [name, left, above] of scrolled) {
      const box = [...main.querySelectorAll("[data-scroll]")].find((one) => one.dataset.scroll === name);
      if (box) box.scrollTo(left, above);
    }
    const element = key ? [...main.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key) : null;
    if (element) {
      element.focus({ preventScroll: true });
      if (typed) {
        element.value = typed[2]; // what was typed while the view was drawn
        element.setSelectionRange(typed[0], typed[1]);
      }
    }
    window.scrollTo(window.scrollX, top);
  }

  /** One tooltip for all: on hover, on focus, away with Escape. */
  function tooltips() {
    const show = (event) => {
      const owner = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
      if (owner && owner.dataset.tip) showTip(owner);
    };
    document.addEventListener("mouseover", show);
    document.addEventListener("focusin", show);
    document.addEventListener("mouseout", (event) => { if (!tip().contains(event.relatedTarget)) hideTip(); });
    document.addEventListener("focusout", hideTip);
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
    window.addEventListener("scroll", hideTip, { passive: true, capture: true });
  }

  const tip = () => document.getElementById("tip");

  function showTip(owner) {
    const element = tip();
    element.textContent = owner.dataset.tip;
    element.hidden = false;
    owner.setAttribute("aria-describedby", "tip");
    const place = owner.getBoundingClientRect();
    const size = element.getBoundingClientRect();
    const left = Math.max(8, Math.min(place.left + place.width / 2 - size.width / 2, document.documentElement.clientWidth - size.width - 8));
    const above = place.top - size.height - 8;
    element.style.left = `${left}px`;
    element.style.top = `${above > 0 ? above : place.bottom + 8}px`;
  }

  function hideTip() {
    const element = tip();
    if (element.hidden) return;
    element.hidden = true;
    for (const owner of document.querySelectorAll('[aria-describedby="tip"]')) owner.removeAttribute("aria-describedby");
  }

  start();
})(window.pdrop);
