/* Charts by Plotly, which is loaded when the first one is shown. Colours come from the stylesheet. */
(function (pdrop) {
  "use strict";
  const { h, words, route } = pdrop;
  const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down"];
  const STEPS = 5;
  let asked = null;

  /** Plotly, loaded once. */
  function plotly() {
    if (window.Plotly) return Promise.resolve(window.Plotly);
    if (!asked) asked = pdrop.script("assets/plotly.min.js").then(() => window.Plotly, (error) => { asked = null; throw error; });
    return asked;
  }

  /** Plotly reads some tags in text: none of the data's may be one. */
  const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /**
   * How each of some series looks, by its name: {variable, symbol, dash, size, open}. Strategies look as their
   * records say; the layers of Figures 1 and 3 are steps of one scale, and models differ in dashes and filling.
   */
  function looks(series) {
    const layers = [...new Set(series.map((one) => one.layer).filter(words.number))].sort((a, b) => a - b);
    const models = [...new Set(series.map((one) => one.model))];
    return new Map(series.map((one) => {
      if (layers.length) {
        const at = layers.indexOf(one.layer);
        const second = models.indexOf(one.model) > 0;
        return [one.name, { variable: `step-${1 + (at % STEPS)}`, symbol: SYMBOLS[at % SYMBOLS.length], dash: second ? "dash" : "solid", size: 8, open: second }];
      }
      const known = pdrop.strategies.get(one.strategy) || { variable: "other", symbol: "circle", dash: "solid" };
      return [one.name, { ...known, size: known.symbol === "star" ? 13 : 9 }];
    }));
  }

  /** Marker and line of a look for Plotly, in the colours of the moment. */
  function drawn(look) {
    const shade = colour(`--series-${look.variable}`);
    return { color: shade, marker: { color: shade, symbol: look.open ? `${look.symbol}-open` : look.symbol, size: look.size, line: { width: look.open ? 2 : 0, color: shade } }, line: { color: shade, dash: look.dash, width: 1.8 } };
  }

  /** A marker of which some points are open: those of some questions only. */
  function partly(marker, partial) {
    const open = (symbol) => (String(symbol).endsWith("-open") ? symbol : `${symbol}-open`);
    return { ...marker, symbol: partial.map((one) => (one ? open(marker.symbol) : marker.symbol)), line: { ...marker.line, width: partial.map((one) => (one ? 2 : marker.line.width)) } };
  }

  /** What all charts share; x, y: titles with units. */
  function layout({ title, x, y, more }) {
    const [ink, line] = [colour("--ink"), colour("--line")];
    const axis = (words_) => ({ title: { text: escaped(words_), font: { size: 12 }, standoff: 8 }, gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true, ticks: "outside", tickcolor: line });
    return {
      title: title ? { text: `<b>${escaped(title)}</b>`, font: { size: 14 }, x: 0, xref: "paper", xanchor: "left", y: 0.97, yanchor: "top" } : undefined,
      xaxis: { ...axis(x), rangemode: "tozero" }, yaxis: axis(y), paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif", size: 12 }, margin: { l: 52, r: 14, t: 34, b: 46 }, hovermode: "closest", dragmode: "zoom",
      hoverlabel: { bgcolor: colour("--surface"), bordercolor: colour("--ink"), font: { color: ink, size: 12 }, align: "left" }, showlegend: false,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--edge"), activecolor: colour("--accent") }, ...more,
    };
  }

  /**
   * A chart: {element, draw}. make() gives {traces, layout} in the colours of the moment; a point's customdata is
   * the key of a run, whose record a click opens. label: what it shows, for who can't see it.
   */
  function chart(make, label) {
    const place = h("div.chart", { role: "img", "aria-label": label, "data-chart": label }, h("p.loading", null, "Loading the chart \u2026"));
    let gone = false;
    async function draw() {
      try {
        const Plotly = await plotly();
        if (gone) return;
        const { traces, layout: drawn } = make();
        if (!place.dataset.ready) place.replaceChildren();
        await Plotly.react(place, traces, drawn, { responsive: true, displaylogo: false, displayModeBar: true, modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]], toImageButtonOptions: { format: "svg", filename: "pdrop-eval" } });
        if (!place.dataset.ready) place.on("plotly_click", ({ points }) => {
          const key = points[0] && points[0].customdata;
          if (pdrop.runs.has(key)) route.go(route.to(["records", key]));
        });
        place.dataset.ready = "yes";
      } catch (error) {
        place.replaceChildren(pdrop.widgets.problem(error));
      }
    }
    document.addEventListener("pdrop-theme", draw);
    pdrop.undo(() => {
      gone = true;
      document.removeEventListener("pdrop-theme", draw);
      if (window.Plotly && place.dataset.ready) window.Plotly.purge(place);
    });
    return { element: place, draw };
  }

  /** What the marks mean: one legend for all charts of a view. */
  const legend = (entries) => h("ul.legend", null, entries.map(([name, look]) => h("li", null, sample(look), name)));

  const SHAPES = {
    circle: "M8 3a5 5 0 1 0 .01 0z", square: "M3.5 3.5h9v9h-9z", star: "M8 1.5l1.9 4.3 4.6.5-3.4 3.1 1 4.6L8 11.6 3.9 14l1-4.6L1.5 6.3l4.6-.5z",
    "triangle-up": "M8 2.5l6 11H2z", "triangle-down": "M8 13.5l6-11H2z", diamond: "M8 1.5L14.5 8 8 14.5 1.5 8z",
  };

  function sample(look) {
    const image = document.createElementNS(pdrop.SVG, "svg");
    for (const [name, value] of Object.entries({ viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" })) image.setAttribute(name, value);
    const shape = document.createElementNS(pdrop.SVG, "path");
    shape.setAttribute("d", SHAPES[look.symbol] || SHAPES.circle);
    shape.style.setProperty(look.open ? "stroke" : "fill", `var(--series-${look.variable})`);
    if (look.open) shape.setAttribute("class", "open");
    image.append(shape);
    return image;
  }

  /** Lines of a hover text: escaped, a line each. */
  const hover = (...lines) => lines.filter(Boolean).map(escaped).join("<br>");

  const bars = (points, color) => ({
    type: "data", symmetric: false, thickness: 1.2, width: 4, color,
    array: points.map((point) => (words.number(point.high) ? point.high - point.score : 0)), arrayminus: points.map((point) => (words.number(point.low) ? point.score - point.low : 0)),
  });

  pdrop.charts = { chart, layout, looks, drawn, partly, legend, hover, escaped, bars, colour };
})(window.pdrop);
