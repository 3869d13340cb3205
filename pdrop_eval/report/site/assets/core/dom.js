/* Elements. Whatever comes from the data becomes text or a safe attribute, never markup. */
(function (pdrop) {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  /**
   * An element: h("a.wide", {href, class, on: {click}, ...attributes}, ...children).
   * A child is a node, a text or number, null or false (nothing), or a list of these.
   */
  function h(name, attributes, ...children) {
    const [tag, ...classes] = name.split(".");
    const element = document.createElement(tag);
    if (classes.length) element.className = classes.join(" ");
    for (const [key, value] of Object.entries(attributes || {})) set(element, key, value);
    append(element, children);
    return element;
  }

  function set(element, key, value) {
    if (value === null || value === undefined || value === false) return;
    if (key === "on") {
      for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    } else if (key === "class") {
      element.className = `${element.className} ${value}`.trim();
    } else if (key === "style") {
      for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, setting);
    } else if (["value", "checked", "selected", "disabled", "hidden", "indeterminate"].includes(key)) {
      element[key] = value;
    } else if (key.startsWith("on") || key === "srcdoc") {
      throw new Error(`no such attribute here: ${key}`);
    } else {
      element.setAttribute(key, value === true ? "" : safe(key, value));
    }
  }

  /** Addresses are this page's own: a fragment, or a file beneath it. */
  function safe(key, value) {
    const text = String(value);
    if (key !== "href" && key !== "src") return text;
    return text.startsWith("#") || (/^[\w.][\w./%@+,=~ -]*$/.test(text) && !text.includes("..")) ? text : "#";
  }

  function append(element, children) {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : String(child));
    }
    return element;
  }

  function replace(element, ...children) {
    element.replaceChildren();
    return append(element, children);
  }

  /** Says something to a screen reader. */
  function say(words) {
    const place = document.getElementById("said");
    if (place) place.textContent = words;
  }

  let numbers = 0;
  const id = (stem) => `${stem}-${++numbers}`;

  Object.assign(pdrop, { h, replace, append, say, newId: id, SVG });
})(window.pdrop);
