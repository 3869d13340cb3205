/* A picture with its image tokens on it: what was dropped is veiled, what remains can be outlined. */
(function (pdrop) {
  "use strict";
  const { h, words, tokens } = pdrop;
  const SIDE = 720; // pixels of a canvas's longer side
  const VEILS = { dark: "12, 18, 28", light: "246, 246, 242" };
  const PARTS = { whole: "picture", overview: "overview", tiles: "tiles" };

  /**
   * The figures of one run's tokens, a figure a grid; {element, update(layer, look)}.
   * look: {opacity 0..100, outline, veil: "dark" | "light"}.
   */
  function create(question, answer, run) {
    const known = tokens.retained(question, answer, run.tokens_per_layer);
    if (known.why) {
      const why = answer && run.strategy === pdrop.index.reference ? "Nothing is dropped" : known.why;
      return { element: h("div.figures", null, plain(question), h("p.quiet", null, `${why}.`)), update() {}, layers: [], known: null };
    }
    const figures = known.grids.map((grid, at) => figure(question, known, grid, at, run));
    return {
      element: h("div.figures", { class: figures.length > 1 ? "several" : null }, figures.map((one) => one.element)),
      update: (layer, look) => figures.forEach((one) => one.update(layer, look)),
      layers: known.stages.map((stage) => stage.layer), known,
    };
  }

  /** The pictures alone, or why they aren't there. */
  function plain(question) {
    const pictures = question ? question.pictures || [] : [];
    if (!pictures.some(Boolean)) return h("p.nothing", null, absence(question));
    return pictures.filter(Boolean).map((address) => h("img.alone", { src: address, alt: `picture of the question: ${words.short(question.prompt, 80)}` }));
  }

  const absence = (question) => (question && question.missing ? `The picture is not there: ${question.missing}` : question && !(question.pictures || []).length ? "A question without a picture." : "The picture is not there.");

  function figure(question, known, grid, at, run) {
    const [width, height] = (question.sizes || [])[grid.image] || [grid.right - grid.left, grid.bottom - grid.top];
    const picture = { left: 0, top: 0, right: width, bottom: height };
    const extent = {
      left: Math.min(0, grid.left), top: Math.min(0, grid.top), right: Math.max(width, grid.right), bottom: Math.max(height, grid.bottom),
    };
    const [wide, high] = [extent.right - extent.left, extent.bottom - extent.top];
    const scale = SIDE / Math.max(wide, high);
    const canvas = h("canvas", { width: Math.round(wide * scale), height: Math.round(high * scale), role: "img" });
    const address = (question.pictures || [])[grid.image];
    const place = { left: `${(-100 * extent.left) / wide}%`, top: `${(-100 * extent.top) / high}%`, width: `${(100 * width) / wide}%`, height: `${(100 * height) / high}%` };
    const below = address ? h("img", { src: address, alt: "", style: place }) : h("span.nothing", { style: place }, h("span.message", null, absence(question)));
    const caption = h("figcaption");
    const element = h("figure.overlay", { "data-part": grid.part, style: { "--ratio": wide / high } }, h("div.frame", { style: { "aspect-ratio": `${wide} / ${high}` } }, below, canvas), caption);
    return {
      element,
      update(layer, look) {
        const stage = tokens.stageAt(known, layer);
        const counted = tokens.count(known, stage, at);
        const text = say(grid, counted, known.grids.length, (question.pictures || []).length);
        caption.textContent = text;
        canvas.setAttribute("aria-label", `${pdrop.runName(run)}, from layer ${stage.layer} on, ${text}`);
        paint(canvas, grid, stage, counted.first, extent, picture, scale, look);
      },
    };
  }

  function say(grid, counted, many, pictures) {
    const which = many > 1 || grid.part !== "whole" ? `${PARTS[grid.part] || grid.part}${pictures > 1 ? ` of picture ${grid.image + 1}` : ""}: ` : "";
    const newlines = counted.ofNewlines ? `, and ${words.whole(counted.newlines)} of ${words.whole(counted.ofNewlines)} newline tokens` : "";
    return `${which}${words.whole(counted.places)} of ${words.whole(counted.of)} tokens in ${grid.rows} rows of ${grid.columns}${newlines}`;
  }

  function paint(canvas, grid, stage, first, extent, picture, scale, look) {
    const brush = canvas.getContext("2d");
    brush.clearRect(0, 0, canvas.width, canvas.height);
    const pixels = ([left, top, right, bottom]) => {
      const [x, y] = [Math.round((left - extent.left) * scale), Math.round((top - extent.top) * scale)];
      return [x, y, Math.round((right - extent.left) * scale) - x, Math.round((bottom - extent.top) * scale) - y];
    };
    unseen(brush, pixels, grid, picture);
    brush.fillStyle = `rgba(${VEILS[look.veil] || VEILS.dark}, ${look.opacity / 100})`;
    const stay = [];
    for (let token = 0; token < grid.tokens; token += 1) {
      const box = tokens.box(grid, token);
      if (!box) continue;
      if (stage.bits === null || stage.bits[first + token]) stay.push(box);
      else brush.fillRect(...pixels(box));
    }
    if (!look.outline || stage.bits === null) return;
    for (const box of stay) {
      const [x, y, width, height] = pixels(box);
      brush.lineWidth = 3;
      brush.strokeStyle = "rgba(0, 0, 0, 0.75)";
      brush.strokeRect(x + 1.5, y + 1.5, width - 3, height - 3);
      brush.lineWidth = 1.5;
      brush.strokeStyle = "#f0e442";
      brush.strokeRect(x + 1.5, y + 1.5, width - 3, height - 3);
    }
  }

  /** Lines over what no token sees: beyond a cut. */
  function unseen(brush, pixels, grid, picture) {
    const outside = [
      [picture.left, picture.top, Math.max(picture.left, grid.left), picture.bottom], [Math.min(picture.right, grid.right), picture.top, picture.right, picture.bottom],
      [Math.max(picture.left, grid.left), picture.top, Math.min(picture.right, grid.right), Math.max(picture.top, grid.top)],
      [Math.max(picture.left, grid.left), Math.min(picture.bottom, grid.bottom), Math.min(picture.right, grid.right), picture.bottom],
    ];
    brush.strokeStyle = "rgba(128, 128, 128, 0.8)";
    brush.lineWidth = 1;
    for (const box of outside) {
      const [x, y, width, height] = pixels(box);
      if (width < 1 || height < 1) continue;
      brush.save();
      brush.beginPath();
      brush.rect(x, y, width, height);
      brush.clip();
      brush.beginPath();
      for (let from = -height; from < width; from += 8) {
        brush.moveTo(x + from, y + height);
        brush.lineTo(x + from + height, y);
      }
      brush.stroke();
      brush.restore();
    }
  }

  pdrop.overlay = { create, plain, absence };
})(window.pdrop);
