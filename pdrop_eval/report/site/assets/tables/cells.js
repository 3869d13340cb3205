/* One cell of a table: what was measured, how sure it is, what the paper printed, or what fills it. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets } = pdrop;

  /** What a cell's tooltip says: interval, questions, and why it isn't a plain measurement. */
  function explain(cell) {
    const parts = [];
    const between = words.range(cell.low, cell.high);
    if (between) parts.push(`95% interval ${between}`);
    else if (words.number(cell.score)) parts.push("no interval");
    if (words.number(cell.n)) parts.push(words.plural(cell.n, "question"));
    if (cell.state && cell.state !== "measured") parts.push(cell.state);
    if (cell.why) parts.push(cell.why);
    return parts.join("; ");
  }

  /** The lines that each row has: [class, label] in order; the row's header says what they are. */
  function lines(options, publishedAs) {
    const found = [["measured", "measured"]];
    if (options.intervals) found.push(["interval", "95% interval"]);
    if (options.published) found.push(["published", publishedAs]);
    return found.length > 1 ? found : [];
  }

  /** "published (7B)" from the name of the paper's model. */
  function publishedLabel(row) {
    const name = row.published ? String(row.published.name || "") : "";
    const size = /(\d+B)$/i.exec(name);
    return size ? `published (${size[1]})` : name ? `published (${name})` : "not in the paper";
  }

  /** A score's cell. target: the address behind it. */
  function score(cell, options, printed, target, fill) {
    const shown = cell && words.number(cell.score);
    const first = shown ? number(cell, target) : absent(cell || {}, fill);
    return h("td.num", { class: shown ? null : "absent" }, h("span.line", null, first),
      options.intervals ? h("span.line.interval", null, shown ? words.range(cell.low, cell.high) || words.DASH : "") : null,
      options.published ? published(printed) : null);
  }

  const published = (value) => h("span.line.published", null, h("span.hidden", null, "published: "), words.fixed(value));

  function number(cell, target) {
    const partial = cell.state === "partial" ? mark() : null;
    const text = words.fixed(cell.score);
    const attributes = { "data-tip": explain(cell) };
    const element = target
      ? h("a", { href: target, ...attributes }, text)
      : h("span", { tabindex: "0", ...attributes }, text);
    return [partial, element];
  }

  /** What marks a score of some questions only; what it means stands beneath the table. */
  const mark = () => h("span.part-of", null, h("span", { "aria-hidden": "true" }, "\u25e6"), h("span.hidden", null, "partial "));

  function absent(cell, fill) {
    const label = cell.state === "needs judge" ? "needs judge" : "missing";
    const open = () => widgets.dialog(
      "Not measured yet",
      cell.why && cell.why !== "not measured yet" ? h("p", null, `${cell.why[0].toUpperCase()}${cell.why.slice(1)}.`) : null,
      fill && fill.needs ? h("p", null, `Needs ${fill.needs}.`) : null,
      fill && fill.command ? [h("p", null, "This command fills it:"), widgets.command(fill.command)] : null,
      !(fill && fill.command) && !cell.why ? h("p", null, "See the commands beneath the table.") : null,
    );
    return h("button.link", { type: "button", on: { click: open }, "aria-haspopup": "dialog" }, label);
  }

  /** The heading of a sortable column. */
  function heading(column, sort) {
    const state = sort.key === column.key ? sort.direction : null;
    const next = state === null ? column.first || "desc" : state === (column.first || "desc") ? other(state) : null;
    const change = () => route.change({ sort: next ? column.key : null, dir: next });
    return h("th", {
      scope: "col", class: column.numeric ? "num" : null,
      "aria-sort": state === "asc" ? "ascending" : state === "desc" ? "descending" : "none",
    }, h("button.sort", { type: "button", "data-key": `sort-${column.key}`, on: { click: change }, "data-tip": column.tip || null },
      column.name, h("span.arrow", { "aria-hidden": "true" }, state === "asc" ? "\u2191" : state === "desc" ? "\u2193" : "\u2195")));
  }

  const other = (direction) => (direction === "asc" ? "desc" : "asc");

  /** How the address says to sort, among these columns. */
  function sorting(columns) {
    const query = route.now().query;
    const found = columns.find((column) => column.key === query.get("sort"));
    return found ? { key: found.key, direction: query.get("dir") === "asc" ? "asc" : "desc", value: found.value } : { key: null };
  }

  /** Items in the order of a column; what has no value comes last, whatever the direction. */
  function sorted(items, sort) {
    if (!sort.key) return items;
    const sign = sort.direction === "asc" ? 1 : -1;
    const nothing = (value) => value === null || value === undefined || Number.isNaN(value);
    return [...items].sort((one, two) => {
      const [a, b] = [sort.value(one), sort.value(two)];
      if (nothing(a) || nothing(b)) return nothing(a) - nothing(b);
      return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
    });
  }

  pdrop.cells = { score, lines, published, publishedLabel, heading, sorting, sorted, explain };
})(window.pdrop);
