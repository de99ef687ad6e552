"use strict";
/* Virtual memory: the regions, the areas of vmalloc with their guards, the free lists. */
kmem.space = (() => {
  const element = kmem.element;
  const link = (address) => element("button", { type: "button", class: "address", onclick: () => { kmem.walk.show(address); kmem.by("walk").scrollIntoView({ block: "nearest" }); } }, kmem.address(BigInt(address)));

  function start() {
    const memory = kmem.data.memory;
    if (!memory) { kmem.by("space").hidden = kmem.by("buddy").hidden = true; return; }
    const rows = memory.areas.map((area) => [link(area.start), kmem.bytes(area.size - area.guard), area.guard ? kmem.bytes(area.guard) : "", area.pages || "", area.what, area.caller || ""]);
    kmem.by("space").querySelector(".body").replaceChildren(
      kmem.table(["region", "from", "size"], memory.regions.map(([name, from, size]) => [name, link(from), kmem.bytes(size)]), [2]),
      element("h3", {}, `${memory.areas.length} areas of vmalloc space` + (memory.lazy.length ? `, and ${memory.lazy.length} that are freed but not yet unmapped` : "")),
      rows.length ? kmem.table(["from", "size", "guard", "pages", "kind", "made by"], rows, [1, 2, 3]) : element("p", {}, "There is none."));
    const types = ["unmovable", "movable", "reclaimable", "high atomic", "isolate"];
    const used = types.map((_, type) => memory.zones.some((zone) => zone.free.some((counts) => counts[type])));
    kmem.by("buddy").querySelector(".body").replaceChildren(...memory.zones.map((zone) => element("div", {},
      element("h3", {}, `${zone.name}: frames ${zone.start} to ${zone.end - 1}, ${zone.cpu_lists} on lists of CPUs`),
      kmem.table(["order", "block", ...types.filter((_, type) => used[type]), "free"], zone.free.map((counts, order) => [String(order), kmem.bytes(4096 << order),
        ...counts.filter((_, type) => used[type]).map(String), kmem.bytes(counts.reduce((sum, n) => sum + n, 0) * (4096 << order))]), [0, 1, 2, 3, 4, 5, 6, 7]))));
  }

  return { start };
})();
