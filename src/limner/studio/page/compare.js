// Several runs side by side: their grids at about the same images seen, and the page of their curves and results.
import { byId, make } from "./common.js";

const PATIENCE = 300;  // milliseconds after the last run that was chosen

export function startComparison(facts) {
  const slider = byId("compare-through"), frame = byId("comparison-report");
  let runs = [], moments = [], timer = null;

  const seenOf = (sample) => Number(sample.slice(0, 9));
  const names = () => runs.map(({ name }) => name).join("/");

  /** The sample of a run that is nearest to so many images seen. */
  const nearest = (run, seen) => run.samples.reduce((best, sample) =>
    (Math.abs(seenOf(sample) - seen) < Math.abs(seenOf(best) - seen) ? sample : best), run.samples[0]);

  function figure(run, place) {
    return make("figure", { class: `c${place}` }, make("figcaption", {}, make("b", {}, run.name), make("small", {})),
      make("img", { alt: "" }), make("p", { class: "note" }));
  }

  function showMoment() {
    const seen = moments[slider.value] ?? 0;
    byId("compare-at").textContent = seen.toLocaleString("en");
    for (const [place, run] of runs.entries()) {
      const shown = byId("side-by-side").children[place], image = shown.querySelector("img"), sample = nearest(run, seen);
      shown.querySelector("small").textContent = facts(run);
      image.hidden = !sample;
      if (!sample) continue;
      const after = `after ${seenOf(sample).toLocaleString("en")} images`, path = `api/runs/${encodeURIComponent(run.name)}/samples/${sample}`;
      if (image.getAttribute("src") !== path) image.src = path;
      image.alt = `Samples of ${run.name} ${after}`;
      shown.querySelector("p").textContent = `Samples ${after}.`;
    }
  }

  function loadReport() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      frame.src = `api/runs/compare?${new URLSearchParams(runs.map(({ name }) => ["name", name]))}`;
    }, PATIENCE);
  }

  slider.addEventListener("input", showMoment);
  byId("refresh-comparison").addEventListener("click", loadReport);

  /** Show these runs; those that are shown already are brought up to date. */
  return (chosen) => {
    const before = names(), atEnd = Number(slider.value) === moments.length - 1;
    runs = chosen;
    moments = [...new Set(runs.flatMap(({ samples }) => samples.map(seenOf)))].sort((a, b) => a - b);
    slider.max = Math.max(0, moments.length - 1);
    if (names() !== before) {
      byId("side-by-side").replaceChildren(...runs.map(figure));
      loadReport();
    }
    if (names() !== before || atEnd) slider.value = slider.max;
    showMoment();
  };
}
