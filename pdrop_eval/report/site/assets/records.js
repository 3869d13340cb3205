/* All runs, and what stands behind each. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets, cells } = pdrop;
  const PAGE = 50;

  pdrop.views.records = { draw: (index, now) => (now.parts[0] ? one(index, now) : list(index, now)) };

  function list(index, now) {
    const search = widgets.searchField("Search runs", "q", { page: null });
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const runs = (index.runs || []).filter((run) => {
      const hay = [pdrop.runName(run), run.run_id, run.model, run.strategy, run.suite, run.status, run.command, ...(run.settings || [])].join(" ").toLowerCase();
      return terms.every((term) => hay.includes(term));
    });
    const columns = makeColumns(runs);
    const sort = cells.sorting(columns);
    const sorted = cells.sorted(runs, sort);
    const pages = Math.max(1, Math.ceil(sorted.length / PAGE));
    const page = Math.min(pages, Math.max(1, Number(now.query.get("page")) || 1));
    const table = h("table.data", null, h("caption.hidden", null, "All runs"), h("thead", null, h("tr", null, columns.map((column) => cells.heading(column, sort)))),
      h("tbody", null, sorted.slice((page - 1) * PAGE, page * PAGE).map((run) => h("tr", null, columns.map((column) => column.cell(run))))));
    return {
      heading: "Records",
      lead: h("p.lead", null, `${words.plural(runs.length, "run")}${terms.length ? " found" : ""}. Behind each: its settings, versions, hardware and the command that made it.`),
      nodes: [h("div.controls", null, search.element), runs.length ? widgets.scroller(table, "All runs") : widgets.empty("No run fits the search."), widgets.paging(page, pages, "Pages of runs"),
        index.downloads && index.downloads.runs ? h("p.downloads", null, h("a", { href: index.downloads.runs, download: true }, "Download this overview as CSV")) : null],
    };
  }

  function makeColumns(runs) {
    const [unit, factor] = words.flopsUnit();
    const text = (key, name, value, more) => ({ key, name, first: "asc", value, cell: (run) => h("td", null, value(run) || words.DASH), ...more });
    const amount = (key, name, value, shown) => ({ key, name, numeric: true, value, cell: (run) => h("td.num", null, shown(run)) });
    return [
      text("run", "Run", (run) => pdrop.runName(run), { cell: (run) => h("th", { scope: "row" }, h("a", { href: route.to(["records", run.key]) }, pdrop.runName(run)), h("small.id", null, run.run_id)) }),
      text("strategy", "Strategy", (run) => words.strategy(run.strategy)),
      text("suite", "Suite", (run) => run.suite),
      text("status", "Status", (run) => run.status, { cell: (run) => h("td", null, h(`span.mark.${run.status === "completed" ? "right" : "partly"}`, null, run.status), " ", run.limit ? h("span.tag", null, `limit ${run.limit}`) : null, run.subset ? h("span.tag", null, run.subset) : null) }),
      amount("scored", "Benchmarks", (run) => Object.keys(run.scores).length, (run) => words.whole(Object.keys(run.scores).length)),
      amount("tflops", unit, (run) => run.tflops, (run) => (words.number(run.tflops) ? words.brief(run.tflops * factor) : words.DASH)),
      amount("share", "Mean tokens, %", (run) => run.mean_tokens_share, (run) => (words.number(run.mean_tokens_share) ? words.fixed(100 * run.mean_tokens_share) : words.DASH)),
      text("created", "Made (UTC)", (run) => run.created, { first: "desc", cell: (run) => h("td", null, h("span.line", null, words.day(run.created))) }),
    ];
  }

  function one(index, now) {
    const run = pdrop.runs.get(now.parts[0]);
    if (!run) return { heading: "Record", nodes: [widgets.empty("There is no such run here. ", h("a", { href: "#/records" }, "All records"))] };
    const place = h("div");
    return {
      heading: pdrop.runName(run),
      nodes: [
        h("p.back", null, h("a", { href: "#/records" }, "\u2190 All records")),
        run.status !== "completed" ? h("p.problem", null, `Status: ${run.status}. The numbers of this run are not complete.`) : null,
        h("section.part", null, h("h2", null, "The command that made it"), run.command ? widgets.command(run.command) : h("p.quiet", null, "The command is not recorded."),
          several(run.command || "") ? h("p.quiet", null, "It makes other runs too: ", several(run.command), ".") : null,
          (run.command || "").includes("\u2026/") ? h("p.quiet", null, "This page names no folders: put your own in the place of \u2026/.") : null),
        facts(run), scores(index, run), place,
      ],
      after: () => widgets.loading(place, "Reading the record \u2026", async () => record(await pdrop.load(`run/${run.key}`))),
    };
  }

  /** Why a command makes more than one run, in words; null if nothing says so. */
  function several(command) {
    const list = / ((?!tasks=)[\w.]+=[^\s,[\]{}'"]+,\S*)/.exec(command);
    if (list) return `${list[1]} is a list`;
    return / experiment=/.test(command) ? "an experiment is a list of them" : null;
  }

  function facts(run) {
    const code = run.code ? [run.code.version, String(run.code.commit || "").slice(0, 10), run.code.dirty ? "with changes" : ""].filter(Boolean).join(" ") : null;
    const rows = [
      ["Run", run.run_id], ["Model", run.model], ["Strategy", run.label], ["Other than the defaults", (run.settings || []).join(" ") || "nothing"], ["Suite", run.suite], ["Limit", run.limit ? `${run.limit} questions` : "none"], ["Subset", run.subset || "none"],
      ["Made", `${words.day(run.created)} UTC`], ["Code", code], ["Device", [run.device, run.dtype].filter(Boolean).join(", ")], ["Image tokens of the input", words.whole(run.image_tokens)],
      ["Tokens by layer", words.layers(run.tokens_per_layer)], ["FLOPs", [words.flops(run.tflops), run.convention].filter(Boolean).join(": ")], ["KV cache of image tokens", words.bytes(run.kv_cache_bytes)],
    ];
    return h("section.part", null, h("h2", null, "What it is"), h("dl.facts", null, rows.map(([name, value]) => (value ? [h("dt", null, name), h("dd", null, value)] : null))));
  }

  function scores(index, run) {
    const keys = Object.keys(index.benchmarks).filter((key) => run.scores[key]);
    if (!keys.length) return null;
    const table = h("table.data", null, h("caption.hidden", null, "Scores of this run"),
      h("thead", null, h("tr", null, ["Benchmark", "Score", "95% interval", "Questions", "Image tokens of the input, mean", "FLOPs, mean", "Seconds", "Metric", "Data"].map((name, at) => h("th", { scope: "col", class: at && at < 7 ? "num" : null }, name)))),
      h("tbody", null, keys.map((key) => {
        const score = run.scores[key];
        const shown = score.samples ? h("a", { href: route.to(["samples", run.key, key]) }, words.fixed(score.score)) : words.fixed(score.score);
        return h("tr", null, h("th", { scope: "row" }, index.benchmarks[key].name), h("td.num", null, score.state !== "measured" ? [h("span.tag", null, score.state), " "] : null, shown), h("td.num", null, words.range(score.low, score.high) || words.DASH),
          h("td.num", null, words.whole(score.n)), h("td.num", null, words.fixed(score.tokens_mean)), h("td.num", null, words.flops(score.tflops_mean)), h("td.num", null, words.fixed(score.wall_seconds)), h("td", null, score.metric), h("td", null, score.data));
      })));
    return h("section.part", null, h("h2", null, "Scores"), widgets.scroller(table, "Scores of this run"));
  }

  function record({ record: whole, files }) {
    const sections = ["hardware", "packages", "config", "model", "strategy", "suite", "inputs", "efficiency", "identity"];
    return [
      whole.error ? h("section.part", null, h("h2", null, "Error"), h("pre.text", null, typeof whole.error === "string" ? whole.error : JSON.stringify(whole.error, null, 1))) : null,
      h("p.downloads", null, "Download: ", h("a", { href: files.json, download: true }, "record, JSON"), files.csv ? [", ", h("a", { href: files.csv, download: true }, "samples, CSV")] : null),
      h("section.part", null, h("h2", null, "The record"), sections.filter((name) => whole[name]).map((name) => h("details", { "data-key": `record-${name}` }, h("summary", null, name), h("dl.facts.small", null, flat(whole[name]).map(([path, value]) => [h("dt", null, path), h("dd", null, value)]))))),
    ];
  }

  /** A value's leaves with their paths. */
  function flat(value, path = "") {
    if (value === null || typeof value !== "object") return [[path, String(value)]];
    if (Array.isArray(value) && value.every((item) => item === null || typeof item !== "object")) return [[path, value.join(", ") || "none"]];
    return Object.entries(value).flatMap(([name, inner]) => flat(inner, path ? `${path}.${name}` : name));
  }
})(window.pdrop);
