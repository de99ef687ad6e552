"use strict";
/* The events, one by one: what each did to memory, before and after. */
kmem.steps = (() => {
  const steps = kmem.data.steps || [], element = kmem.element, AROUND = 7;
  let now = 0;
  const frees = (step) => kmem.data.frees.includes(step[1]);
  const space = (step) => `${kmem.data.spaces[step[1]]} `;

  /* What is live before event *number*: count, bytes, and the allocation of the object that it is about. */
  function before(number) {
    const live = new Map();
    for (const step of steps.slice(0, number)) {
      const key = space(step) + step[2];
      if (frees(step)) live.delete(key);
      else if (!step[1].startsWith("kmem_cache_create") && !step[1].startsWith("kmem_cache_destroy")) live.set(key, step);
    }
    return live;
  }

  const tell = (live) => `${live.size} allocations, ${kmem.bytes([...live.values()].reduce((sum, step) => sum + step[4], 0))}`;

  function go(number) {
    if (!steps.length) return;
    now = Math.min(Math.max(number, 0), steps.length - 1);
    const step = steps[now], [time, kind, address, asked, given, cache, site, cpu, order] = step;
    const live = before(now), key = space(step) + address, was = live.get(key), text = tell(live);
    const object = kind.startsWith("mm_page") ? `frames ${Number(address)} to ${Number(address) + (1 << order) - 1}` : address;
    if (frees(step)) live.delete(key); else live.set(key, step);
    const shows = kind.startsWith("mm_page") ? Number(address) : kmem.data.memory ? kmem.frames.frame(address) : null;
    kmem.by("steps-number").value = now + 1;
    kmem.by("steps-now").replaceChildren(
      element("p", {}, element("strong", {}, `${now + 1} of ${kmem.data.events.toLocaleString("en")}: ${kind}`), ` at ${kmem.second(time)} on CPU ${cpu}, by ${site}`),
      element("p", {}, frees(step)
        ? `${object} is given back` + (was ? `; it was allocated by ${was[6]} ${kmem.span(time - was[0])} before (${was[3] || was[4]} bytes, ${was[5]})` : "; its allocation is not among these events")
        : `${object} is handed out: ${asked || given} bytes asked for, ${given} given, from ${cache}`),
      element("p", {}, `before: ${text}; after: ${tell(live)}`),
      shows !== null ? element("button", { type: "button", onclick: () => { kmem.frames.choose(shows, true); kmem.by("frames").scrollIntoView(); } }, "Show where it lies (at the end)") : null);
    const from = Math.max(now - AROUND, 0), rows = steps.slice(from, now + AROUND + 1);
    const body = rows.map((one, at) => element("tr", { "aria-selected": String(from + at === now), onclick: () => go(from + at) },
      ...[String(from + at + 1), kmem.second(one[0]), one[1], one[2], String(one[3]), String(one[4]), one[5], one[6]].map((value, column) => element("td", { class: [0, 4, 5].includes(column) ? "number" : "code" }, value))));
    const head = ["event", "time", "what", "address or frame", "asked", "given", "from", "by"].map((title, at) => element("th", { scope: "col", class: [0, 4, 5].includes(at) ? "number" : "" }, title));
    kmem.by("steps").querySelector(".body").replaceChildren(element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Events around this one" },
      element("table", { role: "grid" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body))));
    kmem.by("steps-back").disabled = kmem.by("steps-first").disabled = now === 0;
    kmem.by("steps-next").disabled = kmem.by("steps-last").disabled = now === steps.length - 1;
    if (kmem.timeline) kmem.timeline.show(time);
  }

  function start() {
    if (!steps.length) { kmem.by("steps").hidden = true; return; }
    kmem.by("steps-first").addEventListener("click", () => go(0));
    kmem.by("steps-back").addEventListener("click", () => go(now - 1));
    kmem.by("steps-next").addEventListener("click", () => go(now + 1));
    kmem.by("steps-last").addEventListener("click", () => go(steps.length - 1));
    kmem.by("steps-number").addEventListener("change", (event) => go(Number(event.target.value) - 1));
    kmem.by("steps-number").max = steps.length;
    const module = steps.findIndex((step) => /\.[ch]:\d+/.test(step[6]));
    go(Math.max(module, 0));
  }

  return { start, go, at: () => now };
})();
