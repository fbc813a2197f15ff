/* Latents of faces as limner.latent.latents gives them, and what lies between and beyond two of them. */
"use strict";

/** The latent of face `index` of `seed`: Float32Array of `size`. */
function faceLatent(seed, index, size, distribution) {
  const random = new RandomStream(seed, "face", index);
  if (distribution === "uniform") return Float32Array.from({ length: size }, () => random.float() * 2 - 1);
  const z = Float32Array.from({ length: size }, () => random.normal());
  if (distribution === "gaussian") return z;
  const scale = Math.sqrt(size) / norm(z); // onto the sphere
  return z.map((value) => value * scale);
}

/** The latent at `share` of the way from `a` to `b`: on the arc between them, of uniform latents on the line. */
function between(a, b, share, distribution) {
  const line = (from, to) => from + (to - from) * share;
  if (distribution === "uniform") return a.map((value, place) => line(value, b[place]));
  const lengths = [norm(a), norm(b)];
  const cosine = a.reduce((sum, value, place) => sum + value * b[place], 0) / (lengths[0] * lengths[1]);
  const angle = Math.acos(clipped(cosine, -1, 1));
  // sin(s x) / sin(x), exact for two equal latents too.
  const weight = (part) => (angle < 1e-6 ? part : Math.sin(part * angle) / Math.sin(angle));
  const [ofA, ofB] = [weight(1 - share) / lengths[0], weight(share) / lengths[1]];
  return a.map((value, place) => line(...lengths) * (ofA * value + ofB * b[place]));
}

function norm(z) {
  return Math.sqrt(z.reduce((sum, value) => sum + value * value, 0));
}

function clipped(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
