/* Measured speed and memory: the records of pdrop-eval-bench. */
(function (pdrop) {
  "use strict";
  const { h, words, widgets, charts } = pdrop;

  const range = (part) => (part && words.number(part.median) ? part : null);
  const single = (value, factor) => (words.number(value) ? { median: value * factor } : null);
  const MEASURES = [
    { key: "prefill", name: "Prefill latency", unit: "ms", of: (variant) => range(variant.prefill_ms) },
    { key: "decode", name: "Decode latency", unit: "ms a token", of: (variant) => range(variant.decode_ms) },
    { key: "throughput", name: "Throughput", unit: "tokens a second", of: (variant) => single(variant.tokens_per_second, 1) },
    { key: "memory", name: "Peak memory", unit: "MB", of: (variant) => single(variant.memory_bytes, 1e-6) },
    { key: "cache", name: "KV cache", unit: "MB", of: (variant) => single(variant.kv_cache_bytes, 1e-6) },
  ];

  pdrop.views.efficiency = { draw };

  function draw(index) {
    const records = (index.efficiency && index.efficiency.records) || [];
    if (!records.length) {
      return { heading: "Efficiency", nodes: [widgets.empty(h("p", null, "No measurement of speed lies beside this page\u2019s records. Those of the project itself are in its results/efficiency. This command measures prefill latency, decode speed and memory of each strategy:"), widgets.command(index.commands.bench))] };
    }
    const which = widgets.choice("Measurement", "record", records.map((record) => [record.key, [record.model, record.device, record.dtype, words.day(record.created)].filter(Boolean).join(", ")]));
    const record = records.find((one) => one.key === which.value);
    const size = widgets.choice("Batch", "batch", record.batches.map((batch) => [String(batch.batch_size), `${batch.batch_size} at a time`]));
    const batch = record.batches.find((one) => String(one.batch_size) === size.value) || record.batches[0];
    const measured = batch ? MEASURES.filter((one) => batch.variants.some(one.of)) : [];
    const what = widgets.choice("Chart", "chart", measured.map((one) => [one.key, one.name]));
    const measure = measured.find((one) => one.key === what.value);
    const made = measure ? charts.chart(() => plot(batch, measure), `${measure.name} by strategy, ${measure.unit}: ${record.model}`) : null;
    return {
      heading: "Efficiency",
      lead: h("p.lead", null, "What dropping tokens saves in time and memory, measured by pdrop-eval-bench. FLOPs are theory; these are this hardware's."),
      nodes: [
        h("div.controls", null, which.element, record.batches.length > 1 ? size.element : null, measured.length > 1 ? what.element : null), facts(record),
        batch ? [made ? [h("h2", null, measure.name), made.element] : null, h("h2", null, "All measurements"), table(batch), batch.title ? h("p.under", null, batch.title) : null, (batch.out_of_memory || []).length ? h("p.under", null, `Out of memory: ${batch.out_of_memory.join(", ")}.`) : null] : widgets.empty("This record has no measurement."),
        record.command ? h("section.part", null, h("h2", null, "Repeat it"), widgets.command(record.command)) : null,
      ],
      after: () => { if (made) made.draw(); },
    };
  }

  const facts = (record) => h("ul.about", null, record.about.map((text) => h("li", null, text)), h("li", null, `Made ${words.day(record.created)} UTC.`));

  function plot(batch, measure) {
    const looks = charts.looks(batch.variants.map((variant) => ({ name: variant.strategy, strategy: variant.strategy })));
    const shown = batch.variants.map((variant) => ({ variant, value: measure.of(variant) })).filter(({ value }) => value).reverse();
    const spread = shown.some(({ value }) => words.number(value.low));
    const beyond = (end) => shown.map(({ value }) => (words.number(value[end]) ? Math.abs(value[end] - value.median) : 0));
    const traces = [{
      type: "bar", orientation: "h", y: shown.map(({ variant }) => charts.escaped(variant.label)), x: shown.map(({ value }) => value.median),
      marker: { color: shown.map(({ variant }) => charts.drawn(looks.get(variant.strategy)).color) }, hoverinfo: "text", textposition: "none",
      hovertext: shown.map(({ variant, value }) => charts.hover(variant.label, `${spread ? "median " : ""}${words.brief(value.median)} ${measure.unit}`, words.number(value.low) ? `quartiles ${words.brief(value.low)} to ${words.brief(value.high)}` : "")),
      error_x: { type: "data", symmetric: false, visible: spread, color: charts.colour("--ink"), thickness: 1.2, width: 5, array: beyond("high"), arrayminus: beyond("low") },
    }];
    const shared = charts.layout({ x: `${measure.name.toLowerCase()}, ${measure.unit}${spread ? (innerWidth < 640 ? " (median, quartiles)" : " (median and quartiles of the rounds)") : ""}`.replace("kv", "KV"), y: "", more: { height: 90 + 44 * shown.length, bargap: 0.45 } });
    return { traces, layout: { ...shared, yaxis: { ...shared.yaxis, title: undefined } } };
  }

  function table(batch) {
    const time = (one) => (one && words.number(one.median) ? [h("span.line", null, words.brief(one.median)), words.number(one.low) ? h("span.line.interval", null, `${words.brief(one.low)} to ${words.brief(one.high)}`) : null] : words.DASH);
    const times = (one) => (one && words.number(one.median) ? [h("span.line", null, `${words.fixed(one.median, 2)}\u00d7`), h("span.line.interval", null, `${words.fixed(one.low, 2)} to ${words.fixed(one.high, 2)}`)] : words.DASH);
    const columns = [
      ["Prefill, ms", (variant) => time(variant.prefill_ms)],
      ["Faster than vanilla", (variant) => times(variant.speedup)], // within a round, as the record has it: not the ratio of the medians
      ["Decode, ms a token", (variant) => time(variant.decode_ms)], ["Tokens a second", (variant) => words.brief(variant.tokens_per_second)],
      ["Memory, peak", (variant) => words.bytes(variant.memory_bytes)], ["KV cache", (variant) => words.bytes(variant.kv_cache_bytes)], ["FLOPs", (variant) => words.flopsAs(variant.tflops)],
    ];
    return widgets.scroller(h("table.data", null, h("caption.hidden", null, "Speed and memory by strategy"),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Strategy"), columns.map(([name]) => h("th.num", { scope: "col" }, name)), h("th", { scope: "col" }, "Image tokens by layer"))),
      h("tbody", null, batch.variants.map((variant) => h("tr", null, h("th", { scope: "row" }, variant.label), columns.map(([, of]) => h("td.num", null, of(variant))), h("td", null, words.layers(variant.tokens_per_layer)))))), "Speed and memory by strategy");
  }
})(window.pdrop);
