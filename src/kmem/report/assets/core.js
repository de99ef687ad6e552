"use strict";
/* What every part of the page uses: the data, numbers for people, elements, colours. */
const kmem = {
  data: JSON.parse(document.getElementById("data").textContent),
  redraw: [],
  by: (id) => document.getElementById(id),

  element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") made.className = value;
      else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  },

  colour: (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(),

  bytes(count) {
    if (Math.abs(count) < 10240) return `${count.toLocaleString("en")} B`;
    for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]])
      if (Math.abs(count) >= 10 * size || unit === "KiB") return `${(count / size).toLocaleString("en", { maximumFractionDigits: 1 })} ${unit}`;
  },

  span(ns) {
    for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]])
      if (ns >= size) return `${(ns / size).toLocaleString("en", { maximumSignificantDigits: 4 })} ${unit}`;
    return `${Math.round(ns)} ns`;
  },

  second: (ns) => `${(ns / 1e9).toFixed(6)} s`,
  address: (value) => "0x" + value.toString(16).padStart(16, "0"),

  parse(text) {
    const found = /^\s*(0x)?([0-9a-f]+)\s*$/i.exec(text);
    if (!found) return null;
    return BigInt(found[1] || /[a-f]/i.test(found[2]) ? "0x" + found[2] : found[2]);
  },

  table(head, rows, numbers = []) {
    const cell = (kind, text, at) => kmem.element(kind, { class: numbers.includes(at) ? "number" : "", scope: kind === "th" ? "col" : null }, text);
    const body = rows.map((row) => kmem.element("tr", {}, ...row.map((value, at) => cell("td", value ?? "", at))));
    return kmem.element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "A table" },
      kmem.element("table", {}, kmem.element("thead", {}, kmem.element("tr", {}, ...head.map((text, at) => cell("th", text, at)))), kmem.element("tbody", {}, ...body)));
  },

  /* A canvas in the pixels of the screen; its width and height in those of the page. */
  canvas(id) {
    const canvas = kmem.by(id), ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    return { canvas, pen, width, height };
  },

  legend(id, rows) {
    kmem.by(id).replaceChildren(...rows.map(([colour, text]) =>
      kmem.element("li", {}, kmem.element("span", { class: "swatch", style: `background:${colour}` }), text)));
  },
};
