// Ink in water: particles that only shake. The same process and density as undiffuse/visualization/brownian.py, which a
// test compares these with.
//
//   dx = -theta x dt + sqrt(2 D) dW,   x_t = a x_0 + s eps,
//   a = e^(-theta t),  s^2 = D / theta (1 - e^(-2 theta t));   theta = 0:  a = 1,  s^2 = 2 D t

/** Nodes of the quadrature over the drop. */
const NODES = 120;

export class Water {
  constructor({ particles = 3000, diffusivity = 0.5, radius = 0.35, centre = 0, theta = 0 }) {
    Object.assign(this, { particles, diffusivity, radius, centre, theta });
  }

  /** (a, s) of x_t = a x_0 + s eps: the alpha and sigma of this process. */
  transition(t) {
    const { theta, diffusivity } = this;
    if (theta === 0) return { a: 1, s: Math.sqrt(2 * diffusivity * t) };
    return { a: Math.exp(-theta * t), s: Math.sqrt((diffusivity / theta) * -Math.expm1(-2 * theta * t)) };
  }

  /** Mean of the horizontal coordinate. */
  mean(t) {
    return this.transition(t).a * this.centre;
  }

  /** Variance of a coordinate: a^2 R^2 / 4 + s^2; a disc of radius R has R^2 / 4. */
  variance(t) {
    const { a, s } = this.transition(t);
    return (a * this.radius) ** 2 / 4 + s ** 2;
  }

  /**
   * Exact density of the horizontal coordinate.
   *
   * A disc seen from the side is p_0(u) = 2 sqrt(1 - u^2) / pi; its blur p_t(x) = int p_0(u) N(x; a (c + R u), s^2) du
   * is done by Gauss-Chebyshev quadrature of the second kind.
   */
  density(x, t) {
    const { a, s } = this.transition(t);
    if (s === 0) {
      const u = (x - this.centre) / this.radius;
      return (2 / (Math.PI * this.radius)) * Math.sqrt(Math.max(1 - u * u, 0));
    }
    let sum = 0;
    for (let k = 1; k <= NODES; k += 1) {
      const angle = (k * Math.PI) / (NODES + 1);
      const z = (x - a * (this.centre + this.radius * Math.cos(angle))) / s;
      sum += Math.sin(angle) ** 2 * Math.exp((-z * z) / 2);
    }
    return ((2 / (NODES + 1)) * sum) / (s * Math.sqrt(2 * Math.PI));
  }

  /** Places at each of the rising times, the first of which is 0: flat Float32Arrays. Steps are exact, however long. */
  walk(times, random) {
    let places = new Float32Array(2 * this.particles);
    for (let i = 0; i < this.particles; i += 1) {
      // even over the disc: the radius is R sqrt(u)
      const angle = 2 * Math.PI * random.uniform();
      const reach = this.radius * Math.sqrt(random.uniform());
      places[2 * i] = this.centre + reach * Math.cos(angle);
      places[2 * i + 1] = reach * Math.sin(angle);
    }
    const states = [places];
    for (let k = 1; k < times.length; k += 1) {
      const { a, s } = this.transition(times[k] - times[k - 1]);
      places = places.map((value) => a * value + s * random.normal());
      states.push(places);
    }
    return states;
  }
}
