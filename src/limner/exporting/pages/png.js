/* PNG files as limner.images.png writes them: marked as synthetic, with the settings that make them again. */
"use strict";

/** `image`: { width, height, pixels (RGBA) }; `xmp`: the packet that marks it; `settings`: an object. A Blob. */
async function generatedPng(image, xmp, settings) {
  const utf8 = (text) => new TextEncoder().encode(text);
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, image.width);
  header.setUint32(4, image.height);
  header.setUint8(8, 8); // bits of each sample
  header.setUint8(9, 2); // red, green, blue
  const chunks = [
    ["IHDR", new Uint8Array(header.buffer)],
    ["iTXt", utf8(`XML:com.adobe.xmp\0\0\0\0\0${xmp}`)],
    ["tEXt", utf8(`limner\0${asciiJson(settings)}`)],
    ["IDAT", await deflated(scanlines(image))],
    ["IEND", new Uint8Array()],
  ];
  const signature = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return new Blob([signature, ...chunks.map(([type, content]) => chunk(utf8(type), content))], { type: "image/png" });
}

/** Images of one size row by row, with `padding` white pixels between them, as limner.images.grid lays them out. */
function faceGrid(images, size, columns, padding) {
  const rows = Math.ceil(images.length / columns), step = size + padding;
  const width = columns * step - padding, height = rows * step - padding;
  const pixels = new Uint8ClampedArray(4 * width * height).fill(255);
  images.forEach((face, place) => {
    const left = (place % columns) * step, top = Math.floor(place / columns) * step;
    for (let y = 0; y < size; y++) {
      pixels.set(face.subarray(4 * y * size, 4 * (y + 1) * size), 4 * ((top + y) * width + left));
    }
  });
  return { width, height, pixels };
}

function scanlines({ width, height, pixels }) {
  const lines = new Uint8Array(height * (1 + 3 * width)); // each begins with its filter, 0
  for (let y = 0, to = 0, from = 0; y < height; y++) {
    to++;
    for (let x = 0; x < width; x++, from += 4) for (let c = 0; c < 3; c++) lines[to++] = pixels[from + c];
  }
  return lines;
}

async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(type, content) {
  const whole = new Uint8Array(12 + content.length), view = new DataView(whole.buffer);
  view.setUint32(0, content.length);
  whole.set(type, 4);
  whole.set(content, 8);
  view.setUint32(8 + content.length, crc32(whole.subarray(4, 8 + content.length)));
  return whole;
}

function asciiJson(value) {
  const escape = (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value).replace(/[\u0080-\uffff]/g, escape);
}
