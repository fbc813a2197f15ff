"use strict";
// What the pages of Limner share: words for numbers, tables of results, charts. `data` is what Python wrote into the page;
// its text (names, reasons, the recipe) enters the page as text nodes and attributes only, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(namespace, tag, attributes, children) {
  const made = document.createElementNS(namespace, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const html = (tag, attributes = {}, ...children) => make("http://www.w3.org/1999/xhtml", tag, attributes, children);
const svg = (tag, attributes = {}, ...children) => make("http://www.w3.org/2000/svg", tag, attributes, children);

/* ---- numbers in words ---- */

const isNumber = (value) => typeof value === "number";
const whole = (n) => Math.round(n).toLocaleString("en");
function precise(value) {
  if (!isNumber(value)) return "not finite";
  const rounded = Number(value.toPrecision(6));
  return rounded !== 0 && Math.abs(rounded) < 1e-3 ? rounded.toExponential() : String(rounded);
}
const millions = (n) => (n >= 1e6 ? `${(n / 1e6).toPrecision(3)} M` : whole(n));

function compact(n) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (n >= size) return Number((n / size).toPrecision(4)) + unit;
  return String(n);
}

function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days) return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
  if (seconds < 600 && Math.round(seconds) % 60) return `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`;
  if (hours) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${minutes} min`;
}

function date(iso) {
  const moment = new Date(iso);
  return Number.isNaN(moment.valueOf()) ? String(iso) : moment.toLocaleString("en-GB", {dateStyle: "long", timeStyle: "short"});
}

function inWords(value) {
  if (value === null || value === undefined) return "–";
  if (isNumber(value)) return Number.isInteger(value) && Math.abs(value) >= 10000 ? whole(value) : precise(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const moment = (images, seconds) => [isNumber(images) && `${whole(images)} images`, isNumber(seconds) && duration(seconds)].filter(Boolean).join(" · ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/* ---- curves ---- */

const GROUPS = new Map([
  ["loss", ["Loss", "What each network tries to make small. Two opponents: neither has to fall, but neither should run away."]],
  ["output", ["Discriminator’s output", "Its mean output on real and on generated images. The closer the two, the harder they are to tell apart."]],
  ["accuracy", ["Discriminator’s accuracy", "Share of real and of generated images that it tells rightly. Both at 1 for long: it is winning."]],
  ["value", ["Value function", "V(D, G), the mean of log D(real) plus that of log(1 − D(generated)): the discriminator raises it, the generator lowers it. At the dashed line, 2 log ½, the discriminator cannot tell them apart."]],
  ["overlap", ["Overlap", "How often the discriminator takes a generated image for more real than a real one. 0.5: it cannot tell; 0 for long: it is winning."]],
  ["diversity", ["Diversity", "How much the generated faces differ from one another, real images being 1. A lasting fall means they are growing alike."]],
  ["nearest_training", ["Nearest training", "Share of the faces that lie closer to a training than to a held-out image. About 0.5 is right; near 1 they are copies."]],
  ["contrast", ["Contrast", "How far the pixels of a generated face differ from one another, real images being 1. Near 0 a face is one flat colour."]],
  ["roughness", ["Roughness", "How much less neighbouring pixels have in common than in real images. 0: as much; 1: nothing, which is noise."]],
  ["gradient", ["Gradient norm", "Spikes announce trouble; near zero, that network has stopped learning."]],
  ["lr", ["Learning rate", ""]],
  ["images_per_second", ["Images per second", ""]],
]);
const ORDER = [...GROUPS.keys()];
const REFERENCES = new Map([["value", 2 * Math.log(0.5)]]);
const WITHIN_ONE = new Set(["output", "accuracy", "nearest_training"]);
const SIDES = new Map([["discriminator", 0], ["critic", 0], ["real", 0], ["generator", 1], ["fake", 1]]);
const COLOURS = 6;
const state = {axis: "images_seen", smoothing: 0, cursor: null};
const plots = [];

const extents = {};
for (const axis of ["images_seen", "seconds"]) {
  const ends = [data[axis] ?? 0, 1e-9];
  for (const chart of data.charts) for (const x of chart[axis]) if (isNumber(x)) ends.push(x);
  for (const stretch of data.verdicts) ends.push(stretch[axis][1]);
  extents[axis] = ends.reduce((a, b) => Math.max(a, b));
}

function niceStep(range, count) {
  const rough = range / count, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
}

const DAY = 86400;
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 5 * DAY, 10 * DAY, 20 * DAY, 50 * DAY];

function xTicks(width) {
  const end = extents[state.axis], count = Math.max(2, Math.floor(width / 85));
  const step = state.axis === "images_seen" ? Math.max(1, niceStep(end, count)) : TIME_STEPS.find((s) => end / s <= count) ?? 100 * DAY;
  const [size, unit] = step >= DAY ? [DAY, "d"] : step >= 3600 ? [3600, "h"] : step >= 60 ? [60, "min"] : [1, "s"];
  const ticks = [];
  for (let i = 0; i * step <= end * 1.0001; i++) ticks.push({at: i * step, text: state.axis === "images_seen" ? compact(i * step) : i ? `${(i * step) / size} ${unit}` : "0"});
  return ticks;
}

function linearScale(low, high, within) {
  if (within) [low, high] = [0, 1];
  else if (low === high) [low, high] = low > 0 ? [0, high * 1.25] : low < 0 ? [low * 1.25, 0] : [-1, 1];
  else if (low > 0 && low < 0.6 * high) low = 0;
  const step = niceStep(high - low, 4), first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  const ticks = [];
  for (let i = first; i <= last; i++) ticks.push(Number((i * step).toPrecision(12)));
  const largest = Math.max(Math.abs(first), Math.abs(last)) * step, digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  const text = largest >= 1e6 || step < 1e-3 ? (t) => (t ? t.toExponential().replace("e+", "e") : "0") : largest >= 1e4 ? compact : (t) => t.toFixed(digits);
  return {share: (y) => (y - first * step) / ((last - first) * step), ticks: ticks.map((at) => ({at, text: text(at)}))};
}

function logScale(low, high) {
  let first = Math.floor(Math.log10(low) + 1e-9), last = Math.ceil(Math.log10(high) - 1e-9);
  if (first === last) last += 1;
  const every = Math.ceil((last - first) / 6), ticks = [];
  for (let power = first; power <= last; power += every)
    for (const m of last - first <= 2 && power < last ? [1, 2, 5] : [1]) {
      const at = m * 10 ** power;
      ticks.push({at, text: power < -3 || power > 4 ? `${m}e${power}` : precise(at)});
    }
  return {share: (y) => (Math.log10(y) - first) / (last - first), ticks};
}

// Exponential moving average whose memory is a share of the x axis, so that thinned and unevenly spaced points agree.
function smooth(points) {
  const memory = (state.smoothing / 100) * extents[state.axis];
  let sum = 0, weight = 0, before = null;
  return points.map((p) => {
    if (p.y === null) { weight = 0; return p; }
    if (before !== null && p.x < before) weight = 0;
    const kept = weight ? Math.exp((before - p.x) / memory) : 0;
    sum = (weight ? sum : 0) * kept + p.mean;
    weight = weight * kept + 1;
    before = p.x;
    return {...p, y: sum / weight};
  });
}

// The line breaks at values that are not finite and where x goes back (a rollback). A lone point becomes a dot.
function path(points, x, y) {
  const pieces = [[]];
  for (const p of points) {
    const piece = pieces[pieces.length - 1], last = piece[piece.length - 1];
    if (p.y === null) pieces.push([]);
    else if (last && p.x < last.x) pieces.push([p]);
    else piece.push(p);
  }
  return pieces.filter((piece) => piece.length).map((piece) =>
    (piece.length === 1 ? [piece[0], piece[0]] : piece).map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("")).join("");
}

const MARKS = {resume: {d: "M-3 -4L4 0L-3 4Z", words: () => "resumed"}, rollback: {d: "M3 -4L-4 0L3 4Z", words: (e) => `rolled back${isNumber(e.to_images) ? ` to ${compact(e.to_images)}` : ""}`}};

function marks(x, top, bottom, labelled) {
  const known = data.events.filter((event) => Object.hasOwn(MARKS, event.event) && isNumber(event[state.axis]));
  const places = known.map((event) => x(event[state.axis]));
  let taken = 0;
  return svg("g", {class: "mark"}, ...known.map((event, i) => {
    const {d, words} = MARKS[event.event], from = places[i], width = words(event).length * 6 + 12;
    const rightwards = from + width < x(extents[state.axis]), begin = rightwards ? from : from - width;
    const drawn = svg("g", {}, svg("title", {}, `${words(event)} at ${moment(event.images_seen, event.seconds)}`),
      svg("line", {x1: from, x2: from, y1: top, y2: bottom}), svg("path", {d, transform: `translate(${from} ${top})`}));
    // A label that would run into another mark or label is left to the tooltip and the table.
    if (labelled && begin >= taken && !places.some((place, j) => j !== i && place > begin - 5 && place < begin + width)) {
      drawn.append(svg("text", {x: rightwards ? from + 8 : from - 8, y: top + 4, "text-anchor": rightwards ? "start" : "end"}, words(event)));
      taken = begin + width;
    }
    return drawn;
  }));
}

function xAxis(plot, x, left, right, bottom) {
  plot.append(svg("line", {class: "axis", x1: left, x2: right, y1: bottom, y2: bottom}));
  for (const tick of xTicks(right - left))
    plot.append(svg("line", {class: "axis", x1: x(tick.at), x2: x(tick.at), y1: bottom, y2: bottom + 4}),
      svg("text", {class: "x-tick", x: x(tick.at), y: bottom + 17, "text-anchor": "middle"}, tick.text));
}

function follow(plot, geometry) {
  const pointed = (event) => {
    const {left, right} = geometry(), box = plot.getBoundingClientRect();
    const at = (event.clientX - box.left) * (plot.viewBox.baseVal.width / box.width);
    setCursor({x: Math.min(Math.max((at - left) / (right - left), 0), 1) * extents[state.axis]});
  };
  plot.addEventListener("pointermove", pointed);
  plot.addEventListener("pointerdown", pointed);
  plot.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") setCursor(null); });
}

function setCursor(cursor) {
  state.cursor = cursor;
  for (const plot of plots) plot.point(cursor);
}

function chartOf(chart) {
  const [title, note] = chart.title ? [chart.title, chart.note] : GROUPS.get(chart.group) ?? [capital(chart.group.replaceAll("_", " ")), ""];
  const taken = new Set(chart.series.map((s) => SIDES.get(s.name)));
  let next = 0;
  const series = chart.series.map((s) => {
    let colour = s.colour ?? SIDES.get(s.name);
    if (colour === undefined) { while (taken.has(next)) next++; colour = next++; }
    return {...s, class: `s${colour % COLOURS}${colour >= COLOURS ? " again" : ""}`, position: new Map(s.at.map((row, i) => [row, i]))};
  });
  const finite = series.flatMap((s) => s.values.filter(isNumber)), reference = REFERENCES.get(chart.group);
  if (reference !== undefined && finite.length) finite.push(reference);
  const low = finite.reduce((a, b) => Math.min(a, b), Infinity), high = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  let logarithmic = chart.group === "gradient" && low > 0 && high > 50 * low, row = chart.images_seen.length - 1;
  let geometry = {left: 0, right: 1, x: () => 0, y: () => 0};

  const values = series.map(() => html("b"));
  const at = html("li", {class: "at"});
  const readout = html("ul", {class: "readout"}, ...series.map((s, i) =>
    html("li", {}, svg("svg", {class: "key", "aria-hidden": "true", viewBox: "0 0 20 10"}, svg("path", {class: `line ${s.class}`, d: "M1 5H19"})), `${s.name.replaceAll("_", " ")} `, values[i])), at);
  const plot = svg("svg", {class: "plot", role: "slider", tabindex: "0", "aria-label": `${title}: values along the run`, "aria-valuemin": 0, "aria-valuemax": chart.images_seen.length - 1});
  const head = html("div", {class: "chart-head"}, html("h3", {}, title));
  if (low > 0 && high > 4 * low && !WITHIN_ONE.has(chart.group)) {
    const toggle = html("button", {type: "button", "aria-pressed": logarithmic, "aria-label": `Logarithmic scale for ${title}`}, "log");
    toggle.addEventListener("click", () => { logarithmic = !logarithmic; toggle.setAttribute("aria-pressed", logarithmic); draw(); });
    head.append(toggle);
  }
  byId("charts").append(html("figure", {class: "chart", "data-group": chart.group}, head, html("p", {class: "note"}, note), readout, plot));
  const cursorLine = svg("line", {class: "cursor"}), dots = series.map((s) => svg("circle", {class: `dot ${s.class}`, r: 3.5}));

  function draw() {
    const width = Math.max(240, plot.parentElement.clientWidth), height = 200, top = 12, bottom = height - 26, right = width - 14;
    const scale = !finite.length ? linearScale(0, 1) : logarithmic ? logScale(low, high) : linearScale(low, high, WITHIN_ONE.has(chart.group) && low >= 0 && high <= 1);
    const left = 12 + 6.6 * Math.max(...scale.ticks.map((t) => t.text.length));
    const x = (value) => left + (value / extents[state.axis]) * (right - left), y = (value) => bottom - scale.share(value) * (bottom - top);
    geometry = {left, right, x, y};
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    plot.replaceChildren(svg("rect", {x: left, y: 0, width: right - left, height: bottom, fill: "transparent"}));
    for (const tick of scale.ticks)
      plot.append(svg("line", {class: "grid", x1: left, x2: right, y1: y(tick.at), y2: y(tick.at)}),
        svg("text", {class: "y-tick", x: left - 7, y: y(tick.at) + 4, "text-anchor": "end"}, tick.text));
    if (reference !== undefined) plot.append(svg("line", {class: "reference", x1: left, x2: right, y1: y(reference), y2: y(reference)}));
    xAxis(plot, x, left, right, bottom);
    plot.append(marks(x, top - 6, bottom, false));
    const lines = series.map((s) => s.at.map((r, i) => ({x: chart[state.axis][r], y: s.values[i], mean: s.means ? s.means[i] : s.values[i]})).filter((p) => isNumber(p.x)));
    if (state.smoothing) lines.forEach((points, i) => plot.append(svg("path", {class: `line raw ${series[i].class}`, d: path(points, x, y)})));
    lines.forEach((points, i) => plot.append(svg("path", {class: `line ${series[i].class}`, d: path(state.smoothing ? smooth(points) : points, x, y)})));
    if (!finite.length) plot.append(svg("text", {x: (left + right) / 2, y: height / 2, "text-anchor": "middle"}, "no finite values"));
    for (const attribute of ["y1", "y2"]) cursorLine.setAttribute(attribute, attribute === "y1" ? top : bottom);
    plot.append(cursorLine, ...dots);
    point(state.cursor);
  }

  function nearest(x) {
    let best = chart.images_seen.length - 1;
    chart[state.axis].forEach((value, i) => { if (isNumber(value) && !(Math.abs(value - x) > Math.abs(chart[state.axis][best] - x))) best = i; });
    return best;
  }

  // Lines of different runs have points of their own: of the others, the nearest one shows.
  function beside(s) {
    const off = (position) => Math.abs(chart[state.axis][s.at[position]] - chart[state.axis][row]);
    return s.at.reduce((best, _, position) => (off(position) < off(best) ? position : best), 0);
  }

  function point(cursor) {
    row = cursor === null ? chart.images_seen.length - 1 : cursor.chart === chart ? cursor.row : nearest(cursor.x);
    const here = chart[state.axis][row];
    cursorLine.setAttribute("visibility", cursor === null || !isNumber(here) ? "hidden" : "visible");
    if (isNumber(here)) for (const end of ["x1", "x2"]) cursorLine.setAttribute(end, geometry.x(here));
    at.textContent = cursor === null ? "latest" : state.axis === "images_seen" ? moment(chart.images_seen[row], null) : moment(null, chart.seconds[row]);
    series.forEach((s, i) => {
      const position = cursor === null ? s.at.length - 1 : s.position.get(row) ?? (chart.apart ? beside(s) : undefined), value = s.values[position];
      values[i].textContent = position === undefined ? "–" : precise(value);
      const shown = cursor !== null && position !== undefined && isNumber(value) && isNumber(here);
      dots[i].setAttribute("visibility", shown ? "visible" : "hidden");
      if (shown) { dots[i].setAttribute("cx", geometry.x(chart[state.axis][s.at[position]])); dots[i].setAttribute("cy", geometry.y(value)); }
    });
    plot.setAttribute("aria-valuenow", row);
    plot.setAttribute("aria-valuetext", `${moment(chart.images_seen[row], chart.seconds[row])}: ${series.map((s, i) => `${s.name} ${values[i].textContent}`).join(", ")}`);
  }

  follow(plot, () => geometry);
  plot.addEventListener("keydown", (event) => {
    const last = chart.images_seen.length - 1, page = Math.max(1, Math.round(last / 10));
    const to = {ArrowLeft: row - 1, ArrowDown: row - 1, ArrowRight: row + 1, ArrowUp: row + 1, PageDown: row - page, PageUp: row + page, Home: 0, End: last}[event.key];
    if (event.key === "Escape") setCursor(null);
    if (to === undefined) return;
    event.preventDefault();
    const target = Math.min(Math.max(to, 0), last);
    setCursor({chart, row: target, x: chart[state.axis][target]});
  });
  plot.addEventListener("blur", () => setCursor(null));
  plots.push({draw, point});
}

// Draws the charts into #charts, and again when the width, the smoothing or the axis changes.
function showCharts(charts) {
  for (const chart of charts) chartOf(chart);
  const drawAll = () => plots.forEach((plot) => plot.draw());
  for (const radio of document.getElementsByName("axis")) {
    if (radio.value === "seconds") radio.disabled = !charts.some((chart) => chart.seconds.some(isNumber));
    radio.addEventListener("change", () => { state.axis = radio.value; state.cursor = null; drawAll(); });
    if (radio.value === "images_seen") radio.checked = true;
  }
  const slider = byId("smoothing");
  const setSmoothing = () => {
    state.smoothing = slider.valueAsNumber;
    byId("smoothing-value").textContent = state.smoothing ? `${state.smoothing} %` : "off";
    slider.setAttribute("aria-valuetext", state.smoothing ? `over ${state.smoothing} per cent of the run` : "off");
    drawAll();
  };
  slider.value = 0;
  slider.addEventListener("input", setSmoothing);
  setSmoothing();
  let width = 0;
  new ResizeObserver(() => { if (byId("curves").clientWidth !== width) { width = byId("curves").clientWidth; drawAll(); } }).observe(byId("curves"));
}

/* ---- results ---- */

// One row a metric, one column a model (`names`), and what real images score in their place.
function resultsTable(names, rows) {
  const floored = rows.some((row) => row.floor !== null);
  const column = (text) => html("th", {class: "number", scope: "col"}, text);
  const cell = (found, i) => {
    const made = html("td", {class: found?.best ? "number best" : "number", "data-label": names[i]}, html("b", {}, found?.value ?? "–"));
    for (const remark of [found?.spread, found?.error && `standard error ${found.error}`]) if (remark) made.append(html("small", {}, remark));
    return made;
  };
  const floor = (value, label) => html("td", {class: value ? "number soft" : "number soft none", "data-label": label}, value ?? "–");
  const training = "Training images";
  return html("div", {class: "wide", tabindex: "0", role: "region", "aria-label": "Results"}, html("table", {class: "results"},
    html("thead", {}, html("tr", {}, html("th", {scope: "col"}, "Metric"), ...names.map(column), ...(floored ? [column(training)] : []))),
    html("tbody", {}, ...rows.map((row) => html("tr", {},
      html("th", {scope: "row"}, html("code", {}, row.metric), html("small", {}, row.note)),
      ...row.cells.map(cell), ...(floored ? [floor(row.floor, training)] : []))))));
}
