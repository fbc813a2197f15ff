/* The page of faces: what is requested, the grid, and the command that makes the same faces. */
"use strict";

const generator = new Generator(about);
const requested = new Map(); // position of an attribute -> 1 or 0
const shown = { faces: [], cells: [], settings: null };
const selection = new Selection(generator, () => shown.cells.forEach(markCell));

async function start() {
  element("model").textContent =
    `Model: ${about.model} (recipe ${about.recipe}, ${about.size} × ${about.size} pixels, weights ` +
    `${about.weightsSha256.slice(0, 12)}), exported by Limner ${about.limner}. Licence of the weights and of the faces: ${about.licence}.`;
  element("attributes").hidden = !about.attributeNames.length;
  element("attributes").open = matchMedia("(min-width: 48rem)").matches;
  about.groups.forEach(({ title, positions }) => element("groups").append(chipGroup(title, positions)));
  try {
    await generator.start(data, (share) => {
      element("loading-bar").value = share;
      element("loading-text").textContent = share < 1 ? `Loading the model… ${Math.floor(100 * share)}%` : "Starting the model…";
    });
  } catch (error) {
    element("loading").hidden = true;
    return tell(error);
  }
  element("loading").hidden = true;
  element("controls").hidden = element("faces").hidden = false;
  connect();
  await draw();
}

function connect() {
  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(draw, 150);
  };
  for (const id of ["seed", "count", "truncation"]) element(id).addEventListener("input", soon);
  element("groups").addEventListener("click", soon);
  element("truncation").addEventListener("input", () => (element("truncation-value").value = truncation().toFixed(2)));
  element("controls").addEventListener("submit", (event) => event.preventDefault());
  element("new-seed").addEventListener("click", () => {
    element("seed").value = 1 + Math.floor(Math.random() * 999999);
    draw();
  });
  element("clear").addEventListener("click", () => {
    requested.clear();
    document.querySelectorAll(".chip").forEach(showChip);
    draw();
  });
  element("download-grid").addEventListener("click", downloadGrid);
  element("copy").addEventListener("click", copyCommand);
}

const truncation = () => Number(element("truncation").value);

function chipGroup(title, positions) {
  const group = make("fieldset", {}, make("legend", { textContent: title }));
  for (const position of positions) {
    const chip = make("button", { type: "button", className: "chip", textContent: inWords(about.attributeNames[position]) });
    chip.dataset.position = position;
    chip.addEventListener("click", () => {
      const next = new Map([[undefined, 1], [1, 0]]).get(requested.get(position));
      if (next === undefined) requested.delete(position);
      else requested.set(position, next);
      showChip(chip);
    });
    showChip(chip);
    group.append(chip);
  }
  return group;
}

function showChip(chip) {
  const state = ["without", "with"][requested.get(Number(chip.dataset.position))] ?? "free";
  chip.dataset.state = state;
  chip.setAttribute("aria-label", `${chip.textContent}: ${state}`);
}

/** Generate the faces that the controls ask for. */
async function draw() {
  if (!element("seed").reportValidity()) return;
  const settings = {
    seed: Number(element("seed").value),
    first: 0,
    count: Number(element("count").value),
    truncation: truncation(),
    with_: namesOf(1),
    without: namesOf(0),
  };
  shown.settings = settings;
  shown.faces = [];
  layOut(settings.count);
  element("command").textContent = commandOf(settings);
  element("requested").textContent = requested.size ? `(${requested.size} requested)` : "";
  element("status").textContent = "Generating…";
  element("problem").hidden = true;
  const began = performance.now();
  try {
    const answer = await generator.sample({ ...settings, requested: [...requested] }, (face) => {
      if (shown.settings !== settings) return;
      shown.faces[face.index] = { ...face, settings };
      paint(shown.cells[face.index].firstChild, face.pixels);
      markCell(shown.cells[face.index], face.index);
    });
    if (shown.settings !== settings) return;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const faces = settings.count === 1 ? "1 face" : `${settings.count} faces`;
    const weaker = answer.rare ? " This combination is rarer than 1 in 10,000 in the training data: expect weaker faces." : "";
    element("status").textContent = `${faces} of seed ${settings.seed} in ${seconds} s.${weaker}`;
  } catch (error) {
    tell(error);
  }
}

const namesOf = (value) => [...requested].filter(([, wanted]) => wanted === value).map(([position]) => about.attributeNames[position]);

function layOut(count) {
  const grid = element("grid");
  while (shown.cells.length > count) shown.cells.pop().remove();
  while (shown.cells.length < count) {
    const index = shown.cells.length;
    const cell = make("button", { type: "button", className: "face" }, make("canvas"), make("span", { className: "badge" }));
    cell.addEventListener("click", () => shown.faces[index] && selection.toggle(shown.faces[index]));
    shown.cells.push(cell);
    grid.append(cell);
  }
  grid.style.setProperty("--columns", Math.ceil(Math.sqrt(count)));
  shown.cells.forEach((cell, index) => {
    clear(cell.firstChild);
    markCell(cell, index);
  });
}

function markCell(cell, index) {
  const face = shown.faces[index];
  const letter = face ? selection.letterOf(face) : "";
  cell.lastChild.textContent = letter;
  cell.setAttribute("aria-pressed", String(Boolean(letter)));
  cell.setAttribute("aria-label", face ? `Generated face ${index}${description(face)}` : `Face ${index}, not generated yet`);
}

/** The command that samples the same faces. */
function commandOf({ seed, count, truncation: value, with_, without }) {
  const quoted = (text) => (/^[\w@./,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const words = (names) => quoted(names.join().toLowerCase());
  return [
    `limner sample ${quoted(about.model)} --out faces.png --count ${count} --seed ${seed}`,
    ...(with_.length ? [`--with ${words(with_)}`] : []),
    ...(without.length ? [`--without ${words(without)}`] : []),
    ...(value === 1 ? [] : [`--truncation ${value}`]),
  ].join(" ");
}

async function copyCommand() {
  const text = element("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(element("command")); // not allowed here: the user can copy what is marked
    document.execCommand("copy");
  }
  element("copy").textContent = "Copied";
  setTimeout(() => (element("copy").textContent = "Copy"), 1500);
}

function downloadGrid() {
  const { settings, faces } = shown;
  if (faces.filter(Boolean).length < settings.count) return;
  const columns = Math.ceil(Math.sqrt(settings.count));
  const grid = faceGrid(faces.map(({ pixels }) => pixels), about.size, columns, settings.count === 1 ? 0 : 2);
  download(grid, { ...settings, columns }, `faces-seed${settings.seed}.png`);
}

start();
