/* Attribute vectors for faces, as limner.latent.labels and limner.latent.attribute_chain give them.
   Shapes: M known vectors, A attributes, T terms of a regression. */
"use strict";

const FEW = 32, RARE = 1 / 10000;
const WEIGHT_PRECISION = 0.3, BIAS_PRECISION = 0.01, MOST_STEPS = 50, TOLERANCE = 1e-6;

class Attributes {
  /** `known_MA`: one array of A zeros and ones for each known vector. */
  constructor(known_MA) {
    this.known_MA = known_MA;
    this.chains = new Map();
  }

  /** The vector of face `index` of `seed`; `requested`: Map of position -> 0 or 1. */
  ofFace(seed, index, requested) {
    const random = new RandomStream(seed, "labels", index);
    const agreeing = this.#agreeing(requested);
    if (!requested.size || agreeing.length >= FEW) return agreeing[random.integer(agreeing.length)];
    return this.#chain(requested).sample(requested, random);
  }

  /** Whether the request is rarer than 1 in 10,000 in the training data. */
  isRare(requested) {
    if (!requested.size || this.#agreeing(requested).length >= FEW) return false;
    return this.#chain(requested).probability(requested) < RARE;
  }

  #agreeing(requested) {
    return this.known_MA.filter((y_A) => [...requested].every(([position, value]) => y_A[position] === value));
  }

  #chain(requested) {
    const given = [...requested.keys()].sort((one, other) => one - other);
    const key = given.join();
    if (!this.chains.has(key)) this.chains.set(key, new AttributeChain(this.known_MA, given));
    return this.chains.get(key);
  }
}

/** The joint distribution of attributes, a logistic regression of each on those before it, the given ones first. */
class AttributeChain {
  constructor(known_MA, given) {
    const others = known_MA[0].map((_, position) => position).filter((position) => !given.includes(position));
    this.given = given;
    this.order = [...given, ...others];
    this.weights = this.order.map((_, t) => regress(known_MA, this.order.slice(0, t), this.order[t]));
  }

  probability(requested) {
    const y_A = this.#values(requested);
    return this.given.reduce((product, position, t) => {
      const p = this.#probability(t, y_A);
      return product * (y_A[position] ? p : 1 - p);
    }, 1);
  }

  sample(requested, random) {
    const uniform_A = this.order.map(() => random.double());
    const y_A = this.#values(requested);
    for (let t = this.given.length; t < this.order.length; t++) {
      y_A[this.order[t]] = uniform_A[t] < this.#probability(t, y_A) ? 1 : 0;
    }
    return y_A;
  }

  #values(requested) {
    return this.order.map((_, position) => requested.get(position) ?? 0);
  }

  #probability(t, y_A) {
    const [bias, ...weight_T] = this.weights[t];
    return sigmoid(bias + weight_T.reduce((sum, weight, place) => sum + weight * y_A[this.order[place]], 0));
  }
}

/** Bias and weights of the most probable logistic regression of attribute `target` on `features`, by Newton's method. */
function regress(known_MA, features, target) {
  const size = features.length + 1;
  // Terms are 0 or 1: of each vector, keep the places that are 1. The first is the bias.
  const active = known_MA.map((y_A) => [0, ...features.flatMap((position, place) => (y_A[position] ? [place + 1] : []))]);
  const target_M = known_MA.map((y_A) => y_A[target]);
  const positive = target_M.reduce((sum, y) => sum + y, 0);
  const mean_T = new Float64Array(size), precision_T = new Float64Array(size).fill(WEIGHT_PRECISION);
  mean_T[0] = Math.log((positive + 0.5) / (known_MA.length - positive + 0.5));
  precision_T[0] = BIAS_PRECISION;

  const score = (w_T, places) => places.reduce((sum, place) => sum + w_T[place], 0);
  const lossOf = (w_T) => {
    let loss = 0;
    active.forEach((places, m) => {
      const margin = (2 * target_M[m] - 1) * score(w_T, places);
      loss += Math.max(0, -margin) + Math.log1p(Math.exp(-Math.abs(margin)));
    });
    w_T.forEach((w, t) => (loss += (precision_T[t] * (w - mean_T[t]) ** 2) / 2));
    return loss;
  };

  let w_T = mean_T, least = lossOf(w_T);
  for (let step = 0; step < MOST_STEPS; step++) {
    const gradient_T = w_T.map((w, t) => precision_T[t] * (w - mean_T[t]));
    const hessian_TT = Array.from({ length: size }, (_, t) => new Float64Array(size).fill(0));
    precision_T.forEach((precision, t) => (hessian_TT[t][t] = precision));
    active.forEach((places, m) => {
      const p = sigmoid(score(w_T, places)), error = p - target_M[m], weight = p * (1 - p);
      for (const row of places) {
        gradient_T[row] += error;
        for (const column of places) if (column <= row) hessian_TT[row][column] += weight;
      }
    });
    let step_T = solvePositive(hessian_TT, gradient_T), found;
    while ((found = lossOf(w_T.map((w, t) => w - step_T[t]))) > least + TOLERANCE) step_T = step_T.map((s) => s / 2);
    w_T = w_T.map((w, t) => w - step_T[t]);
    const gain = least - found;
    least = found;
    if (gain < TOLERANCE) break;
  }
  return w_T;
}

/** Solve `matrix` x = `right`, of which the lower triangle is given and becomes its Cholesky factor. */
function solvePositive(matrix, right) {
  const size = right.length, x = Float64Array.from(right);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column <= row; column++) {
      let sum = matrix[row][column];
      for (let k = 0; k < column; k++) sum -= matrix[row][k] * matrix[column][k];
      matrix[row][column] = row === column ? Math.sqrt(sum) : sum / matrix[column][column];
    }
  }
  for (let row = 0; row < size; row++) {
    for (let k = 0; k < row; k++) x[row] -= matrix[row][k] * x[k];
    x[row] /= matrix[row][row];
  }
  for (let row = size - 1; row >= 0; row--) {
    for (let k = row + 1; k < size; k++) x[row] -= matrix[k][row] * x[k];
    x[row] /= matrix[row][row];
  }
  return x;
}

function sigmoid(x) {
  return 0.5 + 0.5 * Math.tanh(x / 2);
}

/** Known vectors from the bits of numpy.packbits over M x A, in base64. */
function unpackKnown(base64, count, attributes) {
  const bits = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
  return Array.from({ length: count }, (_, m) =>
    Array.from({ length: attributes }, (_, a) => {
      const bit = m * attributes + a;
      return (bits[bit >> 3] >> (7 - (bit & 7))) & 1;
    }),
  );
}
