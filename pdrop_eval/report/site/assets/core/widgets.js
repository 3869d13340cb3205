/* What several views need: toggles, selects, paging, copying, tooltips, dialogs. */
(function (pdrop) {
  "use strict";
  const { h, replace, say, newId, route } = pdrop;

  /** A checkbox that stands in the address. */
  function toggle(label, name, initially = false) {
    const query = route.now().query;
    const on = query.has(name) ? query.get(name) === "1" : initially;
    const box = h("input", {
      type: "checkbox", checked: on, "data-key": `toggle-${name}`,
      on: { change: (event) => route.change({ [name]: event.target.checked === initially ? null : event.target.checked ? "1" : "0" }) },
    });
    return { on, element: h("label.toggle", null, box, h("span", null, label)) };
  }

  /** A labelled select that stands in the address. options: [value, words]; the first is what nothing means. */
  function choice(label, name, options, extra) {
    const asked = route.now().query.get(name);
    const value = options.some(([key]) => key === asked) ? asked : (options[0] || [""])[0];
    const id = newId("select");
    const element = h("div.field", null,
      h("label", { for: id }, label),
      h("select", {
        id, "data-key": `select-${name}`,
        on: { change: (event) => route.change({ ...extra, [name]: event.target.value === options[0][0] ? null : event.target.value }) },
      }, options.map(([key, words]) => h("option", { value: key, selected: key === value }, words))));
    return { value, element };
  }

  /** A search field that stands in the address; draws anew when typing rests. */
  function searchField(label, name, extra) {
    const value = route.now().query.get(name) || "";
    const id = newId("search");
    let timer = 0;
    const change = (event) => {
      clearTimeout(timer);
      if (event.isComposing) return;
      const text = event.target.value;
      timer = setTimeout(() => route.change({ ...extra, [name]: text }), 250);
    };
    const input = h("input", { type: "search", id, value, autocomplete: "off", spellcheck: "false", "data-key": `search-${name}`, on: { input: change } });
    return { value, element: h("div.field.grow", null, h("label", { for: id }, label), input) };
  }

  /** Copies text; where the browser forbids it, selects it and says so. */
  async function copy(text, source) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      return copyOld(text, source);
    }
  }

  function copyOld(text, source) {
    const area = h("textarea.hidden", { value: text, "aria-hidden": "true", tabindex: "-1" });
    document.body.append(area);
    const before = document.activeElement;
    area.select();
    let done = false;
    try {
      done = document.execCommand("copy");
    } catch (error) {
      done = false;
    }
    area.remove();
    if (before) before.focus();
    if (!done && source) window.getSelection().selectAllChildren(source);
    return done;
  }

  /** A command with a button that copies it. */
  function command(text, label = "Copy the command") {
    const code = h("code", null, text);
    const button = h("button.small", {
      type: "button", "aria-label": `${label}: ${text}`,
      on: {
        click: async () => {
          const done = await copy(text, code);
          button.textContent = done ? "Copied" : "Selected: press Ctrl+C";
          say(button.textContent);
          setTimeout(() => { button.textContent = "Copy"; }, 2500);
        },
      },
    }, "Copy");
    return h("div.command", null, h("pre", { tabindex: "0", role: "region", "aria-label": "command" }, code), button);
  }

  /** "Page 2 of 7" with links; page counts from 1. */
  function paging(page, pages, label) {
    if (pages < 2) return null;
    const link = (number, words, key) => number >= 1 && number <= pages
      ? h("a.button", { href: route.changed({ page: number === 1 ? null : number }), "data-key": key }, words)
      : h("span.button", { "aria-disabled": "true" }, words);
    return h("nav.paging", { "aria-label": label }, link(page - 1, "Previous", "page-before"),
      h("span", null, `Page ${page} of ${pages}`), link(page + 1, "Next", "page-after"));
  }

  /** A table in a box of its own that scrolls, and says so while something is beyond its right edge. */
  function scroller(table, label, key) {
    const box = h("div.scroll", { tabindex: "0", role: "region", "aria-label": label, "data-scroll": key || label }, table);
    const frame = h("div.frame-of-scroll", null, box, h("span.beyond", { "aria-hidden": "true" }, "\u2192"));
    const look = () => frame.classList.toggle("cut", box.scrollWidth - box.clientWidth - box.scrollLeft > 2);
    box.addEventListener("scroll", look, { passive: true });
    const watch = new ResizeObserver(look);
    watch.observe(box);
    watch.observe(table);
    pdrop.undo(() => watch.disconnect());
    return frame;
  }

  /** Says that something loads, then shows what `make` makes, or the error. */
  async function loading(place, words, make) {
    replace(place, h("p.loading", null, words));
    place.setAttribute("aria-busy", "true");
    try {
      const made = await make();
      if (made) replace(place, made);
    } catch (error) {
      replace(place, problem(error));
    } finally {
      place.removeAttribute("aria-busy");
    }
  }

  const problem = (error) => h("p.problem", { role: "alert" }, error.message);

  /** A dialog with a heading; focus goes back when it closes. */
  function dialog(title, ...content) {
    const id = newId("dialog");
    const element = h("dialog", { "aria-labelledby": id }, h("h2", { id }, title), content,
      h("p", null, h("button", { type: "button", on: { click: () => element.close() } }, "Close")));
    element.addEventListener("close", () => element.remove());
    document.body.append(element);
    element.showModal();
  }

  const empty = (...words) => h("div.empty", null, words);

  /** The view of an address that leads nowhere. */
  const nowhere = (text) => ({ heading: "Nothing is here", nodes: [empty(text, " Choose a view above, or go to ", h("a", { href: "#/tables/5" }, "Table 5"), ".")] });

  pdrop.widgets = { nowhere, toggle, choice, searchField, command, paging, scroller, loading, problem, dialog, empty, copy };
})(window.pdrop);
