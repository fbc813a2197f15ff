/* The recipe painter in plain JavaScript: a generator and a discriminator of curves, each with one hidden layer, the
   minimax game of Goodfellow et al. (2014), and Adam (Kingma and Ba 2015).
   Shapes: B batch, I inputs, H hidden units, O outputs, P points of a curve; rows follow one another in an array. */
"use strict";

const ADAM_EPSILON = 1e-8;
const EMA_RAMP = 0.05; // of what was seen: early on, the average looks back less far

/** Inputs - hidden units with ReLU - outputs. Starts as torch starts linear layers. */
class Network {
  constructor(inputs, hidden, outputs, random) {
    Object.assign(this, { inputs, hidden, outputs });
    const layer = (from, count) => Float64Array.from({ length: count }, () => (2 * random.double() - 1) / Math.sqrt(from));
    this.weights = {
      first_IH: layer(inputs, inputs * hidden),
      bias_H: layer(inputs, hidden),
      last_HO: layer(hidden, hidden * outputs),
      bias_O: layer(hidden, outputs),
    };
  }

  /** x_BI -> { x_BI, hidden_BH, y_BO }, which `backward` needs again. */
  forward(x_BI) {
    const { first_IH, bias_H, last_HO, bias_O } = this.weights;
    const hidden_BH = affine(x_BI, first_IH, bias_H, this.inputs, this.hidden).map((value) => Math.max(0, value));
    return { x_BI, hidden_BH, y_BO: affine(hidden_BH, last_HO, bias_O, this.hidden, this.outputs) };
  }

  /** The gradients of a loss by the weights, and by the inputs, from those by the outputs. */
  backward({ x_BI, hidden_BH }, gradient_BO) {
    const { first_IH, last_HO } = this.weights;
    const last = affineGradients(hidden_BH, last_HO, gradient_BO, this.hidden, this.outputs);
    const gradient_BH = last.inputs.map((value, place) => (hidden_BH[place] > 0 ? value : 0));
    const first = affineGradients(x_BI, first_IH, gradient_BH, this.inputs, this.hidden);
    return {
      weights: { first_IH: first.weights, bias_H: first.bias, last_HO: last.weights, bias_O: last.bias },
      inputs: first.inputs,
    };
  }
}

function affine(x_BI, weights_IO, bias_O, inputs, outputs) {
  const rows = x_BI.length / inputs, y_BO = new Float64Array(rows * outputs);
  for (let row = 0; row < rows; row++) {
    const to = row * outputs;
    y_BO.set(bias_O, to);
    for (let i = 0; i < inputs; i++) {
      const x = x_BI[row * inputs + i], from = i * outputs;
      if (x !== 0) for (let o = 0; o < outputs; o++) y_BO[to + o] += x * weights_IO[from + o];
    }
  }
  return y_BO;
}

function affineGradients(x_BI, weights_IO, gradient_BO, inputs, outputs) {
  const rows = x_BI.length / inputs;
  const weights = new Float64Array(inputs * outputs), bias = new Float64Array(outputs), by = new Float64Array(x_BI.length);
  for (let row = 0; row < rows; row++) {
    const at = row * outputs;
    for (let o = 0; o < outputs; o++) bias[o] += gradient_BO[at + o];
    for (let i = 0; i < inputs; i++) {
      const x = x_BI[row * inputs + i], from = i * outputs;
      let sum = 0;
      for (let o = 0; o < outputs; o++) {
        weights[from + o] += x * gradient_BO[at + o];
        sum += weights_IO[from + o] * gradient_BO[at + o];
      }
      by[row * inputs + i] = sum;
    }
  }
  return { weights, bias, inputs: by };
}

class Adam {
  constructor(network, { beta1, beta2 }) {
    Object.assign(this, { network, beta1, beta2, steps: 0 });
    const zeros = () => Object.fromEntries(Object.entries(network.weights).map(([name, w]) => [name, new Float64Array(w.length)]));
    this.means = zeros();
    this.squares = zeros();
  }

  step(gradients, rate) {
    const { beta1, beta2 } = this;
    const unbias1 = 1 - beta1 ** ++this.steps, unbias2 = 1 - beta2 ** this.steps;
    for (const [name, weight] of Object.entries(this.network.weights)) {
      const gradient = gradients[name], mean = this.means[name], square = this.squares[name];
      for (let k = 0; k < weight.length; k++) {
        mean[k] = beta1 * mean[k] + (1 - beta1) * gradient[k];
        square[k] = beta2 * square[k] + (1 - beta2) * gradient[k] ** 2;
        weight[k] -= (rate * mean[k]) / unbias1 / (Math.sqrt(square[k] / unbias2) + ADAM_EPSILON);
      }
    }
  }
}

