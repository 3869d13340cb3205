/* A run's answers to a benchmark: a list with filters. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets, picker, runOptions } = pdrop;
  const PAGE = 25;
  const KINDS = [["", "all answers"], ["right", "right"], ["partly", "partly right"], ["wrong", "wrong"], ["unscored", "without a score"]];

  pdrop.views.samples = { draw };

  function draw(index, now) {
    const runs = (index.runs || []).filter((run) => Object.values(run.scores).some((score) => score.samples));
    if (!runs.length) return { heading: "Samples", nodes: [widgets.empty("No run has recorded answers. Measure with ", h("code", null, index.commands.eval), ".")] };
    const run = now.parts[0] ? pdrop.runs.get(now.parts[0]) : first(runs);
    if (!run) return lost("There is no such run here.");
    const names = Object.keys(index.benchmarks).filter((name) => run.scores[name] && run.scores[name].samples);
    const key = now.parts[1] || (names.includes("docvqa") ? "docvqa" : names[0]);
    if (!names.includes(key)) return lost("This run has no recorded answers to that benchmark.");
    if (now.parts[2] !== undefined) {
      const place = Number(now.parts[2]);
      const there = /^\d+$/.test(now.parts[2]) && place < run.scores[key].chunks * pdrop.pairs.CHUNK;
      return there ? pdrop.sampleView(index, run, key, place, now) : lost("There is no question of this number.");
    }
    return listView(index, runs, run, names, key, now);
  }

  /** Of a strategy that drops tokens, with overlays if there are any, in as many stages as there are; by default settings, all questions. */
  function first(runs) {
    const stages = (run) => new Set(run.tokens_per_layer || []).size;
    const most = Math.max(...runs.map(stages));
    const worth = (run) => 8 * Object.values(run.scores).some((score) => score.overlays) + 4 * (stages(run) === most) + 2 * (run.train === pdrop.index.reference && !(run.settings || []).length) + !run.limit;
    return runs.reduce((best, run) => (worth(run) > worth(best) ? run : best), runs[0]);
  }

  const lost = (text) => ({ heading: "Samples", nodes: [widgets.empty(text, " ", h("a", { href: "#/samples" }, "All samples"))] });

  function listView(index, runs, run, names, key, now) {
    const kind = widgets.choice("Answers", "show", KINDS, { page: null });
    const search = widgets.searchField("Search question, target, answer", "q", { page: null });
    const place = h("div", { "data-list": "samples" });
    const keepQuery = { show: now.query.get("show"), q: now.query.get("q") };
    const go = (other, name) => route.go(route.to(["samples", other, name], keepQuery));
    const choose = (value) => {
      const next = pdrop.runs.get(value);
      go(value, next.scores[key] && next.scores[key].samples ? key : Object.keys(next.scores).find((name) => next.scores[name].samples));
    };
    return {
      heading: `Samples: ${index.benchmarks[key].name}`,
      nodes: [
        h("div.controls", null,
          picker({ label: "Run", options: runOptions(runs), value: run.key, choose, key: "pick-run" }),
          pdrop.benchmarkField(index, names, key, (event) => go(run.key, event.target.value)), kind.element, search.element),
        h("p.under", null, h("a", { href: route.to(["records", run.key]) }, pdrop.runName(run)), `: ${words.fixed(run.scores[key].score)} on ${words.plural(run.scores[key].n, "question")}. `,
          run.strategy === pdrop.index.reference ? "Nothing is dropped." : run.scores[key].overlays ? "Retained tokens are recorded." : "Which tokens remained is not recorded."),
        place,
      ],
      after: () => widgets.loading(place, "Reading the answers \u2026", () => rows(place, run, key, kind.value, search.value, now)),
    };
  }

  async function rows(place, run, key, kind, text, now) {
    let gone = false;
    pdrop.undo(() => { gone = true; });
    const progress = (done, all) => { if (all > 1 && !gone) pdrop.replace(place, h("p.loading", null, `Reading the answers: ${done} of ${all} files \u2026`)); };
    const places = await pdrop.search.find(run, key, kind, text, { stopped: () => gone, progress });
    if (!places || gone) return null;
    if (!places.length) return widgets.empty("No answer fits these filters.");
    const pages = Math.ceil(places.length / PAGE);
    const page = Math.min(pages, Math.max(1, Number(now.query.get("page")) || 1));
    const shown = [];
    for (const one of places.slice((page - 1) * PAGE, page * PAGE)) shown.push([one, await pdrop.search.at([run], key, one)]);
    if (gone) return null;
    moves(place, page, pages);
    pdrop.say(`${words.plural(places.length, "answer")}, page ${page} of ${pages}`);
    const query = { show: now.query.get("show"), q: now.query.get("q") };
    return [
      h("div.count", null, h("span", null, words.plural(places.length, "answer")), pdrop.search.keysToggle()),
      h("ol.cards", null, shown.map(([one, { question, answers: [answer] }]) => card(run, key, one, question, answer, query))),
      widgets.paging(page, pages, "Pages of samples"),
    ];
  }

  function card(run, key, place, question, answer, query) {
    const href = route.to(["samples", run.key, key, place], query);
    return h("li.card", null, h("a.thumb", { href, "aria-hidden": "true", tabindex: "-1" }, pdrop.thumbnail(question)),
      h("div", null, pdrop.questionLink(question, { href, "data-key": `row-${place}`, "data-row": place }),
        h("dl.answers", null, h("dt", null, "Target"), h("dd", null, words.short(words.target(question.target), 200)),
          h("dt", null, "Answer"), h("dd", null, words.short(answer[0], 300), " ", pdrop.markTag(answer[1])))));
  }

  /** j and k move through the rows; beyond the last one begins the next page. */
  function moves(place, page, pages) {
    const step = (by) => {
      const links = [...place.querySelectorAll("[data-row]")];
      const at = links.indexOf(document.activeElement);
      const next = at + by;
      if (links[next] && (at >= 0 || by > 0)) links[next].focus();
      else if (by > 0 && page < pages && at === links.length - 1) route.change({ page: page + 1 });
      else if (by < 0 && page > 1 && at === 0) route.change({ page: page === 2 ? null : page - 1 });
    };
    pdrop.search.onKeys({ j: () => step(1), ArrowRight: () => step(1), k: () => step(-1), ArrowLeft: () => step(-1) });
  }
})(window.pdrop);
