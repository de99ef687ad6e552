"use strict";
/* Call sites, which sort and search; findings; the log. */
kmem.tables = (() => {
  const element = kmem.element;
  const COLUMNS = [["call site", "name"], ["from", "group"], ["allocations", "allocs"], ["freed", "frees"], ["live", "live"], ["live bytes", "bytes"],
    ["peak", "peak"], ["asked of given", "share"], ["mean life", "mean"], ["failed", "failed"]];
  let sorted = "bytes", down = true;

  function sites() {
    const words = kmem.by("sites-search").value.toLowerCase();
    const rows = (kmem.data.sites || []).filter((site) => `${site.name} ${site.group}`.toLowerCase().includes(words));
    for (const site of rows) { site.share = site.given ? site.asked / site.given : 1; site.mean = site.frees ? site.life / site.frees : 0; }
    rows.sort((a, b) => (a[sorted] < b[sorted] ? -1 : a[sorted] > b[sorted] ? 1 : a.name < b.name ? -1 : 1) * (down ? -1 : 1));
    const show = { bytes: kmem.bytes, peak: kmem.bytes, share: (value) => `${Math.round(value * 100)} %`, mean: (value) => (value ? kmem.span(value) : "") };
    const head = COLUMNS.map(([title, key], at) => element("th", { scope: "col", class: at > 1 ? "number" : "", "aria-sort": key === sorted ? (down ? "descending" : "ascending") : "none" },
      element("button", { type: "button", onclick: () => { down = key === sorted ? !down : at > 1; sorted = key; sites(); } }, title + (key === sorted ? (down ? " ▼" : " ▲") : ""))));
    const body = rows.slice(0, 500).map((site) => element("tr", {}, ...COLUMNS.map(([, key], at) =>
      element("td", { class: at > 1 ? "number" : "code" }, show[key] ? show[key](site[key]) : String(site[key])))));
    kmem.by("sites").querySelector(".body").replaceChildren(element("p", {}, `${rows.length} call sites`),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Call sites" }, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body))));
  }

  function findings() {
    const found = kmem.data.findings || [], body = kmem.by("findings").querySelector(".body");
    if (!found.length) { body.replaceChildren(element("p", { class: "clean" }, "Nothing was found.")); return; }
    body.replaceChildren(...found.map((one) => {
      const place = one.file && !one.message.includes(`${one.file}:${one.line}`) ? ` at ${one.function || "?"} (${one.file}:${one.line})` : "";
      const step = one.event !== null && kmem.data.steps && one.event > 0 ? Math.min(one.event, kmem.data.steps.length) - 1 : null;
      return element("div", { class: "finding" },
        element("p", {}, element("strong", {}, `${one.kind}: `), `${one.message}${place}${one.count > 1 ? `, ${one.count} times` : ""}`),
        element("p", { class: "bar" },
          step !== null ? element("button", { type: "button", onclick: () => { kmem.steps.go(step); kmem.by("steps").scrollIntoView(); } }, "Show the moment") : null,
          one.address && kmem.data.memory ? element("button", { type: "button", onclick: () => { kmem.walk.show(one.address); kmem.by("walk").scrollIntoView(); } }, `Show ${one.address}`) : null,
          one.reproduce ? element("code", {}, one.reproduce) : null),
        one.text && one.text.length ? element("details", {}, element("summary", {}, "the kernel's own report"), element("pre", { tabindex: "0" }, one.text.join("\n"))) : null);
    }));
  }

  function log() {
    const lines = kmem.data.log || [];
    kmem.by("log").hidden = !lines.length;
    kmem.by("log").querySelector(".body").textContent = lines.map(([time, , text]) => `[${(time / 1e9).toFixed(6).padStart(12)}] ${text}`).join("\n");
  }

  function start() {
    findings();
    sites();
    log();
    kmem.by("sites-search").addEventListener("input", sites);
    kmem.by("sites").hidden = !(kmem.data.sites || []).length;
  }

  return { start };
})();