const softplus = (x) => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x)));
const logistic = (x) => 0.5 + 0.5 * Math.tanh(x / 2);
const meanOf = (values, measure) => values.reduce((sum, value) => sum + measure(value), 0) / values.length;

/** The game: real curves y = a x^2 + c against generated ones. */
class Painter {
  constructor(settings, seed) {
    const { points, latentSize, width } = settings;
    Object.assign(this, { settings, seed, imagesSeen: 0 });
    this.x_P = Float64Array.from({ length: points }, (_, p) => (2 * p) / (points - 1) - 1);
    this.generator = new Network(latentSize, width, points, new RandomStream(seed, "page generator"));
    this.discriminator = new Network(points, width, 1, new RandomStream(seed, "page discriminator"));
    this.optimizers = {
      generator: new Adam(this.generator, settings.optimizers.generator),
      discriminator: new Adam(this.discriminator, settings.optimizers.discriminator),
    };
    this.ema = Object.fromEntries(Object.entries(this.generator.weights).map(([name, w]) => [name, w.slice()]));
    const random = new RandomStream(seed, "page samples");
    this.fixed_NZ = this.#latents(settings.samples, random);
  }

  /** Training curves from number `first` on: those of limner.data.curves. */
  real(first, count) {
    const random = new RandomStream(this.seed, "curves");
    random.advance(first);
    const curves_BP = new Float64Array(count * this.x_P.length);
    for (let row = 0; row < count; row++) {
      const [a, c] = [random.double(), random.double(), random.double(), random.double()]; // a curve takes four numbers
      this.x_P.forEach((x, p) => (curves_BP[row * this.x_P.length + p] = (1 + a) * x * x + c));
    }
    return curves_BP;
  }

  /** One step of both networks on a batch; the value of the game and how often the discriminator is right. */
  step(rates) {
    const { batch } = this.settings, { generator, discriminator } = this;
    const made = generator.forward(this.#latents(batch, new RandomStream(this.seed, "page latents", this.imagesSeen)));
    const real = discriminator.forward(this.real(this.imagesSeen, batch)), fake = discriminator.forward(made.y_BO);
    const measured = {
      value: -meanOf(real.y_BO, (logit) => softplus(-logit)) - meanOf(fake.y_BO, softplus),
      right: (meanOf(real.y_BO, (logit) => Number(logit > 0)) + meanOf(fake.y_BO, (logit) => Number(logit < 0))) / 2,
    };
    const ofReal = discriminator.backward(real, real.y_BO.map((logit) => -logistic(-logit) / batch)).weights;
    const ofFake = discriminator.backward(fake, fake.y_BO.map((logit) => logistic(logit) / batch)).weights;
    const both = Object.fromEntries(Object.keys(ofReal).map((name) => [name, ofReal[name].map((g, k) => g + ofFake[name][k])]));
    this.optimizers.discriminator.step(both, rates.discriminator);

    // The generator minimises mean(log(1 - D(G(z)))).
    const judged = discriminator.forward(made.y_BO);
    const byCurves = discriminator.backward(judged, judged.y_BO.map((logit) => -logistic(logit) / batch)).inputs;
    this.optimizers.generator.step(generator.backward(made, byCurves).weights, rates.generator);
    this.imagesSeen += batch;
    this.#follow();
    return measured;
  }

  /** Curves of fixed latents by the EMA of the generator: samples x P. */
  samples() {
    const current = this.generator.weights;
    this.generator.weights = this.ema;
    const { y_BO } = this.generator.forward(this.fixed_NZ);
    this.generator.weights = current;
    return y_BO;
  }

  #follow() {
    const { batch, emaHalflife } = this.settings;
    const decay = 0.5 ** (batch / Math.min(emaHalflife, EMA_RAMP * this.imagesSeen));
    for (const [name, mean] of Object.entries(this.ema)) {
      const weight = this.generator.weights[name];
      for (let k = 0; k < mean.length; k++) mean[k] = weight[k] + decay * (mean[k] - weight[k]);
    }
  }

  #latents(count, random) {
    return Float64Array.from({ length: count * this.settings.latentSize }, () => random.normal());
  }
}

/** The mean distance between two of the curves. */
function spread(curves_NP, points) {
  const count = curves_NP.length / points;
  let sum = 0;
  for (let one = 0; one < count; one++) {
    for (let other = 0; other < one; other++) {
      let square = 0;
      for (let p = 0; p < points; p++) square += (curves_NP[one * points + p] - curves_NP[other * points + p]) ** 2;
      sum += Math.sqrt(square);
    }
  }
  return sum / ((count * (count - 1)) / 2);
}
