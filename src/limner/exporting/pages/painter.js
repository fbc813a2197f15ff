/* The page of the painter: trains in short turns, so that the page stays responsive, and shows curves and value. */
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const settings = data.settings;
const TURN_MS = 40, GOAL = -2 * Math.log(2), POINTS_OF_TRACE = 200;
const WIDTH = 440, HEIGHT = 330, LEFT = 44, TOP = 14, RIGHT = 14, BOTTOM = 30;

let painter, trace, seconds, realSpread, running = false;

function restart() {
  if (!element("seed").reportValidity()) return;
  running = false;
  painter = new Painter(settings, Number(element("seed").value));
  realSpread = spread(painter.real(0, 256), settings.points);
  trace = [];
  seconds = 0;
  show({ value: null, right: null });
  element("status").textContent = "Not trained yet.";
  element("train").textContent = "Train";
}

function turn() {
  if (!running) return;
  const began = performance.now(), sums = { value: 0, right: 0 };
  let steps = 0;
  while (performance.now() - began < TURN_MS && painter.imagesSeen < settings.images) {
    const measured = painter.step({ generator: rate("generator"), discriminator: rate("discriminator") });
    sums.value += measured.value;
    sums.right += measured.right;
    steps++;
  }
  show({ value: sums.value / steps, right: sums.right / steps });
  seconds += (performance.now() - began) / 1000;
  const left = (seconds / painter.imagesSeen) * (settings.images - painter.imagesSeen);
  if (painter.imagesSeen < settings.images) {
    element("status").textContent = `Training: ${Math.round(painter.imagesSeen / seconds).toLocaleString("en")} curves a second, ${Math.ceil(left)} s left.`;
    setTimeout(turn);
  } else {
    running = false;
    element("train").textContent = "Train";
    element("train").disabled = true;
    element("status").textContent = `Done: ${painter.imagesSeen.toLocaleString("en")} curves in ${seconds.toFixed(0)} s.`;
  }
}

function show({ value, right }) {
  const curves_NP = painter.samples();
  element("train").disabled = painter.imagesSeen >= settings.images;
  element("progress").value = painter.imagesSeen / settings.images;
  paintCurves(element("painting"), curves_NP, `${settings.samples} generated curves after ${painter.imagesSeen} curves seen`);
  element("seen").textContent = painter.imagesSeen.toLocaleString("en");
  element("diversity").textContent = (spread(curves_NP, settings.points) / realSpread).toFixed(2);
  if (value !== null) {
    trace.push({ seen: painter.imagesSeen, value });
    if (trace.length > 2 * POINTS_OF_TRACE) trace = halved(trace);
  }
  const recent = trace.slice(-10);
  element("value").textContent = recent.length ? signed(recent.reduce((sum, one) => sum + one.value, 0) / recent.length) : "–";
  element("right").textContent = right === null ? "–" : `${Math.round(100 * right)}%`;
  drawChart();
}

/** Half as many points, each the mean of two. */
function halved(points) {
  return Array.from({ length: points.length / 2 }, (_, k) => ({
    seen: points[2 * k + 1].seen,
    value: (points[2 * k].value + points[2 * k + 1].value) / 2,
  }));
}

const signed = (value) => value.toFixed(3).replace("-", "−");

function svg(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

/** Curves, N x P, over the band between their bounds. */
function paintCurves(canvas, curves_NP, label) {
  const { points } = settings, at = (p, y) => `${((p / (points - 1)) * 2 + 0.2) * (WIDTH / 2.4)},${((3.6 - y) * HEIGHT) / 4.2}`;
  const path = (heights) => Array.from(heights, (y, p) => at(p, y)).join(" ");
  const x_P = Array.from({ length: points }, (_, p) => (2 * p) / (points - 1) - 1);
  const lower = x_P.map((x) => x * x), upper = x_P.map((x) => 2 * x * x + 1);
  const band = `${path(lower)} ${path(upper).split(" ").reverse().join(" ")}`;
  canvas.setAttribute("aria-label", label);
  canvas.replaceChildren(
    svg("polygon", { class: "band", points: band }),
    ...Array.from({ length: curves_NP.length / points }, (_, n) =>
      svg("polyline", { class: "curve", points: path(curves_NP.slice(n * points, (n + 1) * points)) }),
    ),
    ...[lower, upper].map((bound) => svg("polyline", { class: "bound", points: path(bound) })),
  );
}

function drawChart() {
  const low = -1.6, high = Math.max(-1, ...trace.map(({ value }) => value));
  const x = (seen) => LEFT + (seen / settings.images) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + ((high - Math.min(high, Math.max(low, value))) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const rule = (value) => svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) });
  const mark = (value) => svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, signed(value).slice(0, -2));
  const ticks = [-1.6, -1.4, -1.2, -1, -0.8, -0.6, -0.4, -0.2, 0].filter((value) => value <= high);
  element("chart").setAttribute("aria-label", `Value of the game over curves seen, now ${element("value").textContent}`);
  element("chart").replaceChildren(
    ...ticks.map(rule),
    ...ticks.map(mark),
    svg("line", { class: "goal", x1: LEFT, x2: WIDTH - RIGHT, y1: y(GOAL), y2: y(GOAL) }),
    svg("polyline", { class: "trace", points: trace.map(({ seen, value }) => `${x(seen)},${y(value)}`).join(" ") }),
    svg("text", { x: LEFT, y: HEIGHT - 10 }, "0"),
    svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 10, "text-anchor": "end" }, `${settings.images.toLocaleString("en")} curves seen`),
  );
}

const rate = (name) => 10 ** Number(element(`rate-${name}`).value);

function connectRate(name) {
  const slider = element(`rate-${name}`), value = element(`rate-${name}-value`);
  const tell = () => {
    value.value = rate(name).toPrecision(2);
    slider.setAttribute("aria-valuetext", value.value);
  };
  slider.value = Math.log10(settings.optimizers[name].lr);
  slider.addEventListener("input", tell);
  tell();
}

["generator", "discriminator"].forEach(connectRate);
element("controls").addEventListener("submit", (event) => event.preventDefault());
element("seed").addEventListener("change", restart);
element("again").addEventListener("click", restart);
element("train").addEventListener("click", () => {
  running = !running;
  element("train").textContent = running ? "Pause" : "Train";
  if (running) turn();
});
element("model").textContent = `${data.samples.length} curves of the model that was exported (recipe ${data.recipe}, ${data.imagesSeen.toLocaleString("en")} curves seen, weights ${data.weightsSha256.slice(0, 12)}), by Limner ${data.limner}.`;
paintCurves(element("exported"), data.samples.flat(), `${data.samples.length} curves of the exported model`);
restart();
