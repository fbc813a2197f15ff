// The tab Runs: trainings that run or ran here, and a new one.
import { askJson, busy, byId, complain, make } from "./common.js";
import { startComparison } from "./compare.js";

const EVERY = 3000, MOST_COMPARED = 6, RECOMMENDED = "modern-cpu";

export function startRuns() {
  const form = byId("start-form"), slider = byId("run-through");
  const compared = new Set();
  let runs = [], chosen = null, samples = [], mistake = null, timer = null;

  const state = (run) => (run.training ? "training" : run.ended === "finished" ? "finished" : run.ended ?? "stopped");
  const facts = (run) => [run.recipe, state(run), `${run.images_seen.toLocaleString("en")} images seen`, run.verdict].filter(Boolean).join(" · ");

  const showComparison = startComparison(facts);

  async function look() {
    const said = await askJson("api/runs");
    byId("no-runs").hidden = said.enabled;
    byId("runs-there").hidden = !said.enabled;
    runs = said.runs;
    if (!form.recipe.length) {
      byId("start").open = runs.length === 0;
      form.recipe.append(...said.recipes.map((name) => make("option", {}, name)));
      form.recipe.value = RECOMMENDED;
      form.data.append(...said.data.map((name) => make("option", {}, name)), make("option", { value: "" }, "none (the painter)"));
    }
    if (said.training?.mistake && said.training.mistake !== mistake) complain(new Error(`${said.training.name}: ${said.training.mistake}`));
    mistake = said.training?.mistake;
    showChosen();
  }

  /** The list, and beside it the run that was chosen, or the comparison where two or more are ticked. */
  function showChosen() {
    const ticked = runs.filter(({ name }) => compared.has(name)), several = ticked.length > 1;
    const run = runs.find(({ name }) => name === chosen) ?? runs[0];
    if (run && !several) showRun(run);
    if (several) showComparison(ticked);
    byId("run").hidden = several || !run;
    byId("comparison").hidden = !several;
    byId("compare-note").hidden = runs.length < 2;
    showList(several);
  }

  function showList(several) {
    const focused = document.activeElement?.dataset?.key;
    byId("run-list").replaceChildren(...runs.map((run) => item(run, several)));
    if (focused) byId("run-list").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  function item(run, several) {
    const button = make("button", { type: "button", "data-key": `run ${run.name}`, "aria-current": !several && run.name === chosen },
      make("b", {}, run.name), make("small", {}, facts(run)));
    button.addEventListener("click", () => {
      chosen = run.name;
      compared.clear();
      showChosen();
    });
    const tick = make("input", { type: "checkbox", "data-key": `tick ${run.name}`, "aria-label": `Compare ${run.name}` });
    tick.checked = compared.has(run.name);
    tick.disabled = !tick.checked && compared.size >= MOST_COMPARED;
    tick.addEventListener("change", () => {
      if (tick.checked) compared.add(run.name);
      else compared.delete(run.name);
      showChosen();
    });
    return make("li", {}, button, tick);
  }

  function showRun(run) {
    const another = byId("run-name").textContent !== run.name;
    chosen = run.name;
    byId("run-name").textContent = run.name;
    byId("run-facts").textContent = [facts(run), run.remedy].filter(Boolean).join(". ");
    byId("stop-run").hidden = !run.training;
    byId("resume-run").hidden = run.training || run.ended === "finished";
    const atEnd = another || Number(slider.value) === samples.length - 1;
    samples = run.samples;
    slider.max = Math.max(0, samples.length - 1);
    if (atEnd) slider.value = slider.max;
    byId("run-samples").hidden = samples.length === 0;
    showSample();
    if (another) {
      byId("run-report").hidden = true;
      byId("show-report").textContent = "Show the report";
    }
  }

  function showSample() {
    const name = samples[slider.value];
    if (!name) return;
    const seen = Number(name.slice(0, 9)).toLocaleString("en"), path = `api/runs/${encodeURIComponent(chosen)}/samples/${name}`;
    if (byId("run-grid").getAttribute("src") !== path) byId("run-grid").src = path;
    byId("run-grid").alt = `Samples of ${chosen} after ${seen} images`;
    byId("run-at").textContent = seen;
  }

  slider.addEventListener("input", showSample);
  byId("show-report").addEventListener("click", (event) => busy(event.currentTarget, "Writing the report …", async () => {
    const frame = byId("run-report");
    const shown = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
    frame.hidden = false;
    frame.src = `api/runs/${encodeURIComponent(chosen)}/report`;
    await shown;
    byId("show-report").textContent = "Refresh the report";
  }));
  byId("stop-run").addEventListener("click", (event) => busy(event.currentTarget, "Saving its state …", async () => {
    await askJson("api/runs/stop", {});
    await look();
    return `${chosen} saves its state and stops.`;
  }));
  byId("resume-run").addEventListener("click", (event) => busy(event.currentTarget, "Starting …", async () => {
    await askJson(`api/runs/${encodeURIComponent(chosen)}/resume`, {});
    await look();
    return `${chosen} goes on.`;
  }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form.querySelector("[type=submit]"), "Starting …", async () => {
      const { recipe, data, name, minutes, seed } = Object.fromEntries(new FormData(form));
      await askJson("api/runs", { recipe, data: data || null, name, minutes: Number(minutes), seed: Number(seed) });
      chosen = name;
      return `${name} starts; it is shown here as soon as it has written its first files.`;
    });
  });
  document.addEventListener("shown", ({ detail }) => {
    clearInterval(timer);
    if (detail !== "runs") return;
    look().catch(complain);
    timer = setInterval(() => document.hidden || look().catch(complain), EVERY);
  });
}
