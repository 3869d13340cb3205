/* Two runs beside each other, benchmark by benchmark. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets, picker, runOptions } = pdrop;

  pdrop.views.compare = { draw };

  function draw(index, now) {
    const runs = index.runs || [];
    if (runs.length < 2) return { heading: "Compare two runs", nodes: [widgets.empty("Two runs are needed, and there ", runs.length === 1 ? "is one." : "is none.")] };
    const [one, two] = chosen(index, now.query);
    if (now.parts[0]) return pdrop.changes(index, one, two, now);
    const results = h("div", { "aria-live": "off" });
    return {
      heading: "Compare two runs",
      lead: h("p.lead", null, "Both scores of each benchmark, and how much the candidate differs from the baseline on the questions that both answered."),
      nodes: [
        choosers(runs, one, two),
        one.key === two.key ? widgets.empty("Baseline and candidate are the same run: choose another one.") : results,
        h("section.part", { "aria-label": "The project's own comparison" }, h("h2", null, "The same with the project's own test"),
          h("p", null, "pdrop-eval-compare bootstraps every benchmark's own metric, tests the difference, and can gate a CI:"),
          widgets.command(`pdrop-eval-compare baseline=${folder(one)} candidate=${folder(two)}`)),
      ],
      after: () => { if (one.key !== two.key) fill(results, index, one, two); },
    };
  }

  const folder = (run) => quoted(run.folder || `results/runs/${run.model}/${run.run_id}`);

  /** As a shell takes it: plain words as they are, others in quotes. */
  const quoted = (text) => (/^[\w@%+:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`);

  /** Baseline and candidate of the address; else Table 5's vanilla and PDrop of one checkpoint. */
  function chosen(index, query) {
    const runs = index.runs;
    const of = (name) => pdrop.runs.get(query.get(name));
    const base = of("a") || runs.find((run) => run.strategy === "vanilla" && runs.some((other) => fits(run, other))) || runs[0];
    const next = of("b") || runs.find((run) => fits(base, run) && run.strategy === "pdrop" && !(run.settings || []).length) || runs.find((run) => fits(base, run)) || runs.find((run) => run !== base);
    return [base, next];
  }

  const fits = (one, two) => one !== two && one.model === two.model && one.suite === two.suite && one.strategy !== two.strategy;

  function choosers(runs, one, two) {
    const choose = (name, other) => (value) => route.go(route.to(["compare"], { ...other, [name]: value }));
    return h("div.controls.pair", null,
      picker({ label: "Baseline", options: runOptions(runs), value: one.key, choose: choose("a", { b: two.key }), key: "pick-a" }),
      h("button", { type: "button", "data-key": "swap", on: { click: () => route.go(route.to(["compare"], { a: two.key, b: one.key })) } }, "Swap"),
      picker({ label: "Candidate", options: runOptions(runs), value: two.key, choose: choose("b", { a: one.key }), key: "pick-b" }));
  }

  async function fill(place, index, one, two) {
    let gone = false;
    pdrop.undo(() => { gone = true; });
    const keys = Object.keys(index.benchmarks).filter((key) => one.scores[key] || two.scores[key]);
    if (!keys.length) {
      pdrop.replace(place, widgets.empty("Neither run has a score yet."));
      return;
    }
    const rows = new Map(keys.map((key) => [key, h("tr")]));
    const mean = h("tr.delta");
    const name = "Scores of both runs by benchmark";
    pdrop.replace(place, widgets.scroller(h("table.data.compare", null, h("caption.hidden", null, name),
      h("thead", null, h("tr", null, ["Benchmark", "Baseline", "Candidate", "Difference", "95% interval (estimate of this page)", "Questions", "Lost", "Gained", "Changed answers"].map((text, at) =>
        h("th", { scope: "col", class: at ? "num" : null }, text)))),
      h("tbody", null, [...rows.values()], mean)), name), h("p.under", null,
      "Difference: candidate minus baseline in points of 0 to 100 (MME / 20). Interval: paired, questions about one picture taken together, in the shape of Tango's score interval; computed here for scores that are plain means over questions. Lost, gained: questions that earned less or more."));
    for (const key of keys) line(rows.get(key), index, one, two, key, null);
    const differences = [];
    for (const key of keys) {
      try {
        const found = await pdrop.pairs.compare(one, two, key, () => gone);
        if (gone || !found) return;
        line(rows.get(key), index, one, two, key, found);
        if (words.number(found.difference)) differences.push(found.difference);
      } catch (error) {
        line(rows.get(key), index, one, two, key, { why: error.message, difference: null });
      }
    }
    pdrop.replace(mean, h("th", { scope: "row" }, "Mean"), h("td"), h("td"),
      h("td.num", null, differences.length ? words.signed(differences.reduce((sum, value) => sum + value, 0) / differences.length) : words.DASH),
      h("td.num.quiet", { colspan: 5 }, `over ${words.plural(differences.length, "benchmark")}`));
    place.dataset.done = "yes";
  }

  /** One benchmark; found: null while its answers are being read. */
  function line(row, index, one, two, key, found) {
    const recorded = (run) => (run.scores[key] ? run.scores[key].score : null);
    const before = found && words.number(found.before) ? found.before : recorded(one);
    const after = found && words.number(found.after) ? found.after : recorded(two);
    const cell = (text) => h("td.num", null, text);
    pdrop.replace(row, h("th", { scope: "row" }, index.benchmarks[key].name, found && found.partial ? h("span.tag", null, "common questions") : null),
      cell(words.fixed(before)), cell(words.fixed(after)));
    if (!found) {
      pdrop.append(row, [h("td.quiet.num", null, "reading \u2026"), ...Array.from({ length: 5 }, () => h("td"))]);
      return;
    }
    const sure = found.interval && (found.interval[0] > 0 || found.interval[1] < 0);
    pdrop.append(row, [
      h("td.num", { class: sure ? "sure" : null }, words.signed(found.difference), sure ? h("span.hidden", null, " (interval without 0)") : null),
      found.interval ? cell(`${words.signed(found.interval[0])} to ${words.signed(found.interval[1])}`) : h("td.num.quiet.why", null, found.why),
      cell(words.whole(found.n)), cell(words.whole(found.lost)), cell(words.whole(found.gained)),
      cell(words.number(found.changed) && found.n ? h("a", { href: route.to(["compare", key], { a: one.key, b: two.key }) }, `${words.whole(found.changed)} (${words.fixed((100 * found.changed) / found.n, 0)}%)`) : words.DASH),
    ]);
  }
})(window.pdrop);
