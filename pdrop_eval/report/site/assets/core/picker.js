/* A field that searches a list (the combobox pattern): for choosing one of hundreds of runs. */
(function (pdrop) {
  "use strict";
  const { h, replace, newId, words } = pdrop;
  const SHOWN = 60; // options at once; typing narrows them down

  /** options: [{value, words, hint}]. choose(value) is called with what was picked. */
  function picker({ label, options, value, choose, key, placeholder }) {
    const id = newId("picker");
    const list = h("ul.options", { role: "listbox", id: `${id}-list`, "aria-label": label, hidden: true });
    const current = options.find((option) => option.value === value);
    const input = h("input", {
      id, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", "aria-expanded": "false", "aria-autocomplete": "list",
      "aria-controls": `${id}-list`, "data-key": key, value: current ? current.words : "", placeholder: placeholder || "type to search",
    });
    const state = { found: [], at: -1 };

    function matching() {
      const asked = current && input.value === current.words ? "" : input.value.toLowerCase();
      const terms = asked.split(/\s+/).filter(Boolean);
      return options.filter((option) => {
        const text = `${option.words} ${option.hint || ""}`.toLowerCase();
        return terms.every((term) => text.includes(term));
      });
    }

    function open() {
      const all = matching();
      state.found = all.slice(0, SHOWN);
      state.at = state.found.findIndex((option) => option.value === value);
      replace(list, state.found.map((option, place) => h("li", { role: "option", id: `${id}-${place}`, "aria-selected": option.value === value ? "true" : "false", "data-place": place },
        h("span", null, option.words), option.hint ? h("small", null, option.hint) : null)),
        all.length > SHOWN ? h("li.more", { role: "presentation" }, `${words.whole(all.length - SHOWN)} more: type to narrow down`) : null,
        all.length ? null : h("li.more", { role: "presentation" }, "nothing found"));
      list.hidden = false;
      input.setAttribute("aria-expanded", "true");
      point();
    }

    function close() {
      list.hidden = true;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    }

    function point() {
      for (const item of list.querySelectorAll("[role=option]")) item.classList.toggle("at", Number(item.dataset.place) === state.at);
      const item = list.querySelector(".at");
      if (!item) return;
      input.setAttribute("aria-activedescendant", item.id);
      list.scrollTop = Math.max(0, item.offsetTop - list.clientHeight / 2);
    }

    function take(place) {
      const option = state.found[place];
      close();
      if (!option) return;
      input.value = option.words;
      if (option.value !== value) choose(option.value);
    }

    function step(by) {
      if (list.hidden) open();
      else if (state.found.length) {
        state.at = (state.at + by + state.found.length) % state.found.length;
        point();
      }
    }

    function typed(event) {
      const keys = { ArrowDown: () => step(1), ArrowUp: () => step(-1) };
      if (keys[event.key]) {
        event.preventDefault();
        keys[event.key]();
      } else if (event.key === "Enter" && !list.hidden) {
        event.preventDefault();
        take(state.at >= 0 ? state.at : state.found.length === 1 ? 0 : -1);
      } else if (event.key === "Escape" && !list.hidden) {
        close();
        input.value = current ? current.words : "";
        event.stopPropagation();
      }
    }

    input.addEventListener("keydown", typed);
    input.addEventListener("input", open);
    input.addEventListener("click", () => { input.select(); open(); });
    input.addEventListener("blur", () => { close(); input.value = current ? current.words : ""; });
    list.addEventListener("mousedown", (event) => {
      event.preventDefault(); // the field keeps its focus
      const item = event.target.closest("[role=option]");
      if (item) take(Number(item.dataset.place));
    });
    return h("div.field.picker", null, h("label", { for: id }, label), input, list);
  }

  /** Runs as options. */
  const runOptions = (runs) => runs.map((run) => ({ value: run.key, words: pdrop.runName(run), hint: [run.run_id, run.suite, run.limit ? `limit ${run.limit}` : "", run.subset].filter(Boolean).join(" \u00b7 ") }));

  /** "LLaVA-1.5 mini, PDrop λ=0.5": a model and how it ran. */
  pdrop.runName = (run) => (run ? `${run.title || run.model} \u2013 ${run.label || run.strategy}` : "unknown run");

  pdrop.picker = picker;
  pdrop.runOptions = runOptions;
})(window.pdrop);
