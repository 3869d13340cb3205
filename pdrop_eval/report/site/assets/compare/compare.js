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
          widgets.command([index.commands.compare, `baseline=${folder(one)}`, `candidate=${folder(two)}`, unequal(one, two) ? "unpaired=leave_out" : ""].filter(Boolean).join(" "))),
      ],
      after: () => { if (one.key !== two.key) fill(results, index, one, two); },
    };
  }

  const folder = (run) => words.quoted(run.folder || `results/runs/${run.model}/${run.run_id}`);

  /** Whether one of two runs was asked more of a benchmark that both have. */
  const unequal = (one, two) => Object.keys(one.scores).some((key) => two.scores[key] && one.scores[key].set === two.scores[key].set && one.scores[key].n !== two.scores[key].n);

  /** Baseline and candidate of the address; else the two runs that share the most, the reference first. */
  function chosen(index, query) {
    const runs = index.runs;
    const of = (name) => pdrop.runs.get(query.get(name));
    const [asked, against] = [of("a"), of("b")];
    if (asked && against) return [asked, against];
    const bases = asked ? [asked] : runs.filter((run) => run.strategy === pdrop.index.reference && run !== against);
    const pairs = bases.flatMap((base) => (against ? [against] : runs).filter((other) => fits(base, other)).map((other) => [base, other]));
    if (pairs.length) return best(pairs);
    const base = asked || runs.find((run) => run !== against) || runs[0];
    return [base, against || runs.find((run) => run !== base)];
  }

  const fits = (one, two) => one !== two && one.model === two.model && one.suite === two.suite && one.strategy !== two.strategy;

  /** The pair with the most benchmarks of the same questions, then the most questions, the fewest settings, and the strategies' order. */
  function best(pairs) {
    const order = [...pdrop.strategies.keys()];
    const worth = ([one, two]) => {
      const same = Object.keys(one.scores).filter((key) => two.scores[key] && pdrop.pairs.alike(one.scores[key], two.scores[key]));
      const questions = same.reduce((sum, key) => sum + one.scores[key].n, 0);
      return [same.length, questions, -(one.settings || []).length - (two.settings || []).length, -order.indexOf(two.strategy)];
    };
    const before = (a, b) => {
      const at = a.findIndex((value, place) => value !== b[place]);
      return at >= 0 && a[at] > b[at];
    };
    return pairs.map((pair) => [pair, worth(pair)]).reduce((found, one) => (before(one[1], found[1]) ? one : found))[0];
  }

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
    const said = h("div");
    const mean = h("tr.delta");
    const name = "Scores of both runs by benchmark";
    pdrop.replace(place, widgets.scroller(h("table.data.compare", null, h("caption.hidden", null, name),
      h("thead", null, h("tr", null, ["Benchmark", "Baseline", "Candidate", "Difference", "95% interval", "Questions", "Lost", "Gained", "Changed answers"].map((text, at) =>
        h("th", { scope: "col", class: at ? "num" : null }, text)))),
      h("tbody", null, [...rows.values()], mean)), name), h("p.under", null,
      "Scores are of the questions that both answered. Difference: candidate minus baseline in points of 0 to 100 (MME / 20). Interval: that of pdrop-eval-compare, computed when the page was built, for each run against vanilla of its model and for runs that were compared; of other runs the command below computes it. Lost, gained: questions that earned less or more."), said);
    for (const key of keys) line(rows.get(key), index, one, two, key, null);
    const known = await pdrop.pairs.computed(one, two);
    const differences = [];
    const all = new Map();
    for (const key of keys) {
      try {
        const found = await pdrop.pairs.compare(one, two, key, known, () => gone);
        if (gone || !found) return;
        all.set(key, found);
        line(rows.get(key), index, one, two, key, found);
        if (words.number(found.difference)) differences.push(found.difference);
      } catch (error) {
        all.set(key, { why: error.message, difference: null });
        line(rows.get(key), index, one, two, key, all.get(key));
      }
    }
    once(said, rows, index, one, two, all);
    const average = differences.length ? differences.reduce((sum, value) => sum + value, 0) / differences.length : null;
    const whole = (known && known.mean) || { difference: average, interval: null };
    pdrop.replace(mean, h("th", { scope: "row" }, "Mean"), h("td"), h("td"), difference(whole), h("td.num", null, interval(whole)),
      h("td.num.quiet", { colspan: 4 }, `over ${words.plural(differences.length, "benchmark")}`));
    place.dataset.done = "yes";
  }

  /** Why benchmarks have no interval stands beneath the table, each reason once, and so does which questions are left out. */
  function once(place, rows, index, one, two, all) {
    const reasons = new Map();
    for (const [key, { why }] of all) if (why) reasons.set(why, [...(reasons.get(why) || []), key]);
    const names = (keys) => keys.map((key) => index.benchmarks[key].name).join(", ");
    const shared = [...reasons];
    for (const [, keys] of shared) for (const key of keys) line(rows.get(key), index, one, two, key, { ...all.get(key), why: null });
    const fewer = [...all].filter(([, found]) => found.apart > 0).map(([key]) => key);
    const counts = (run) => {
      const asked = fewer.map((key) => run.scores[key].n);
      const [low, high] = [Math.min(...asked), Math.max(...asked)];
      return low === high ? words.whole(low) : `${words.whole(low)} to ${words.whole(high)}`;
    };
    pdrop.replace(place,
      fewer.length ? h("p.under.reason", null, `The runs were not asked as many questions: the baseline ${counts(one)} a benchmark, the candidate ${counts(two)}. Questions of one run alone are left out (${fewer.length === all.size ? "all benchmarks" : names(fewer)}), so these scores are not those of the tables.`) : null,
      shared.map(([why, keys]) => h("p.under.reason", null, `${keys.every((key) => words.number(all.get(key).difference)) ? "No interval" : "No difference"} of ${names(keys)}: ${why}.`.replace(/\.\.$/, "."))));
  }

  /** A difference's cell; bold where its interval leaves out zero. */
  function difference(found) {
    const sure = found.interval && (found.interval[0] > 0 || found.interval[1] < 0);
    return h("td.num", { class: sure ? "sure" : null }, words.signed(found.difference), sure ? h("span.hidden", null, " (interval without 0)") : null);
  }

  const interval = (found) => (found.interval ? `${words.signed(found.interval[0])} to ${words.signed(found.interval[1])}` : words.DASH);

  /** Both scores of the common questions; nothing until they are known, where one run was asked more. */
  function scoresOf(a, b, found) {
    if (found && found.scores) return found.scores;
    const known = !a || !b || a.n === b.n || a.set !== b.set;
    return known ? [a ? a.score : null, b ? b.score : null] : [null, null];
  }

  /** One benchmark; found: null while its answers are being read. */
  function line(row, index, one, two, key, found) {
    const [a, b] = [one.scores[key], two.scores[key]];
    const cell = (text) => h("td.num", null, text);
    const shown = scoresOf(a, b, found);
    pdrop.replace(row, h("th", { scope: "row" }, index.benchmarks[key].name), shown.map((score) => cell(words.fixed(score))));
    if (!found) {
      pdrop.append(row, [h("td.quiet.num", null, "reading \u2026"), ...Array.from({ length: 5 }, () => h("td"))]);
      return;
    }
    pdrop.append(row, [
      difference(found),
      cell(interval(found)),
      cell(words.whole(found.n)), cell(words.whole(found.lost)), cell(words.whole(found.gained)),
      cell(words.number(found.changed) && found.n ? h("a", { href: route.to(["compare", key], { a: one.key, b: two.key }) }, `${words.whole(found.changed)} (${words.fixed((100 * found.changed) / found.n, 0)}%)`) : words.DASH),
    ]);
  }
})(window.pdrop);
