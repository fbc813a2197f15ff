// The page: tabs, the choice of a model, copying. Each tab has a file of its own.
import { askJson, busy, byId, complain, make } from "./common.js";
import { startEdit } from "./edit.js";
import { startFaces } from "./faces.js";
import { startMorph } from "./morph.js";
import { startRuns } from "./runs.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function show(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  complain(null);
  document.dispatchEvent(new CustomEvent("shown", { detail: tab.getAttribute("aria-controls") }));
}

for (const [place, tab] of tabs.entries()) {
  tab.addEventListener("click", () => show(tab));
  tab.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -place, End: tabs.length - 1 - place };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = tabs[(place + steps[event.key] + tabs.length) % tabs.length];
    next.focus();
    show(next);
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId(button.dataset.copy).textContent);
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = before), 1500);
  });
}

const select = byId("model");
const models = new Map();
export const studio = { model: () => models.get(select.value) };

async function fillModels() {
  const found = await askJson("api/models");
  for (const model of found) {
    const what = model.problem ? "cannot be read" : model.kind === "curves" ? "curves" : `${model.size} × ${model.size}`;
    const text = `${model.name} (${what})`;
    if (!models.has(model.name)) select.append(make("option", { value: model.name }, text));
    models.set(model.name, model);
  }
}

function changed() {
  const model = studio.model();
  complain(model.problem ? new Error(model.problem) : null);
  document.dispatchEvent(new CustomEvent("model"));
}

select.addEventListener("change", changed);
document.addEventListener("shown", ({ detail }) => detail === "faces" && fillModels().catch(complain));
const morph = startMorph(studio);
const edit = startEdit(studio, morph.add);
startFaces(studio, morph.add, (face, png) => {
  show(byId("tab-edit"));
  edit(face, png, `Face ${face.seed}:${face.index}`);
});
startRuns();
busy(select, "Loading the model …", async () => {
  await fillModels();
  changed();
});
