/* Every run as a point: any cost against any score. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets, charts } = pdrop;
  const AXES = {
    tflops: { name: "FLOPs of a question's image tokens", of: (run) => run.tflops },
    share: { name: "mean image tokens over layers, % of all", of: (run) => (words.number(run.mean_tokens_share) ? 100 * run.mean_tokens_share : null) },
    cache: { name: "KV cache of the image tokens, MB", of: (run) => (words.number(run.kv_cache_bytes) ? run.kv_cache_bytes / 1e6 : null) },
  };

  pdrop.scatter = function (index, tabs) {
    const runs = index.runs || [];
    const distinct = (name) => [...new Set(runs.map((run) => run[name]).filter(Boolean))].sort();
    const suites = distinct("suite");
    const suite = widgets.choice("Suite", "suite", suites.map((name) => [name, name]));
    const model = widgets.choice("Model", "model", [["", "all models"], ...distinct("model").map((name) => [name, name])]);
    const strategy = widgets.choice("Strategy", "strategy", [["", "all strategies"], ...distinct("strategy").map((name) => [name, words.strategy(name)])]);
    const x = widgets.choice("Across", "x", [["tflops", "FLOPs"], ["share", "mean image tokens, %"], ["cache", "KV cache"]]);
    const y = widgets.choice("Up", "y", [["", "average"], ...Object.entries(index.benchmarks).map(([key, one]) => [key, one.name])]);
    const some = runs.filter((run) => (!suites.length || run.suite === suite.value) && (!model.value || run.model === model.value) && (!strategy.value || run.strategy === strategy.value));
    const { points, left, title } = measure(index, some, x.value, y.value);
    const names = [...new Set(runs.map((run) => run.strategy))].filter((name) => some.some((run) => run.strategy === name)).map((name) => ({ name, strategy: name }));
    const made = charts.chart(() => plot(points, names, x.value, title), `${title} against ${AXES[x.value].name}`);
    const room = pdrop.rows.room(points.length);
    return {
      heading: "All runs",
      lead: h("p.lead", null, "Every run as a point. Scores of different models share their questions within one suite. Drag to zoom, double-click to zoom out; a click on a point opens its record."),
      nodes: [
        h("div.controls", null, tabs), h("div.controls", null, x.element, y.element, model.element, strategy.element, suites.length > 1 ? suite.element : null),
        charts.legend([...charts.looks(names)].map(([name, look]) => [words.strategy(name), look])),
        points.length ? made.element : widgets.empty("No run has both numbers."),
        h("p.under", null, y.value ? "" : "Average: the mean of all benchmarks that a run of this suite may have, with MME / 20; runs that lack one are left out. ", points.some((point) => point.partial) ? "Partial (open marks): of a run with a limit, not of all questions. " : "", left ? `${words.plural(left, "run")} left out: one of the two numbers is missing.` : ""),
        points.length ? h("section.part", null, h("h2", null, "The same in numbers"), points.length > pdrop.rows.FIRST ? room.element : null, numbers(points, x.value, title, room)) : null,
      ],
      after: () => { if (points.length) made.draw(); },
    };
  };

  function measure(index, runs, x, y) {
    const [unit, factor] = x === "tflops" ? words.flopsUnit() : [null, 1];
    AXES.tflops.unit = unit;
    const keys = Object.keys(index.benchmarks).filter((key) => runs.some((run) => run.scores[key] && words.number(run.scores[key].score)));
    const points = [];
    for (const run of runs) {
      const across = AXES[x].of(run);
      const up = y ? run.scores[y] : average(index, run, keys);
      if (words.number(across) && up && words.number(up.score)) points.push({ run, x: across * factor, score: up.score, low: up.low, high: up.high, partial: up.state === "partial" });
    }
    points.sort((a, b) => a.x - b.x);
    const title = y ? index.benchmarks[y].name : `Average of ${words.plural(keys.length, "benchmark")}`;
    return { points, left: runs.length - points.length, title };
  }

  function average(index, run, keys) {
    const own = keys.map((key) => run.scores[key]);
    const values = own.map((one, at) => (one && ["measured", "partial"].includes(one.state) && words.number(one.score) ? one.score / (index.benchmarks[keys[at]].divisor || 1) : null));
    if (!values.length || !values.every(words.number)) return null;
    return { score: values.reduce((sum, value) => sum + value, 0) / values.length, state: own.some((one) => one.state === "partial") ? "partial" : "measured" };
  }

  const across = (x) => (x === "tflops" ? `${AXES.tflops.unit} of a question's image tokens` : AXES[x].name);

  function plot(points, names, x, title) {
    const looks = charts.looks(names);
    const traces = [...looks].map(([strategy, named]) => {
      const look = charts.drawn(named);
      const own = points.filter((point) => point.run.strategy === strategy);
      return {
        type: "scatter", mode: "markers", name: charts.escaped(words.strategy(strategy)), x: own.map((point) => point.x), y: own.map((point) => point.score), customdata: own.map((point) => point.run.key),
        error_y: { ...charts.bars(own, look.color), visible: own.some((point) => words.number(point.low)), thickness: 0.8 }, marker: charts.partly(look.marker, own.map((point) => point.partial)),
        hoverinfo: "text", hovertext: own.map((point) => charts.hover(`${title}: ${words.fixed(point.score)}`, words.range(point.low, point.high) ? `95% interval ${words.range(point.low, point.high)}` : "", point.partial ? "partial: not all questions" : "", `${words.brief(point.x)}: ${across(x)}`, pdrop.runName(point.run), `image tokens by layer: ${words.layers(point.run.tokens_per_layer)}`, point.run.run_id)),
      };
    });
    return { traces, layout: charts.layout({ x: across(x), y: title, more: { height: 440 } }) };
  }

  function numbers(points, x, title, room) {
    const columns = [
      { key: "run", name: "Run", first: "asc", value: (point) => pdrop.runName(point.run) },
      { key: "x", name: across(x), numeric: true, first: "asc", value: (point) => point.x }, { key: "y", name: title, numeric: true, value: (point) => point.score },
    ];
    const sort = pdrop.cells.sorting(columns);
    const table = h("table.data", null, h("caption.hidden", null, title), h("thead", null, h("tr", null, columns.map((column) => pdrop.cells.heading(column, sort)))));
    const rest = room.table("numbers", table, [{ rows: pdrop.cells.sorted(points, sort) }], (point) => h("tr", null, h("th", { scope: "row" }, h("a", { href: route.to(["records", point.run.key]) }, pdrop.runName(point.run))), h("td.num", null, words.brief(point.x)),
        h("td.num", null, point.partial ? [h("span.tag", null, "partial"), " "] : null, words.fixed(point.score), words.number(point.low) ? h("span.interval", null, ` ${words.range(point.low, point.high)}`) : null)));
    return [widgets.scroller(table, "Numbers of the scatter"), rest];
  }
})(window.pdrop);
