/* Measured speed and memory: the records of pdrop-eval-bench. */
(function (pdrop) {
  "use strict";
  const { h, words, widgets, charts } = pdrop;

  pdrop.views.efficiency = { draw };

  function draw(index) {
    const records = (index.efficiency && index.efficiency.records) || [];
    if (!records.length) {
      return { heading: "Efficiency", nodes: [widgets.empty(h("p", null, "None measured yet. This command measures prefill latency, decode speed and memory of each strategy:"), widgets.command("make bench"))] };
    }
    const which = widgets.choice("Measurement", "record", records.map((record) => [record.key, [record.model, record.device, record.dtype, words.day(record.created)].filter(Boolean).join(", ")]));
    const record = records.find((one) => one.key === which.value);
    const size = widgets.choice("Batch", "batch", record.batches.map((batch) => [String(batch.batch_size), `${batch.batch_size} at a time`]));
    const batch = record.batches.find((one) => String(one.batch_size) === size.value) || record.batches[0];
    const made = batch ? charts.chart(() => plot(batch), `Prefill latency by strategy, milliseconds: ${record.model}`) : null;
    return {
      heading: "Efficiency",
      lead: h("p.lead", null, "What dropping tokens saves in time and memory, measured by pdrop-eval-bench. FLOPs are theory; these are this hardware's."),
      nodes: [
        h("div.controls", null, which.element, record.batches.length > 1 ? size.element : null), facts(record),
        batch ? [h("h2", null, "Prefill latency"), made.element, h("h2", null, "All measurements"), table(batch), batch.title ? h("p.under", null, batch.title) : null, (batch.out_of_memory || []).length ? h("p.under", null, `Out of memory: ${batch.out_of_memory.join(", ")}.`) : null] : widgets.empty("This record has no measurement."),
        record.command ? h("section.part", null, h("h2", null, "Repeat it"), widgets.command(record.command)) : null,
      ],
      after: () => { if (made) made.draw(); },
    };
  }

  function facts(record) {
    if ((record.about || []).length) return h("ul.about", null, record.about.map((text) => h("li", null, text)), h("li", null, `Made ${words.day(record.created)} UTC.`));
    const hardware = typeof record.hardware === "string" ? record.hardware : record.hardware ? Object.values(record.hardware).flat().filter((value) => value !== null && typeof value !== "object").join(", ") : "";
    const rows = [["Model", record.model], ["Weights", record.weights], ["Hardware", hardware], ["Device", [record.device, record.dtype].filter(Boolean).join(", ")], ["Image tokens", words.number(record.image_tokens) ? words.whole(record.image_tokens) : null], ["Made", `${words.day(record.created)} UTC`]];
    return h("dl.facts", null, rows.map(([name, value]) => (value ? [h("dt", null, name), h("dd", null, value)] : null)));
  }

  const nameOf = (variant) => [variant.label || variant.strategy].concat(typeof variant.settings === "string" && variant.settings ? [variant.settings] : []).join(" ");

  function plot(batch) {
    const looks = charts.looks(batch.variants.map((variant) => ({ name: variant.strategy, strategy: variant.strategy })));
    const timed = batch.variants.filter((variant) => variant.prefill_ms && words.number(variant.prefill_ms.median)).reverse();
    const traces = [{
      type: "bar", orientation: "h", y: timed.map((variant) => charts.escaped(nameOf(variant))), x: timed.map((variant) => variant.prefill_ms.median),
      marker: { color: timed.map((variant) => charts.drawn(looks.get(variant.strategy)).color) }, hoverinfo: "text", textposition: "none",
      hovertext: timed.map((variant) => charts.hover(nameOf(variant), `median ${words.brief(variant.prefill_ms.median)} ms`, `quartiles ${words.brief(variant.prefill_ms.low)} to ${words.brief(variant.prefill_ms.high)} ms`)),
      error_x: { type: "data", symmetric: false, color: charts.colour("--ink"), thickness: 1.2, width: 5, array: timed.map((variant) => variant.prefill_ms.high - variant.prefill_ms.median), arrayminus: timed.map((variant) => variant.prefill_ms.median - variant.prefill_ms.low) },
    }];
    const shared = charts.layout({ x: "prefill, ms (median and quartiles of the rounds)", y: "", more: { height: 90 + 44 * timed.length, bargap: 0.45 } });
    return { traces, layout: { ...shared, yaxis: { ...shared.yaxis, title: undefined } } };
  }

  function table(batch) {
    const vanilla = batch.variants.find((variant) => variant.strategy === "vanilla");
    const base = vanilla && vanilla.prefill_ms ? vanilla.prefill_ms.median : null;
    const time = (one) => (one && words.number(one.median) ? [h("span.line", null, words.brief(one.median)), words.number(one.low) ? h("span.line.interval", null, `${words.brief(one.low)} to ${words.brief(one.high)}`) : null] : words.DASH);
    const columns = [
      ["Prefill, ms", (variant) => time(variant.prefill_ms)],
      ["\u00d7 vanilla", (variant) => (words.number(base) && variant.prefill_ms && variant.prefill_ms.median ? `${words.fixed(base / variant.prefill_ms.median, 2)}\u00d7` : words.DASH)],
      ["Decode, ms a token", (variant) => time(variant.decode_ms)], ["Tokens a second", (variant) => words.brief(variant.tokens_per_second)],
      ["Memory, peak", (variant) => words.bytes(variant.memory_bytes)], ["KV cache", (variant) => words.bytes(variant.kv_cache_bytes)], ["FLOPs", (variant) => words.flops(variant.tflops)],
    ];
    return widgets.scroller(h("table.data", null, h("caption.hidden", null, "Speed and memory by strategy"),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Strategy"), columns.map(([name]) => h("th.num", { scope: "col" }, name)), h("th", { scope: "col" }, "Image tokens by layer"))),
      h("tbody", null, batch.variants.map((variant) => h("tr", null, h("th", { scope: "row" }, nameOf(variant)), columns.map(([, of]) => h("td.num", null, of(variant))), h("td", null, words.layers(variant.tokens_per_layer)))))), "Speed and memory by strategy");
  }
})(window.pdrop);
