/* The generator as the page sees it: loads the files, starts the worker, and answers with faces and images. */
"use strict";

class Generator {
  constructor(about) {
    this.about = about;
    this.answers = new Map();
    this.last = 0;
  }

  /** Load everything; `onProgress` is told the share that has come, from 0 to 1. */
  async start({ worker, files }, onProgress) {
    if (typeof WebAssembly === "undefined" || typeof DecompressionStream === "undefined") {
      throw new Error("This browser is too old: the page needs WebAssembly and DecompressionStream.");
    }
    const buffers = files ? embedded(files, onProgress) : await fetched(this.about.downloads, onProgress);
    const source = URL.createObjectURL(new Blob([worker], { type: "text/javascript" }));
    this.worker = new Worker(source);
    this.worker.onmessage = ({ data }) => this.#answer(data);
    this.worker.onerror = (event) => this.#fail(event.message || "The generator could not be started.");
    await this.#ask("start", { about: this.about, files: buffers }, Object.values(buffers));
    URL.revokeObjectURL(source);
  }

  /** Faces of a seed; `onFace` gets each as it is made. A newer call ends an older one early. */
  sample(request, onFace) {
    return this.#ask("sample", request, [], onFace);
  }

  /** The pixels of points, of latents and attributes. */
  async images(points) {
    return (await this.#ask("images", { points })).images;
  }

  #ask(task, request, transferred = [], onFace = null) {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.answers.set(id, { resolve, reject, onFace });
      this.worker.postMessage({ id, task, ...request }, transferred);
    });
  }

  #answer({ id, face, done, error }) {
    const waiting = this.answers.get(id);
    if (face) return waiting.onFace(face);
    this.answers.delete(id);
    if (error) waiting.reject(new Error(error));
    else waiting.resolve(done);
  }

  #fail(message) {
    for (const { reject } of this.answers.values()) reject(new Error(message));
    this.answers.clear();
  }
}

/** The files that are within the page, in base64. */
function embedded(files, onProgress) {
  const buffers = {};
  for (const [name, base64] of Object.entries(files)) {
    const binary = atob(base64);
    const bytes = new Uint8Array(binary.length);
    for (let place = 0; place < bytes.length; place++) bytes[place] = binary.charCodeAt(place);
    buffers[name] = bytes.buffer;
  }
  onProgress(1);
  return buffers;
}

/** The files beside the page; `downloads` has the name and the size in bytes of each. */
async function fetched(downloads, onProgress) {
  if (location.protocol === "file:") {
    throw new Error(
      "Browsers do not let a page read files beside it. Serve this folder (python -m http.server), or export the " +
        "model with --single-file.",
    );
  }
  const total = Object.values(downloads).reduce((sum, { bytes }) => sum + bytes, 0);
  let received = 0;
  const fetchOne = async ([name, { file }]) => {
    const response = await fetch(file).catch(() => null);
    if (!response?.ok) throw new Error(`${file} could not be loaded (${response ? response.status : "no connection"}).`);
    const parts = [], reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      received += value.length;
      onProgress(Math.min(1, received / total));
    }
    return [name, await new Blob(parts).arrayBuffer()];
  };
  return Object.fromEntries(await Promise.all(Object.entries(downloads).map(fetchOne)));
}
