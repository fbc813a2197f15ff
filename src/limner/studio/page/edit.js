// The tab Edit: a face or a photo, moved along directions of attributes.
import { ask, askJson, busy, byId, complain, make, sayValue, words } from "./common.js";

const PATIENCE = 200;
const MOST_BYTES = 12 * 2 ** 20;

export function startEdit(studio, addToMorph) {
  const strengths = new Map();
  let face = null, edited = null, timer = null, running = false, late = false;
  const find = byId("find-directions"), take = byId("take-face"), photo = byId("photo");

  function start(newFace, png, name) {
    face = newFace;
    byId("before").src = png;
    byId("before").alt = `${name}, as it is`;
    byId("before-figure").hidden = false;
    byId("edit-photo-figure").hidden = true;
    showEdited(face, png);
    if (strengths.size) change();
  }

  function showEdited(newFace, png) {
    edited = { face: newFace, png };
    byId("after").src = png;
    byId("after").alt = "The face after the change";
    byId("edited-png").href = png;
    byId("after-figure").hidden = byId("edit-actions").hidden = false;
  }

  /** Ask for the face as the sliders are now; changes made meanwhile are asked for afterwards, all at once. */
  async function change() {
    if (!face) return;
    if (running) return void (late = true);
    running = true;
    late = false;
    complain(null);
    try {
      const by = Object.fromEntries([...strengths].filter(([, strength]) => strength !== 0));
      const said = await askJson("api/edit", { model: studio.model().name, face, by });
      showEdited(said.face, said.png);
    } catch (problem) {
      complain(problem);
    } finally {
      running = false;
    }
    if (late) change();
  }

  function slider(name) {
    const range = make("input", { type: "range", min: -3, max: 3, step: 0.25, value: 0 });
    const label = make("label", { class: "slider" }, words(name), make("span", { class: "value" }), range);
    sayValue(range, (value) => (Number(value) > 0 ? `+${value}` : value));
    range.addEventListener("input", () => {
      strengths.set(name, Number(range.value));
      byId("reset-edit").hidden = false;
      clearTimeout(timer);
      timer = setTimeout(change, PATIENCE);
    });
    return label;
  }

  find.addEventListener("click", () => busy(find, "Finding directions: the judge looks at 1,024 faces …", async () => {
    const said = await askJson("api/directions", { model: studio.model().name });
    byId("strengths").replaceChildren(...Object.entries(said.directions).map(([group, names], place) =>
      make("details", place < 2 ? { open: "" } : {}, make("summary", {}, group), ...names.map(slider))));
    find.hidden = true;
    if (!face) await takeFace();
    return "Move a slider.";
  }));

  async function takeFace() {
    const found = /^\s*(\d{1,9}):(\d{1,9})\s*$/.exec(byId("edit-face").value);
    if (!found) throw new Error("A face is named SEED:INDEX, two whole numbers, such as 0:3.");
    const [seed, index] = [Number(found[1]), Number(found[2])];
    const said = await askJson(`api/faces?${new URLSearchParams({ model: studio.model().name, seed, first: index, count: 1 })}`);
    start({ seed, index }, said.faces[0].png, `Face ${seed}:${index}`);
  }

  take.addEventListener("click", () => busy(take, "Generating …", takeFace));
  photo.addEventListener("change", () => photo.files.length && busy(photo, "Looking for the model’s nearest face …", async () => {
    const [file] = photo.files;
    if (file.size > MOST_BYTES) throw new Error("The photo is larger than 12 MB: make it smaller.");
    const reply = await ask(`api/project?${new URLSearchParams({ model: studio.model().name })}`, file);
    const said = await reply.json();
    start(said.face, said.png, "The model’s nearest face");
    byId("edit-photo").src = said.photo;
    byId("edit-photo-figure").hidden = false;
    return `Nearest face found; root mean square difference ${(said.pixels * 255).toFixed(0)} of 255.`;
  }));
  byId("reset-edit").addEventListener("click", () => {
    for (const range of byId("strengths").querySelectorAll("input")) {
      range.value = 0;
      range.dispatchEvent(new Event("input"));
    }
    byId("reset-edit").hidden = true;
  });
  byId("edit-morph").addEventListener("click", () => addToMorph(edited.face, edited.png));
  document.addEventListener("model", () => {
    face = null;
    strengths.clear();
    byId("strengths").replaceChildren();
    find.hidden = false;
    photo.value = "";
    for (const id of ["before-figure", "after-figure", "edit-photo-figure", "edit-actions", "reset-edit"]) byId(id).hidden = true;
  });
  return start;
}
