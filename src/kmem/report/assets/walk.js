"use strict";
/* The page tables, walked as the processor does. */
kmem.walk = (() => {
  const memory = kmem.data.memory;
  const LEVELS = ["PTE", "PMD", "PUD", "PGD"];
  const FRAME = 0x000ffffffffff000n;

  function entry(table, index) {
    for (const [first, count, value, step] of memory.tables[table] || [])
      if (index >= first && index < first + count) return BigInt(value) + BigInt(index - first) * BigInt(step);
    return 0n;
  }

  function steps(address) {
    const found = [];
    let table = memory.top;
    for (let level = 3; level >= 0; level--) {
      const shift = BigInt(12 + 9 * level), index = Number((address >> shift) & 511n), value = entry(table, index);
      const leaf = level === 0 || (value & 0x80n) !== 0n;
      found.push({ level: LEVELS[level], table, index, value, leaf: leaf && (value & 1n) !== 0n, shift });
      if (!(value & 1n) || leaf) break;
      table = Number(value & FRAME);
    }
    return found;
  }

  function translate(address) {
    const last = steps(address).at(-1);
    if (!last.leaf) return null;
    const mask = (1n << last.shift) - 1n;
    return (last.value & FRAME & ~mask) | (address & mask);
  }

  const flags = (value) => [[1n, "present"], [2n, "writable"], [4n, "user"], [0x10n, "uncached"], [0x20n, "accessed"], [0x40n, "dirty"], [0x100n, "global"]]
    .filter(([bit]) => value & bit).map(([, name]) => name).concat(value >> 63n ? ["no execute"] : value & 1n ? ["executable"] : []).join(", ");

  function show(text) {
    const address = kmem.parse(text), panel = kmem.by("walk");
    if (address === null) { panel.replaceChildren(kmem.element("p", {}, `${text} is no address`)); return; }
    kmem.by("walk-address").value = kmem.address(address);
    const found = steps(address), physical = translate(address);
    const rows = found.map((one) => [one.level, `${kmem.address(BigInt(one.table))} [${one.index}]`, kmem.address(one.value),
      one.value & 1n ? (one.leaf ? `maps ${kmem.bytes(Number(1n << one.shift))}; ` : "leads on; ") + flags(one.value) : "nothing is here"]);
    panel.replaceChildren(kmem.table(["level", "entry", "value", "what it says"], rows),
      kmem.element("p", {}, physical === null ? `${kmem.address(address)} is not mapped: touching it is a fault.` : `${kmem.address(address)} is physical address ${kmem.address(physical)}, frame ${physical / 4096n}. `,
        physical !== null && physical / 4096n < BigInt(memory.pages) ? kmem.element("button", { type: "button", onclick: () => { kmem.frames.choose(Number(physical / 4096n), true); kmem.by("frames").scrollIntoView(); } }, "Show the frame") : null));
  }

  function start() {
    if (!memory) return;
    kmem.by("walk-form").addEventListener("submit", (event) => { event.preventDefault(); show(kmem.by("walk-address").value); });
  }

  return { start, show, translate };
})();
