/* Generates off the page's thread. `ort` is onnxruntime-web, which stands before this script. */
"use strict";

const BATCH = 4;
let model, session, attributes, newest = 0;

const tasks = {
  /** Load the model: `files` are the ONNX file and the WebAssembly of the runtime, compressed or not. */
  async start({ about, files }) {
    model = about;
    attributes = about.attributeNames.length
      ? new Attributes(unpackKnown(about.known, about.knownCount, about.attributeNames.length))
      : null;
    ort.env.wasm.numThreads = 1; // more would need headers that plain servers do not send
    ort.env.wasm.wasmBinary = await decompressed(files.runtime);
    session = await ort.InferenceSession.create(new Uint8Array(files.model), { executionProviders: ["wasm"] });
    return {};
  },

  /** The faces `first` ... `first + count - 1` of a seed, each in a message of its own. */
  async sample({ id, seed, first, count, requested, truncation }) {
    newest = id;
    const wanted = new Map(requested);
    const rare = Boolean(attributes?.isRare(wanted));
    for (let start = 0; start < count && newest === id; start += BATCH) {
      const indices = Array.from({ length: Math.min(BATCH, count - start) }, (_, k) => first + start + k);
      const points = indices.map((index) => ({
        z: faceLatent(seed, index, model.latentSize, model.latentDistribution).map((value) => value * truncation),
        y: attributes ? attributes.ofFace(seed, index, wanted) : [],
      }));
      const images = await generate(points);
      points.forEach((point, k) => postMessage({ id, face: { index: indices[k], ...point, pixels: images[k] } }));
      await new Promise((resolve) => setTimeout(resolve)); // lets a newer request in
    }
    return { rare };
  },

  /** The images of any points: latents, with the truncation already in them, and attributes. */
  async images({ points }) {
    return { images: await generate(points) };
  },
};

onmessage = async ({ data }) => {
  try {
    postMessage({ id: data.id, done: await tasks[data.task](data) });
  } catch (error) {
    postMessage({ id: data.id, error: error.message || String(error) });
  }
};

/** The pixels of each point: RGBA, as a canvas takes them. */
async function generate(points) {
  const { latentSize, attributeNames, size } = model;
  const input = (rows, width) => {
    const values = new Float32Array(rows.length * width);
    rows.forEach((row, n) => values.set(row, n * width));
    return new ort.Tensor("float32", values, [rows.length, width]);
  };
  const given = { latents: input(points.map(({ z }) => z), latentSize) };
  if (attributeNames.length) given.attributes = input(points.map(({ y }) => y), attributeNames.length);
  const { images } = await session.run(given);
  const plane = size * size;
  return points.map((_, n) => {
    const pixels = new Uint8ClampedArray(4 * plane);
    for (let place = 0; place < plane; place++) {
      for (let c = 0; c < 3; c++) pixels[4 * place + c] = Math.round(images.data[(3 * n + c) * plane + place] * 255);
      pixels[4 * place + 3] = 255;
    }
    return pixels;
  });
}

async function decompressed(buffer) {
  const [first, second] = new Uint8Array(buffer, 0, 2);
  if (first !== 0x1f || second !== 0x8b) return buffer; // the server has done it
  return new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
