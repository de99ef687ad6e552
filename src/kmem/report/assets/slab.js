"use strict";
/* One slab: its objects, the order in which they would be handed out, and its bytes. */
kmem.slab = (() => {
  const memory = kmem.data.memory;
  const element = kmem.element;

  /* The slab that a frame belongs to: its first frame, or null. */
  function head(pfn) {
    for (let at = pfn; at >= 0 && at > pfn - 16; at--) {
      const slab = memory.slabs[at];
      if (slab) return pfn < at + (1 << slab[1]) ? at : null;
    }
    return null;
  }

  function show(pfn) {
    const panel = kmem.by("slab"), at = head(pfn);
    panel.hidden = at === null;
    if (at === null) return;
    const [number, order, objects, inuse, place, free] = memory.slabs[at], cache = memory.caches[number];
    const base = BigInt(kmem.direct()) + BigInt(at) * 4096n;
    const turn = new Map();
    if (free) free.flat().forEach((object, position) => turn.set(object, position + 1));
    const detail = element("div", {});
    const buttons = [];
    for (let object = 0; object < objects && free; object++) {
      const position = turn.get(object), onCpu = free[0].includes(object);
      const address = base + BigInt(cache.left + object * cache.size);
      const label = position ? `object ${object} at ${kmem.address(address)}: free, number ${position} to be handed out` : `object ${object} at ${kmem.address(address)}: in use`;
      buttons.push(element("button", { type: "button", class: position ? (onCpu ? "on-cpu" : "") : "live", title: label, "aria-label": label,
        onclick: () => detail.replaceChildren(element("p", {}, label), history(address), bytes(at, cache, object)) }, position ? String(position) : "●"));
    }
    const where = free ? free[0].length + free[1].length : objects - inuse;
    panel.replaceChildren(
      element("h3", {}, `Slab of ${cache.name} at ${kmem.address(base)}`),
      element("p", {}, `${objects} objects of ${cache.size} bytes (${cache.object} asked for), order ${order}; ${objects - where} in use, ${where} free; ${place}`),
      element("p", { class: "hint" }, "● is in use; a number is free, and says when it is handed out; a dashed one is on a CPU's own list."),
      free ? element("div", { class: "objects" }, ...buttons) : element("p", {}, "Its free list was left out, to keep this page small."), detail);
  }

  function history(address) {
    const wanted = "0x" + address.toString(16);
    const rows = (kmem.data.steps || []).map((step, number) => [step, number]).filter(([step]) => step[2] === wanted);
    if (!rows.length) return element("p", { class: "hint" }, "No event names this object.");
    return element("ul", {}, ...rows.map(([step, number]) => element("li", {},
      element("button", { type: "button", onclick: () => kmem.steps.go(number) }, `event ${number + 1}`), ` ${step[1]} at ${kmem.second(step[0])} by ${step[6]}`)));
  }

  function bytes(at, cache, object) {
    const text = memory.bytes[at];
    if (!text) return element("p", { class: "hint" }, "The bytes of this slab are not in the page.");
    const raw = atob(text), start = cache.left + object * cache.size;
    const shown = element("pre", { class: "hex", tabindex: "0" });
    for (let row = start; row < start + cache.size; row += 16) {
      shown.append((row - start).toString(16).padStart(4, "0") + "  ");
      for (let i = row; i < Math.min(row + 16, start + cache.size); i++) {
        const offset = i - start, value = raw.charCodeAt(i).toString(16).padStart(2, "0") + " ";
        const pointer = offset >= cache.pointer && offset < cache.pointer + 8;
        const kind = pointer ? "pointer" : offset >= cache.object ? (cache.red && offset < cache.inuse ? "red" : "beyond") : "";
        shown.append(kind ? element("span", { class: kind }, value) : value);
      }
      shown.append("\n");
    }
    return element("div", {}, shown, element("p", { class: "hint" }, `Underlined: where the free pointer lies. Grey: behind the ${cache.object} bytes of the object${cache.red ? "; red: its red zone" : ""}.`));
  }

  return { show, head };
})();
