/* The questions that two runs answered differently. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets } = pdrop;
  const PAGE = 25;
  const KINDS = [["changed", "all that changed"], ["lost", "lost points"], ["gained", "gained points"], ["wrong", "wrong, and wrong otherwise"], ["same", "same answer"], ["all", "all questions"]];

  pdrop.changes = function (index, one, two, now) {
    const key = now.parts[0];
    const names = Object.keys(index.benchmarks).filter((name) => !pdrop.pairs.obstacle(one, two, name));
    const place = h("div", { "data-list": "changes" });
    const kind = widgets.choice("Answers", "show", KINDS, { page: null });
    const search = widgets.searchField("Search question and answers", "q", { page: null });
    const both = { a: one.key, b: two.key };
    const heading = `Changed answers: ${index.benchmarks[key] ? index.benchmarks[key].name : key}`;
    const top = [
      h("p.back", null, h("a", { href: route.to(["compare"], both) }, "\u2190 Back to the comparison")),
      h("dl.facts", null, h("dt", null, "Baseline"), h("dd", null, pdrop.runName(one)), h("dt", null, "Candidate"), h("dd", null, pdrop.runName(two))),
    ];
    if (!names.includes(key)) {
      const why = index.benchmarks[key] ? pdrop.pairs.obstacle(one, two, key) : "there is no such benchmark";
      return { heading, nodes: [top, widgets.empty(`The answers can't be paired: ${why}.`)] };
    }
    const jump = (event) => route.go(route.to(["compare", event.target.value], { ...both, show: now.query.get("show"), q: now.query.get("q") }));
    return {
      heading,
      nodes: [top, h("div.controls", null, pdrop.benchmarkField(index, names, key, jump), kind.element, search.element), place],
      after: () => widgets.loading(place, "Reading the answers \u2026", () => list(index, one, two, key, kind.value, search.value, now)),
    };
  };

  /** A select of benchmarks. */
  pdrop.benchmarkField = function (index, names, value, change) {
    const id = pdrop.newId("benchmark");
    return h("div.field", null, h("label", { for: id }, "Benchmark"),
      h("select", { id, "data-key": "benchmark", on: { change } }, names.map((name) => h("option", { value: name, selected: name === value }, index.benchmarks[name].name))));
  };

  async function list(index, one, two, key, kind, text, now) {
    let gone = false;
    pdrop.undo(() => { gone = true; });
    const keep = (question, first, second) => wanted(kind, first, second) && holds(text, question, first, second);
    const found = await pdrop.pairs.read(one, two, key, { stopped: () => gone, keep });
    if (!found) return null;
    const rows = found.sort((a, b) => gain(a) - gain(b) || a.place - b.place);
    if (!rows.length) return widgets.empty("No question fits these filters.");
    const pages = Math.ceil(rows.length / PAGE);
    const page = Math.min(pages, Math.max(1, Number(now.query.get("page")) || 1));
    const shown = await Promise.all(rows.slice((page - 1) * PAGE, page * PAGE).map((row) => full(row, one, two, key)));
    pdrop.say(`${words.plural(rows.length, "question")}, page ${page} of ${pages}`);
    return [h("p.count", null, words.plural(rows.length, "question"), ", most points lost first"),
      h("ol.cards", null, shown.map((row) => card(row, one, two, key))), widgets.paging(page, pages, "Pages of changed answers")];
  }

  const gain = (row) => (words.number(row.after) && words.number(row.before) ? row.after - row.before : 0);

  function wanted(kind, [first, before], [second, after]) {
    const changed = pdrop.pairs.changed(first, second);
    if (kind === "all") return true;
    if (kind === "same") return !changed;
    const gained = gain({ before, after });
    if (kind === "lost") return changed && gained < 0;
    if (kind === "gained") return changed && gained > 0;
    if (kind === "wrong") return changed && before === 0 && after === 0;
    return changed;
  }

  function holds(text, question, first, second) {
    if (!text) return true;
    const hay = [question ? question.prompt : "", question ? words.target(question.target) : "", first[0], second[0]].join("\n").toLowerCase();
    return hay.includes(text.toLowerCase());
  }

  async function full(row, one, two, key) {
    const [chunk, at] = [Math.floor(row.place / pdrop.pairs.CHUNK), row.place % pdrop.pairs.CHUNK];
    const [questions, first, second] = await Promise.all([pdrop.load(`questions/${one.scores[key].set}/${chunk}`), pdrop.pairs.answers(one, key, chunk), pdrop.pairs.answers(two, key, chunk)]);
    return { ...row, question: questions[at], first: first[at], second: second[at] };
  }

  function card(row, one, two, key) {
    const href = route.to(["samples", one.key, key, row.place], { with: two.key });
    const answer = (label, [text, score]) => [h("dt", null, label), h("dd", null, words.short(text, 300), " ", pdrop.markTag(score))];
    return h("li.card", null,
      h("a.thumb", { href, "aria-hidden": "true", tabindex: "-1" }, pdrop.thumbnail(row.question)),
      h("div", null, pdrop.questionLink(row.question, { href, "data-key": `row-${row.place}` }),
        h("dl.answers", null, h("dt", null, "Target"), h("dd", null, words.short(words.target(row.question.target), 200)),
          answer("Baseline", row.first), answer("Candidate", row.second))));
  }

  /** The first line of a question as a link, what follows (options, instructions) smaller. */
  pdrop.questionLink = function (question, attributes) {
    const [first, ...others] = String(question.prompt).split("\n");
    const rest = others.join("\n").trim();
    return h("p.question", null, h("a", attributes, words.short(first, 240) || "(no words)"), rest ? h("span.more", null, words.short(rest, 200)) : null);
  };

  /** "right", "wrong", or between: in words and colour. */
  pdrop.markTag = (score) => h(`span.mark.${words.mark(score)}`, null, words.markWords(score));

  pdrop.thumbnail = function (question) {
    const picture = ((question && question.pictures) || []).find(Boolean);
    return picture ? h("img", { src: picture, alt: "", loading: "lazy", decoding: "async" }) : h("span.nothing", null, "no picture");
  };
})(window.pdrop);
