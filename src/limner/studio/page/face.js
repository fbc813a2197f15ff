// One face, large: its number, its file, faces near it, the training image nearest to it.
import { askJson, busy, byId, make, sayValue, words } from "./common.js";

export function startFace(studio, addToMorph, edit) {
  const dialog = byId("face"), problem = dialog.querySelector(".face-problem"), amount = byId("amount");
  let model, face, png;
  sayValue(amount);

  function describe() {
    const parts = [`Model ${model}`, `truncation ${face.truncation}`];
    if (face.with) parts.push(`with ${words(face.with).replaceAll(",", ", ")}`);
    if (face.without) parts.push(`without ${words(face.without).replaceAll(",", ", ")}`);
    if (face.variation) parts.push(`variation ${face.variation.index}, ${face.variation.amount} away`);
    return parts.join(" · ");
  }

  function show(newFace, newPng) {
    [face, png] = [newFace, newPng];
    const name = `Face ${face.seed}:${face.index}${face.variation ? `, variation ${face.variation.index}` : ""}`;
    byId("face-title").textContent = name;
    byId("face-image").src = png;
    byId("face-image").alt = `${name}, enlarged`;
    byId("face-words").textContent = describe();
    const link = byId("face-png");
    link.href = png;
    link.download = `face-${face.seed}-${face.index}${face.variation ? `-${face.variation.index}` : ""}.png`;
    byId("near").hidden = true;
    problem.hidden = true;
  }

  async function vary() {
    const said = await askJson("api/variations", { model, face: { ...face, variation: null }, amount: Number(amount.value), count: 12 });
    byId("amount-label").hidden = false;
    byId("variations").replaceChildren(...said.faces.map((near) => {
      const image = make("img", { src: near.png, alt: `Variation ${near.face.variation.index}` });
      return make("li", {}, make("button", { type: "button", onclick: () => show(near.face, near.png) }, image));
    }));
  }

  async function findNearest() {
    const said = await askJson("api/nearest", { model, face });
    byId("near-image").src = said.png;
    byId("near-image").alt = "The nearest training image";
    byId("near-words").textContent = `The nearest of ${said.count.toLocaleString("en")} training images, by pixels; root mean square difference ${said.rms.toFixed(1)} of 255. It may show a real person.`;
    byId("near").hidden = false;
  }

  const varyButton = byId("face-variations");
  varyButton.addEventListener("click", () => busy(varyButton, "Generating …", vary, problem));
  amount.addEventListener("change", () => busy(varyButton, "Generating …", vary, problem));
  byId("face-near").addEventListener("click", (event) => busy(event.currentTarget, "Searching …", findNearest, problem));
  byId("face-morph").addEventListener("click", () => {
    addToMorph(face, png);
    dialog.close();
  });
  byId("face-edit").addEventListener("click", () => {
    dialog.close();
    edit(face, png);
  });
  byId("close-face").addEventListener("click", () => dialog.close());

  return (ofModel, newFace, newPng) => {
    model = ofModel;
    byId("variations").replaceChildren();
    byId("amount-label").hidden = true;
    byId("face-near").hidden = !studio.model().of_run;
    show(newFace, newPng);
    dialog.showModal();
  };
}
