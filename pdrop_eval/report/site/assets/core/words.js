/* Numbers, units and names as they are shown. */
(function (pdrop) {
  "use strict";
  const MINUS = "\u2212";
  const DASH = "\u2013";
  const TIE = "5000000000000000000000000";
  const number = (value) => typeof value === "number" && Number.isFinite(value);

  /** As Python rounds, so that a number here is that of the other tables: a tie goes to the even digit. */
  function halfEven(value, digits) {
    const long = Math.abs(value).toFixed(digits + TIE.length);
    const [head, tail] = [long.slice(0, -TIE.length).replace(/\.$/, ""), long.slice(-TIE.length)];
    const down = tail === TIE && Number(head.slice(-1)) % 2 === 0;
    return down ? (value < 0 ? `-${head}` : head) : value.toFixed(digits);
  }

  /** Fixed decimals with a real minus sign; a dash for nothing. */
  function fixed(value, digits = 1) {
    if (!number(value)) return DASH;
    const text = halfEven(value, digits);
    return /^-0(\.0*)?$/.test(text) ? text.slice(1) : text.replace("-", MINUS);
  }

  const signed = (value, digits = 1) => {
    if (!number(value)) return DASH;
    const text = fixed(value, digits);
    return text.startsWith(MINUS) ? text : `+${text}`;
  };

  const range = (low, high, digits = 1) => (number(low) && number(high) ? `${fixed(low, digits)} to ${fixed(high, digits)}` : "");

  const whole = (value) => (number(value) ? Math.round(value).toLocaleString("en-US") : DASH);

  /** Three significant digits. */
  function brief(value) {
    if (!number(value)) return DASH;
    if (value === 0) return "0";
    const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
    return Math.abs(value) >= 1000 ? whole(value) : fixed(value, Math.min(digits, 8));
  }

  /** The unit for some numbers of TFLOPs, by default for all runs of the page, so that they have one: [unit, factor]. */
  function flopsUnit(values = (pdrop.index.runs || []).map((run) => run.tflops)) {
    const most = Math.max(0, ...values.filter(number));
    if (most >= 0.1 || most === 0) return ["TFLOPs", 1];
    return most >= 1e-4 ? ["GFLOPs", 1e3] : ["MFLOPs", 1e6];
  }

  function flops(value) {
    if (!number(value)) return DASH;
    const [unit, factor] = flopsUnit();
    return `${brief(value * factor)} ${unit}`;
  }

  /** In the unit that fits the number itself: of models that aren't the page's. */
  function flopsAs(value) {
    const [unit, factor] = flopsUnit([value]);
    return `${brief(value * factor)} ${unit}`;
  }

  function bytes(value) {
    if (!number(value)) return DASH;
    const units = ["B", "kB", "MB", "GB", "TB"];
    const step = value > 0 ? Math.min(4, Math.floor(Math.log10(value) / 3)) : 0;
    return `${brief(value / 10 ** (3 * step))} ${units[step]}`;
  }

  /** "720 in layers 0 to 1, 360 in 2 to 3": retained tokens, runs of equal numbers joined. */
  function layers(tokens) {
    if (!Array.isArray(tokens) || !tokens.length) return DASH;
    const groups = [];
    tokens.forEach((count) => {
      const last = groups[groups.length - 1];
      if (last && last[0] === count) last[1] += 1;
      else groups.push([count, 1]);
    });
    return groups.map(([count, many]) => `${whole(count)} \u00d7${many}`).join(", ");
  }

  function day(text) {
    const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)/.exec(String(text || ""));
    return match ? `${match[1]} ${match[2]}` : String(text || DASH);
  }

  const plural = (many, one, more) => `${whole(many)} ${many === 1 ? one : more || `${one}s`}`;

  const short = (text, most = 160) => {
    const plain = String(text === null || text === undefined ? "" : text);
    return plain.length > most ? `${plain.slice(0, most - 1)}\u2026` : plain;
  };

  /** A target as it is shown: of a list of answers each one once. */
  const target = (value) => (Array.isArray(value) ? [...new Set(value.map(String))].join(" | ") : String(value === null || value === undefined ? DASH : value));

  /** As a shell takes it: plain words as they are, others in quotes. */
  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`);

  const strategy = (name) => (pdrop.strategies.get(name) || { name: String(name) }).name;

  /** Right, wrong, or in between. */
  function mark(score) {
    if (!number(score)) return "unscored";
    return score >= 1 ? "right" : score <= 0 ? "wrong" : "partly";
  }

  const markWords = (score) => (mark(score) === "partly" ? `partly right, ${fixed(score, 2)}` : mark(score));

  pdrop.words = { number, fixed, signed, range, whole, brief, flopsUnit, flops, flopsAs, bytes, layers, day, plural, short, quoted, strategy, target, mark, markWords, DASH, MINUS };
})(window.pdrop);
