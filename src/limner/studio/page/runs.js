// The tab Runs: trainings that run or ran here, and a new one.
import { askJson, busy, byId, complain, make } from "./common.js";

const EVERY = 3000, RECOMMENDED = "modern-cpu";

export function startRuns() {
  const form = byId("start-form"), slider = byId("run-through");
  let runs = [], chosen = null, samples = [], mistake = null, timer = null;

  const state = (run) => (run.training ? "training" : run.ended === "finished" ? "finished" : run.ended ?? "stopped");
  const facts = (run) => [run.recipe, state(run), `${run.images_seen.toLocaleString("en")} images seen`, run.verdict].filter(Boolean).join(" · ");

  async function look() {
    const said = await askJson("api/runs");
    byId("no-runs").hidden = said.enabled;
    byId("runs-there").hidden = !said.enabled;
    runs = said.runs;
    if (!form.recipe.length) {
      form.recipe.append(...said.recipes.map((name) => make("option", {}, name)));
      form.recipe.value = RECOMMENDED;
      form.data.append(...said.data.map((name) => make("option", {}, name)), make("option", { value: "" }, "none (the painter)"));
    }
    if (said.training?.mistake && said.training.mistake !== mistake) complain(new Error(`${said.training.name}: ${said.training.mistake}`));
    mistake = said.training?.mistake;
    showList();
    const run = runs.find(({ name }) => name === chosen) ?? runs[0];
    if (run) showRun(run);
    byId("run").hidden = !run;
  }

  function showList() {
    const focused = document.activeElement?.dataset?.run;
    byId("run-list").replaceChildren(...runs.map((run) => make("li", {}, make("button",
      { type: "button", "data-run": run.name, "aria-current": run.name === chosen, onclick: () => { chosen = run.name; showList(); showRun(run); } },
      make("b", {}, run.name), make("small", {}, facts(run))))));
    if (focused) byId("run-list").querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
  }

  function showRun(run) {
    const another = byId("run-name").textContent !== run.name;
    chosen = run.name;
    byId("run").hidden = false;
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
