/* The ranks of strategies by their mean in percent of vanilla's, from budget to budget. */
(function (pdrop) {
  "use strict";
  const { h, words, charts } = pdrop;

  /** The plot of one model's ranks as a part of a view: see `rows.room`. */
  pdrop.rankPlot = function (board) {
    const name = `Ranks: ${board.model}, suite ${board.suite}`;
    let made = null;
    return { title: name, rows: 1, make: () => { made = parts(board, name); return made.nodes; }, enter: () => made.draw() };
  };

  function parts(board, name) {
    const made = charts.chart(() => plot(board), `${name}. Rank 1 is the highest mean in percent of vanilla's; budgets from the largest to the smallest.`);
    made.element.style.setProperty("height", `${heightOf(board) + 16}px`);
    const looks = charts.looks(board.series);
    const nodes = [
      h("p", null, "Rank of each strategy at each budget by the mean over the benchmarks in percent of vanilla's; 1 is the best. Neighbours may differ by chance alone: the table says what is certain. A click on a point opens its record."),
      charts.legend(board.series.map((one) => [one.name, looks.get(one.name)])), made.element];
    return { nodes, draw: made.draw };
  }

  const budget = ({ tokens, share }) => `${Number.isInteger(tokens) ? words.whole(tokens) : words.fixed(tokens)} tokens${words.number(share) ? ` (${words.fixed(100 * share)}%)` : ""}`;

  const lowest = (board) => Math.max(...board.series.flatMap((one) => one.points.map((point) => point.rank)));
  const heightOf = (board) => Math.max(240, 100 + 26 * lowest(board));

  function plot(board) {
    const looks = charts.looks(board.series);
    const places = board.budgets.map(budget);
    const traces = board.series.map((one) => {
      const look = charts.drawn(looks.get(one.name));
      return {
        type: "scatter", mode: "lines+markers", name: charts.escaped(one.name), x: one.points.map((point) => places[point.block]), y: one.points.map((point) => point.rank),
        customdata: one.points.map((point) => point.run), marker: look.marker, line: look.line, hoverinfo: "text",
        hovertext: one.points.map((point) => charts.hover(one.name, places[point.block], `rank ${point.rank}`, `mean ${words.fixed(point.percent)}% of vanilla's`,
          words.range(point.low, point.high) ? `95% interval ${words.range(point.low, point.high)}` : "")),
      };
    });
    const most = lowest(board);
    const made = charts.layout({ title: "", x: "budget", y: "rank", more: { height: heightOf(board) } });
    made.xaxis = { ...made.xaxis, type: "category", categoryorder: "array", categoryarray: places.map(charts.escaped), rangemode: "normal" };
    made.yaxis = { ...made.yaxis, range: [most + 0.6, 0.4], dtick: most > 30 ? 5 : 1 };
    return { traces, layout: made };
  }
})(window.pdrop);
