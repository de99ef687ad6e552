"use strict";
/* Live bytes over time, stacked; a cursor that keys and pointer move; a window that zooms. */
kmem.timeline = (() => {
  const line = kmem.data.timeline;
  const PLOT = { left: 64, right: 10, top: 22, bottom: 24 };
  let by = "cache", cursor = 0, drag = null, shown = null;
  const times = line ? line.times : [];
  const whole = () => {
    const moments = (kmem.data.moments || []).map((moment) => moment[1]);
    const all = times.concat(moments);
    const first = Math.min(...all), last = Math.max(...all);
    return last > first ? [first, last] : [first - 500, first + 500];
  };

  const place = (time, width) => PLOT.left + ((time - shown[0]) / (shown[1] - shown[0])) * (width - PLOT.left - PLOT.right);
  const when = (x, width) => shown[0] + ((x - PLOT.left) / (width - PLOT.left - PLOT.right)) * (shown[1] - shown[0]);

  /* Index of the last point at or before a time; -1 before the first. */
  const at = (time) => {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };

  function draw() {
    const { pen, width, height } = kmem.canvas("time-canvas");
    const ink = kmem.colour("ink"), faint = kmem.colour("faint"), floor = height - PLOT.bottom;
    const series = line[by].length ? line[by] : [{ name: "nothing", values: times.map(() => 0) }], totals = times.map((_, i) => series.reduce((sum, one) => sum + one.values[i], 0));
    const from = Math.max(at(shown[0]), 0), to = Math.min(at(shown[1]) + 1, times.length - 1);
    let top = 1;
    for (let i = from; i <= to; i++) top = Math.max(top, totals[i]);
    const level = (value) => floor - (value / top) * (floor - PLOT.top);
    const below = new Array(times.length).fill(0);
    pen.save();
    pen.beginPath();
    pen.rect(PLOT.left, 0, width - PLOT.left - PLOT.right, height);
    pen.clip();
    series.forEach((one, number) => {
      pen.beginPath();
      for (let i = from; i <= to; i++) {
        const x = place(times[i], width), next = i < times.length - 1 ? place(times[i + 1], width) : place(Math.max(shown[1], times[i]), width);
        const low = level(below[i]), high = level(below[i] + one.values[i]);
        if (low - high > 0.01) pen.rect(x, high, Math.max(next - x, 1), low - high);
        below[i] += one.values[i];
      }
      pen.fillStyle = kmem.colour(`c${Math.min(number, 11)}`);
      pen.fill();
    });
    (kmem.data.moments || []).forEach(([name, time], number) => mark(pen, place(time, width), height, name, faint, number % 2));
    (kmem.data.findings || []).forEach((finding) => {
      const step = finding.event !== null && kmem.data.steps && kmem.data.steps[Math.max(finding.event - 1, 0)];
      if (step) mark(pen, place(step[0], width), height, "▲ " + finding.kind, kmem.colour("bad"), 0);
    });
    if (drag) {
      pen.fillStyle = kmem.colour("mark");
      pen.globalAlpha = 0.25;
      pen.fillRect(Math.min(drag[0], drag[1]), 0, Math.abs(drag[1] - drag[0]), floor);
      pen.globalAlpha = 1;
    }
    pen.fillStyle = ink;
    pen.fillRect(place(times[cursor], width), PLOT.top, 1.5, floor - PLOT.top);
    pen.restore();
    pen.strokeStyle = pen.fillStyle = faint;
    pen.textAlign = "right";
    for (const share of [0, 0.5, 1]) pen.fillText(kmem.bytes(Math.round(top * share)), PLOT.left - 6, level(top * share) + 4);
    pen.textAlign = "left";
    pen.fillText(kmem.second(shown[0]), PLOT.left, height - 7);
    pen.textAlign = "right";
    pen.fillText(`+${kmem.span(shown[1] - shown[0])}`, width - PLOT.right, height - 7);
    kmem.legend("time-legend", series.map((one, number) => [kmem.colour(`c${Math.min(number, 11)}`), one.name]));
    read(series, totals);
  }

  function mark(pen, x, height, text, colour, low) {
    pen.fillStyle = colour;
    pen.fillRect(x, 0, 1, height - PLOT.bottom);
    pen.textAlign = "left";
    const at = low ? height - PLOT.bottom - 4 : 13;
    pen.fillStyle = kmem.colour("ground"); // what is drawn below would make the word illegible
    pen.fillRect(x + 1, at - 11, pen.measureText(text).width + 4, 14);
    pen.fillStyle = colour;
    pen.fillText(text, x + 3, at);
  }

  function read(series, totals) {
    const parts = series.map((one) => [one.name, one.values[cursor]]).filter((part) => part[1] > 0).sort((a, b) => b[1] - a[1]);
    kmem.by("time-read").textContent = `${kmem.second(times[0])} + ${kmem.span(times[cursor] - times[0])}: ${kmem.bytes(totals[cursor])} live` +
      (parts.length ? " — " + parts.slice(0, 5).map(([name, size]) => `${name} ${kmem.bytes(size)}`).join(", ") : "");
  }

  function zoom(factor) {
    const [first, last] = whole(), middle = times[cursor];
    const half = Math.max(((shown[1] - shown[0]) / 2) * factor, 1);
    shown = [Math.max(first, middle - half), Math.min(last, middle + half)];
    if (shown[1] <= shown[0]) shown = [first, last];
    draw();
  }

  function go(index) {
    cursor = Math.min(Math.max(index, 0), times.length - 1);
    if (times[cursor] < shown[0] || times[cursor] > shown[1]) shown = whole();
    draw();
  }

  function start() {
    if (!times.length) {
      kmem.by("time-read").textContent = "No memory was allocated.";
      kmem.by("time-canvas").hidden = true;
      return;
    }
    shown = whole();
    by = line.module.length ? "module" : "cache";
    kmem.by("time-by").value = by;
    const canvas = kmem.by("time-canvas"), all = () => { shown = whole(); draw(); };
    kmem.by("time-by").addEventListener("change", (event) => { by = event.target.value; draw(); });
    kmem.by("time-in").addEventListener("click", () => zoom(0.5));
    kmem.by("time-out").addEventListener("click", () => zoom(2));
    kmem.by("time-all").addEventListener("click", all);
    canvas.addEventListener("keydown", (event) => {
      const act = { ArrowLeft: () => go(cursor - 1), ArrowRight: () => go(cursor + 1), Home: () => go(0), End: () => go(times.length - 1),
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: all }[event.key];
      if (act) { act(); event.preventDefault(); }
    });
    const x = (event) => event.clientX - canvas.getBoundingClientRect().left;
    canvas.addEventListener("pointerdown", (event) => { drag = [x(event), x(event)]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (drag) drag[1] = x(event);
      cursor = Math.max(at(when(x(event), canvas.clientWidth)), 0);
      draw();
    });
    canvas.addEventListener("pointerup", () => {
      const [a, b] = drag || [0, 0];
      drag = null;
      if (Math.abs(b - a) > 6) shown = [when(Math.min(a, b), canvas.clientWidth), when(Math.max(a, b), canvas.clientWidth)];
      draw();
    });
    canvas.addEventListener("dblclick", all);
    kmem.redraw.push(draw);
    go(times.length - 1);
  }

  return { start, show: (time) => times.length && go(Math.max(at(time), 0)), window: () => shown };
})();
