// The tab Morph: two to eight faces, and a walk through them.
import { ask, askJson, busy, byId, complain, make, nameOf, save } from "./common.js";

const MOST = 8, FRAMES_A_SECOND = 20;

export function startMorph(studio) {
  const form = byId("morph-form"), submit = form.querySelector("[type=submit]"), through = byId("through"), play = byId("play");
  let tray = [], frames = [], playing = null;

  function add(face, png) {
    if (tray.length >= MOST) throw new Error(`A walk has at most ${MOST} faces: remove one first.`);
    tray.push({ face, png });
    showTray();
    byId("status").textContent = `The ${nameOf(face)} is in the morph, ${tray.length} of at most ${MOST}.`;
  }

  function showTray() {
    byId("tray").replaceChildren(...tray.map(({ face, png }, place) => {
      const name = nameOf(face);
      const move = (by, sign, word) => make("button", { type: "button", "aria-label": `${word} ${name}`, onclick: () => {
        const [one] = tray.splice(place, 1);
        if (by !== null) tray.splice(Math.max(0, place + by), 0, one);
        showTray();
      } }, sign);
      return make("li", {}, make("img", { src: png, alt: name }),
        make("div", { class: "moves" }, move(-1, "←", "Move forward:"), move(null, "×", "Remove:"), move(1, "→", "Move back:")));
    }));
  }

  async function addNumbered(seed, index) {
    const query = new URLSearchParams({ model: studio.model().name, seed, first: index, count: 1 });
    const said = await askJson(`api/faces?${query}`);
    add({ seed, index, truncation: 1, with: "", without: "" }, said.faces[0].png);
  }

  const wanted = (format) => ({
    model: studio.model().name, faces: tray.map(({ face }) => face), frames: Number(form.frames.value), loop: form.loop.checked, fps: FRAMES_A_SECOND, format,
  });
  const enough = () => {
    if (tray.length < 2) throw new Error("A walk needs at least two faces: add some.");
  };

  async function walk() {
    enough();
    const said = await askJson("api/morph", wanted("json"));
    frames = said.frames;
    through.max = frames.length - 1;
    through.value = 0;
    showFrame();
    byId("walk-command").textContent = said.command ?? "";
    byId("walk-lines").hidden = !said.command;
    for (const id of ["walk", "play", "export"]) byId(id).hidden = false;
    return `A walk of ${frames.length} images: drag through it, or play it.`;
  }

  function showFrame() {
    byId("frame").src = frames[through.value];
    byId("frame").alt = `Image ${Number(through.value) + 1} of the walk`;
    byId("position").textContent = `${Number(through.value) + 1} of ${frames.length}`;
  }

  function stop() {
    clearInterval(playing);
    playing = null;
    play.setAttribute("aria-pressed", "false");
    play.textContent = "Play";
  }

  play.addEventListener("click", () => {
    if (playing) return stop();
    play.setAttribute("aria-pressed", "true");
    play.textContent = "Pause";
    playing = setInterval(() => {
      through.value = (Number(through.value) + 1) % frames.length;
      showFrame();
    }, 1000 / FRAMES_A_SECOND);
  });
  through.addEventListener("input", showFrame);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    stop();
    busy(submit, "Making the walk …", walk);
  });
  byId("add-face").addEventListener("click", (event) => busy(event.currentTarget, "Generating …", async () => {
    const found = /^\s*(\d{1,9}):(\d{1,9})\s*$/.exec(byId("morph-face").value);
    if (!found) throw new Error("A face is named SEED:INDEX, two whole numbers, such as 0:3.");
    await addNumbered(Number(found[1]), Number(found[2]));
  }));
  byId("add-random").addEventListener("click", (event) =>
    busy(event.currentTarget, "Generating …", () => addNumbered(Math.floor(Math.random() * 1_000_000), 0)));
  byId("save-walk").addEventListener("click", (event) => {
    const format = byId("walk-format").value;
    busy(event.currentTarget, "Writing the file …", async () => {
      enough();
      const reply = await ask("api/morph", wanted(format));
      save(await reply.blob(), `walk.${format}`);
      return `walk.${format} is downloaded.`;
    });
  });
  document.addEventListener("model", () => {
    [tray, frames] = [[], []];
    stop();
    showTray();
    for (const id of ["walk", "play", "export", "walk-lines"]) byId(id).hidden = true;
  });
  document.addEventListener("shown", stop);

  return { add: (face, png) => { try { add(face, png); } catch (problem) { complain(problem); } } };
}
