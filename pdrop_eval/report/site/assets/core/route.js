/* The address: "#/view/part/part?name=value". Every state of the page has one; the back button works. */
(function (pdrop) {
  "use strict";
  const START = "#/tables/5";

  /** {view, parts, query, path} of an address. */
  function parse(hash) {
    const text = /^#\/./.test(hash || "") ? hash : START;
    const [path, query] = text.slice(2).split("?");
    const parts = path.split("/").map(decode);
    return { view: parts[0], parts: parts.slice(1), query: new URLSearchParams(query || ""), path };
  }

  function decode(text) {
    try {
      return decodeURIComponent(text);
    } catch (error) {
      return text;
    }
  }

  /** The address of a view; query: an object, where null or "" leaves a name out. */
  function to(parts, query) {
    const words = new URLSearchParams();
    const pairs = query instanceof URLSearchParams ? [...query] : Object.entries(query || {});
    for (const [name, value] of pairs) if (value !== null && value !== undefined && value !== "" && value !== false) words.set(name, String(value));
    const tail = words.toString();
    return `#/${parts.map(encodeURIComponent).join("/")}${tail ? `?${tail}` : ""}`;
  }

  /** The current address with some names changed. */
  function changed(changes) {
    const now = parse(location.hash);
    const query = Object.fromEntries(now.query);
    return to([now.view, ...now.parts], { ...query, ...changes });
  }

  const go = (address) => {
    location.hash = address;
  };

  /** Changes names in place; quiet: without drawing anew. A choice can be linked, but isn't a step back. */
  function change(changes, quiet = false) {
    const address = changed(changes);
    if (!quiet) {
      location.replace(address);
      return;
    }
    try {
      history.replaceState(null, "", address);
      document.getElementById("main").dataset.shown = address; // it is drawn already
    } catch (error) {
      // a browser that refuses this for files keeps the old address
    }
  }

  pdrop.route = { parse, to, changed, go, change, now: () => parse(location.hash) };
})(window.pdrop);
