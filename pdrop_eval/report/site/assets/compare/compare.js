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
          h("p", null, "pdrop-eval-compare computes the interval of any two runs, tests their difference, and can gate a CI:"),
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
    const base = of("a") || runs.find((run) => run.strategy === pdrop.index.reference && runs.some((other) => fits(run, other))) || runs[0];
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
      h("thead", null, h("tr", null, ["Benchmark", "Baseline", "Candidate", "Difference", "95% interval", "Questions", "Lost", "Gained", "Changed answers"].map((text, at) =>
        h("th", { scope: "col", class: at ? "num" : null }, text)))),
      h("tbody", null, [...rows.values()], mean)), name), h("p.under", null,
      "Difference: candidate minus baseline in points of 0 to 100 (MME / 20). Interval: that of pdrop-eval-compare, computed when the page was built, for each run against vanilla of its model and for runs that were compared; of other runs the command below computes it. Lost, gained: questions that earned less or more."));
    for (const key of keys) line(rows.get(key), index, one, two, key, null);
    const known = await pdrop.pairs.computed(one, two);
    const differences = [];
    for (const key of keys) {
      try {
        const found = await pdrop.pairs.compare(one, two, key, known, () => gone);
        if (gone || !found) return;
        line(rows.get(key), index, one, two, key, found);
        if (words.number(found.difference)) differences.push(found.difference);
      } catch (error) {
        line(rows.get(key), index, one, two, key, { why: error.message, difference: null });
      }
    }
    const average = differences.length ? differences.reduce((sum, value) => sum + value, 0) / differences.length : null;
    const whole = (known && known.mean) || { difference: average, interval: null };
    pdrop.replace(mean, h("th", { scope: "row" }, "Mean"), h("td"), h("td"), difference(whole), h("td.num", null, interval(whole)),
      h("td.num.quiet", { colspan: 4 }, `over ${words.plural(differences.length, "benchmark")}`));
    place.dataset.done = "yes";
  }

  /** A difference's cell; bold where its interval leaves out zero. */
  function difference(found) {
    const sure = found.interval && (found.interval[0] > 0 || found.interval[1] < 0);
    return h("td.num", { class: sure ? "sure" : null }, words.signed(found.difference), sure ? h("span.hidden", null, " (interval without 0)") : null);
  }

  const interval = (found) => (found.interval ? `${words.signed(found.interval[0])} to ${words.signed(found.interval[1])}` : words.DASH);

  /** One benchmark; found: null while its answers are being read. */
  function line(row, index, one, two, key, found) {
    const recorded = (run) => (run.scores[key] ? run.scores[key].score : null);
    const cell = (text) => h("td.num", null, text);
    pdrop.replace(row, h("th", { scope: "row" }, index.benchmarks[key].name), cell(words.fixed(recorded(one))), cell(words.fixed(recorded(two))));
    if (!found) {
      pdrop.append(row, [h("td.quiet.num", null, "reading \u2026"), ...Array.from({ length: 5 }, () => h("td"))]);
      return;
    }
    pdrop.append(row, [
      difference(found),
      found.why ? h("td.num.quiet.why", null, found.why) : cell(interval(found)),
      cell(words.whole(found.n)), cell(words.whole(found.lost)), cell(words.whole(found.gained)),
      cell(words.number(found.changed) && found.n ? h("a", { href: route.to(["compare", key], { a: one.key, b: two.key }) }, `${words.whole(found.changed)} (${words.fixed((100 * found.changed) / found.n, 0)}%)`) : words.DASH),
    ]);
  }
})(window.pdrop);
