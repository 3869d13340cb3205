/* The places of a run's answers that fit a filter: read chunk by chunk, only the places are kept. */
(function (pdrop) {
  "use strict";
  const { words } = pdrop;
  let last = { name: null, places: null };

  /**
   * The places (numbers in the set) whose answers fit. kind: "" | right | partly | wrong | unscored.
   * progress(done, all) is called after each chunk; stopped() ends it, then null is returned.
   */
  async function find(run, key, kind, text, { stopped = () => false, progress = () => {} } = {}) {
    const name = JSON.stringify([run.key, key, kind, text]);
    if (last.name === name) return last.places;
    const score = run.scores[key];
    const places = [];
    for (let chunk = 0; chunk < score.chunks; chunk += 1) {
      if (stopped()) return null;
      const answers = await pdrop.pairs.answers(run, key, chunk);
      const questions = text ? await pdrop.load(`questions/${score.set}/${chunk}`) : null;
      answers.forEach((answer, at) => {
        if (!answer || (kind && words.mark(answer[1]) !== kind)) return;
        if (text && !holds(text, questions[at], answer)) return;
        places.push(chunk * pdrop.pairs.CHUNK + at);
      });
      progress(chunk + 1, score.chunks);
    }
    last = { name, places };
    return places;
  }

  function holds(text, question, answer) {
    const hay = [question ? question.prompt : "", question ? words.target(question.target) : "", answer[0]].join("\n").toLowerCase();
    return hay.includes(text.toLowerCase());
  }

  /** A question and some runs' answers to it: {question, answers: [answer | null]}. */
  async function at(runs, key, place) {
    const [chunk, row] = [Math.floor(place / pdrop.pairs.CHUNK), place % pdrop.pairs.CHUNK];
    const set = runs[0].scores[key].set;
    const [questions, ...answers] = await Promise.all([pdrop.load(`questions/${set}/${chunk}`), ...runs.map((run) => pdrop.pairs.answers(run, key, chunk))]);
    return { question: questions[row], answers: answers.map((list) => list[row] || null) };
  }

  /** Keys that move: j, k and others; never while something is typed, or with another key held. */
  function onKeys(keys) {
    const run = (event) => {
      const target = event.target;
      if (event.ctrlKey || event.metaKey || event.altKey || !pdrop.shortcuts.on) return;
      if (target instanceof Element && target.closest("input, select, textarea, dialog, [contenteditable]")) return;
      const action = keys[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    document.addEventListener("keydown", run);
    pdrop.undo(() => document.removeEventListener("keydown", run));
  }

  /** Single keys as commands can be switched off: they get in the way of speech input. */
  pdrop.shortcuts = { on: true };

  function keysToggle() {
    const { h } = pdrop;
    const box = h("input", { type: "checkbox", checked: pdrop.shortcuts.on, "data-key": "keys", on: { change: (event) => { pdrop.shortcuts.on = event.target.checked; } } });
    return h("label.toggle.keys", null, box, h("span", null, "keys: ", h("kbd", null, "j"), " or ", h("kbd", null, "\u2192"), " next, ", h("kbd", null, "k"), " or ", h("kbd", null, "\u2190"), " previous"));
  }

  pdrop.search = { find, at, onKeys, keysToggle };
})(window.pdrop);
