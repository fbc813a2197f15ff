// The tab Faces: what to ask for, and the grid.
import { askJson, busy, byId, make, sayValue, words } from "./common.js";
import { startFace } from "./face.js";

const PATIENCE = 250;  // milliseconds after the last change of a chip or the slider
const STATES = { free: ["with", "+ "], with: ["without", "− "], without: ["free", ""] };

export function startFaces(studio, addToMorph, edit) {
  const form = byId("faces-form"), submit = form.querySelector("[type=submit]");
  const states = new Map(), loaded = new Set();
  const openFace = startFace(studio, addToMorph, edit);
  sayValue(form.truncation);

  const named = (state) => [...states].filter(([, own]) => own === state).map(([name]) => name).join(",");

  function chip(name) {
    const button = make("button", { type: "button", class: "chip" }, words(name));
    const set = (state, sign) => {
      states.set(name, state);
      button.dataset.state = state;
      button.dataset.sign = sign;
      button.setAttribute("aria-label", `${words(name)}: ${state}`);
      byId("free-all").hidden = !named("with") && !named("without");
    };
    button.addEventListener("click", () => {
      set(...STATES[states.get(name)]);
      soon();
    });
    button.addEventListener("free", () => set("free", ""));
    set("free", "");
    return button;
  }

  function showAttributes() {
    states.clear();
    const groups = Object.entries(studio.model().attributes ?? {});
    byId("groups").replaceChildren(...groups.map(([group, names]) =>
      make("fieldset", { class: "group" }, make("legend", {}, group), make("div", { class: "chips" }, ...names.map(chip)))));
    byId("attributes").hidden = groups.length === 0;
  }

  function asked() {
    const query = new URLSearchParams({ model: studio.model().name, count: form.count.value, seed: form.seed.value, truncation: form.truncation.value });
    for (const state of ["with", "without"]) if (named(state)) query.set(state, named(state));
    return query;
  }

  function picture(query, { index, png }) {
    const face = { seed: Number(query.get("seed")), index, truncation: Number(query.get("truncation")), with: query.get("with") ?? "", without: query.get("without") ?? "" };
    const image = make("img", { src: png, alt: `Face ${index} of seed ${face.seed}` });
    return make("li", {}, make("button", { type: "button", onclick: () => openFace(query.get("model"), face, png) }, image));
  }

  async function generate() {
    const model = studio.model(), query = asked(), began = performance.now();
    const said = await askJson(`api/faces?${query}`);
    loaded.add(model.name);
    byId("grid").replaceChildren(...said.faces.map((face) => picture(query, face)));
    byId("command").textContent = said.command;
    byId("python").textContent = said.python;
    byId("faces-note").textContent = said.note ?? "";
    byId("faces-note").hidden = !said.note;
    byId("recipe-lines").hidden = false;
    for (const format of ["png", "zip"]) {
      const link = byId(`faces-${format}`);
      link.href = `api/faces?${query}&format=${format}`;
      link.hidden = false;
    }
    const count = said.faces.length;
    return `${count} ${count === 1 ? "face" : "faces"} of seed ${said.seed} in ${((performance.now() - began) / 1000).toFixed(2)} s.`;
  }

  let timer, late = false;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => form.requestSubmit(), PATIENCE);
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(timer);
    late = submit.disabled;
    if (late) return;
    const { name, loaded: there } = studio.model();
    await busy(submit, there || loaded.has(name) ? "Generating …" : "Loading the model …", generate);
    if (late) form.requestSubmit();  // something was changed meanwhile
  });
  form.truncation.addEventListener("change", soon);
  byId("new-seed").addEventListener("click", () => {
    form.seed.value = Math.floor(Math.random() * 1_000_000);
    form.requestSubmit();
  });
  byId("free-all").addEventListener("click", () => {
    for (const button of document.querySelectorAll(".chip")) button.dispatchEvent(new Event("free"));
    soon();
  });
  document.addEventListener("model", () => {
    showAttributes();
    if (!studio.model().problem) form.requestSubmit();
  });
}
