/* The random streams of limner.core.randomness, number for number as NumPy gives them: SeedSequence (O'Neill's seed
   mixing), Philox-4x64-10 (Salmon et al. 2011), the ziggurat for float32 normals (Marsaglia and Tsang 2000). */
"use strict";

const MASK_32 = 0xffffffffn, MASK_64 = 0xffffffffffffffffn;

/** The 32-bit words of a whole number, lowest first; 0 has one word. */
function wordsOf(number) {
  const words = [];
  for (let rest = BigInt(number); rest > 0n || !words.length; rest >>= 32n) words.push(Number(rest & MASK_32));
  return words;
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** The first `count` words of 64 bits of NumPy's SeedSequence(seed, spawn_key=key), as BigInts. */
function seedSequence(seed, key, count) {
  const POOL = 4;
  const entropy = wordsOf(seed);
  while (entropy.length < POOL) entropy.push(0);
  entropy.push(...key.flatMap(wordsOf));

  let constant = 0x43b0d7e5;
  const hash = (value) => {
    value ^= constant;
    constant = Math.imul(constant, 0x931e8875);
    value = Math.imul(value, constant);
    return (value ^ (value >>> 16)) >>> 0;
  };
  const mix = (x, y) => {
    const mixed = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  const pool = Array.from({ length: POOL }, (_, place) => hash(entropy[place]));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  }
  for (const word of entropy.slice(POOL)) for (let to = 0; to < POOL; to++) pool[to] = mix(pool[to], hash(word));

  constant = 0x8b51f9dd;
  const words = Array.from({ length: 2 * count }, (_, place) => {
    let value = pool[place % POOL] ^ constant;
    constant = Math.imul(constant, 0x58f38ded);
    value = Math.imul(value, constant);
    return BigInt((value ^ (value >>> 16)) >>> 0);
  });
  return Array.from({ length: count }, (_, place) => words[2 * place] | (words[2 * place + 1] << 32n));
}

/** Layers of the normal density: 256 of equal area, the lowest with the tail beyond R. */
const ZIGGURAT = (() => {
  const LAYERS = 256, R = 3.6541528853610088, AREA = 0.00492867323399, UNIT = 2 ** 23;
  const density = (x) => Math.exp(-0.5 * x * x);
  const edge = new Float64Array(LAYERS);
  edge[LAYERS - 1] = R;
  for (let layer = LAYERS - 1; layer > 1; layer--) {
    edge[layer - 1] = Math.sqrt(-2 * Math.log(AREA / edge[layer] + density(edge[layer])));
  }
  const base = AREA / density(R);
  const width = Float32Array.from(edge, (x, layer) => (layer ? x : base) / UNIT);
  const height = Float32Array.from(edge, density);
  const inside = Uint32Array.from(edge, (x, layer) => (layer ? (edge[layer - 1] / x) * UNIT : (R / base) * UNIT));
  return { R, width, height, inside };
})();

class RandomStream {
  /** The stream of `purpose` at a position, as limner.core.randomness.stream. */
  constructor(seed, purpose, ...position) {
    this.key = seedSequence(seed, [crc32(new TextEncoder().encode(purpose)), ...position], 2);
    this.counter = 0n;
    this.block = [];
    this.half = null;
  }

  /** Skip as many blocks of four 64-bit numbers. */
  advance(blocks) {
    this.counter += BigInt(blocks);
    this.block = [];
    this.half = null;
  }

  uint64() {
    if (!this.block.length) this.block = this.#philox();
    return this.block.shift();
  }

  uint32() {
    if (this.half !== null) {
      const high = this.half;
      this.half = null;
      return high;
    }
    const both = this.uint64();
    this.half = Number(both >> 32n);
    return Number(both & MASK_32);
  }

  /** Uniform on [0, 1), float64. */
  double() {
    return Number(this.uint64() >> 11n) / 2 ** 53;
  }

  /** Uniform on [0, 1), float32. */
  float() {
    return (this.uint32() >>> 8) / 2 ** 24;
  }

  /** A whole number from 0 to `end` - 1 (Lemire 2019). */
  integer(end) {
    if (end === 1) return 0;
    const range = BigInt(end);
    const threshold = (1n << 32n) % range;
    let product = BigInt(this.uint32()) * range;
    while ((product & MASK_32) < threshold) product = BigInt(this.uint32()) * range;
    return Number(product >> 32n);
  }

  /** From N(0, 1), float32. */
  normal() {
    const { R, width, height, inside } = ZIGGURAT;
    for (;;) {
      const bits = this.uint32();
      const layer = bits & 0xff, negative = (bits >>> 8) & 1, place = bits >>> 9;
      const x = Math.fround(place * width[layer]) * (negative ? -1 : 1);
      if (place < inside[layer]) return x;
      if (layer === 0) {
        for (;;) {
          const beyond = Math.fround(-Math.fround(1 / R) * Math.fround(Math.log1p(-this.float())));
          const limit = -Math.fround(Math.log1p(-this.float()));
          if (Math.fround(2 * limit) > Math.fround(beyond * beyond)) {
            return Math.fround(Math.fround(R) + beyond) * ((place >>> 8) & 1 ? -1 : 1);
          }
        }
      }
      const between = Math.fround(height[layer - 1] - height[layer]) * this.float();
      if (Math.fround(Math.fround(between) + height[layer]) < Math.exp(-0.5 * x * x)) return x;
    }
  }

  #philox() {
    this.counter = (this.counter + 1n) & ((1n << 256n) - 1n);
    let [x0, x1, x2, x3] = [0n, 64n, 128n, 192n].map((shift) => (this.counter >> shift) & MASK_64);
    let [key0, key1] = this.key;
    for (let round = 0; round < 10; round++) {
      const left = x0 * 0xd2e7470ee14c6c93n, right = x2 * 0xca5a826395121157n;
      [x0, x1, x2, x3] = [(right >> 64n) ^ x1 ^ key0, right & MASK_64, (left >> 64n) ^ x3 ^ key1, left & MASK_64];
      key0 = (key0 + 0x9e3779b97f4a7c15n) & MASK_64;
      key1 = (key1 + 0xbb67ae8584caa73bn) & MASK_64;
    }
    return [x0, x1, x2, x3];
  }
}
