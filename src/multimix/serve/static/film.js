// The image itself: its values as the network was given them, windowed and inverted here.

import { bitmapOf, surface } from "./layers.js";

const TOP = 65535;

/** From the answer's `pixels` ({bits, png}) to a Film. */
export async function filmOf({ bits, png }) {
  const bitmap = await bitmapOf(png);
  const [, paint] = surface(bitmap.width, bitmap.height);
  paint.drawImage(bitmap, 0, 0);
  const { data } = paint.getImageData(0, 0, bitmap.width, bitmap.height);
  return bits === 16 ? joined(data, bitmap.width / 2, bitmap.height) : new Film(bytes(data), bitmap.width, bitmap.height);
}

/** High bytes left, low bytes right. */
function joined(data, width, height) {
  const values = new Uint16Array(width * height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const high = 4 * (2 * y * width + x);
      values[i] = (data[high] << 8) | data[high + 4 * width];
    }
  }
  return new Film([values], width, height);
}

/** One channel where the picture is grey, else three. */
function bytes(data) {
  const channels = [0, 1, 2].map((c) => Uint16Array.from({ length: data.length / 4 }, (_, i) => 257 * data[4 * i + c]));
  const grey = channels[0].every((value, i) => value === channels[1][i] && value === channels[2][i]);
  return grey ? channels.slice(0, 1) : channels;
}

export class Film {
  /** `channels`: one or three arrays of 0 to 65535, row by row. */
  constructor(channels, width, height) {
    this.channels = channels;
    [this.canvas, this.paint] = surface(width, height);
    this.picture = this.paint.createImageData(width, height);
    this.first = channels.length === 1 ? stretched(channels[0]) : { low: 0, high: TOP };
    this.reset();
  }

  reset() {
    Object.assign(this, this.first, { inverted: false });
    this.draw();
  }

  /** Width and level as shares of the whole range. */
  get window() {
    return { width: (this.high - this.low) / TOP, level: (this.high + this.low) / 2 / TOP };
  }

  setWindow({ width, level }) {
    const half = (Math.min(1, Math.max(0.01, width)) * TOP) / 2;
    const middle = Math.min(1, Math.max(0, level)) * TOP;
    Object.assign(this, { low: middle - half, high: middle + half });
    this.draw();
  }

  invert() {
    this.inverted = !this.inverted;
    this.draw();
  }

  draw() {
    const table = new Uint8ClampedArray(TOP + 1);
    const gain = 255 / (this.high - this.low);
    for (let value = 0; value <= TOP; value++) table[value] = gain * (value - this.low);
    if (this.inverted) for (let value = 0; value <= TOP; value++) table[value] = 255 - table[value];
    const { data } = this.picture;
    const [red, green = red, blue = red] = this.channels;
    for (let i = 0, at = 0; i < red.length; i++) {
      data[at++] = table[red[i]];
      data[at++] = table[green[i]];
      data[at++] = table[blue[i]];
      data[at++] = 255;
    }
    this.paint.putImageData(this.picture, 0, 0);
  }
}

/** From the 0.5th to the 99.5th percentile, as `multimix predict` draws its overlays (io/overlay.py). */
function stretched(values) {
  const step = Math.max(1, Math.floor(values.length / 262144));
  const sample = values.filter((_, i) => i % step === 0).sort();
  const at = (share) => sample[Math.round(share * (sample.length - 1))];
  const [low, high] = [at(0.005), at(0.995)];
  return high - low < TOP / 1000 ? { low: 0, high: TOP } : { low, high };
}
