/* Which image tokens remain, and where on the picture they lie. */
(function (pdrop) {
  "use strict";
  const { words } = pdrop;

  /** Bits of a base64 mask, the most significant first: Uint8Array of n zeros and ones. */
  function unpack(mask, n) {
    const packed = atob(mask);
    if (packed.length * 8 < n) throw new Error(`a mask of ${packed.length * 8} bits for ${n} tokens`);
    const bits = new Uint8Array(n);
    for (let place = 0; place < n; place += 1) bits[place] = (packed.charCodeAt(place >> 3) >> (7 - (place & 7))) & 1;
    return bits;
  }

  /** A grid of the data's nine numbers. */
  function grid([image, part, left, top, right, bottom, rows, columns, newline]) {
    return { image, part, left, top, right, bottom, rows, columns, newline: Boolean(newline), tokens: rows * (columns + (newline ? 1 : 0)) };
  }

  /** The box of a grid's token: [left, top, right, bottom]; null for a newline. */
  function box(one, token) {
    const wide = one.columns + (one.newline ? 1 : 0);
    const [row, column] = [Math.floor(token / wide), token % wide];
    if (column >= one.columns) return null;
    const [width, height] = [(one.right - one.left) / one.columns, (one.bottom - one.top) / one.rows];
    return [one.left + column * width, one.top + row * height, one.left + (column + 1) * width, one.top + (row + 1) * height];
  }

  /** The grids that an answer's tokens lie in, or null. */
  function gridsOf(question, answer) {
    const all = question.grids;
    if (!all) return null;
    const lists = Array.isArray(all) ? all : all[answer[5]];
    return lists ? lists.map(grid) : null;
  }

  /**
   * What is known of an answer's tokens: {grids, n, stages: [{layer, bits | null, made}]} with layer 0 first (bits
   * null: all of them; made: merged tokens, which lie nowhere), or {why} in words. layers: the run's tokens by layer,
   * where the answer has none of its own.
   */
  function retained(question, answer, layers) {
    if (!question || !answer) return { why: "this run did not answer it" };
    if (!answer[3]) return { why: "no overlay recorded: evaluate again with this version to see which tokens remain" };
    const grids = gridsOf(question, answer);
    if (!grids) return { why: "no overlay recorded: where its tokens lie is not known" };
    if (!grids.length) return { why: "a question without a picture" };
    const n = grids.reduce((sum, one) => sum + one.tokens, 0);
    try {
      const there = answer[4] || layers || [];
      const stages = answer[3].map(([layer, mask]) => {
        const bits = unpack(mask, n);
        return { layer, bits, made: layer < there.length ? Math.max(0, there[layer] - sum(bits)) : 0 };
      });
      return { grids, n, stages: [{ layer: 0, bits: null, made: 0 }, ...stages.sort((a, b) => a.layer - b.layer)] };
    } catch (error) {
      return { why: `the recorded overlay can't be read: ${error.message}` };
    }
  }

  /** The stage that holds at a layer: the last one that has begun. */
  const stageAt = (tokens, layer) => tokens.stages.filter((stage) => stage.layer <= layer).pop() || tokens.stages[0];

  /** How many remain in tokens first .. first + many - 1, newlines apart: {places, of, newlines, ofNewlines}. */
  function count(tokens, stage, at) {
    const one = tokens.grids[at];
    const first = tokens.grids.slice(0, at).reduce((sum, other) => sum + other.tokens, 0);
    const found = { places: 0, of: 0, newlines: 0, ofNewlines: 0, first };
    for (let token = 0; token < one.tokens; token += 1) {
      const stays = stage.bits === null || stage.bits[first + token] === 1;
      const newline = box(one, token) === null;
      found[newline ? "ofNewlines" : "of"] += 1;
      if (stays) found[newline ? "newlines" : "places"] += 1;
    }
    return found;
  }

  const sum = (bits) => bits.reduce((whole, bit) => whole + bit, 0);

  const total = (tokens, stage) => (stage.bits === null ? tokens.n : sum(stage.bits));

  /** "from layer 4 on: 36 of 144 image tokens", "before the decoder: 53 of 144 image tokens and 11 merged ones". */
  const describe = (tokens, stage) => `${stage.layer || stage.bits === null ? `from layer ${stage.layer} on` : "before the decoder"}: ${words.whole(total(tokens, stage))} of ${words.whole(tokens.n)} image tokens${stage.made ? ` and ${words.whole(stage.made)} merged ones` : ""}`;

  pdrop.tokens = { unpack, grid, box, retained, stageAt, count, total, describe };
})(window.pdrop);
