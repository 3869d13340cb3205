/*
 * The interval of a paired difference. The standard error is the cluster-robust one (questions about one picture
 * belong together); the interval has the shape of Tango's score interval (Statistics in Medicine 17, 1998,
 * 891-908) with Student's quantile, as pdrop-eval-compare's, so that it also holds where few questions changed.
 */
(function (pdrop) {
  "use strict";
  const STEPS = 60; // halvings of an interval of length 2: to the last bit
  const PRIOR = 0.5; // questions of the largest change that count in the points of one change
  const NORMAL = 10000; // degrees of freedom from which Student's quantile is the normal one
  const Z = 1.959963984540054;

  /** The t between whose negative and itself Student's distribution has 95%: density cos^(f-1) in the angle. */
  function student(freedom) {
    if (freedom >= NORMAL) return Z;
    const steps = 8000;
    const width = Math.PI / 2 / steps;
    const masses = [0];
    let before = 1;
    for (let step = 1; step <= steps; step += 1) {
      const now = Math.cos(step * width) ** (freedom - 1);
      masses.push(masses[step - 1] + before + now);
      before = now;
    }
    const wanted = 0.95 * masses[steps];
    const place = masses.findIndex((mass) => mass >= wanted);
    const inside = (wanted - masses[place - 1]) / (masses[place] - masses[place - 1]);
    return Math.sqrt(freedom) * Math.tan((place - 1 + inside) * width);
  }

  /** Tango's interval of (gained - lost) / n; the counts may be fractions. */
  function tango(gained, lost, n, z) {
    const found = (gained - lost) / n;
    const score = (shift) => {
      const b = -(gained + lost) + (2 * n - gained + lost) * shift;
      const share = (Math.sqrt(Math.max(b * b + 8 * n * lost * shift * (1 - shift), 0)) - b) / (4 * n);
      const variance = n * (2 * share + shift - shift * shift);
      return variance > 0 ? (n * (found - shift)) / Math.sqrt(variance) : Infinity;
    };
    const end = (far) => {
      let [inside, outside] = [found, far];
      for (let step = 0; step < STEPS; step += 1) {
        const middle = (inside + outside) / 2;
        if (Math.abs(score(middle)) > z) outside = middle;
        else inside = middle;
      }
      return inside;
    };
    return [end(-1), end(1)];
  }

  /** The 95% interval of a mean difference in points; see pdrop_eval/benchmarks/scoring/interval.py for its parts. */
  function interval({ difference, error, moved, most, questions, clusters }) {
    if (moved === 0) {
      const bound = most * clusters * (1 - 0.025 ** (1 / clusters));
      return [Math.max(-100, difference - bound), Math.min(100, difference + bound)];
    }
    const sum = Math.max(moved, Math.abs(difference));
    const prior = (PRIOR * most * clusters) / questions;
    const squares = error ** 2 + difference ** 2 / questions;
    const size = Math.max((squares + (prior * prior) / PRIOR) / (sum + prior), sum / questions);
    const [gained, lost] = [(sum + difference) / 2 / size, (sum - difference) / 2 / size];
    const [low, high] = tango(gained, lost, questions, student(Math.max(1, clusters - 1)));
    return [Math.max(-100, low * size * questions), Math.min(100, high * size * questions)];
  }

  /**
   * The mean difference of pairs of scores from 0 to 1, in points, with its interval.
   * changes: score of the candidate minus that of the baseline. labels: what each question belongs to.
   */
  function paired(changes, labels) {
    const questions = changes.length;
    if (!questions) return null;
    const mean = changes.reduce((sum, value) => sum + value, 0) / questions;
    const groups = new Map();
    changes.forEach((value, place) => {
      const group = groups.get(labels[place]) || [0, 0];
      groups.set(labels[place], [group[0] + value, group[1] + 1]);
    });
    const clusters = groups.size;
    let [squares, moved, most] = [0, 0, 0];
    for (const [sum, many] of groups.values()) {
      squares += (sum - mean * many) ** 2;
      moved += Math.abs(sum);
      most = Math.max(most, many);
    }
    const parts = {
      difference: 100 * mean,
      error: clusters > 1 ? (100 * Math.sqrt((squares * clusters) / (clusters - 1))) / questions : 0,
      moved: (100 * moved) / questions, most: (100 * most) / questions, questions, clusters,
    };
    return { ...parts, interval: interval(parts) };
  }

  pdrop.statistics = { student, tango, interval, paired };
})(window.pdrop);
