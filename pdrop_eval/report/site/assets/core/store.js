/* The data files: scripts that call pdrop.put(name, value). Loaded on demand, forgotten when others need room. */
(function (pdrop) {
  "use strict";
  const KEPT = 24; // chunks; the index is kept for ever
  const WAIT = 60000; // milliseconds until a file counts as missing
  const values = new Map(); // in the order of their last use
  const waiting = new Map();

  /** Called by the data files. */
  pdrop.put = function (name, value) {
    values.delete(name);
    values.set(name, value);
    forget();
  };

  /** A value that is already here, or undefined. */
  pdrop.have = (name) => values.get(name);

  /** Promise of a value; loads data/<name>.js. Rejects with an Error whose message can be shown. */
  pdrop.load = function (name) {
    if (values.has(name)) {
      const value = values.get(name);
      pdrop.put(name, value);
      return Promise.resolve(value);
    }
    if (!waiting.has(name)) waiting.set(name, begin(name).finally(() => waiting.delete(name)));
    return waiting.get(name);
  };

  /** Promise of a script's end: resolves when it ran. */
  pdrop.script = function (address) {
    return new Promise((resolve, reject) => {
      const element = document.createElement("script");
      const timer = setTimeout(() => finish(missing(address)), WAIT);
      function finish(error) {
        clearTimeout(timer);
        element.remove();
        if (error) reject(error);
        else resolve();
      }
      element.onload = () => finish(null);
      element.onerror = () => finish(missing(address));
      element.src = address;
      document.head.append(element);
    });
  };

  async function begin(name) {
    const address = fileOf(name);
    await pdrop.script(address);
    if (!values.has(name)) throw new Error(`The file ${address} is damaged: it holds no ${name}. Build the page again.`);
    return values.get(name);
  }

  /** Where a value lies: "answers/<run>/<task>/<chunk>" in data/answers/<run>/<task>-<chunk>.js. */
  function fileOf(name) {
    const parts = name.split("/").map(encodeURIComponent);
    if (parts[0] === "run") parts[0] = "runs";
    if (parts.length > 2) parts.push(parts.splice(-2).join("-"));
    return `data/${parts.join("/")}.js`;
  }

  function missing(address) {
    return new Error(`The file ${address} is missing or can't be read. Copy the page's whole folder, or build it again.`);
  }

  function forget() {
    for (const name of values.keys()) {
      if (values.size <= KEPT + 1) return;
      if (name !== "index") values.delete(name);
    }
  }

  /** How many data files are held: for tests. */
  pdrop.held = () => values.size;
})((window.pdrop = window.pdrop || {}));
