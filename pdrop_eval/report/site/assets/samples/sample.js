/* One question: its picture with the tokens that remain, and what runs answered. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets, picker, runOptions, tokens } = pdrop;
  const MOST = 3; // other runs beside it

  pdrop.sampleView = function (index, run, key, place, now) {
    const set = run.scores[key].set;
    const same = index.runs.filter((other) => other !== run && other.scores[key] && other.scores[key].samples && other.scores[key].set === set);
    const beside = (now.query.get("with") || "").split(",").map((name) => pdrop.runs.get(name)).filter((other) => same.includes(other)).slice(0, MOST);
    const list = { show: now.query.get("show"), q: now.query.get("q") };
    const steps = h("nav.paging", { "aria-label": "Neighbouring samples" });
    const body = h("div", { "data-sample": place });
    const back = route.to(["samples", run.key, key], list);
    return {
      heading: `${index.benchmarks[key].name} ${place}`,
      nodes: [h("div.controls", null, h("p.back", null, h("a", { href: back }, "\u2190 Back to the list")), steps, pdrop.search.keysToggle()), body],
      after: () => {
        widgets.loading(body, "Reading the sample \u2026", () => show(index, run, key, place, beside, same, now));
        neighbours(steps, run, key, place, list, now);
      },
    };
  };

  async function show(index, run, key, place, beside, same, now) {
    const runs = [run, ...beside];
    const { question, answers } = await pdrop.search.at(runs, key, place);
    if (!question) return widgets.empty("There is no question of this number.");
    name(`${index.benchmarks[key].name} ${question.id}`);
    const views = runs.map((one, at) => pdrop.overlay.create(question, answers[at], one));
    const known = views.some((view) => view.known);
    const panels = h("div.panels", { class: runs.length > 1 ? "many" : null, style: { "--panels": runs.length } },
      runs.map((one, at) => panel(one, answers[at], views[at], runs.length > 1)));
    return [
      known ? controls(views, now) : null,
      h("div.sample", null,
        h("div.seen", null, known || runs.length > 1 ? panels : h("div.panels", null, views[0].element)),
        h("div.said", null, asked(question, key), answersTable(runs, answers, key), others(run, beside, same), drawing(runs, key, question))),
    ];
  }

  /** The heading with the question's own number, where a limit or a selection made its place another one. */
  function name(heading) {
    const element = document.querySelector("main h1");
    if (element.textContent === heading) return;
    document.title = document.title.replace(element.textContent, heading);
    element.textContent = heading;
  }

  function panel(run, answer, view, several) {
    const state = h("p.state");
    view.state = state;
    return h("section.panel", { "aria-label": pdrop.runName(run) }, several ? h("h2", null, pdrop.runName(run)) : null, view.element, state, merged(run, view));
  }

  /** What the tokens are that the strategy has made, where it made some: they lie nowhere on the picture. */
  function merged(run, view) {
    const known = pdrop.strategies.get(run.strategy) || {};
    if (!view.known || !view.known.stages.some((stage) => stage.made)) return null;
    return h("p.state.merged", null, `Merged tokens lie nowhere on the picture${known.merged ? `: ${known.merged}` : ""}. What is veiled may be merged into them.`);
  }

  /** The slider over stages, the veil and the outline; they stand in the address. */
  function controls(views, now) {
    const layers = [...new Set(views.flatMap((view) => view.layers))].sort((a, b) => a - b);
    const look = {
      opacity: within(Number(now.query.get("veil") || 80), 0, 100), outline: now.query.get("outline") === "1", veil: now.query.get("tone") === "light" ? "light" : "dark",
    };
    const asked = now.query.get("layer");
    const wanted = asked === null ? layers.length - 1 : layers.filter((layer) => layer <= Number(asked)).length - 1;
    const state = { at: within(wanted, 0, layers.length - 1) };
    const output = h("output", { for: "stage", id: "stage-says" });
    const slider = h("input", { type: "range", id: "stage", min: 0, max: layers.length - 1, step: 1, value: state.at, "data-key": "stage" });
    const veil = h("input", { type: "range", id: "veil", min: 0, max: 100, step: 5, value: look.opacity, "data-key": "veil" });
    const outline = h("input", { type: "checkbox", checked: look.outline, "data-key": "outline" });
    const light = h("input", { type: "checkbox", checked: look.veil === "light", "data-key": "tone" });

    function update() {
      const layer = layers[state.at];
      const main = views.find((view) => view.known);
      const text = tokens.describe(main.known, tokens.stageAt(main.known, layer));
      output.textContent = views.length > 1 ? `layer ${layer}` : text;
      slider.setAttribute("aria-valuetext", views.length > 1 ? `layer ${layer}` : text);
      for (const view of views) {
        view.update(layer, look);
        if (view.known) view.state.textContent = tokens.describe(view.known, tokens.stageAt(view.known, layer));
      }
    }

    const on = (element, event, change, address) => element.addEventListener(event, () => {
      change();
      update();
      route.change(address(), true);
    });
    on(slider, "input", () => { state.at = Number(slider.value); }, () => ({ layer: layers[state.at] }));
    on(veil, "input", () => { look.opacity = Number(veil.value); }, () => ({ veil: look.opacity === 80 ? null : look.opacity }));
    on(outline, "change", () => { look.outline = outline.checked; }, () => ({ outline: look.outline ? 1 : null }));
    on(light, "change", () => { look.veil = light.checked ? "light" : "dark"; }, () => ({ tone: light.checked ? "light" : null }));
    update();
    return h("div.controls.stage", null,
      layers.length > 1 ? h("div.field.grow", null, h("label", { for: "stage" }, "Decoder layer"), slider, output) : h("p.state", null, output, views.some((view) => view.known && view.known.stages.length > 1) ? null : " (nothing is dropped)"),
      h("div.field", null, h("label", { for: "veil" }, "Veil over dropped tokens"), veil),
      h("div.toggles", null, h("label.toggle", null, outline, h("span", null, "outline retained tokens")), h("label.toggle", null, light, h("span", null, "light veil"))));
  }

  const within = (value, low, high) => (Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : low);

  /** The commands that draw it, for a number that they take: one picture of runs that differ in the strategy alone, and one of each other. */
  function drawing(runs, key, question) {
    if (!Number.isInteger(question.id)) return null;
    const groups = [];
    for (const run of runs) {
      const home = groups.find((group) => shared(group[0]).join() === shared(run).join() && group.every((one) => one.strategy !== run.strategy));
      if (home) home.push(run);
      else groups.push([run]);
    }
    return h("div.drawing", null, h("p.quiet", null, runs.length > 1 && groups.length === 1 ? "Draw them as a figure:" : "Draw it as a figure:"), groups.map((group) => widgets.command(picture(group, key, question))));
  }

  const own = (run) => (run.settings || []).filter((one) => /^(strategy|budget)\./.test(one));

  /** What runs in one picture have in common: model, suite, and all settings but the strategy's. */
  const shared = (run) => [`model=${run.model}`, `suite=${run.suite}`, ...(run.settings || []).filter((one) => !own(run).includes(one))];

  function picture(group, key, question) {
    const settings = group.length === 1 ? own(group[0]) : group.filter((run) => own(run).length).map((run) => `${run.strategy}_overrides=[${own(run).map(listed).join(",")}]`);
    const given = [`sample=${key}:${question.id}`, `strategy=${group.map((run) => run.strategy).join(",")}`, ...shared(group[0]), ...settings];
    return [pdrop.index.commands.show, ...given.map(words.quoted)].join(" ");
  }

  /** A setting within a list. */
  const listed = (text) => (/[,[\]{}\s'"]/.test(text) ? `"${text.replace(/(["\\])/g, "\\$1")}"` : text);

  const asked = (question, key) => h("dl.facts.wideterm", null,
    h("dt", null, "Question"), h("dd.text", null, question.prompt),
    h("dt", null, "Target"), h("dd.text", null, words.target(question.target)),
    h("dt", null, "Number"), h("dd", null, `${key}:${question.id}`, (question.sizes || []).length ? `; ${question.sizes.map(([w, t]) => `${w} \u00d7 ${t} pixels`).join(", ")}` : ""));

  function answersTable(runs, answers, key) {
    const name = "Answers of the chosen runs";
    return widgets.scroller(h("table.data.answers-table", null, h("caption.hidden", null, name),
      h("thead", null, h("tr", null, ["Run", "Answer", "Score", "New tokens", "Image tokens by layer"].map((text, at) => h("th", { scope: "col", class: at === 3 ? "num" : null }, text)))),
      h("tbody", null, runs.map((run, at) => line(run, answers[at], key)))), name);
  }

  function line(run, answer, key) {
    const head = h("th", { scope: "row" }, h("a", { href: route.to(["samples", run.key, key]) }, pdrop.runName(run)));
    if (!answer) return h("tr", null, head, h("td.quiet", { colspan: 4 }, "did not answer it"));
    return h("tr", null, head, h("td.text", null, String(answer[0])), h("td", null, pdrop.markTag(answer[1])),
      h("td.num", null, words.whole(answer[2])), h("td", null, words.layers(answer[4] || run.tokens_per_layer)));
  }

  function others(run, beside, same) {
    if (!same.length) return h("p.quiet", null, "No other run here was asked the same question.");
    const change = (list) => route.change({ with: list.map((one) => one.key).join(",") });
    return h("div.beside", null,
      beside.length ? h("ul.chips", null, beside.map((one) => h("li", null, pdrop.runName(one), h("button", { type: "button", "aria-label": `Take ${pdrop.runName(one)} away`, on: { click: () => change(beside.filter((other) => other !== one)) } }, "\u00d7")))) : null,
      beside.length < MOST
        ? picker({ label: `Show another run beside it (up to ${MOST})`, options: runOptions(same.filter((one) => !beside.includes(one))), value: null, key: "pick-beside", choose: (value) => change([...beside, pdrop.runs.get(value)]) })
        : h("p.quiet", null, `${MOST} other runs are shown: take one away to choose another.`));
  }

  async function neighbours(steps, run, key, place, list, now) {
    let gone = false;
    pdrop.undo(() => { gone = true; });
    let places;
    try {
      places = await pdrop.search.find(run, key, list.show || "", list.q || "", { stopped: () => gone });
    } catch (error) {
      return; // the sample itself says what is missing
    }
    if (!places || gone) return;
    const at = places.indexOf(place);
    const query = Object.fromEntries(route.now().query);
    const address = (number) => (number === undefined ? null : route.to(["samples", run.key, key, number], query));
    const [before, after] = at < 0 ? [undefined, places[0]] : [places[at - 1], places[at + 1]];
    const link = (href, text) => (href ? h("a.button", { href }, text) : h("span.button", { "aria-disabled": "true" }, text));
    pdrop.replace(steps, link(address(before), "Previous"), h("span", null, at < 0 ? `${words.whole(places.length)} fit the filter` : `${words.whole(at + 1)} of ${words.whole(places.length)}`), link(address(after), "Next"));
    const go = (number) => () => {
      if (number === undefined) return;
      route.go(route.to(["samples", run.key, key, number], route.now().query)); // with the stage as it is now
    };
    pdrop.search.onKeys({ j: go(after), ArrowRight: go(after), k: go(before), ArrowLeft: go(before) });
  }
})(window.pdrop);
