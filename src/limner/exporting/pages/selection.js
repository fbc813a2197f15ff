/* Up to three selected faces, A, B and C: the morph from A to B, and A − B + C. */
"use strict";

const STEPS = 25, FRAME_MS = 80;
const LETTERS = "ABC";

class Selection {
  constructor(generator, onChange) {
    this.generator = generator;
    this.onChange = onChange;
    this.faces = [];
    this.frames = []; // pixels of the morph's steps, as they come
    this.sum = null;
    this.timer = 0;
    element("position").addEventListener("input", () => this.#showFrame());
    element("play").addEventListener("click", () => (this.timer ? this.#stop() : this.#play()));
    element("download-morph").addEventListener("click", () => this.#downloadFrame());
    element("download-walk").addEventListener("click", () => this.#downloadWalk());
    element("download-sum").addEventListener("click", () => this.#downloadSum());
  }

  letterOf(face) {
    return LETTERS[this.faces.findIndex((one) => sameFace(one, face))] ?? "";
  }

  /** Select a face, or no longer; a fourth takes the place of the third. */
  toggle(face) {
    const place = this.faces.findIndex((one) => sameFace(one, face));
    if (place >= 0) this.faces.splice(place, 1);
    else this.faces.splice(Math.min(this.faces.length, LETTERS.length - 1), 1, face);
    this.#update().catch(tell);
  }

  async #update() {
    this.onChange();
    this.#stop();
    const faces = [...this.faces];
    element("selected").hidden = !faces.length;
    element("tray").replaceChildren(...faces.map((face, place) => this.#card(face, LETTERS[place])));
    element("morph").hidden = faces.length < 2;
    element("sum").hidden = faces.length < 3;
    element("hint").textContent = ["", "Select a second face to morph, and a third to calculate.", "Select a third face to calculate A − B + C."][faces.length] ?? "";
    this.frames = [];
    this.sum = null;
    if (faces.length < 2) return;
    const isCurrent = () => faces.length === this.faces.length && faces.every((face, place) => face === this.faces[place]);
    if (faces.length === 3) {
      const [pixels] = await this.generator.images([sumOf(faces)]);
      if (!isCurrent()) return;
      this.sum = pixels;
      paint(element("sum-image"), pixels);
      element("sum-image").setAttribute("aria-label", `Generated face: the sum${description(sumOf(faces))}`);
    }
    // The middle first, where the slider stands, then outwards.
    const middle = (STEPS - 1) / 2;
    const order = Array.from({ length: STEPS }, (_, step) => step).sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    for (const step of order) {
      const [pixels] = await this.generator.images([pointBetween(faces[0], faces[1], step / (STEPS - 1))]);
      if (!isCurrent()) return;
      this.frames[step] = pixels;
      if (step === Number(element("position").value)) this.#showFrame();
    }
  }

  #card(face, letter) {
    const canvas = make("canvas");
    paint(canvas, face.pixels);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Generated face ${letter}${description(face)}`);
    const { seed } = face.settings;
    const save = make("button", { type: "button", textContent: "Download" });
    save.setAttribute("aria-label", `Download face ${letter}`);
    save.addEventListener("click", () => downloadFace(face));
    const remove = make("button", { type: "button", textContent: "Remove" });
    remove.setAttribute("aria-label", `Remove face ${letter}`);
    remove.addEventListener("click", () => this.toggle(face));
    return make(
      "figure",
      {},
      make("div", { className: "picture" }, canvas, make("span", { className: "badge", textContent: letter })),
      make("figcaption", { textContent: `face ${face.index} of seed ${seed}` }),
      make("div", { className: "row" }, save, remove),
    );
  }

  #showFrame() {
    const step = Number(element("position").value);
    const share = `${Math.round((100 * step) / (STEPS - 1))}%`;
    element("position-value").value = share;
    element("position").setAttribute("aria-valuetext", `${share} of the way from A to B`);
    element("morph-image").setAttribute("aria-label", `Generated face ${share} of the way from A to B`);
    if (this.frames[step]) paint(element("morph-image"), this.frames[step]);
  }

  #play() {
    let direction = 1;
    const slider = element("position");
    this.timer = setInterval(() => {
      if (Number(slider.value) + direction > STEPS - 1 || Number(slider.value) + direction < 0) direction = -direction;
      slider.value = Number(slider.value) + direction;
      this.#showFrame();
    }, FRAME_MS);
    element("play").textContent = "Pause";
    element("play").setAttribute("aria-pressed", "true");
  }

  #stop() {
    clearInterval(this.timer);
    this.timer = 0;
    element("play").textContent = "Play";
    element("play").setAttribute("aria-pressed", "false");
  }

  #downloadFrame() {
    const step = Number(element("position").value);
    if (!this.frames[step]) return;
    const image = faceGrid([this.frames[step]], about.size, 1, 0);
    download(image, { command: "page morph", faces: this.#origins(2), share: step / (STEPS - 1) }, "morph.png");
  }

  #downloadWalk() {
    if (this.frames.filter(Boolean).length < STEPS) return;
    const image = faceGrid(this.frames, about.size, Math.ceil(Math.sqrt(STEPS)), 2);
    download(image, { command: "page morph", faces: this.#origins(2), steps: STEPS }, "morph-steps.png");
  }

  #downloadSum() {
    if (!this.sum) return;
    download(faceGrid([this.sum], about.size, 1, 0), { command: "page arithmetic", faces: this.#origins(3) }, "sum.png");
  }

  /** The first selected faces, as settings record them. */
  #origins(count) {
    return this.faces.slice(0, count).map(({ index, settings: { seed, truncation, with_, without } }) => ({ seed, index, truncation, with_, without }));
  }
}

function sameFace(one, other) {
  const identity = ({ index, y, settings: { seed, truncation } }) => [seed, index, truncation, ...y].join();
  return identity(one) === identity(other);
}

function downloadFace(face) {
  const settings = { ...face.settings, first: face.index, count: 1, columns: 1 };
  download(faceGrid([face.pixels], about.size, 1, 0), settings, `face-seed${settings.seed}-${face.index}.png`);
}

function pointBetween(a, b, share) {
  return {
    z: between(a.z, b.z, share, about.latentDistribution),
    y: Array.from(a.y, (value, position) => value + (b.y[position] - value) * share),
  };
}

/** A − B + C. Attributes stay between 0 and 1, and latents as far from the middle as those of A, B and C. */
function sumOf([a, b, c]) {
  const sum = (x, y, z) => Array.from(x, (value, place) => value - y[place] + z[place]);
  const z = sum(a.z, b.z, c.z), uniform = about.latentDistribution === "uniform";
  const scale = (norm(a.z) + norm(b.z) + norm(c.z)) / 3 / Math.max(norm(z), 1e-12);
  return {
    z: z.map((value) => (uniform ? clipped(value, -1, 1) : value * scale)),
    y: sum(a.y, b.y, c.y).map((value) => clipped(value, 0, 1)),
  };
}
