/* Scores against cost: the figures of the paper, and a scatter of all runs. */
(function (pdrop) {
  "use strict";
  const { h, words, route, widgets, charts } = pdrop;

  pdrop.views.curves = { draw };

  function draw(index, now) {
    const curves = index.curves || [];
    if (now.parts[0] && now.parts[0] !== "all" && !curves.some((one) => one.name === now.parts[0])) return widgets.nowhere(`There is no figure "${words.short(now.parts[0], 40)}".`);
    const free = now.parts[0] === "all" || !curves.length;
    const curve = curves.find((one) => one.name === now.parts[0]) || curves[0];
    const tabs = h("nav.tabs", { "aria-label": "Figures" },
      curves.map((one) => h("a", { href: route.to(["curves", one.name]), "aria-current": !free && one === curve ? "page" : null, title: one.title }, brief(one.title))),
      h("a", { href: route.to(["curves", "all"]), "aria-current": free ? "page" : null }, "All runs"));
    return free ? pdrop.scatter(index, tabs) : figure(index, curve, tabs);
  }

  /** "Figure 4: LLaVA-1.5 mini": a title up to what all of its kind share. */
  const brief = (title) => String(title).split(/, | \(/)[0];

  function figure(index, curve, tabs) {
    const keys = curve.benchmarks.filter((key) => curve.series.some((series) => series.points.some((point) => point.bench[key])));
    const name = (key) => (index.benchmarks[key] || { name: key }).name;
    const which = widgets.choice("Benchmark", "benchmark", [["", "all of the figure"], ...keys.map((key) => [key, name(key)])]);
    const shown = which.value ? [which.value] : keys;
    const looks = charts.looks(curve.series);
    const made = shown.map((key) => charts.chart(() => panel(curve, key, name(key)), `${name(key)}: score against ${curve.x}`));
    return {
      heading: curve.title,
      lead: h("p.lead", null, `Score against ${curve.x}. Bars: 95% intervals. Drag to zoom, double-click to zoom out; a click on a point opens its record. `,
        "One colour and shape: one curve."),
      nodes: [
        h("div.controls", null, tabs, which.element),
        limits(curve),
        keys.length ? null : widgets.empty("No run of this figure is measured yet."),
        charts.legend(curve.series.map((series) => [series.name, looks.get(series.name)])),
        h("div.panels-grid", { class: shown.length === 1 ? "single" : null }, made.map((one) => one.element)),
        keys.length ? h("section.part", null, h("h2", null, "The same in numbers"), numbers(curve, shown, name)) : null,
        (curve.commands || []).length ? h("section.part", null, h("h2", null, "What is not measured yet"), curve.commands.map((text) => widgets.command(text))) : null,
      ],
      after: () => made.forEach((one) => one.draw()),
    };
  }

  const limitOf = (point) => (pdrop.runs.get(point.run) || {}).limit || null;

  /** Which points are of some questions only, in words; null if none is. */
  function limits(curve) {
    const all = curve.series.flatMap((series) => series.points.map(limitOf));
    const some = [...new Set(all.filter(Boolean))].sort((a, b) => a - b);
    if (!some.length) return null;
    const text = `limit: ${some.map(words.whole).join(" or ")} questions a benchmark`;
    return h("p.limit", null, h("span.tag", null, "partial"), all.every(Boolean) ? `All points are of runs with a ${text}: open marks.` : `Some points are of runs with a ${text}; their marks are open.`);
  }

  const pointsOf = (series, key) => series.points.filter((point) => point.bench[key] && words.number(point.bench[key].score) && words.number(point.bench[key].x))
    .map((point) => ({ run: point.run, ...point.bench[key] })).sort((a, b) => a.x - b.x);

  function panel(curve, key, name) {
    const looks = charts.looks(curve.series);
    const traces = curve.series.map((series) => {
      const look = charts.drawn(looks.get(series.name));
      const points = pointsOf(series, key);
      return {
        type: "scatter", mode: points.length > 1 ? "lines+markers" : "markers", name: charts.escaped(series.name), x: points.map((point) => point.x), y: points.map((point) => point.score),
        customdata: points.map((point) => point.run), error_y: charts.bars(points, look.color), marker: charts.partly(look.marker, points.map((point) => Boolean(limitOf(point)))), line: look.line,
        hoverinfo: "text", hovertext: points.map((point) => hover(curve, series, point, name)),
      };
    });
    const vanilla = curve.series.filter((series) => series.strategy === pdrop.index.reference).flatMap((series) => pointsOf(series, key));
    const line = (point) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: point.score, y1: point.score, layer: "below", line: { color: charts.drawn(charts.looks([{ name: "", strategy: pdrop.index.reference }]).get("")).color, width: 1, dash: "dot" } });
    const shapes = vanilla.length === 1 ? vanilla.map(line) : [];
    return { traces, layout: charts.layout({ title: name, x: curve.x, y: axisOf(key), more: { height: 300, shapes } }) };
  }

  function axisOf(key) {
    const benchmark = pdrop.index.benchmarks[key];
    return benchmark && benchmark.scale === null ? "score (sum)" : "score, 0 to 100";
  }

  function hover(curve, series, point, name) {
    const run = pdrop.runs.get(point.run);
    return charts.hover(`${name}: ${words.fixed(point.score)}`, words.range(point.low, point.high) ? `95% interval ${words.range(point.low, point.high)}` : "",
      `${words.brief(point.x)} ${curve.x}`, run ? pdrop.runName(run) : series.name, limitOf(point) ? `limit: ${words.whole(limitOf(point))} questions a benchmark` : "", run ? `image tokens by layer: ${words.layers(run.tokens_per_layer)}` : "", run ? run.run_id : "");
  }

  function numbers(curve, keys, name) {
    const seen = new Set(); // vanilla ends each curve of Figures 1 and 3, but is one run
    const rows = curve.series.flatMap((series) => series.points.map((point) => ({ series, point }))).filter(({ point }) => point.run === null || (!seen.has(point.run) && seen.add(point.run)));
    const label = "Numbers of the charts";
    const whole = (point) => (pdrop.runs.get(point.run) || {}).strategy === pdrop.index.reference;
    const title = (series, point) => (curve.kind === "ratio" && whole(point) ? pdrop.runName(pdrop.runs.get(point.run)) : curve.kind === "ratio" ? series.name : [series.name, point.label].filter(Boolean).join(" ")); // a layer's points differ in what they retain alone
    const at = (point) => Object.values(point.bench).map((one) => one.x).filter(words.number);
    const spread = (values) => (values.length ? (Math.min(...values) === Math.max(...values) ? words.brief(values[0]) : `${words.brief(Math.min(...values))} to ${words.brief(Math.max(...values))}`) : words.DASH);
    return widgets.scroller(h("table.data", null, h("caption.hidden", null, label),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Run"), h("th.num", { scope: "col" }, curve.x), keys.map((key) => h("th.num", { scope: "col" }, name(key))))),
      h("tbody", null, rows.map(({ series, point }) => h("tr", null,
        h("th", { scope: "row" }, pdrop.runs.has(point.run) ? h("a", { href: route.to(["records", point.run]) }, title(series, point)) : title(series, point),
          limitOf(point) ? [" ", h("span.tag", null, `limit ${words.whole(limitOf(point))}`)] : null),
        h("td.num", null, spread(keys.map((key) => point.bench[key] && point.bench[key].x).filter(words.number).length ? keys.map((key) => point.bench[key] && point.bench[key].x).filter(words.number) : at(point))),
        keys.map((key) => {
          const one = point.bench[key];
          return h("td.num", null, one ? [h("span.line", null, words.fixed(one.score)), h("span.line.interval", null, words.range(one.low, one.high))] : words.DASH);
        }))))), label);
  }
})(window.pdrop);
