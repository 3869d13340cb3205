/* Many rows: the first are drawn, the others when they are opened, asked for, searched or printed. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets } = pdrop;
  const FIRST = 200; // that are drawn unasked: layout takes seconds for thousands
  const whole = new Set(); // tables of which all were asked for, by the view's path and their name

  /** The search for rows, which stands in the address: {element, on, fits(text)}. */
  function search() {
    const field = widgets.searchField("Search rows", "q");
    const terms = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (text) => terms.every((term) => text.toLowerCase().includes(term));
    return { element: field.element, on: terms.length > 0, fits };
  }

  /** How many rows there are to see, in words. found: of all, those that the search leaves; null without one. */
  function tell(shown, all, found) {
    const many = words.plural(all, "row");
    if (found === null) return shown < all ? `${words.whole(shown)} of ${many} are shown.` : `All ${many} are shown.`;
    if (!found) return `None of ${many} fits the search.`;
    return `${words.whole(found)} of ${many} ${found === 1 ? "fits" : "fit"} the search${shown < found ? `, ${words.whole(shown)} are shown.` : "."}`;
  }

  /**
   * Where the parts and tables of a view are drawn as far as there is room; printing draws all rows.
   * all: its rows. found: those that a search leaves, null without one. most: what is drawn unasked, if these aren't rows of a table.
   * {element: what is shown in words, with a button for all; part; table; ready}; ready is to be called when they are in the view.
   */
  function room(all, { found = null, most = null } = {}) {
    const wanted = found === null ? all : found;
    const asked = most === null && route.now().query.get("rows") === "all";
    const said = h("span", null, tell(0, all, found));
    const button = h("button.small", { type: "button", "data-key": "rows", hidden: !wanted, on: { click: () => route.change({ rows: asked ? null : "all" }) } },
      asked ? "Show fewer" : `Show all ${words.plural(wanted, "row")}`);
    const waiting = new Set(); // what draws the rest
    const entered = [];
    let used = 0; // by parts that are drawn
    let shown = 0; // of tables
    let there = false;

    function count(more) {
      shown += more;
      said.textContent = tell(shown, all, found);
      button.hidden = asked ? wanted <= FIRST : shown >= wanted;
    }

    /** What needs the document, such as a chart. */
    function enter(run) {
      if (!run) return;
      if (there) run();
      else entered.push(run);
    }

    /** A part with its heading, or folded beneath it until it is opened. rows: how many; make: its content; enter: what to run then. */
    function part({ title, heading = true, label = title, rows, make, enter: run }) {
      if (asked || !used || used + rows <= (most || FIRST)) {
        used += rows;
        const element = h("section.part", { "aria-label": label }, heading ? h("h2", null, title) : null, make());
        enter(run);
        return element;
      }
      const fold = h("details.part", { "data-key": `part ${label}` }, h("summary", null, title, most ? null : h("span.kind", null, ` \u2013 ${words.plural(rows, "row")}`)));
      const open = () => {
        if (!waiting.delete(open)) return;
        fold.open = true;
        pdrop.append(fold, [make()]);
        enter(run);
      };
      waiting.add(open);
      fold.addEventListener("toggle", () => { if (fold.open) open(); });
      return fold;
    }

    /**
     * Fills a table. bodies: [{head, rows, tail}], where head and tail make a row or null; line(row) makes the others.
     * Returns what stands beneath it: how many rows are left out, with a button; null if none is.
     */
    function table(name, element, bodies, line) {
      const rows = bodies.reduce((sum, one) => sum + one.rows.length, 0);
      const key = `${route.now().path} ${name}`;
      const cut = rows > FIRST && !asked && !whole.has(key);
      fill(element, bodies, line, cut ? FIRST : Infinity);
      count(cut ? FIRST : rows);
      if (!cut) return null;
      const grow = () => {
        if (!waiting.delete(grow)) return null;
        whole.add(key);
        rest.remove();
        const made = fill(element, bodies, line, Infinity);
        count(rows - FIRST);
        return made[FIRST];
      };
      const click = () => {
        const first = grow().querySelector("a, button, [tabindex]") || element.closest("[tabindex]");
        if (first) first.focus({ preventScroll: true });
        pdrop.say(said.textContent);
      };
      const rest = h("p.count.rows", null, h("span", null, `The first ${FIRST} of ${words.plural(rows, "row")} are shown.`),
        h("button.small", { type: "button", on: { click } }, `Show all ${words.plural(rows, "row")} of this table`));
      waiting.add(grow);
      return rest;
    }

    const print = () => { while (waiting.size) for (const draw of [...waiting]) draw(); };
    if (most === null) { // a chart isn't there in time
      window.addEventListener("beforeprint", print);
      pdrop.undo(() => window.removeEventListener("beforeprint", print));
    }
    const ready = () => {
      there = true;
      entered.splice(0).forEach((run) => run());
      if (found !== null) pdrop.say(said.textContent);
    };
    return { element: h("p.count.rows", null, said, button), part, table, ready };
  }

  /** The bodies of a table anew, up to so many rows; returns the rows. */
  function fill(element, bodies, line, most) {
    const made = [];
    for (const body of [...element.tBodies]) body.remove();
    for (const { head, rows, tail } of bodies) {
      if (made.length >= most) break;
      const drawn = rows.slice(0, most - made.length).map(line);
      made.push(...drawn);
      element.append(h("tbody", null, head ? head() : null, drawn, tail && drawn.length === rows.length ? tail() : null));
    }
    return made;
  }

  pdrop.rows = { FIRST, search, room };
})(window.pdrop);
