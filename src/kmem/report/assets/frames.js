"use strict";
/* The map of page frames: a row of cells that wraps; each cell is one frame or, zoomed out, several. */
kmem.frames = (() => {
  const memory = kmem.data.memory;
  const runs = memory ? memory.frames : [];
  const NAMES = memory ? memory.states : [];
  let first = 0, count = 0, chosen = 0, columns = 1, per = 1, size = 6;

  const run = (pfn) => {
    let low = 0, high = runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (runs[middle][0] <= pfn) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };

  /* What most of some frames are: a slab or a page table counts more than what surrounds it. */
  const WEIGHT = [0, 1, 4, 1, 2, 6, 8, 12, 8];
  function state(pfn, n) {
    let best = 0, weight = -1;
    for (let i = run(pfn); i < runs.length && runs[i][0] < pfn + n; i++) {
      const part = Math.min(runs[i][0] + runs[i][1], pfn + n) - Math.max(runs[i][0], pfn);
      if (part * WEIGHT[runs[i][2]] > weight) { weight = part * WEIGHT[runs[i][2]]; best = runs[i][2]; }
    }
    return best;
  }

  function draw() {
    const { pen, width, height } = kmem.canvas("frames-canvas");
    size = 6;
    while (size < 28 && Math.floor(width / (size + 1)) * Math.floor(height / (size + 1)) >= count) size++;
    columns = Math.max(Math.floor(width / size), 1);
    const cells = columns * Math.max(Math.floor(height / size), 1);
    per = Math.max(Math.ceil(count / cells), 1);
    const colours = NAMES.map((_, number) => kmem.colour(`s${number}`));
    for (let cell = 0; cell * per < count; cell++) {
      pen.fillStyle = colours[state(first + cell * per, Math.min(per, count - cell * per))];
      pen.fillRect((cell % columns) * size, Math.floor(cell / columns) * size, size - 1, size - 1);
    }
    const cell = Math.floor((chosen - first) / per);
    if (cell >= 0 && chosen < first + count) {
      pen.strokeStyle = kmem.colour("ink");
      pen.lineWidth = 2;
      pen.strokeRect((cell % columns) * size - 0.5, Math.floor(cell / columns) * size - 0.5, size, size);
    }
    kmem.legend("frames-legend", NAMES.map((name, number) => [colours[number], name]));
    kmem.by("frames-read").textContent = describe(chosen);
  }

  function describe(pfn) {
    const found = runs[run(pfn)];
    if (!found) return "";
    const [start, length, kind, what] = found;
    let text = `frame ${pfn} (${kmem.address(BigInt(pfn) * 4096n)}, direct map ${kmem.address(BigInt(kmem.direct()) + BigInt(pfn) * 4096n)}): ${NAMES[kind]}`;
    if (NAMES[kind] === "free") text += `, in a block of order ${what}`;
    else if (NAMES[kind] === "slab" && memory.caches[what]) text += ` of ${memory.caches[what].name}`;
    if (length > 1) text += `; frames ${start} to ${start + length - 1} are alike`;
    return per > 1 ? `${text}. One square is ${per} frames.` : text;
  }

  function zoom(factor) {
    const wanted = Math.min(Math.max(Math.round(count * factor), 64), memory.pages);
    first = Math.min(Math.max(Math.round(chosen - wanted / 2), 0), memory.pages - wanted);
    count = wanted;
    draw();
  }

  function choose(pfn, open) {
    chosen = Math.min(Math.max(pfn, 0), memory.pages - 1);
    if (chosen < first || chosen >= first + count) {
      first = Math.min(Math.max(chosen - Math.floor(count / 2), 0), memory.pages - count);
    }
    draw();
    if (open) kmem.slab.show(chosen);
  }

  /* A frame of an address: physical, of the direct map, or mapped; null if nothing is there. */
  function frame(text) {
    const value = kmem.parse(text);
    if (value === null) return null;
    if (value < BigInt(memory.pages)) return Number(value);
    const physical = value < BigInt(memory.pages) * 4096n ? value : kmem.walk.translate(value);
    return physical === null || physical >= BigInt(memory.pages) * 4096n ? null : Number(physical / 4096n);
  }

  function start() {
    if (!memory) { kmem.by("frames").hidden = true; return; }
    count = memory.pages;
    const canvas = kmem.by("frames-canvas");
    const pointed = (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.min(Math.floor((event.clientX - box.left) / size), columns - 1);
      return first + (Math.floor((event.clientY - box.top) / size) * columns + column) * per;
    };
    canvas.addEventListener("pointermove", (event) => { if (pointed(event) < first + count) kmem.by("frames-read").textContent = describe(pointed(event)); });
    canvas.addEventListener("click", (event) => { if (pointed(event) < first + count) choose(pointed(event), true); });
    canvas.addEventListener("keydown", (event) => {
      const act = { ArrowLeft: () => choose(chosen - per), ArrowRight: () => choose(chosen + per), ArrowUp: () => choose(chosen - per * columns),
        ArrowDown: () => choose(chosen + per * columns), Enter: () => choose(chosen, true), "+": () => zoom(0.25), "=": () => zoom(0.25), "-": () => zoom(4) }[event.key];
      if (act) { act(); event.preventDefault(); }
    });
    kmem.by("frames-in").addEventListener("click", () => zoom(0.25));
    kmem.by("frames-out").addEventListener("click", () => zoom(4));
    kmem.by("frames-all").addEventListener("click", () => { first = 0; count = memory.pages; draw(); });
    kmem.by("frames-go").addEventListener("change", (event) => {
      const found = frame(event.target.value);
      if (found === null) kmem.by("frames-read").textContent = `${event.target.value} is no frame and no address that is mapped to memory`;
      else { if (count > 4096) count = 4096; choose(found, true); }
    });
    kmem.redraw.push(draw);
    chosen = memory.near.length ? memory.near[0] : 0;
    if (memory.near.length) choose(chosen, true);
    else draw();
  }

  return { start, choose, frame, state: () => ({ first, count, chosen }) };
})();
kmem.direct = () => kmem.data.memory.regions[0][1];
