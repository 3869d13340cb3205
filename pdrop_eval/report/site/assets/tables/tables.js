/* The paper's five tables, with what was measured. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets, cells, rows } = pdrop;
  const MOST_PLOTS = 4; // ranks that are drawn before they are opened

  function draw(index, { parts }) {
    const tables = index.tables || [];
    const table = parts[0] ? tables.find((one) => String(one.number) === parts[0]) : tables.filter((one) => words.number(one.number)).pop() || tables[0];
    if (!table && tables.length) return widgets.nowhere(`There is no Table ${words.short(parts[0], 40)}.`);
    if (!table) return { heading: "Tables", nodes: [widgets.empty("No table could be made: no run was found. Measure with ", h("code", null, index.commands.eval), ".")] };
    if (table.load && !table.parts && !table.sections) return later(index, tables, table);
    if (table.sections) return blocks(index, tables, table);
    const published = widgets.toggle("published numbers", "published", true);
    const intervals = widgets.toggle("95% intervals", "intervals");
    const there = table.parts.some(printedIn); // else a line of dashes would stand under every row
    const options = { published: published.on, intervals: intervals.on };
    const measured = table.parts.filter((part) => part.source === "measured");
    const printed = table.parts.filter((part) => part.source !== "measured");
    const { shown, search, room } = begin(measured, (part) => rowsOf(part).length, fitting);
    return {
      heading: `${table.title}: ${table.heading || table.title}`,
      lead: lead(index),
      nodes: [
        h("div.controls", null, tabs(tables, table), h("div.toggles", null, there ? published.element : null, intervals.element, reset())),
        search ? h("div.controls", null, search.element, room.element) : null,
        measured.length ? shown.map((part) => section(index, table, part, options, measured.length > 1, room)) : widgets.empty("Nothing of this table is measured yet."),
        printed.map((part) => asPrinted(index, table, part)),
      ],
      after: room.ready,
    };
  }

  /** What of some parts is shown, and where: {shown, search, room}; a search is there only where there are many rows. */
  function begin(parts, count, fitting) {
    const all = parts.reduce((sum, part) => sum + count(part), 0);
    const search = all > rows.FIRST ? rows.search() : null;
    const shown = search && search.on ? parts.map((part) => fitting(part, search.fits)).filter(count) : parts;
    return { shown, search, room: rows.room(all, { found: search && search.on ? shown.reduce((sum, part) => sum + count(part), 0) : null }) };
  }

  /** A part with the rows that fit a search; where one is left out, the group's difference is, too. */
  function fitting(part, fits) {
    const groups = part.groups.map((group) => {
      const kept = group.rows.filter((row) => fits([part.size, part.suite, group.name, ...row.labels].join(" ")));
      return { ...group, rows: kept, delta: kept.length === group.rows.length ? group.delta : null };
    });
    return { ...part, groups: groups.filter((group) => group.rows.length), whole: part };
  }

  /** What is read when it is looked at: a table by budgets or a long one, drawn as all others once it is here. */
  function later(index, tables, table) {
    const place = h("div");
    const draw = async () => {
      const { parts, sections, ranks } = await pdrop.load(`tables/${table.load}`);
      if (!parts && !sections) throw new Error("The file of this table is damaged. Build the page again.");
      Object.assign(table, { parts, sections, ranks });
      window.dispatchEvent(new HashChangeEvent("hashchange"));
      return [];
    };
    return {
      heading: `${table.title}: ${table.heading}`,
      lead: lead(index),
      nodes: [h("div.controls", null, tabs(tables, table)), downloads(table), place],
      after: () => widgets.loading(place, "Reading the table \u2026", draw),
    };
  }

  /** A table by budgets: its sections as in the other formats, beneath the ranks. */
  function blocks(index, tables, table) {
    const lines = (part) => part.grids.reduce((sum, grid) => sum + grid.bands.reduce((more, band) => more + band.lines.length, 0), 0);
    const { shown, search, room } = begin(table.sections, lines, fittingText);
    const ranks = search && search.on ? [] : (table.ranks || []).filter((one) => one.budgets.length > 1);
    const plots = rows.room(ranks.length, { most: MOST_PLOTS });
    return {
      heading: `${table.title}: ${table.heading}`,
      lead: lead(index),
      nodes: [
        h("div.controls", null, tabs(tables, table)), downloads(table), search ? h("div.controls", null, search.element, room.element) : null,
        ranks.map((one) => plots.part(pdrop.rankPlot(one))), shown.map((part) => asText(part, lines(part), room)),
      ],
      after: () => { plots.ready(); room.ready(); },
    };
  }

  /** A section with the lines that fit a search. */
  function fittingText(part, fits) {
    const label = (line, many) => line.slice(0, many).map((cell) => cell.text).join(" ");
    const grids = part.grids.map((grid) => ({
      ...grid, bands: grid.bands.map((band) => ({ ...band, lines: band.lines.filter((line) => fits(`${part.title} ${band.name || ""} ${label(line, grid.labels)}`)) })).filter((band) => band.lines.length),
    }));
    return { ...part, grids: grids.filter((grid) => grid.bands.length), whole: part };
  }

  const asText = (part, lines, room) => room.part({
    title: part.title, rows: lines,
    make: () => [
      part.text.map((text) => h("p", null, text)),
      part.grids.map((one) => {
        const { element, rest } = textGrid(one, `${part.title}: ${one.title}`, room);
        return [h("p.under", null, h("strong", null, one.title)), widgets.scroller(element, `${part.title}: ${one.title}`), rest];
      }),
      part.whole ? null : (part.notes || []).map(note),
    ],
  });

  function textGrid(grid, name, room) {
    const last = grid.heads.length - 1;
    const numeric = (place) => (place >= grid.labels && !(grid.left && place === last) ? "num" : null);
    const element = h("table.data", null, h("caption.hidden", null, grid.title),
      h("thead", null, h("tr", null, grid.heads.map((head, place) => h("th", { scope: "col", class: numeric(place) }, head)))));
    const bodies = grid.bands.map((band) => ({
      head: () => (band.name ? h("tr.group", null, h("th", { scope: "rowgroup" }, band.name), h("td", { colspan: last })) : null), rows: band.lines,
    }));
    const rest = room.table(name, element, bodies, (line) => h("tr", null, line.map((cell, place) => (place < grid.labels
      ? h("th", { scope: "row" }, cell.text)
      : h("td", { class: numeric(place), title: cell.hint || null }, cell.text)))));
    return { element, rest };
  }

  function lead(index) {
    const runs = index.runs || [];
    const count = (name) => new Set(runs.map((run) => run[name])).size;
    return h("p.lead", null, "How much accuracy is left when image tokens are dropped inside the decoder, and what does it save? ",
      `${words.plural(runs.length, "run")} of ${words.plural(count("model"), "checkpoint")} on ${words.plural(Object.keys(index.benchmarks || {}).length, "benchmark")}, scored alike. A number leads to its answers, a row's name to its record. See also `,
      h("a", { href: "#/curves" }, "scores against cost"), ", ", h("a", { href: "#/compare" }, "two runs compared"), ", and ", h("a", { href: "#/samples" }, "which tokens remain"), ".");
  }

  const tabs = (tables, current) => h("nav.tabs", { "aria-label": "Tables" }, tables.map((table) => h("a", {
    href: route.to(["tables", table.number], keep()), "aria-current": table === current ? "page" : null, title: table.heading || table.title,
  }, table.title)));

  function keep() {
    const { query } = route.now();
    return { published: query.get("published"), intervals: query.get("intervals") };
  }

  const reset = () => (route.now().query.get("sort")
    ? h("button.small", { type: "button", on: { click: () => route.change({ sort: null, dir: null }) } }, "Paper's order")
    : null);

  /** several: the table stands among others, and needs a heading to be told from them. */
  function section(index, table, part, options, several, room) {
    const title = `Measured: size ${part.size}, suite ${part.suite || words.DASH}`;
    const name = `${table.title}, m${title.slice(1)}`;
    return room.part({ title, heading: several, label: name, rows: rowsOf(part).length, make: () => content(index, table, part, options, title, name, room) });
  }

  /** A part's table and what stands beneath it; of a search, the rows that fit alone. */
  function content(index, table, part, options, title, name, room) {
    const columns = makeColumns(index, table, part.whole || part);
    const sort = cells.sorting(columns);
    options = { ...options, published: options.published && printedIn(part) };
    const { element, rest } = grid(table, columns, sort, name, room, part, (row) => line(index, row, columns, options, Boolean(sort.key)));
    return [
      widgets.scroller(element, name, `table-${table.number}-${part.size}`), rest,
      h("p.under", null,
        h("strong", null, `${title}. `),
        "Scores run from 0 to 100, MME is a sum. ", facts(table, part),
        options.published ? standing(part) : "",
        part.groups.some((group) => group.delta) && table.benchmarks.includes("mme") ? "\u0394: with MME / 20. " : "",
        partial(part) ? "\u25e6 partial: of the first questions of each benchmark, not of all. " : "",
        sort.key ? "Sorted: differences are left out. " : ""),
      part.whole ? null : [downloads(table), (part.notes || []).map(note)],
    ];
  }

  /** What the paper's numbers are to the measured ones. */
  function standing(part) {
    const apart = part.comparable ? "" : "; they are of other models, on the benchmarks themselves, and can't be compared with these";
    return `The paper's numbers stand under the measured ones, in italics${apart}. `;
  }

  const printedIn = (part) => rowsOf(part).some((row) => row.published);

  const partial = (part) => rowsOf(part).some((row) => Object.values(row.cells).some((cell) => cell && cell.state === "partial"));

  function facts(table, part) {
    if (!(table.facts || []).includes("tflops")) return "";
    return rowsOf(part).length ? "FLOPs: multiply-adds of a question's image tokens in the decoder's prefill. " : "";
  }

  const rowsOf = (part) => part.groups.flatMap((group) => group.rows.map((row) => ({ ...row, group: group.name })));

  function makeColumns(index, table, part) {
    const rows = rowsOf(part);
    const alone = rows.every((row) => String(row.labels[0]).startsWith(row.group));
    const nameOf = (row) => (alone ? withVariant(row) : row.labels.join(" / "));
    const columns = [{
      key: "name", name: (table.labels || ["Model"]).slice(alone ? 1 : 0).join(" / ") || "Model", first: "asc",
      value: (row) => `${row.group} ${nameOf(row)}`, nameOf,
    }];
    if ((table.facts || []).includes("hours")) {
      const unit = rows.map((row) => row.hours_unit).find(Boolean) || "Hours";
      columns.push({ key: "hours", name: unit, numeric: true, fact: true, value: (row) => row.hours, text: (row) => words.brief(row.hours), tip: "devices \u00d7 wall time of the training",
        printed: (row) => (row.published && words.number(row.published.hours) ? `${words.brief(row.published.hours)} ${row.published.hours_unit}` : words.DASH) });
    }
    if ((table.facts || []).includes("patches")) {
      columns.push({ key: "patches", name: "Patches", numeric: true, fact: true, value: (row) => row.patches, text: (row) => words.whole(row.patches), tip: "the most tiles of a picture, with its overview" });
    }
    if ((table.facts || []).includes("tflops")) {
      const [unit, factor] = part.source === "measured" ? words.flopsUnit() : words.flopsUnit(rows.map((row) => row.tflops));
      columns.push({ key: "tflops", name: unit, numeric: true, fact: true, value: (row) => row.tflops, text: (row) => (words.number(row.tflops) ? words.brief(row.tflops * factor) : words.DASH),
        printed: (row) => (row.published && words.number(row.published.tflops) ? words.flopsAs(row.published.tflops) : words.DASH) });
    }
    for (const key of table.benchmarks) {
      const benchmark = (index.benchmarks || {})[key] || { name: key };
      columns.push({ key, name: benchmark.name, numeric: true, benchmark: true, value: (row) => (row.cells[key] ? row.cells[key].score : null) });
    }
    if (rows.some((row) => row.average)) columns.push({ key: "average", name: table.average || "Avg", numeric: true, average: true, value: (row) => (row.average ? row.average.score : null), tip: "mean of the table's benchmarks, MME / 20" });
    return columns;
  }

  /** "PDrop, p9": what a row has beyond its group's name. */
  function withVariant(row) {
    const [model, ...others] = row.labels;
    return [others.join(" / "), String(model).slice(row.group.length).trim()].filter(Boolean).join(", ");
  }

  function grid(table, columns, sort, name, room, part, draw) {
    const bodies = sort.key ? [{ rows: cells.sorted(rowsOf(part), sort) }] : part.groups.map((group) => body(group, columns));
    const element = h("table.data", null, h("caption.hidden", null, `${table.title}: ${table.heading || table.title}`),
      h("thead", null, h("tr", null, columns.map((column) => cells.heading(column, sort)))));
    return { element, rest: room.table(name, element, bodies, draw) };
  }

  const body = (group, columns) => ({
    head: () => h("tr.group", null, h("th", { scope: "rowgroup" }, group.name, group.beyond ? h("span.kind", null, " not in the paper") : null), h("td", { colspan: columns.length - 1 })),
    rows: group.rows.map((row) => ({ ...row, group: group.name })),
    tail: () => (group.delta ? difference(group.delta, columns) : null),
  });

  function line(index, row, columns, options, withGroup) {
    const [first, ...others] = columns;
    options = { ...options, intervals: options.intervals && Boolean(row.run) }; // what isn't measured has none
    const labels = cells.lines(options, cells.publishedLabel(row));
    const name = first.nameOf(row);
    return h("tr", null,
      h("th", { scope: "row" },
        withGroup && !name.startsWith(row.group) ? h("span.line.of", null, row.group) : null,
        h("span.line", null, row.run ? h("a", { href: route.to(["records", row.run]) }, name) : name,
          (row.changes || []).length ? h("span.star", { tabindex: "0", "data-tip": row.changes.join(" ") }, "*") : null, labels.length ? h("span.kind.said-so", null, row.run ? " measured" : " not measured") : null),
        labels.slice(1).map(([kind, label]) => h(`span.line.${kind}`, null, label))),
      others.map((column) => value(index, row, column, options)));
  }

  function value(index, row, column, options) {
    if (column.fact) {
      return h("td.num", null, h("span.line", null, column.text(row)), options.intervals ? h("span.line.interval", null) : null,
        options.published ? h("span.line.published", null, column.printed ? column.printed(row) : "") : null);
    }
    const printed = row.published ? (column.average ? row.published.average : (row.published.cells || {})[column.key]) : null;
    const cell = column.average ? row.average : row.cells[column.key];
    if (column.average && !(cell && words.number(cell.score))) {
      return h("td.num.average", null, h("span.line", null, words.DASH), options.intervals ? h("span.line") : null, options.published ? cells.published(printed) : null);
    }
    const run = row.run && column.benchmark ? route.to(["samples", row.run, column.key]) : null;
    const element = cells.score(cell, options, printed, run, row.fill);
    if (column.average) element.classList.add("average");
    return element;
  }

  const difference = (delta, columns) => h("tr.delta", null, h("th", { scope: "row" }, h("span", { title: delta.words }, "\u0394 ", h("span.kind", null, delta.words))),
    columns.slice(1).map((column) => h("td.num", null, column.fact ? "" : words.signed(column.average ? plain(delta.average) : plain(delta.cells[column.key])))));

  const plain = (value) => (value && typeof value === "object" ? value.score : value);

  const note = (one) => h("div.note", null, h("p", null, one.text), (one.commands || []).map((text) => widgets.command(text)));

  const downloads = (table) => ((table.files || []).length
    ? h("p.downloads", null, "Download: ", table.files.map((file, place) => [place ? ", " : "", h("a", { href: file.file, download: true }, file.title)]))
    : null);

  function asPrinted(index, table, part) {
    const columns = makeColumns(index, table, part).map((column) => ({ ...column }));
    const name = `${table.title} as the paper printed it`;
    const tableElement = h("table.data.printed", null, h("caption.hidden", null, name),
      h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col", class: column.numeric ? "num" : null }, column.name)))),
      part.groups.map((group) => h("tbody", null,
        h("tr.group", null, h("th", { scope: "rowgroup" }, group.name), h("td", { colspan: columns.length - 1 })),
        group.rows.map((row) => h("tr", null, h("th", { scope: "row" }, columns[0].nameOf({ ...row, group: group.name })),
          columns.slice(1).map((column) => h("td.num", null, column.text ? column.text(row) : words.fixed(column.value(row)))))),
        group.delta ? difference(group.delta, columns) : null)));
    return h("details.part", { "data-key": name }, h("summary", null, `${name} (size ${part.size}; not measured here)`), widgets.scroller(tableElement, name), (part.notes || []).map(note));
  }

  pdrop.views = { tables: { draw } };
})(window.pdrop);
