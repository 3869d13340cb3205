/* Two runs' answers to one benchmark, question by question. */
(function (pdrop) {
  "use strict";
  const { words } = pdrop;
  const CHUNK = 500;
  const UNRECORDED = "the answers are not recorded";

  /** Why two runs can't be paired on a benchmark, in words; null if they can. */
  function obstacle(one, two, key) {
    const [a, b] = [one.scores[key], two.scores[key]];
    if (!a || !b) return `${a ? "the candidate" : "the baseline"} has not run it`;
    if (!a.samples || !b.samples) return UNRECORDED;
    if (a.set !== b.set) return "the runs were asked other questions";
    return null;
  }

  /** Whether two answers say something else; white space around them says nothing. */
  const changed = (first, second) => String(first).trim() !== String(second).trim();

  /**
   * Everything that both answered: [{place, before, after, changed}].
   * keep(question, one, two): whether a pair's row is wanted as it is being read (the texts are forgotten).
   */
  async function read(one, two, key, { stopped = () => false, keep = null } = {}) {
    const chunks = Math.max(one.scores[key].chunks, two.scores[key].chunks);
    const rows = [];
    for (let chunk = 0; chunk < chunks; chunk += 1) {
      if (stopped()) return null;
      const [first, second, questions] = await Promise.all([
        answers(one, key, chunk), answers(two, key, chunk), keep && pdrop.load(`questions/${one.scores[key].set}/${chunk}`),
      ]);
      for (let place = 0; place < Math.max(first.length, second.length); place += 1) {
        if (!first[place] || !second[place]) continue;
        if (keep && !keep(questions[place], first[place], second[place])) continue;
        rows.push(row(chunk * CHUNK + place, first[place], second[place]));
      }
    }
    return rows;
  }

  /** A chunk of a run's answers; empty beyond its last one. */
  function answers(run, key, chunk) {
    if (chunk >= run.scores[key].chunks) return Promise.resolve([]);
    return pdrop.load(`answers/${run.key}/${pdrop.index.benchmarks[key].task}/${chunk}`);
  }

  const row = (place, one, two) => ({ place, before: one[1], after: two[1], changed: changed(one[0], two[0]) });

  /**
   * What was computed of two runs when the page was built: {benchmarks: {key: {difference, interval, why}}, mean}.
   * Null for other pairs: this page computes no interval.
   */
  async function computed(one, two) {
    if ((two.compared || []).includes(one.key)) return (await pdrop.load(`run/${two.key}`)).compared[one.key];
    if (!(one.compared || []).includes(two.key)) return null;
    const found = (await pdrop.load(`run/${one.key}`)).compared[two.key];
    return { mean: reversed(found.mean), benchmarks: Object.fromEntries(Object.entries(found.benchmarks).map(([key, value]) => [key, reversed(value)])) };
  }

  /** A difference with the runs in the other order. */
  function reversed(found) {
    if (!found || !found.interval) return found;
    const scores = found.scores ? { scores: [...found.scores].reverse() } : {};
    return { ...found, ...scores, difference: -found.difference, interval: [-found.interval[1], -found.interval[0]] };
  }

  /** Why a benchmark has no difference, in words; null if it has one. */
  function reason(one, two, key, difference) {
    const why = obstacle(one, two, key);
    if (difference !== null || !one.scores[key] || !two.scores[key]) return why;
    if (why === UNRECORDED) return `${why}, and nothing says that both runs had the same questions`;
    return why || "the runs were not asked the same questions";
  }

  /** {n, lost, gained, changed} of the questions of a benchmark that both answered, and {difference, interval, why}. */
  async function compare(one, two, key, known, stopped) {
    const found = (known && known.benchmarks[key]) || { difference: apart(one, two, key), interval: null };
    const why = found.interval ? null : found.why || reason(one, two, key, found.difference);
    if (obstacle(one, two, key)) return { ...found, why };
    const rows = await read(one, two, key, { stopped });
    if (!rows) return null;
    const scored = rows.filter((row) => words.number(row.before) && words.number(row.after));
    const many = (fits) => (scored.length ? scored.filter(fits).length : null);
    const alone = Math.max(one.scores[key].n || 0, two.scores[key].n || 0) - rows.length; // questions of one run alone
    const common = alone > 0 && !found.scores ? ofCommon(key, scored) : {};
    return {
      ...found, ...common, why: common.scores && words.number(common.difference) ? null : why, apart: Math.max(0, alone), n: rows.length, changed: rows.filter((row) => row.changed).length,
      lost: many((row) => row.after < row.before), gained: many((row) => row.after > row.before),
    };
  }

  /** The scores of the questions that both answered, where the mean is all there is to it; none of other rules. */
  function ofCommon(key, scored) {
    const mean = (name) => (100 * scored.reduce((sum, row) => sum + row[name], 0)) / scored.length;
    if (!pdrop.index.benchmarks[key].plain || !scored.length) return { scores: [null, null], difference: null };
    const scores = [mean("before"), mean("after")];
    return { scores, difference: scores[1] - scores[0] };
  }

  /** Whether two scores are of the same questions: of one set, or, where answers are missing, of the same data. */
  function alike(a, b) {
    const same = a.samples && b.samples ? a.set === b.set : Boolean(a.data) && a.data === b.data;
    return same && words.number(a.n) && a.n === b.n;
  }

  /** The difference of the recorded scores in points (MME / 20), if they are of the same questions. */
  function apart(one, two, key) {
    const [a, b] = [one.scores[key], two.scores[key]];
    if (!a || !b || !words.number(a.score) || !words.number(b.score) || !alike(a, b)) return null;
    return (b.score - a.score) / (pdrop.index.benchmarks[key].divisor || 1);
  }

  pdrop.pairs = { obstacle, read, computed, compare, answers, changed, alike, CHUNK };
})(window.pdrop);
