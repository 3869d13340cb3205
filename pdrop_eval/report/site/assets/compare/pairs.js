/* Two runs' answers to one benchmark, question by question. */
(function (pdrop) {
  "use strict";
  const { words } = pdrop;
  const NEAR = 0.05; // points by which a recorded score may differ from the mean of its questions' scores
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
   * Everything that both answered: {rows: [{place, before, after, changed, label}], plain, ...}.
   * keep(question, one, two): whether a pair's row is wanted as it is being read (the texts are forgotten).
   */
  async function read(one, two, key, { stopped = () => false, keep = null } = {}) {
    const chunks = Math.max(one.scores[key].chunks, two.scores[key].chunks);
    const rows = [];
    const own = [[0, 0, 0], [0, 0, 0]]; // sum, scored, answered: each run's own
    for (let chunk = 0; chunk < chunks; chunk += 1) {
      if (stopped()) return null;
      const [first, second, questions] = await Promise.all([
        answers(one, key, chunk), answers(two, key, chunk), pdrop.load(`questions/${one.scores[key].set}/${chunk}`),
      ]);
      for (let place = 0; place < Math.max(first.length, second.length); place += 1) {
        count(own[0], first[place]);
        count(own[1], second[place]);
        if (!first[place] || !second[place]) continue;
        if (keep && !keep(questions[place], first[place], second[place])) continue;
        rows.push(row(chunk * CHUNK + place, questions[place], first[place], second[place]));
      }
    }
    return { rows, own };
  }

  /** A chunk of a run's answers; empty beyond its last one. */
  function answers(run, key, chunk) {
    if (chunk >= run.scores[key].chunks) return Promise.resolve([]);
    return pdrop.load(`answers/${run.key}/${pdrop.index.benchmarks[key].task}/${chunk}`);
  }

  function count(sums, answer) {
    if (!answer) return;
    sums[2] += 1;
    if (!words.number(answer[1])) return;
    sums[0] += answer[1];
    sums[1] += 1;
  }

  function row(place, question, one, two) {
    const pictures = (question && question.pictures ? question.pictures : []).filter(Boolean);
    return {
      place, before: one[1], after: two[1],
      changed: changed(one[0], two[0]),
      label: pictures.length ? pictures.join(" ") : question ? question.hash : String(place),
    };
  }

  /** Why the mean of the questions' scores isn't this benchmark's score, in words; null if it is. */
  function notPlain(key, one, two, own) {
    const benchmark = pdrop.index.benchmarks[key];
    if (benchmark.scale !== 100) return "the score is a sum, not a mean over questions";
    if (benchmark.plain === false) return "the score is not the plain mean over questions";
    for (const [run, [sum, scored, answered]] of [[one, own[0]], [two, own[1]]]) {
      if (!scored || scored < answered) return "some answers have no score of their own";
      if (Math.abs((100 * sum) / scored - run.scores[key].score) > NEAR) return "the score is not the plain mean over questions";
    }
    return null;
  }

  /** {before, after, difference, interval, n, clusters, changed, lost, gained, why} of a benchmark. */
  async function compare(one, two, key, stopped) {
    const why = obstacle(one, two, key);
    if (why) {
      const difference = apart(one, two, key);
      const both = one.scores[key] && two.scores[key];
      return { why: both && difference === null && why === UNRECORDED ? `${why}, and nothing says that both runs had the same questions` : why, difference };
    }
    const found = await read(one, two, key, { stopped });
    if (!found) return null;
    const { rows, own } = found;
    const scored = rows.filter((row) => words.number(row.before) && words.number(row.after));
    const many = (fits) => (scored.length ? scored.filter(fits).length : null);
    const tally = {
      n: rows.length, changed: rows.filter((row) => row.changed).length,
      lost: many((row) => row.after < row.before), gained: many((row) => row.after > row.before),
    };
    if (!rows.length) return { ...tally, why: "no question was answered by both", difference: null };
    const reason = notPlain(key, one, two, own);
    const partial = own[0][2] !== rows.length || own[1][2] !== rows.length;
    if (reason) return { ...tally, why: partial ? `${reason}, and the runs have other questions too` : reason, difference: partial ? null : apart(one, two, key) };
    const paired = pdrop.statistics.paired(rows.map((row) => row.after - row.before), rows.map((row) => row.label));
    const mean = (name) => (100 * rows.reduce((sum, row) => sum + row[name], 0)) / rows.length;
    return { ...tally, ...paired, before: mean("before"), after: mean("after"), partial };
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

  pdrop.pairs = { obstacle, read, compare, answers, changed, CHUNK };
})(window.pdrop);
