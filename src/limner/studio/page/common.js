// What the parts of the page share: requests, sentences, elements. Text enters the page as text, never as markup.
export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export const words = (name) => name.replaceAll("_", " ");

/** Ask the studio; a mistake is an Error whose message is a sentence. A body, JSON or a file, makes it a POST. */
export async function ask(path, body) {
  const options = body === undefined ? {} : body instanceof Blob ? { method: "POST", body }
    : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw new Error("The studio does not answer: is limner studio still running?");
  }
  if (!reply.ok) {
    const said = await reply.json().catch(() => ({}));
    throw new Error(said.error ?? `The studio answers with status ${reply.status}.`);
  }
  return reply;
}

export const askJson = async (path, body) => (await ask(path, body)).json();

/** Show a mistake as a sentence, or none. */
export function complain(problem, where = byId("problem")) {
  where.textContent = problem ? problem.message : "";
  where.hidden = !problem;
}

/** Run `action` while `button` is disabled and the status says `doing`; mistakes become sentences. */
export async function busy(button, doing, action, where) {
  if (button.disabled) return;
  button.disabled = true;
  complain(null, where);
  const began = performance.now(), status = byId("status");
  status.textContent = doing;
  const clock = setInterval(() => (status.textContent = `${doing} ${Math.round((performance.now() - began) / 1000)} s`), 1000);
  try {
    const said = await action();
    clearInterval(clock);
    status.textContent = said ?? "";
  } catch (problem) {
    clearInterval(clock);
    status.textContent = "";
    complain(problem, where);
  } finally {
    button.disabled = false;
  }
}

/** A face in words: its number, or that it has none. */
export const nameOf = (face) => (face.point ? "edited face" : `face ${face.seed}:${face.index}`);

export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Let the label of a slider say its value. */
export function sayValue(slider, say = (value) => Number(value).toFixed(2)) {
  const shown = slider.closest("label").querySelector(".value");
  const update = () => (shown.textContent = say(slider.value));
  slider.addEventListener("input", update);
  update();
}
