// Random numbers that can be had again: a stream is a function of its seed, as everywhere in undiffuse.

/** A stream of numbers: sfc32 (Chris Doty-Humphrey's small fast counter, 128 bits of state). */
export class Random {
  constructor(seed = 0) {
    this.a = 0x9e3779b9;
    this.b = 0x243f6a88;
    this.c = seed | 0;
    this.counter = 1;
    this.spare = NaN;
    for (let i = 0; i < 16; i += 1) this.uniform(); // seeds that differ in one bit have parted by then
  }

  /** Uniform in [0, 1). */
  uniform() {
    const sum = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  }

  /** A whole number below `count`. */
  below(count) {
    return Math.floor(this.uniform() * count);
  }

  /** Standard normal, by Box and Muller: sqrt(-2 ln u) (cos, sin)(2 pi v). */
  normal() {
    if (!Number.isNaN(this.spare)) {
      const kept = this.spare;
      this.spare = NaN;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** `count` standard normal numbers. */
  normals(count) {
    const values = new Float64Array(count);
    for (let i = 0; i < count; i += 1) values[i] = this.normal();
    return values;
  }
}
