/* What the page's parts share: elements, images on canvases, downloads, and words. */
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const about = data.about;

const element = (id) => document.getElementById(id);

/** A new element with these properties and children. */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function paint(canvas, pixels) {
  canvas.width = canvas.height = about.size;
  canvas.getContext("2d").putImageData(new ImageData(pixels, about.size), 0, 0);
}

function clear(canvas) {
  canvas.width = canvas.height = about.size;
}

/** An attribute's name as people write it. */
function inWords(name) {
  return name.replace("5_o_Clock", "5 o'clock").replaceAll("_", " ").toLowerCase();
}

/** What a face has, for those who cannot see it. */
function description(point) {
  const present = about.attributeNames.filter((_, position) => point.y[position] >= 0.5).map(inWords);
  return present.length ? `: ${present.join(", ")}` : "";
}

async function download(image, settings, name) {
  const made = { model: about.model, weights_sha256: about.weightsSha256, precision: "fp32", limner: about.limner };
  const blob = await generatedPng(image, newMark(), { ...settings, ...made });
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The XMP packet of a file that is being made: the time, and an identifier that no other file has. */
function newMark() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // a random UUID, version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const id = digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  const time = new Date().toISOString().replace(/\.\d+/, "");
  return about.mark.packet.replace(about.mark.time, time).replace(about.mark.id, id);
}

/** Say plainly what went wrong. */
function tell(error) {
  element("problem").textContent = error.message || String(error);
  element("problem").hidden = false;
}
