"use strict";
/* The head of the page, its colours, and what it says of itself. */
(() => {
  const data = kmem.data, root = document.documentElement;
  document.querySelector("h1").textContent = data.title;
  const verdict = kmem.by("verdict");
  verdict.textContent = data.verdict ? `verdict: ${data.verdict}` : "";
  verdict.className = data.verdict === "clean" ? "clean" : "bad";
  kmem.by("facts").append(...Object.entries(data.facts).filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => kmem.element("div", {}, kmem.element("dt", {}, name), kmem.element("dd", {}, String(value)))));
  const notes = (data.notes || []).slice();
  if (data.events > (data.steps || []).length && (data.steps || []).length)
    notes.push(`Of ${data.events.toLocaleString("en")} events the first ${data.steps.length.toLocaleString("en")} are told one by one; the timeline and the call sites count all.`);
  if (data.memory && data.memory.slabs_without_lists) notes.push(`${data.memory.slabs_without_lists} slabs are shown without their free lists.`);
  if (data.memory) notes.push("Memory is shown as it is at the end; bytes are there of the slabs that the module used.");
  kmem.by("notes").querySelector(".body").append(...notes.map((note) => kmem.element("li", {}, note)));

  const paint = (dark) => { root.classList.toggle("dark", dark); kmem.redraw.forEach((draw) => draw()); };
  const wanted = window.matchMedia("(prefers-color-scheme: dark)");
  paint(wanted.matches);
  wanted.addEventListener("change", () => paint(wanted.matches));
  kmem.by("theme").addEventListener("click", () => paint(!root.classList.contains("dark")));
  let waiting = 0;
  window.addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => kmem.redraw.forEach((draw) => draw())); });

  for (const part of [kmem.walk, kmem.space, kmem.frames, kmem.timeline, kmem.tables, kmem.steps]) part.start();
  if (data.findings && !data.findings.length && data.kind === "trace") kmem.by("findings").hidden = true;
})();
